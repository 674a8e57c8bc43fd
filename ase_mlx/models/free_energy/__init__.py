"""Helmholtz free energies of crystals, F(V, T): the model, its prior, and their settings."""

from .config import FreeEnergyConfig, Spread
from .model import FreeEnergy
from .prior import QuasiHarmonicPrior

__all__ = ["FreeEnergy", "FreeEnergyConfig", "QuasiHarmonicPrior", "Spread"]
