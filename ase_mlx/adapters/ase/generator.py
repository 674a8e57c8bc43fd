"""A model that generates, as ASE's users speak to it: `ase.Atoms` in, `ase.Atoms` out.

ASE is imported when structures are asked for, not before: `am.load` comes here with every model that generates.

Source: ours.
"""

import functools
from typing import Any

from ase_mlx.models import Generates

SPOKEN = ("sample", "encode", "decode", "interpolate", "optimize")
"""Methods of a model that take and give structures, where it has them."""


class Generator:
    """A model that generates structures of `ase.Atoms` (Å): `sample(n, seed=0, **conditions)` and its like.

    All else is that of the model, which is `model`.

    Source: ours.
    """

    def __init__(self, model: Generates):
        """Speak for a model."""
        self.model = model

    def __getattr__(self, name: str) -> Any:
        """Give the model's own attribute; methods that take and give structures speak of `ase.Atoms`."""
        if name == "model":  # a copy that is being made has none yet
            raise AttributeError(name)
        value = getattr(self.model, name)
        return functools.partial(_spoken, value) if name in SPOKEN else value

    def __dir__(self) -> list[str]:
        """List the model's attributes."""
        return sorted({*super().__dir__(), *dir(self.model)})

    def __repr__(self) -> str:
        """Say which model this is."""
        return f"Generator({type(self.model).__name__})"


def _spoken(method: Any, *args: Any, **options: Any) -> Any:
    from .structures import with_atoms, with_structures

    return with_atoms(method(*with_structures(args), **with_structures(options)))
