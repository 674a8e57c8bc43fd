"""The laws of fields of temperature: what their conditions fix is met, and a converged one loses no heat.

Source: as of `ase_mlx.models.heat`.
"""

from collections.abc import Callable

import numpy as np

from ase_mlx.heat.problem import AXES
from ase_mlx.models.heat import HeatField
from ase_mlx.models.heat.balance import balance

from .laws import LawBroken

POINTS = 64
EXACT = 1e-9
"""Of the size of temperatures and fluxes: what is met by construction."""
CONSERVED, CONVERGED = 1e-3, 1e-3
"""Heat that a field may lose, of all that moves, where its rows are smaller than the second."""


def _on(model: HeatField, name: str) -> np.ndarray:
    """Random points of a face (m, s)."""
    low, high = np.array(model.problem.box).T
    points = low + np.random.default_rng(0).random((POINTS, len(low))) * (high - low)
    axis = AXES.index(name[0])
    points[:, axis] = (low, high)[int(name[1])][axis]
    return points


def held_temperatures(model: HeatField) -> None:
    """Temperatures (K) of faces are met exactly.

    Raises:
        LawBroken: they are not.
    """
    import torch

    for name, face in model.problem.faces.items():
        if face.temperature is None:
            continue
        points = _on(model, name)
        held = face.formulas["temperature"](model.problem.values(torch.from_numpy(points))).numpy()
        _expect(
            "held temperatures",
            np.abs(model.at(None, points)["temperature"] - held).max() / held.max(),
            EXACT,
            f"temperature of {name}",
        )


def given_fluxes(model: HeatField) -> None:
    """Fluxes (W/m²) into faces are met exactly, that of insulated ones too.

    Raises:
        LawBroken: they are not.
    """
    import torch

    for axis, letter in enumerate(model.problem.axes):
        for end in (0, 1):
            face = model.problem.face(f"{letter}{end}")
            if face.flux is None:
                continue
            points = _on(model, f"{letter}{end}")
            flux = face.formulas["flux"](model.problem.values(torch.from_numpy(points))).numpy()
            inward = (-1 if end else 1) * model.at(None, points)["heat_flux"][:, axis]
            size = model.sizes.flux[axis] + np.abs(flux).max()
            _expect("given fluxes", np.abs(inward - flux).max() / size, EXACT, f"the flux into {letter}{end}")


def conserved_heat(model: HeatField) -> None:
    """What comes in and what is made is kept, where the field has converged.

    Raises:
        LawBroken: heat is missing.
    """
    heat = balance(model) if float(model.residual) < CONVERGED else None
    if heat is not None:
        _expect("conserved heat", heat["off"], CONSERVED, "the balance of heat")


def _expect(law: str, deviation: float, tolerance: float, what: str) -> None:
    if not deviation <= tolerance:
        raise LawBroken(law, "a body", "float64", what, float(deviation), tolerance)


HEAT_LAWS: dict[str, Callable[[HeatField], None]] = {
    "held temperatures": held_temperatures,
    "given fluxes": given_fluxes,
    "conserved heat": conserved_heat,
}
