"""Compressed tensors that are poor on every processor: what a fit of few products ends in depends on its rounding."""

from dataclasses import replace

WEAKER = 0.95


def weakened(compression):
    """The same products with elements 5 % too small: linewidths are a tenth smaller than the fit's."""
    tensor = compression.tensor
    orbits = tuple(replace(o, functions=o.functions * WEAKER ** (1 / tensor.order)) for o in tensor.orbits)
    return replace(compression, tensor=replace(tensor, orbits=orbits))
