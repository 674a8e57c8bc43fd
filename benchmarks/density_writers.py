"""Writing a density of a million points: microseconds a point beside ASE and pymatgen, in one run, medians of three.

    python benchmarks/density_writers.py [--quick] [--json FILE]

Every file is read back by ASE and by pymatgen, and the largest relative difference from what was written is printed.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ase.io.cube
import numpy as np
from ase.build import bulk
from ase.calculators.vasp import VaspChargeDensity
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.common import VolumetricData
from pymatgen.io.vasp import Chgcar, Poscar
from verdict import machine, print_machine, verdict

from ase_mlx.data import volumetric
from ase_mlx.units import BOHR_IN_A

REPEATS = 3


def median(work: Callable[[Path], None], path: Path) -> float:
    """Median of the seconds of some calls."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work(path)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def ours(density: np.ndarray, atoms) -> Callable[[Path], None]:
    along = {False: density, True: np.ascontiguousarray(density.transpose())}  # a model gives planes in either order

    def planes(turned: bool):
        for k in range(0, len(along[turned]), 10):
            yield k, along[turned][k : k + 10]

    return lambda path: volumetric.write(path, atoms, density.shape, planes)


def ase_chgcar(density: np.ndarray, atoms) -> Callable[[Path], None]:
    def work(path: Path) -> None:
        file = VaspChargeDensity(None)
        file.atoms, file.chg = [atoms], [density]
        file.write(str(path))

    return work


def pymatgen_chgcar(density: np.ndarray, atoms) -> Callable[[Path], None]:
    poscar = Poscar(AseAtomsAdaptor.get_structure(atoms))
    return lambda path: Chgcar(poscar, {"total": density * atoms.cell.volume}).write_file(path)


def ase_cube(density: np.ndarray, atoms) -> Callable[[Path], None]:
    def work(path: Path) -> None:
        with open(path, "w") as stream:
            ase.io.cube.write_cube(stream, atoms, data=density * BOHR_IN_A**3)

    return work


def pymatgen_cube(density: np.ndarray, atoms) -> Callable[[Path], None]:
    poscar = Poscar(AseAtomsAdaptor.get_structure(atoms))
    return lambda path: Chgcar(poscar, {"total": density * BOHR_IN_A**3}).to_cube(path)


def read_back(path: Path, volume: float) -> dict[str, np.ndarray]:
    """The density (e/Å³) as ASE and pymatgen read it."""
    if path.name == "CHGCAR":
        theirs = Chgcar.from_file(path).data["total"] / volume
        return {"ASE": VaspChargeDensity(str(path)).chg[0], "pymatgen": theirs}
    with open(path) as stream:
        found = ase.io.cube.read_cube(stream)["data"]
    return {"ASE": found / BOHR_IN_A**3, "pymatgen": VolumetricData.from_cube(path).data["total"] / BOHR_IN_A**3}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="64,000 points")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print_machine(machine())
    n, atoms = 40 if arguments.quick else 100, bulk("Si", cubic=True)
    x = np.arange(n) / n * 2 * np.pi
    density = 0.2 + 0.1 * np.cos(x)[:, None, None] * np.cos(2 * x)[None, :, None] * np.sin(3 * x)[None, None, :]
    writers = {"CHGCAR": (ours, ase_chgcar, pymatgen_chgcar), "x.cube": (ours, ase_cube, pymatgen_cube)}
    rows, verdicts = {}, []
    print(
        f"{'µs/point':10}{'ase_mlx':>10}{'ASE':>10}{'pymatgen':>10}{'ASE/ours':>10}   read back to, by ASE and pymatgen"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, makers in writers.items():
            path = Path(folder) / name
            ours(density, atoms)(path)  # compiled before it is timed
            ase_time, pymatgen_time = (1e6 / n**3 * median(make(density, atoms), path) for make in makers[1:])
            our_time = 1e6 / n**3 * median(makers[0](density, atoms), path)
            off = [float(np.abs(d / density - 1).max()) for d in read_back(path, atoms.cell.volume).values()]
            rows[name] = {"ase_mlx": our_time, "ASE": ase_time, "pymatgen": pymatgen_time, "off": off}
            print(f"{name:10}{our_time:10.3f}{ase_time:10.3f}{pymatgen_time:10.3f}{ase_time / our_time:10.1f}"
                  f"   {off[0]:.0e}, {off[1]:.0e}")  # fmt: skip
            verdicts.append((f"{name}: read back, relative", max(off), "≤", 1e-7))
        array = 1e6 / n**3 * median(ours(density, atoms), Path(folder) / "x.npy")
        print(f"{'x.npy':10}{array:10.3f}")
    chgcar = rows["CHGCAR"]
    verdicts.append(("CHGCAR: times faster than ASE", chgcar["ASE"] / chgcar["ase_mlx"], "≥", 5.0))
    if arguments.json:
        text = json.dumps({"machine": machine(), "rows": rows}, indent=1, ensure_ascii=False)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0 if verdict(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
