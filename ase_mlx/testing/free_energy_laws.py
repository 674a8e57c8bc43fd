"""The laws of free energies F(V, T): thermodynamics, whatever the weights are.

Source: L. D. Landau and E. M. Lifshitz, Statistical Physics (1980), chapter II.
"""

from collections.abc import Callable

import numpy as np

from ase_mlx.models.free_energy import FreeEnergy
from ase_mlx.units import BOLTZMANN, EV_PER_A3_IN_GPA

from .laws import LawBroken

POINTS = 24
STEP, WARMING = 1e-4, 0.05
"""Of finite differences: relative of the volume; K."""
EXACT = 1e-5
CLASSICAL, HOT = 2e-3, 40.0
"""How near 3 k_B the heat capacity is at so many times the mean frequency's temperature."""
COLD = 1e-3
"""K."""


def _points(model: FreeEnergy) -> np.ndarray:
    """Random points: Å³/atom and K."""
    random, prior = np.random.default_rng(0), model.config.prior
    strains = random.uniform(0.9 * prior.low, 0.9 * prior.high, POINTS)
    volume = float(model.static()[0].detach())
    return np.stack([volume * np.exp(strains), random.uniform(0.2, 3.0, POINTS) * model.scale], axis=1)


def _beside(model: FreeEnergy, points: np.ndarray, name: str, axis: int) -> np.ndarray:
    """Derivative of a quantity by volume (1/Å³) or temperature (1/K), by central differences."""
    step = np.zeros_like(points)
    step[:, axis] = STEP * points[:, 0] if axis == 0 else WARMING
    ends = [model.at(None, points + sign * step)[name] for sign in (1, -1)]
    return (ends[0] - ends[1]) / (2 * step[:, axis])


def conjugates(model: FreeEnergy) -> None:
    """P = −∂F/∂V (GPa), S = −∂F/∂T, C_V = T ∂S/∂T (eV/K), B = −V ∂P/∂V (GPa).

    Raises:
        LawBroken: they are not.
    """
    points = _points(model)
    values, (volume, t) = model.at(None, points), points.T
    pressure = -_beside(model, points, "free_energy", 0) * EV_PER_A3_IN_GPA
    _expect("conjugates", values["pressure"], pressure, "pressure", model.config.prior.bulk_modulus)
    _expect("conjugates", values["entropy"], -_beside(model, points, "free_energy", 1), "entropy", BOLTZMANN)
    _expect("conjugates", values["heat_capacity_v"], t * _beside(model, points, "entropy", 1), "C_V", BOLTZMANN)
    modulus = -volume * _beside(model, points, "pressure", 0)
    _expect("conjugates", values["bulk_modulus"], modulus, "bulk modulus", model.config.prior.bulk_modulus)


def maxwell(model: FreeEnergy) -> None:
    """∂S/∂V = ∂P/∂T, in eV/(Å³ K).

    Raises:
        LawBroken: they differ.
    """
    points = _points(model)
    by_volume = _beside(model, points, "entropy", 0)
    by_temperature = _beside(model, points, "pressure", 1) / EV_PER_A3_IN_GPA
    _expect("Maxwell's relation", by_volume, by_temperature, "∂S/∂V", BOLTZMANN / model.config.prior.volume)


def third_law(model: FreeEnergy) -> None:
    """S and C_V vanish at 0 K, in eV/K.

    Raises:
        LawBroken: they do not.
    """
    points = _points(model)
    points[:, 1] = COLD
    for name in ("entropy", "heat_capacity_v"):
        _expect("third law", model.at(None, points)[name], np.zeros(POINTS), name, BOLTZMANN)


def equipartition(model: FreeEnergy) -> None:
    """C_V is 3 k_B at high temperature.

    Raises:
        LawBroken: it is not.
    """
    points = _points(model)
    points[:, 1] = HOT * model.scale
    capacity = model.at(None, points)["heat_capacity_v"]
    _expect("equipartition", capacity, np.full(POINTS, 3 * BOLTZMANN), "C_V", 3 * BOLTZMANN, CLASSICAL)


def stability(model: FreeEnergy) -> None:
    """The bulk modulus (GPa) is positive at zero pressure and 0 K.

    Raises:
        LawBroken: it is not.
    """
    curves = model.along(np.array([0.0]), std=False)
    if not curves["bulk_modulus"][0] > 0:
        raise LawBroken("stability", "a crystal", "float64", "bulk modulus, GPa", float(curves["bulk_modulus"][0]), 0.0)


def _expect(law: str, values: np.ndarray, expected: np.ndarray, what: str, size: float, tolerance=EXACT) -> None:
    deviation = float((np.abs(values - expected) / np.maximum(np.abs(expected), size)).max())
    if not deviation <= tolerance:
        raise LawBroken(law, "a crystal", "float64", what, deviation, tolerance)


FREE_ENERGY_LAWS: dict[str, Callable[[FreeEnergy], None]] = {
    "conjugates": conjugates,
    "Maxwell's relation": maxwell,
    "third law": third_law,
    "equipartition": equipartition,
    "stability": stability,
}
