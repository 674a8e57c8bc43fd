"""The laws, to run on any model: `check_model(model)` tries every law on every geometry and raises `LawBroken`.

    from ase_mlx.testing import check_model

    check_model(model)                       # as it is
    check_model(model, dtype="float64")      # a copy in float64: the sharper test

A model is whatever `ase_mlx.models.Model` asks for; its `elements` and `cutoff` choose the structures.

Source: ours; each law says where it comes from.
"""

import copy
from collections.abc import Callable, Iterable

import torch

from ase_mlx.models import Model

from . import derivatives, geometries, laws
from .density_laws import DENSITY_LAWS, density_geometries
from .geometries import NAMES as GEOMETRIES
from .geometries import build
from .laws import TOLERANCES, LawBroken, Tolerance, evaluate

Law = Callable[[Model, str], None]

LAWS: dict[str, Law] = {
    "rotation": laws.rotation,
    "mirror": laws.mirror,
    "translation": laws.translation,
    "permutation": laws.permutation,
    "lattice shift": laws.lattice_shift,
    "extensivity": laws.extensivity,
    "batch equals loop": laws.batch_equals_loop,
    "smooth at the cutoff": laws.smooth_at_cutoff,
    "unmutated input": laws.unmutated,
    "forces": derivatives.forces,
    "stress": derivatives.stress,
    "sums": derivatives.sums,
    "members": derivatives.members,
    "error bars": derivatives.error_bars,
}


def meaningful(law: str, geometry: str) -> bool:
    """Tell whether a law says anything about a geometry: no lattice shift without a lattice, and so on.

    Source: ours.
    """
    if law == "lattice shift":
        return geometry not in geometries.OPEN
    if law == "smooth at the cutoff":
        return geometry in geometries.OPEN
    return True


def in_dtype(model: Model, dtype: str) -> Model:
    """Copy a model into "float32" or "float64", ready to predict; lengths stay Å, energies eV.

    Raises:
        ValueError: another dtype.

    Source: ours.
    """
    if dtype not in TOLERANCES:
        raise ValueError(f"got dtype={dtype!r}, expected one of {', '.join(TOLERANCES)}")
    return copy.deepcopy(model).eval().to(dtype=getattr(torch, dtype))


def check_model(
    model: Model,
    dtype: str | None = None,
    laws: Iterable[str] = tuple(LAWS),
    geometries: Iterable[str] = GEOMETRIES,
) -> int:
    """Run laws over geometries on a model in evaluation mode; return how many combinations were tried.

    Args:
        model: anything that is an `ase_mlx.models.Model` (units: eV, Å).
        dtype: "float32" or "float64" for a copy in that dtype; None takes the model as it is.
        laws: names in `LAWS`.
        geometries: names in `GEOMETRIES`.

    Raises:
        LawBroken: the first law that does not hold, with geometry, dtype, deviation and tolerance.
        ValueError: an unknown dtype.

    Source: ours.
    """
    model = model if dtype is None else in_dtype(model, dtype)
    pairs = [(law, geometry) for law in laws for geometry in geometries if meaningful(law, geometry)]
    for law, geometry in pairs:
        LAWS[law](model, geometry)
    return len(pairs)


__all__ = [
    "DENSITY_LAWS",
    "GEOMETRIES",
    "LAWS",
    "TOLERANCES",
    "LawBroken",
    "Tolerance",
    "build",
    "check_model",
    "density_geometries",
    "evaluate",
    "in_dtype",
    "meaningful",
]
