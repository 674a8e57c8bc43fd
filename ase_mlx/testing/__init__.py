"""The laws, to run on any model: `check_model(model)` tries every law on every geometry and raises `LawBroken`.

    from ase_mlx.testing import check_model

    check_model(model)                       # as it is
    check_model(model, dtype="float64")      # a copy in float64: the sharper test

A model is whatever `ase_mlx.models.Model` asks for; its `elements` and `cutoff` choose the structures.

Source: ours; each law says where it comes from.
"""

import copy
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import nn

from ase_mlx.models import Field, Generates, Model, Predicts

from . import derivatives, geometries, laws
from .density_laws import DENSITY_LAWS, density_geometries
from .film_laws import FILM_LAWS
from .free_energy_laws import FREE_ENERGY_LAWS
from .generator_laws import GENERATOR_LAWS
from .geometries import NAMES as GEOMETRIES
from .geometries import build
from .heat_laws import HEAT_LAWS
from .laws import TOLERANCES, LawBroken, Tolerance, evaluate
from .levels_laws import LEVELS_LAWS

FIELD_LAWS = {
    "heat_flux": HEAT_LAWS,
    "film_conductivity": FILM_LAWS,
    "wave_functions": LEVELS_LAWS,
    "free_energy": FREE_ENERGY_LAWS,
}
"""Laws of fields that are not of atoms, by the output that tells them."""

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


NEEDS = {
    "extensivity": {"energy"},
    "smooth at the cutoff": {"energy"},
    "forces": {"energy", "forces"},
    "stress": {"energy", "stress"},
    "sums": {"energy"},
}
"""What a model has to give for a law to say anything of it; the other laws hold of any output."""


def meaningful(law: str, geometry: str, model: Model | None = None) -> bool:
    """Tell whether a law says anything about a geometry: no lattice shift without a lattice, and so on.

    Args:
        law: a name in `LAWS`.
        geometry: a name in `GEOMETRIES`.
        model: also whether it says anything about what this model gives.

    Source: ours.
    """
    if model is not None and not NEEDS.get(law, set()) <= {q.name for q in model.outputs}:
        return False
    if law == "lattice shift":
        return geometry not in geometries.OPEN
    if law == "smooth at the cutoff":
        return geometry in geometries.OPEN
    return True


def in_dtype(model: nn.Module, dtype: str) -> nn.Module:
    """Copy a model into "float32" or "float64", ready to predict; lengths stay Å, energies eV.

    Raises:
        ValueError: another dtype.

    Source: ours.
    """
    if dtype not in TOLERANCES:
        raise ValueError(f"got dtype={dtype!r}, expected one of {', '.join(TOLERANCES)}")
    return copy.deepcopy(model).eval().to(dtype=getattr(torch, dtype))


def check_model(
    model: nn.Module,
    dtype: str | None = None,
    laws: Iterable[str] | None = None,
    geometries: Iterable[str] = GEOMETRIES,
) -> int:
    """Run laws over geometries on a model in evaluation mode; return how many combinations were tried.

    Which laws say anything follows from what the model gives: energy, forces and stress, other numbers, a density at
    points, new structures. A model without energies may refuse geometries, such as molecules, by a ValueError.

    Args:
        model: one that predicts, is a field or generates, as `ase_mlx.models.contract` has it (units: eV, Å).
        dtype: "float32" or "float64" for a copy in that dtype; None takes the model as it is.
        laws: names in `LAWS`, of densities in `DENSITY_LAWS`, of generators in `GENERATOR_LAWS`; all where None.
        geometries: names in `GEOMETRIES`.

    Raises:
        LawBroken: the first law that does not hold, with geometry, dtype, deviation and tolerance.
        ValueError: an unknown dtype, or no law that says anything of this model on these geometries.

    Source: ours.
    """
    model = getattr(model, "model", model) if not isinstance(model, nn.Module) else model  # am.load's generators
    model = model if dtype is None else in_dtype(model, dtype)
    wanted = None if laws is None else tuple(laws)
    trials: list[Callable[[], None]] = []
    for law, geometry in _pairs(model, wanted, tuple(geometries)):
        trials.append(partial(LAWS[law], model, geometry))
    if isinstance(model, Field) and any(q.name == "density" for q in model.outputs):
        for law in DENSITY_LAWS if wanted is None else [w for w in wanted if w in DENSITY_LAWS and not _numbers(model)]:
            chosen = [g for g in density_geometries(law) if g in geometries]
            trials += [partial(DENSITY_LAWS[law], model, geometry) for geometry in chosen]
    for laws_of_field in (FIELD_LAWS[q.name] for q in model.outputs if q.name in FIELD_LAWS):
        trials += [partial(law, model) for name, law in laws_of_field.items() if wanted is None or name in wanted]
    if isinstance(model, Generates):
        trials += [partial(GENERATOR_LAWS[law], model) for law in GENERATOR_LAWS if wanted is None or law in wanted]
    if not trials:
        raise ValueError(
            f"got a {type(model).__name__}, of which none of these laws says anything on these geometries; expected a "
            "model that predicts, has a density or generates"
        )
    for trial in trials:
        trial()
    return len(trials)


def _numbers(model: nn.Module) -> bool:
    return isinstance(model, Predicts) and any(q.per != "point" for q in model.outputs)


def _pairs(model: nn.Module, wanted: tuple[str, ...] | None, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Laws of numbers and the geometries on which they say anything of a model."""
    if not _numbers(model):
        return []
    if not any(q.name == "energy" for q in model.outputs):
        names = tuple(name for name in names if _takes(model, name))
    chosen = LAWS if wanted is None else [law for law in wanted if law in LAWS]
    return [(law, name) for law in chosen for name in names if meaningful(law, name, model)]


def _takes(model: Model, geometry: str) -> bool:
    try:
        evaluate(model, build(geometry, model))
    except ValueError:
        return False
    return True


__all__ = [
    "DENSITY_LAWS",
    "GENERATOR_LAWS",
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
