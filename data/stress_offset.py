"""How far DFT stress and DFT energies disagree: `python data/stress_offset.py`.

pw.x gives the stress at a fixed set of plane waves; energies are compared at a fixed cutoff, at which the set changes
with the volume, and with it the energy by (2/3) E_cut dE/dE_cut an atom, nearly whatever the volume (Pulay; Francis
and Payne, J. Phys.: Condens. Matter 2, 4395 (1990)). Printed for each equation of state of the data files: −dE/dV of a
cubic polynomial in V^(−1/3) through its energies, minus the pressure of the stress labels, in GPa and, times the
volume, in eV an atom: of the labels as pw.x gave them, and as `build.py` corrects them (`PULAY`).
"""

from pathlib import Path

import numpy as np
from build import pulay_stress

from ase_mlx.data.io import read_frames
from ase_mlx.units import EV_PER_A3_IN_GPA

HERE = Path(__file__).resolve().parent


def offsets(frames) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give volume (Å³ an atom), energy's minus label's pressure (GPa), and the same for the labels of pw.x."""
    frames = sorted(frames, key=lambda atoms: atoms.get_volume())
    volume = np.array([atoms.get_volume() for atoms in frames])
    energy = np.array([atoms.get_potential_energy() for atoms in frames])
    labelled = np.array([-atoms.get_stress()[:3].mean() for atoms in frames])
    raw = labelled - np.array([pulay_stress(atoms)[0] for atoms in frames])
    inverse = volume ** (-1 / 3)
    slope = np.polyval(np.polyder(np.polyfit(inverse, energy, 3)), inverse)
    of_energies = slope * inverse**4 / 3
    return volume / len(frames[0]), (of_energies - labelled) * EV_PER_A3_IN_GPA, (of_energies - raw) * EV_PER_A3_IN_GPA


def equations_of_state() -> dict[str, list]:
    """Read the frames of all equations of state, by family."""
    families: dict[str, list] = {}
    for name in ("sigesn", "al"):
        for atoms in read_frames(HERE / f"{name}.extxyz.xz"):
            if atoms.info["family"].endswith("_eos"):
                families.setdefault(atoms.info["family"], []).append(atoms)
    return families


if __name__ == "__main__":
    print("energy's pressure minus label's, smallest to largest volume")
    for family, frames in equations_of_state().items():
        volume, corrected, raw = offsets(frames)
        print(f"{family:10s} {volume[0]:5.1f} to {volume[-1]:5.1f} Å³ an atom")
        print("  pw.x, GPa      ", " ".join(f"{x:7.3f}" for x in raw))
        print("  pw.x, eV/atom  ", " ".join(f"{x:7.4f}" for x in raw * volume / EV_PER_A3_IN_GPA))
        print("  corrected, GPa ", " ".join(f"{x:7.3f}" for x in corrected))
