"""Operations × faults: what becomes of work that is cut off, and of what was there before.

    python benchmarks/robustness_operations.py [--quick] [--only NAME...] [--json FILE]

Operations: the commands as a user calls them, small, each beside a run that nothing disturbed. Faults: kill −9 of the
main process at three times; kill −9 of a worker (screen, label); a disk that is full from the beginning, and one that
becomes full at half the time; a folder that cannot be written; two processes on one target at once; no home that can be
written. Where mounting is not allowed, disks that are full are limits on the size of files (ulimit -f) and folders that
cannot be written are another user's.

After each fault the same command is given again, without it. *identical*: it was not even disturbed, or that call ended
with the undisturbed result. *refused*: before that, the disturbed call ended in a sentence that names the place or the
other process. *lost*: anything else: another result, a traceback, a half file under its final name, an older result
that went, processes or hidden files left behind.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PROGRAM = Path(sys.executable).with_name("ase-mlx")
WORK = Path(__file__).resolve().parent / "work" / "robustness"
MARK = "ASE_MLX_ROBUSTNESS"
FAULTS = ("kill", "kill of a worker", "full disk", "disk fills up", "read-only folder", "two processes", "no home")
VOLATILE = ("seconds", "versions", "cpu_s")
SENTENCE = re.compile(r"could not write|another process|which another process|exists|worker that was killed|crash")

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


@contextmanager
def disk(place: Path, size: str) -> Iterator[Callable[[], None]]:
    """A small disk at this place; gives what makes it large enough."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)], check=True)
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def read_only(place: Path) -> Iterator[Callable[[], None]]:
    """A folder that not even root can write to; gives what makes it writable."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(place), str(place)], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,rw,bind", str(place)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


class Trial:
    """One operation under one fault, again and again, with the tally of what became of it."""

    def __init__(self, operation: Operation, folder: Path, expected: dict[str, str], seconds: float):
        self.operation, self.folder, self.expected, self.seconds = operation, folder, expected, seconds
        self.tally = {"tried": 0, "identical": 0, "refused": 0, "lost": 0}
        self.reasons: list[str] = []

    def row(self, fault: str) -> dict:
        return {"operation": self.operation.name, "fault": fault, **self.tally, "reasons": self.reasons}

    def call(self, place: Path, again: bool = False, **environment: str) -> Call:
        return Call(self.operation, self.folder, place, again, **environment)

    def judge(self, place: Path, ended: list[Call], killed: bool = False) -> None:
        """Look at what the disturbed calls left, call again without the fault, compare."""
        self.tally["tried"] += 1
        faults = [f"{len(call.others())} processes left" for call in ended if call.orphans()]
        words = [call.words() for call in ended if call.process.returncode != 0]
        faults += ["traceback" for text in words if "Traceback" in text]
        refused = bool(words) and not killed
        if refused and not all(SENTENCE.search(text) for text in words):
            faults.append(f"no sentence: {words[0][-200:]}")
        growing = self.operation.name in ("label", "sample")  # their files hold whole frames, more and more
        now = content(place, self.operation)
        faults += [f"half {n}" for n, d in now.items() if not growing and self.expected.get(n) != d]
        if now != self.expected:
            call = self.call(place, again=True)
            if call.end():
                faults.append(f"the next call failed: {call.words()[-200:]}")
        now = content(place, self.operation)
        if now != self.expected:
            changed = [n for n in {*now, *self.expected} if now.get(n) != self.expected.get(n)]
            faults.append(f"another result: {', '.join(sorted(changed))}")
        faults += [f"left {name}" for name in left_behind(place)]
        self.tally["lost" if faults else "refused" if refused else "identical"] += 1
        self.reasons += faults


def kill(trial: Trial, place: Path, quick: bool) -> None:
    for k, share in enumerate((0.6,) if quick else (0.4, 0.7, 0.95)):
        here = place / str(k)
        here.mkdir(parents=True)
        call = trial.call(here)
        killed = call.kill(share * trial.seconds)
        trial.judge(here, [call], killed)


def kill_worker(trial: Trial, place: Path, quick: bool) -> None:
    place.mkdir(parents=True)
    call, end = trial.call(place), time.monotonic() + 300
    while call.process.poll() is None and time.monotonic() < end:
        workers = [pid for pid in call.others() if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
        if workers and time.monotonic() - call.begun > 0.6 * trial.seconds:
            os.kill(workers[-1], signal.SIGKILL)
            break
        time.sleep(0.05)
    call.end()
    trial.judge(place, [call])


def full_disk(trial: Trial, place: Path, quick: bool) -> None:
    with disk(place, "16k") as enlarge:
        call = trial.call(place)
        call.end()
        enlarge()
        trial.judge(place, [call])


def disk_fills_up(trial: Trial, place: Path, quick: bool) -> None:
    with disk(place, "64m"):
        call = trial.call(place)
        try:
            call.process.wait(0.5 * trial.seconds)
        except subprocess.TimeoutExpired:
            subprocess.run(["dd", "if=/dev/zero", f"of={place / 'filler'}", "bs=64k"], capture_output=True, check=False)
        call.end()
        (place / "filler").unlink(missing_ok=True)
        trial.judge(place, [call])


def read_only_folder(trial: Trial, place: Path, quick: bool) -> None:
    with read_only(place) as unlock:
        call = trial.call(place)
        call.end()
        unlock()
        trial.judge(place, [call])


def two_processes(trial: Trial, place: Path, quick: bool) -> None:
    place.mkdir(parents=True)
    both = [trial.call(place), trial.call(place)]
    for call in both:
        call.end()
    if all(call.process.returncode for call in both):
        trial.reasons.append("neither won")
    trial.judge(place, both)


def no_home(trial: Trial, place: Path, quick: bool) -> None:
    place.mkdir(parents=True)
    nowhere = {name: "/proc/nowhere" for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    call = trial.call(place, **nowhere)
    call.end()
    trial.judge(place, [call])


TRIALS = dict(
    zip(FAULTS, (kill, kill_worker, full_disk, disk_fills_up, read_only_folder, two_processes, no_home), strict=True)
)


def rows(quick: bool = False, only: tuple[str, ...] = (), faults: tuple[str, ...] = FAULTS) -> list[dict]:
    """Try every operation under every fault (quick: a kill and a full disk alone) and say what became of it."""
    table = []
    for operation in operations():
        if only and not any(operation.name.startswith(name) for name in only):
            continue
        folder = WORK / operation.name.replace(" ", "-")
        shutil.rmtree(folder, ignore_errors=True)
        inputs(folder)
        (folder / "undisturbed").mkdir()
        for _ in range(2):  # the first call may compile, with other last digits than what is read from numba's cache
            shutil.rmtree(folder / "undisturbed")
            (folder / "undisturbed").mkdir()
            call = Call(operation, folder, folder / "undisturbed")
            if call.end():
                raise RuntimeError(f"{operation.name} failed undisturbed: {call.words()}")
        seconds = time.monotonic() - call.begun
        expected = content(folder / "undisturbed", operation)
        for fault, work in TRIALS.items():
            if fault not in faults or (fault == "kill of a worker" and not operation.workers):
                continue
            if quick and fault not in FAULTS[0:3:2]:
                continue
            trial = Trial(operation, folder, expected, seconds)
            work(trial, folder / fault.replace(" ", "-"), quick)
            table.append(trial.row(fault))
            print_row(table[-1], len(table) == 1)
    return table


def print_row(row: dict, header: bool) -> None:
    if header:
        print(f"\n{'operation':15} {'fault':17} {'tried':>5} {'identical':>9} {'refused':>7} {'lost':>4}")
    counts = f"{row['tried']:5} {row['identical']:9} {row['refused']:7} {row['lost']:4}"
    print(f"{row['operation']:15} {row['fault']:17} {counts}  {'; '.join(row['reasons'])[:300]}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", default=[], help="names of operations, or their beginnings")
    parser.add_argument("--faults", nargs="+", default=FAULTS, choices=FAULTS, help="those alone")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    table = rows(arguments.quick, tuple(arguments.only), tuple(arguments.faults))
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    tried, lost = (sum(row[key] for row in table) for key in ("tried", "lost"))
    print(f"\n{tried} tried, {lost} lost")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
