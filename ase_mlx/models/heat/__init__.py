"""Temperature and heat flux in a body as networks that obey the equation of heat conduction."""

from .config import HeatConfig, Unknown, problem_of
from .model import HeatField

__all__ = ["HeatConfig", "HeatField", "Unknown", "problem_of"]
