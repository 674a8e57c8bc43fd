"""Levels of one mode: the table levels of benchmarks/heat.py."""

import numpy as np
from ase.build import bulk

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import phonons
from ase_mlx.adapters.phonopy.soft_mode import soft_mode
from ase_mlx.jobs.levels import heat_capacity_at, solve_levels
from ase_mlx.learn.recipes.levels import LevelsTraining
from ase_mlx.models.levels import ModePotential
from ase_mlx.units import PLANCK

GOAL = 1e-4
"""Of the barrier, or of the distance of the lowest two levels where there is none."""
KELVIN = 100.0
FORMULAS = {
    "harmonic": ("0.01*Q**2", 7.0, 8),
    "quartic": ("0.002*Q**4", 6.0, 8),
    "double well": ("-0.04*Q**2 + 0.005*Q**4", 5.0, 14),
    "double well, deep": ("-0.12*Q**2 + 0.01*Q**4", 6.0, 16),
    "double well, asymmetric": ("-0.04*Q**2 + 0.005*Q**4 + 0.02*Q", 5.0, 14),
}


def soft_modes() -> dict[str, tuple[ModePotential, int]]:
    """Curves along modes of bcc Al and of cubic SrTiO3 (polar, one cell); both are outside what the models do well."""
    from ase import Atoms

    ends = [(0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    perovskite = Atoms("SrTiO3", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5), *ends], cell=[3.94] * 3, pbc=True)
    out = {}
    for name, atoms, model, cells, relax, high, states in (
        ("bcc Al, `al`", bulk("Al", "bcc", a=3.24), "al", 6, False, 0.2, 24),
        ("cubic SrTiO3, `universal`", perovskite, "universal", 3, True, 0.6, 14),
    ):
        calculator = Calculator(model, dtype="float64")
        ph = phonons(atoms, calculator, supercell=(cells,) * 3, relax=relax, on_imaginary="report")
        out[name] = (soft_mode(ph, calculator, high=high).potential, states)
    return out


def levels() -> tuple[list[dict], list[tuple]]:
    """Levels by a network beside finite differences, and the heat capacity of the mode beside the harmonic one's."""
    cases = {
        name: (ModePotential(formula=formula, range=(-end, end)), states)
        for name, (formula, end, states) in FORMULAS.items()
    }
    at = f"C_V({KELVIN:g} K)"
    head = f"{'':30}{'states':>7}{'barrier':>9}{'E0':>8}{'E1 - E0':>10}{'error':>9}{'of barrier':>12}{'CPU s':>7}"
    print(f"{head}{'differences':>13}{at:>12}{'harmonic':>10}")
    print(f"{'':37}{'meV':>9}{'meV':>8}{'meV':>10}{'meV':>9}{'':32}{'k_B':>12}{'k_B':>10}")
    rows, lines = [], []
    for name, (potential, states) in (cases | soft_modes()).items():
        solved = solve_levels(LevelsTraining(potential, model={"states": states}))
        exact = solved.exact.energies
        if name == "harmonic":
            exact = PLANCK * potential.frequency * (np.arange(states) + 0.5)
        error, lowest = float(np.abs(solved.energies - exact).max()), potential.minima[0][1]
        scale = potential.barrier or float(exact[1] - exact[0])
        try:
            capacity = heat_capacity_at(solved, KELVIN)
        except ValueError:  # too few levels
            capacity = (float("nan"), float("nan"))
        row = {
            "case": name, "states": states, "barrier": 1e3 * potential.barrier, "zero_point": 1e3 * (exact[0] - lowest),
            "split": 1e3 * (solved.energies[1] - solved.energies[0]), "error": 1e3 * error, "relative": error / scale,
            "seconds": solved.seconds, "seconds_exact": solved.seconds_exact, "heat_capacity": capacity[0],
            "harmonic": capacity[1], "converged": solved.converged,
        }  # fmt: skip
        rows.append({key: value if isinstance(value, str | bool | int) else float(value) for key, value in row.items()})
        print(
            f"{name:30}{states:7}{row['barrier']:9.2f}{row['zero_point']:8.2f}{row['split']:10.2g}{row['error']:9.1e}"
            f"{row['relative']:12.1e}{row['seconds']:7.1f}{row['seconds_exact']:13.2f}{capacity[0]:12.3f}"
            f"{capacity[1]:10.3f}",
            flush=True,
        )
        size = "barrier" if potential.barrier else "spacing"
        lines.append((f"levels, {name}: largest error, of the {size}, 1e-9", 1e9 * row["relative"], "≤", 1e9 * GOAL))
    return rows, lines
