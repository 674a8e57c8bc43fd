"""Candidates for new crystals: what is known of each before and after it was brought to rest.

Source: ours.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from ase_mlx.adapters.ase.relaxation import relax
from ase_mlx.descriptors.genes import gene_of
from ase_mlx.descriptors.plausible import CLOSEST, balanced, closest, counted
from ase_mlx.graph.symmetry import symmetry_of
from ase_mlx.models.predict import predict
from ase_mlx.structure import Structure

FMAX, STEPS = 0.02, 200
"""eV/Å and steps of a relaxation."""

DIFFERENT = 0.1
"""Relative volumes from which two crystals of one skeleton are two."""


def as_atoms(structure: Structure) -> Atoms:
    """Give the primitive cell (Å) of a crystal as ASE has it.

    Source: ours.
    """
    places = structure.positions @ np.linalg.inv(structure.cell)
    try:
        cell = symmetry_of(structure.cell, places, structure.numbers, 1e-3).prim_std_cell
    except ValueError:
        return Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=True, info=dict(structure.info))
    return Atoms(cell.numbers, cell=cell.basis, scaled_positions=cell.positions, pbc=True, info=dict(structure.info))


def judged(drawn: list[Atoms], judge: Any, calculator: Any) -> list[Atoms]:
    """Relax crystals (Å) that are plausible, and write onto each what is known of it (eV, eV/atom).

    `info` gets `closest` (sums of covalent radii), `charges_balance`, what the model `judge` of anomalies says, and
    `rejected` where it is no candidate.

    Source: ours.
    """
    for atoms in drawn:
        atoms.info["closest"] = closest(atoms)
        atoms.info["charges_balance"] = balanced(counted(atoms))
        atoms.info["volume_drawn"] = atoms.cell.volume / len(atoms)
        if atoms.info["closest"] < CLOSEST:
            atoms.info["rejected"] = "atoms on top of each other"
    if calculator is not None:
        drawn = _relaxed(drawn, calculator)
    scored = [k for k, atoms in enumerate(drawn) if "rejected" not in atoms.info]
    for k, p in zip(scored, _scores([drawn[k] for k in scored], judge), strict=True):
        drawn[k].info |= p
    return drawn


def _scores(crystals: Sequence[Atoms], judge: Any) -> list[dict[str, float]]:
    """Ask the model of anomalies and energies; what it cannot describe is said."""
    told = []
    for atoms in crystals:
        try:
            (p,) = predict(judge, [atoms])
        except ValueError as error:
            told.append({"rejected": f"no descriptors: {error}"})
            continue
        told.append(
            {
                "hull_distance": float(p["hull_distance"]),
                "hull_distance_std": float(p.std["hull_distance"]),
                "formation_energy": float(p["formation_energy"]),
                "formation_energy_std": float(p.std["formation_energy"]),
                "novelty_probability": float(p["novelty_probability"]),
            }
        )
    return told


def _relaxed(drawn: list[Atoms], calculator: Any) -> list[Atoms]:
    """Bring plausible crystals to rest, their symmetry kept."""
    out = list(drawn)
    places = [k for k, atoms in enumerate(drawn) if "rejected" not in atoms.info]
    if not places:
        return out
    try:
        relaxations = relax([drawn[k] for k in places], calculator, fmax=FMAX, steps=STEPS, symmetry=True)
    except ValueError as error:  # all of them failed
        for k in places:
            out[k].info["rejected"] = f"no relaxation: {error}"
        return out
    for k, r in zip(places, relaxations, strict=True):
        atoms = r.atoms.copy()
        atoms.info = dict(drawn[k].info)
        energy = float(r.energy.value)
        atoms.info |= {"relaxed_energy": energy, "relaxed": bool(r.converged)}
        if not np.isfinite(energy):
            atoms.info["rejected"] = f"no relaxation: {'; '.join(r.notes)}"
        elif not r.converged:
            atoms.info["rejected"] = f"not at rest after {STEPS} steps"
        elif closest(atoms) < CLOSEST:
            atoms.info["rejected"] = "atoms on top of each other after relaxation"
        out[k] = atoms
    return out


def mark_duplicates(drawn: Sequence[Atoms]) -> None:
    """Reject crystals (Å) that equal an earlier one: the same positions of the same group, about the same volume.

    Source: ours.
    """
    seen: dict[int, list[float]] = {}
    for atoms in drawn:
        if "rejected" in atoms.info:
            continue
        try:
            key = gene_of(atoms, 0.05).key
        except ValueError:
            continue
        volume = atoms.cell.volume / len(atoms)
        if any(abs(volume / other - 1) < DIFFERENT for other in seen.get(key, [])):
            atoms.info["rejected"] = "equals an earlier candidate"
        seen.setdefault(key, []).append(volume)
