"""The operations of robustness_operations.py, what they start from, their processes, and what they left."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PROGRAM = Path(sys.executable).with_name("ase-mlx")

WORK = Path(__file__).resolve().parent / "work" / "robustness"

MARK = "ASE_MLX_ROBUSTNESS"

VOLATILE = ("seconds", "versions", "cpu_s")

SLOW = """
import time
from ase.calculators.emt import EMT

class Slow(EMT):
    def calculate(self, *args, **kwargs):
        time.sleep(0.3)
        super().calculate(*args, **kwargs)
"""

CONFIG = """
[data]
file = "labelled.extxyz"
[model]
cutoff = 4.0
channels = 4
layers = 1
[fit]
epochs = 6
batch_size = 4
"""


@dataclass(frozen=True)
class Operation:
    """A command: arguments ({out} is the target), the target's name, options of the call that goes on after a fault."""

    name: str
    arguments: tuple[str, ...]
    target: str
    on_again: tuple[str, ...] = ()
    workers: bool = False


def operations() -> list[Operation]:
    """All of them, as small as they can be killed."""
    emt = ("-c", "emt", "--no-relax")
    grids = {"CHGCAR": "CHGCAR", "cube": "x.cube", "npy": "x.npy", "zarr": "x.zarr"}
    return [
        Operation("train", ("train", "train.toml", "-o", "{out}"), "model"),
        Operation(
            "label",
            ("label", "frames.extxyz", "--teacher", "slow:Slow", "-o", "{out}", "--workers", "2"),
            "labelled.extxyz", ("--retry",), True,
        ),
        Operation("screen", ("screen", "crystals.parquet", "-o", "{out}"), "screened", (), True),
        *(
            Operation(f"density {kind}", ("density", "si.cif", "-o", "{out}", "--spacing", "0.06"), name)
            for kind, name in grids.items()
        ),
        Operation("phonons", ("phonons", "al.cif", *emt, "--supercell", "3 3 3", "-o", "{out}"), "phonons"),
        Operation(
            "conductivity",
            ("conductivity", "al.cif", *emt, "--supercell", "3 3 3", "--mesh", "5 5 5", "--rank", "none",
             "-o", "{out}"),
            "conductivity",
        ),
        Operation(
            "sample",
            ("sample", "al.cif", "-c", "emt", "--repeat", "2 2 2", "-t", "300", "-t", "500", "-n", "2",
             "--longest", "1200", "-o", "{out}"),
            "sampled.extxyz",
        ),
        Operation("run", ("run", "slab.xyz", "--steps", "100", "-o", "{out}"), "run"),
        Operation(
            "compress",
            ("compress", "pairs.yaml", "--rank", "2", "-o", "{out}"),
            "tensor.safetensors",
        ),
    ]  # fmt: skip


def inputs(folder: Path) -> None:
    """Write what the operations start from."""
    import ase.io
    import pandas as pd
    from ase.build import bulk, fcc111
    from ase.calculators.emt import EMT
    from ase.calculators.singlepoint import SinglePointCalculator

    folder.mkdir(parents=True, exist_ok=True)
    bulk("Al").write(folder / "al.cif")
    bulk("Si").write(folder / "si.cif")
    fcc111("Al", (2, 2, 3), vacuum=8).write(folder / "slab.xyz", format="extxyz")
    (folder / "slow.py").write_text(SLOW)
    (folder / "train.toml").write_text(CONFIG)
    displaced_pairs(folder / "pairs.yaml")
    frames = []
    for k in range(24):
        atoms = bulk("Al", cubic=True)
        atoms.rattle(0.1, seed=k)
        frames.append(atoms)
    ase.io.write(folder / "frames.extxyz", frames)
    for atoms in frames:
        atoms.calc = EMT()
        results = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
    ase.io.write(folder / "labelled.extxyz", frames)
    draw, rows = np.random.default_rng(0), []
    for k in range(1200):
        atoms = bulk(("Al", "Cu", "Ni", "Ag")[k % 4], cubic=True)
        atoms.set_cell(atoms.cell * draw.uniform(0.9, 1.2), scale_atoms=True)
        places = atoms.get_scaled_positions().ravel()
        rows.append(
            {"id": f"c{k}", "numbers": atoms.numbers, "frac_coords": places, "lattice": atoms.cell.array.ravel()}
        )
    pd.DataFrame(rows).to_parquet(folder / "crystals.parquet")


