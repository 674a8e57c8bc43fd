"""A student beside its teacher on one crystal: lattice, stiffness, phonons, heat capacity, forces by temperature, cost.

Source: ours.
"""

import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from jaxtyping import Int

from ase_mlx.adapters.ase.job import equation_of_state, forget_last, relax
from ase_mlx.adapters.phonopy import harmonic, members, phonons
from ase_mlx.learn.scales import NOMINAL_68
from ase_mlx.models.extrapolation import once
from ase_mlx.models.predict import predict

MESH = (8, 8, 8)
"""Of the wave vectors at which frequencies are compared; no Born charges."""

ROOM = 300.0
"""K."""

POINTS, STRAIN = 7, 0.06
"""Volumes of the equations of state, and the largest change of volume among them."""


def force_errors(model, frames: Sequence[Atoms]) -> list[dict[str, float]]:
    """Errors of a model on labelled frames (eV, eV/Å) by temperature, as rms and as share of the forces' rms.

    Returns:
        A row for each temperature: K, meV/Å, a dimensionless share, meV/atom, and the share of components inside σ.

    Source: ours.
    """
    rows = []
    for temperature in sorted({float(a.info["temperature_K"]) for a in frames}):
        those = [a for a in frames if float(a.info["temperature_K"]) == temperature]
        with once(speak=False):
            predictions = predict(model, those)
        forces = np.concatenate([a.get_forces() for a in those])
        error = np.concatenate([p["forces"] for p in predictions]) - forces
        energy = [
            (float(p["energy"]) - a.get_potential_energy()) / len(a) for p, a in zip(predictions, those, strict=True)
        ]
        rms = float(np.sqrt(np.mean(error**2)))
        row = {"temperature_K": temperature, "frames": len(those), "forces_rmse_meV_A": 1e3 * rms}
        row |= {"forces_share": rms / float(np.sqrt(np.mean(forces**2)))}
        row |= {"energy_rmse_meV_atom": 1e3 * float(np.sqrt(np.mean(np.square(energy))))}
        if "forces" in predictions[0].std:
            std = np.concatenate([p.std["forces"] for p in predictions])
            row["forces_inside_68"] = float(np.mean(np.abs(error) < std))
            sigma = np.array([float(p.std["energy"]) for p in predictions]) / np.array([len(a) for a in those])
            row["energy_inside_68"] = float(np.mean(np.abs(energy) < sigma))
        rows.append(row)
    return rows


def compare_lattice(crystal: Atoms, teacher, student) -> dict[str, Any]:
    """Volume (Å³) and bulk modulus (GPa) of both at their own minima, and the share of the lattice constant.

    Source: F. Birch, Phys. Rev. 71, 809 (1947).
    """
    both = {}
    for name, calculator in (("teacher", teacher), ("student", student)):
        rest = relax(crystal, calculator, fmax=2e-4).atoms
        curve = equation_of_state(rest, calculator, STRAIN, POINTS)
        both |= {f"volume_{name}_A3": curve.volume.value, f"bulk_modulus_{name}_GPa": curve.bulk_modulus.value}
        both |= {} if curve.bulk_modulus.std is None else {"bulk_modulus_std_GPa": curve.bulk_modulus.std}
        both |= {} if curve.volume.std is None else {"volume_std_A3": curve.volume.std}
    both["lattice_share"] = float((both["volume_student_A3"] / both["volume_teacher_A3"]) ** (1 / 3) - 1)
    both["bulk_modulus_share"] = float(both["bulk_modulus_student_GPa"] / both["bulk_modulus_teacher_GPa"] - 1)
    return both


def compare_phonons(crystal: Atoms, teacher_phonons, student, matrix: Int[np.ndarray, "3 3"]) -> dict[str, Any]:
    """Frequencies (THz) of both in one supercell on a mesh of 8³ wave vectors, and heat capacities at 300 K, J/(K mol).

    `phonon_bars_factor` (dimensionless) is what the members' bars must grow by for 68 % of the frequencies and the
    heat capacity to be within them.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what both have in common: no Born charges, a small supercell
        own = phonons(relax(crystal, student, fmax=1e-4).atoms, student, matrix, relax=False, on_imaginary="report")
        ensemble = members(own, student)
        both = [ph.run_mesh(MESH, is_gamma_center=True).frequencies for ph in (teacher_phonons, own)]
        spread = [one.run_mesh(MESH, is_gamma_center=True).frequencies for one in ensemble]
        heat = [
            harmonic(ph, those, np.array([ROOM]), MESH, on_imaginary="report")
            for ph, those in ((teacher_phonons, ()), (own, ensemble))
        ]
    off = np.abs(both[1] - both[0])
    out = {"frequencies_mae_THz": float(off.mean()), "frequencies_worst_THz": float(off.max())}
    out |= {"highest_THz": float(both[0].max()), "lowest_teacher_THz": float(both[0].min())}
    if all(one.heat_capacity is not None for one in heat):
        values = [float(one.heat_capacity[0]) for one in heat]
        out |= {"heat_capacity_teacher": values[0], "heat_capacity_student": values[1]}
        out["heat_capacity_share"] = values[1] / values[0] - 1
        if "heat_capacity" in heat[1].std:
            out["heat_capacity_std"] = float(heat[1].std["heat_capacity"][0])
    if spread:
        sigma = np.std(spread, axis=0, ddof=1)
        ratios = [float(np.quantile(off[sigma > 0] / sigma[sigma > 0], NOMINAL_68))] if (sigma > 0).any() else []
        if out.get("heat_capacity_std"):
            ratios.append(abs(values[1] - values[0]) / out["heat_capacity_std"])
        out["phonon_bars_factor"] = max([1.0, *ratios])
    return out


def seconds_each(calculator, cell: Atoms, repeats: int = 3) -> float:
    """Least CPU seconds, or seconds where another process computes, of energy, forces and stress of a structure (Å).

    Source: ours.
    """
    times = []
    for k in range(repeats + 1):
        moved = cell.copy()
        moved.positions += 1e-3 * (-1) ** k
        moved.positions[0, 0] += 1e-3
        forget_last(calculator)
        start, processor = time.perf_counter(), time.process_time()
        calculator.get_property("forces", moved)
        used = time.process_time() - processor
        times.append(used if used > 0.2 * (time.perf_counter() - start) else time.perf_counter() - start)
    return min(times[1:])
