"""Levels and wave functions of one coordinate as a network that obeys the Schrödinger equation."""

from .model import Levels, LevelsConfig
from .potential import ModePotential

__all__ = ["Levels", "LevelsConfig", "ModePotential"]