def displaced_pairs(file: Path) -> None:
    """Write the yaml of phono3py with forces of 37 displaced cells of 32 aluminium atoms."""
    from ase import Atoms
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from phono3py import Phono3py
    from phonopy.structure.atoms import PhonopyAtoms

    cubic = 2 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    primitive = PhonopyAtoms(symbols=["Al"], cell=bulk("Al").cell.array, scaled_positions=[[0, 0, 0]])
    pairs = Phono3py(primitive, cubic, np.eye(3))
    pairs.generate_displacements()
    cells = (
        Atoms(c.symbols, cell=c.cell, positions=c.positions, pbc=True) for c in pairs.supercells_with_displacements
    )
    pairs.forces = [EMT().get_property("forces", atoms) for atoms in cells]
    pairs.save(file)


class Call:
    """One command that runs, in its own session, with a mark in the environment of all its processes."""

    def __init__(self, operation: Operation, folder: Path, place: Path, again: bool = False, **environment: str):
        self.mark, self.begun = uuid.uuid4().hex, time.monotonic()
        out = str(place / operation.target)
        words = [word.replace("{out}", out) for word in operation.arguments] + list(operation.on_again if again else ())
        plain = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}", MARK: self.mark}
        self.log = (folder / f"log-{self.mark}").open("w+")
        self.process = subprocess.Popen(
            [str(PROGRAM), *words], cwd=folder, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL,
            start_new_session=True, env={**os.environ, **plain, **environment},
        )  # fmt: skip

    def end(self, limit: float = 900.0) -> int:
        return self.process.wait(limit)

    def words(self) -> str:
        self.log.seek(0)
        return " ".join(self.log.read().replace("│", " ").split())

    def kill(self, after: float) -> bool:
        """Kill the main process alone; False where it was done before."""
        try:
            self.process.wait(max(0.0, after - (time.monotonic() - self.begun)))
            return False
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return True

    def others(self) -> list[int]:
        """Processes of this call, the main one left out."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (entry / "environ").read_bytes() and int(entry.name) != self.process.pid:
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def orphans(self, patience: float = 20.0) -> int:
        end = time.monotonic() + patience
        while self.others() and time.monotonic() < end:
            time.sleep(0.2)
        return len(self.others())


def digest(path: Path) -> str:
    """Fingerprint of what a file says: times and versions are left out, and the order of frames that workers gave.

    Frames count to nine decimals: the list of neighbours of ASE's EMT remembers where atoms were, so that energies of a
    run that was gone on with differ by 1e-13 eV.
    """
    if path.suffix == ".json":
        return _hash(json.dumps(_settled(json.loads(path.read_text())), sort_keys=True).encode())
    if path.name.endswith(".extxyz"):
        text = re.sub(r" cpu_s=\S+", "", path.read_text())
        text = re.sub(r"-?\d+\.\d+(e[+-]\d+)?", lambda number: f"{round(float(number[0]), 9) + 0.0:.9f}", text)
        frames = re.split(r"^(?=\d+$)", text, flags=re.M)
        return _hash("".join(sorted(frames)).encode())
    if path.suffix == ".hdf5":
        import h5py

        with h5py.File(path) as file:
            return _hash(b"".join(name.encode() + np.asarray(file[name][()]).tobytes() for name in sorted(file)))
    if path.suffix == ".parquet":
        import pandas as pd

        return _hash(pd.read_parquet(path).to_json().encode())
    return _hash(path.read_bytes())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _settled(value):
    if isinstance(value, dict):
        return {key: _settled(x) for key, x in value.items() if key not in VOLATILE}
    return [_settled(x) for x in value] if isinstance(value, list) else value


def content(place: Path, operation: Operation) -> dict[str, str]:
    """Results under their final names: not the finished work of phonons, not checkpoints, journals and hidden files."""
    root = place / operation.target
    files = [root] if root.is_file() else sorted(root.rglob("*"))
    kept = (p for p in files if p.is_file() and not _aside(p.relative_to(place)))
    return {str(p.relative_to(place)): digest(p) for p in kept}


def _aside(name: Path) -> bool:
    hidden = any(part.startswith(".") for part in name.parts)
    return hidden or "work" in name.parts or name.name.startswith("checkpoint") or name.suffix == ".jsonl"


def left_behind(place: Path) -> list[str]:
    """Hidden files of writers in the folder of the results."""
    return [p.name for p in place.rglob(".*") if p.name.endswith(".lock") or ".part" in p.name]
