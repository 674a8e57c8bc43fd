"""Heat conduction: materials, problems, and their deterministic solution; array in, array out, in SI units."""

from .material import Material
from .problem import Face, Layer, Problem
from .volumes import Grid, finite_volumes

__all__ = ["Face", "Grid", "Layer", "Material", "Problem", "finite_volumes"]
