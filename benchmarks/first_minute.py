"""What a fresh process costs before its first answer: CPU seconds beside torch's own import, medians of rounds in turn.

    python benchmarks/first_minute.py [--quick] [--json FILE]

Each command runs in a process of its own, all of them in turn in every round, one thread each; compiled code is kept
from a call before the first round. CPU seconds of user and system, which a busy machine changes less than wall time.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ase.build import bulk
from verdict import machine, print_machine, verdict

ROUNDS, QUICK = 5, 3

SI8 = """
import numpy as np
from ase import Atoms
from ase_mlx.adapters.ase import Calculator
places = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]])
atoms = Atoms("Si8", 5.43 / 4 * places, cell=[5.43] * 3, pbc=True)
atoms.calc = Calculator("sigesn")
assert abs(atoms.get_forces()).max() < 0.1
"""

CLI = "import sys; from ase_mlx.cli import main; sys.argv[0] = 'ase-mlx'; main()"

LIMIT = 0.5
"""CPU seconds of help and of a wrong call."""


def calls() -> Iterator[tuple[str, list[str], float | None, int]]:
    """Name, arguments to Python, limit in CPU seconds (above torch's import for the forces), exit code."""
    yield "python -c pass", ["-c", "pass"], None, 0
    yield "import torch", ["-c", "import torch"], None, 0
    yield "import ase.io", ["-c", "import ase.io"], None, 0
    yield "import ase_mlx", ["-c", "import ase_mlx"], 0.3, 0
    yield "first forces of Si8, less torch's import", ["-c", SI8], 1.0, 0
    for line, code in (
        ("--help", 0),
        ("phonons --help", 0),
        ("models", 0),
        ("run missing.cif", 2),
        ("screen missing.csv", 2),
        ("train missing.toml", 2),
        ("evaluate nomodel si.extxyz", 2),
        ("run si.cif -c sigesm", 2),
        ("run si.cif -c bhnaa", 2),
        ("run cu.cif", 2),
        ("phonons cu.extxyz", 2),
        ("density cu.extxyz -m al", 2),
    ):
        yield f"ase-mlx {line}", ["-c", CLI, *line.split()], LIMIT, code


def cpu_seconds(arguments: list[str], folder: Path, code: int) -> float:
    """Run one process and give its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != code:
        raise RuntimeError(f"{arguments}: exit code {done.returncode}, expected {code}\n{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Print the table; 1 where a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    about = machine()
    print_machine(about)
    seconds: dict[str, list[float]] = {name: [] for name, *_ in calls()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for symbol in ("Si", "Cu"):
            bulk(symbol).write(folder / f"{symbol.lower()}.cif")
            bulk(symbol).write(folder / f"{symbol.lower()}.extxyz")
        cpu_seconds(["-c", SI8], folder, 0)
        for _ in range(QUICK if options.quick else ROUNDS):
            for what, arguments, _limit, code in calls():
                seconds[what].append(cpu_seconds(arguments, folder, code))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    torch = medians["import torch"]
    print(f"\n{'CPU seconds, median':44} {'':>7} {'torch':>7}   {'lowest':>7} {'highest':>7}")
    for name, values in seconds.items():
        print(f"{name:44} {medians[name]:7.2f} {torch:7.2f}   {min(values):7.2f} {max(values):7.2f}")
    lines = [
        (what, medians[what] - (torch if "torch's import" in what else 0.0), "≤", limit)
        for what, _, limit, _ in calls()
        if limit is not None
    ]
    reached = verdict(lines)
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "cpu_seconds": seconds, "reached": reached}, indent=1))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
