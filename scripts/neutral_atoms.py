"""Valence densities of neutral atoms of all elements, by Quantum ESPRESSO's ld1.x: `python scripts/neutral_atoms.py`.

All-electron, PBE, scalar relativistic, the default configuration of ld1.x. Valence is what lies outside the noble gas
below, without d10 under an open p shell and f14 under an open d shell. Written: ase_mlx/weights/neutral_atoms.json.xz.
"""

import json
import lzma
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from ase_mlx.quantities import SYMBOLS
from ase_mlx.units import BOHR_IN_A

HERE = Path(__file__).resolve().parents[1]
STEP, END, LAST = 0.05, 6.0, 94
INPUT = "&input\n atom='{0}', rel=1, config='default', iswitch=1, dft='PBE', prefix='{0}'\n/\n"
NOBLE = {"2": "1S", "10": "2S 2P", "18": "3S 3P", "36": "4S 4P 3D", "54": "5S 5P 4D", "86": "6S 6P 5D 4F"}


def core_of(number: int, occupied: dict[str, float]) -> set[str]:
    """Name the shells that are no valence."""
    core = {shell for z, shells in NOBLE.items() if int(z) < number for shell in shells.split()}
    for shell, electrons in occupied.items():
        n, l = int(shell[0]), shell[1]
        if l == "D" and electrons == 10 and occupied.get(f"{n + 1}P", 0) > 0:
            core.add(shell)
        if l == "F" and electrons == 14 and occupied.get(f"{n + 1}D", 0) > 0:
            core.add(shell)
    return core


def solve(number: int, folder: Path) -> tuple[float, np.ndarray]:
    """Number of valence electrons, and their density (e/Å³) on even radii."""
    symbol = SYMBOLS[number]
    run = subprocess.run(
        ["ld1.x"], input=INPUT.format(symbol), capture_output=True, text=True, cwd=folder, check=True
    ).stdout
    occupied: dict[str, float] = {}
    for shell, electrons in re.findall(r"^\s+\d \d\s+(\d[SPDF]) \d\(\s*([\d.]+)\)", run, re.MULTILINE):
        occupied[shell] = occupied.get(shell, 0.0) + float(electrons)
    with open(folder / f"{symbol}.wfc", encoding="utf-8") as stream:
        names = stream.readline().replace("#", " ").split()[1:]
    table = np.loadtxt(folder / f"{symbol}.wfc")
    r, core = table[:, 0], core_of(number, occupied)
    valence = {s: e for s, e in occupied.items() if s not in core and e > 0}
    if set(valence) - set(names):
        raise RuntimeError(f"{symbol}: {sorted(valence)} wanted, {names} written")
    shell = sum(e * table[:, 1 + names.index(s)] ** 2 for s, e in valence.items())
    total = float(np.trapezoid(shell, r))
    within = np.concatenate([[0.0], np.cumsum(0.5 * (shell[1:] + shell[:-1]) * np.diff(r))])
    inside = within * sum(valence.values()) / total
    # the mean over a step of the radius, so that cusps and nodes at the nucleus keep their electrons
    radii = np.arange(0, END + STEP / 2, STEP) / BOHR_IN_A
    low, high = np.maximum(radii - STEP / BOHR_IN_A / 2, 0), radii + STEP / BOHR_IN_A / 2
    charge = np.interp(high, r, inside) - np.interp(low, r, inside, left=0.0)
    return sum(valence.values()), charge / (4 / 3 * np.pi * (high**3 - low**3)) / BOHR_IN_A**3


def main() -> None:
    """Write the table."""
    atoms = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, LAST + 1):
            electrons, density = solve(number, Path(folder))
            atoms[SYMBOLS[number]] = {"electrons": electrons, "density": [float(f"{x:.4e}") for x in density]}
    table = {
        "unit": "e/Å³",
        "radius_step": STEP,
        "origin": "Quantum ESPRESSO ld1.x 6.7, PBE, scalar relativistic, all-electron valence; made for this project",
        "atoms": atoms,
    }
    path = HERE / "ase_mlx" / "weights" / "neutral_atoms.json.xz"
    path.write_bytes(lzma.compress(json.dumps(table, ensure_ascii=False).encode(), preset=9))
    print(f"{path.name}: {len(atoms)} atoms, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
