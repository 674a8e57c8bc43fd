"""What modules declare of their own parameters: how they are trained, and which have one row an element.

A module names its own parameters in class or instance attributes; nothing is guessed from the names of layers.

`rows`: no matrices, though they have two axes or more: each row is a vector of its own.
`per_element`: the first axis counts elements.
`undecayed`: a prior holds them, so that weight decay does not.

Source: ours.
"""

from typing import Literal

from torch import nn

Declared = Literal["rows", "per_element", "undecayed"]


def declared(module: nn.Module, what: Declared) -> set[str]:
    """List the full names of the parameters that a module and its parts declare so.

    Source: ours.
    """
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, part in module.named_modules()
        for name in getattr(part, what, ())
    }
