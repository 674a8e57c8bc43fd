"""Heat conduction: materials, problems, and their deterministic solution; array in, array out, in SI units."""

from .material import Material
from .ordinates import discrete_ordinates
from .problem import Face, Layer, Problem
from .spectrum import Spectrum
from .volumes import Grid, finite_volumes

__all__ = ["Face", "Grid", "Layer", "Material", "Problem", "Spectrum", "discrete_ordinates", "finite_volumes"]
