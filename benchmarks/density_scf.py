"""What a predicted density saves Quantum ESPRESSO, and the energy of one diagonalisation of it.

    python benchmarks/density_scf.py --pseudo-dir FOLDER [--frames 6] [--quick] [--json FILE]

Held-out cells of the shipped models (Si.upf, Ge.upf, Sn.upf, Al.upf in FOLDER; settings of data/README.md). SCF steps
to the threshold of the data (1.25e-9 Ry an atom) from: pw.x's own start (the atoms in the pseudopotential files; for
Ge and Sn those are no real atoms), free atoms superposed, the predicted density, and the converged density itself,
which is the limit. Error after one diagonalisation: the total energy that pw.x prints after its first iteration,
against the converged one.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.espresso import write_espresso_in
from verdict import machine, print_machine, verdict

from ase_mlx.data.densities import DensityFrame, read_densities
from ase_mlx.data.espresso_density import write_charge_density
from ase_mlx.data.free_atoms import superpose
from ase_mlx.fields.density_files import write_restart
from ase_mlx.learn.density.samples import grid_positions
from ase_mlx.pretrained import load
from ase_mlx.units import RYDBERG_IN_EV

ROOT = Path(__file__).resolve().parents[1]
FAMILIES = {
    "sgs8": ("sigesn", (3, 3, 3), 0.005),
    "si8": ("sigesn", (3, 3, 3), 0.005),
    "al4": ("al", (6, 6, 6), 0.02),
}
STARTS = ("pw.x", "free atoms", "predicted", "converged")
ECUT = 24.0


def run(atoms: Atoms, folder: Path, pseudo: Path, mesh: tuple, smearing: float, start: str) -> tuple[int, list[float]]:
    """Run pw.x; the number of its SCF steps and the energies (eV) that it prints after each."""
    control = {"calculation": "scf", "disk_io": "low", "outdir": ".", "pseudo_dir": str(pseudo)}
    system = {"ecutwfc": ECUT, "occupations": "smearing", "smearing": "fd", "degauss": smearing, "nosym": True}
    electrons = {"conv_thr": 1.25e-9 * len(atoms), "startingpot": start}
    names = {symbol: f"{symbol}.upf" for symbol in set(atoms.symbols)}
    with open(folder / "in", "w") as stream:
        data = {"control": control, "system": system, "electrons": electrons}
        write_espresso_in(stream, atoms, input_data=data, pseudopotentials=names, kpts=mesh, koffset=(1, 1, 1))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(folder / "out", "w") as stream:
        subprocess.run(["pw.x", "-in", "in"], cwd=folder, stdout=stream, stderr=subprocess.STDOUT, env=environment)
    text = (folder / "out").read_text()
    if "convergence has been achieved" not in text:
        raise RuntimeError(f"pw.x did not converge in {folder}: {text[-500:]}")
    energies = [float(e) * RYDBERG_IN_EV for e in re.findall(r"^!?\s+total energy\s+=\s+(\S+) Ry", text, re.MULTILINE)]
    return len(energies), energies


def steps(frame: DensityFrame, model, pseudo: Path, mesh: tuple, smearing: float) -> dict:
    """SCF steps from each start, and the errors (meV/atom) of the energies after one diagonalisation."""
    atoms, found = frame.atoms, {}
    points = grid_positions(frame, np.arange(frame.density.size))
    free = superpose(points, atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc).reshape(frame.density.shape)
    free *= round(frame.electrons) / (free.mean() * atoms.cell.volume)
    for start in STARTS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            place = folder / "pwscf.save" / "charge-density.dat"
            if start == "predicted":
                write_restart(model, atoms, folder, ECUT)
            elif start != "pw.x":
                write_charge_density(place, free if start == "free atoms" else frame.density, atoms.cell.array, ECUT)
            count, energies = run(atoms, folder, pseudo, mesh, smearing, "file" if start != "pw.x" else "atomic")
        found[start] = (count, 1e3 * abs(energies[0] - energies[-1]) / len(atoms))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pseudo-dir", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=6, help="of each family")
    parser.add_argument("--quick", action="store_true", help="one frame of aluminium")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if shutil.which("pw.x") is None:
        sys.exit("pw.x is not on the PATH; install Quantum ESPRESSO (Debian: quantum-espresso)")
    print_machine(machine())
    print("SCF steps and, in brackets, meV/atom after one diagonalisation")
    print(f"{'':14}" + "".join(f"{start:>18}" for start in STARTS))
    summary, means, verdicts = {}, [], []
    for family, (kind, mesh, smearing) in FAMILIES.items():
        if arguments.quick and family != "al4":
            continue
        every = [
            f
            for f in read_densities(ROOT / "data" / f"density_{kind}.npz")
            if f.info["family"] == family and f.info["part"] == "test" and "eos" not in f.name
        ]
        count = 1 if arguments.quick else min(arguments.frames, len(every))
        picked = [every[k] for k in np.linspace(0, len(every) - 1, count).round().astype(int)]
        model, rows = load(kind), []
        for frame in picked:
            rows.append(steps(frame, model, arguments.pseudo_dir.resolve(), mesh, smearing))
            print(
                f"{frame.name:14}" + "".join(f"{rows[-1][s][0]:9d} ({rows[-1][s][1]:6.2f})" for s in STARTS), flush=True
            )
        mean = {s: [float(np.mean([row[s][k] for row in rows])) for k in (0, 1)] for s in STARTS}
        means.append(f"{family + ', mean':14}" + "".join(f"{mean[s][0]:9.2f} ({mean[s][1]:6.2f})" for s in STARTS))
        summary[family] = {"frames": [f.name for f in picked], "mean": mean}
        saved = 100 * (1 - mean["predicted"][0] / mean["pw.x"][0])
        against_free = 100 * (1 - mean["predicted"][0] / mean["free atoms"][0])
        means.append(
            f"{'':14}steps saved: {saved:.0f} % against pw.x's own start, {against_free:.0f} % against free atoms"
        )
        verdicts += [
            (f"{family}: SCF steps saved, %", saved, "≥", 25.0),
            (f"{family}: one diagonalisation, meV/atom", mean["predicted"][1], "≤", 2.0),
        ]
    print("\nMean SCF steps and, in brackets, meV/atom after one diagonalisation")
    print(f"{'':14}" + "".join(f"{start:>18}" for start in STARTS), *means, sep="\n")
    if arguments.json:
        text = json.dumps({"machine": machine(), "families": summary}, indent=1, ensure_ascii=False)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0 if verdict(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
