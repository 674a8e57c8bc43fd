"""Harmonic thermal functions of 20 small crystals: structures per hour, ours beside matcalc's PhononCalc.

    python benchmarks/thermal_speed.py [--quick] [--json FILE]

A: matcalc 0.7's PhononCalc on CHGNet 0.4.2; B: ours on the same calculator, in the same environment; C: ours on the
shipped potential "sigesn" in double precision, displaced supercells in batches. All take the structures as given
(stationary points of CHGNet, see peers/thermal_structures.py; no relaxation), the same supercells, displacements of
0.01 Å, phonopy's mesh of 100 Å (matcalc has no option for it) and 101 temperatures. Ours also gives stability, bands
and density of states within its time. Times are CPU seconds of one thread, each structure's median over the passes,
which run in turn, each in a fresh process; imports, loading of the model and one crystal that warms up are left out.
Exit code 1 where a figure is missed.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

from ase_mlx.adapters.ase.supercells import supercell_matrix
from ase_mlx.data.io import read_frames

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
import driver  # noqa: E402
from verdict import machine, print_machine, verdict  # noqa: E402

STRUCTURES = Path(__file__).resolve().parent / "thermal_speed_structures.extxyz.xz"
SIDES = {
    "A": ("matcalc", "matcalc", "chgnet", "matcalc, CHGNet"),
    "B": ("matcalc", "ours", "chgnet", "ase_mlx, CHGNet"),
    "C": ("ase_mlx", "ours", "sigesn", "ase_mlx, sigesn"),
}
"""Environment, package, potential, label."""
QUICK = (3, 7, 13)
QUANTITIES = {"heat_capacity": "C_V", "entropy": "S", "free_energy": "F"}
KINDS = {
    "values": "as they come, where both give them",
    "alike": "phonopy's sums on both without imaginary and Γ's acoustic modes",
    "symmetric": "the same after phonopy's symmetrisation of both: the forces alone",
}
CLOCKS = ("cpu_s", "wall_s", "force_cpu_s", "dos_cpu_s")
TOLERANCE = 0.05  # THz
SAME, FASTER = 1.0, 10.0  # parts per thousand; times


def measure(frames: list[Atoms], chosen: list[int], sides: str, repeats: int, length: float) -> dict[str, dict]:
    """Rows of every structure for each side: results of the last pass, medians of the times."""
    matrices = [supercell_matrix(atoms, length).tolist() for atoms in frames]
    passes: dict[str, list[dict]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        structures = str(Path(folder, "structures.extxyz"))
        write(structures, frames)
        request = {"task": "run", "structures": structures, "matrices": matrices, "chosen": chosen}
        for number in range(repeats):
            for side in sides:
                peer, package, potential, label = SIDES[side]
                asked = {**request, "package": package, "potential": potential}
                passes[side].append(driver.ask(peer, asked, worker="thermal_worker.py"))
                print(f"  pass {number + 1} of {repeats} done: {label}", file=sys.stderr, flush=True)
    found = {}
    for side, answers in passes.items():
        rows = answers[-1]["rows"]
        for k, row in enumerate(rows):
            for clock in CLOCKS:
                row[clock] = float(np.median([answer["rows"][k][clock] for answer in answers]))
        found[side] = {**answers[-1], "passes_cpu_s": [sum(r["cpu_s"] for r in a["rows"]) for a in answers]}
    return found


def compare(a: dict, b: dict, kind: str = "values") -> dict[str, float | None]:
    """Relative difference of B's thermal functions from A's in parts per thousand; None where B gives none."""
    return {name: 1e3 * (b[kind][name] / a[kind][name] - 1) if name in b[kind] else None for name in QUANTITIES}


def worst(differences: list[dict], name: str) -> tuple[float, int]:
    """Largest difference of one quantity, and how many structures have it."""
    known = [abs(row[name]) for row in differences if row[name] is not None]
    return max(known, default=np.inf), len(known)


def stable(pairs: list[tuple[dict, dict]], rows: list) -> list:
    """The rows of structures that B found stable."""
    return [row for (_, b), row in zip(pairs, rows, strict=True) if not b["flagged"]]


def print_results(frames: list[Atoms], found: dict) -> list[dict]:
    """Print A's values at 300 K, B's differences, and the lowest modes; returns the differences."""
    print("\nAt 300 K per primitive cell (J/(K mol), J/(K mol), kJ/mol): A, and B's difference in parts per thousand")
    heads = "".join(f"{symbol:>10}{'':>8}" for symbol in QUANTITIES.values())
    print(f"{'':37}{'cell':>6}{'disp.':>6}{heads}{'lowest, THz':>17}{'imaginary':>11}")
    pairs, differences = list(zip(found["A"]["rows"], found["B"]["rows"], strict=True)), []
    for atoms, (a, b) in zip(frames, pairs, strict=True):
        row = compare(a, b)
        differences.append(row)
        cells = ""
        for name in QUANTITIES:
            difference = "-" if row[name] is None else f"{row[name]:+.3f}"
            cells += f"{a['values'][name]:10.3f}{difference:>8}"
        flags = "/".join("yes" if one["flagged"] else "no" for one in (a, b))
        label = f"{atoms.info['name']:15}{atoms.get_chemical_formula():12}{atoms.info['spacegroup']:10}"
        lowest = "".join(f"{one['alike']['lowest_THz']:9.3f}" for one in (a, b))
        print(f"{label}{a['supercell_atoms']:6}{a['displacements']:6}{cells}{lowest}{flags:>11}")
    print(f"\nWorst difference of B from A, parts per thousand{'':31}stable by B{'':26}all")
    for kind, text in KINDS.items():
        rows = [compare(a, b, kind) for a, b in pairs]
        cells = ""
        for chosen in (stable(pairs, rows), rows):
            cells += "".join(f"{symbol:>5}{worst(chosen, name)[0]:6.2f}" for name, symbol in QUANTITIES.items()) + "  "
        print(f"  {text:68}{cells}")
    for side in "AB":
        rule = max(row["sum_rule_eV_A2"] for row in found[side]["rows"])
        gamma = max(row["alike"]["gamma_acoustic_THz"] for row in found[side]["rows"])
        print(
            f"  {side}'s force constants: acoustic sum rule broken by {rule:.0e} eV/Å², modes at Γ by {gamma:.0e} THz"
        )
    unequal = [x.info["name"] for x, (a, b) in zip(frames, pairs, strict=True) if a["flagged"] != b["flagged"]]
    print(f"  imaginary by one side alone: {', '.join(unequal) or 'none'}")
    return differences


def print_times(frames: list[Atoms], found: dict) -> dict[str, float]:
    """Print seconds by structure and structures per hour; returns the latter by side."""
    print("\nCPU seconds of one structure, and those in the potential")
    print(f"{'':37}" + "".join(f"{SIDES[side][3]:>24}" for side in found))
    for k, atoms in enumerate(frames):
        rows = [answer["rows"][k] for answer in found.values()]
        cells = "".join(f"{row['cpu_s']:16.2f}{row['force_cpu_s']:8.2f}" for row in rows)
        print(f"{atoms.info['name']:15}{atoms.get_chemical_formula():22}{cells}")
    totals = {
        side: {clock: sum(row[clock] for row in answer["rows"]) for clock in CLOCKS} for side, answer in found.items()
    }
    print(f"\n{'CPU seconds of all':37}" + "".join(f"{SIDES[side][3]:>24}" for side in found))
    cells = "".join(f"{total['cpu_s']:16.2f}{total['force_cpu_s']:8.2f}" for total in totals.values())
    print(f"{'all':37}{cells}")
    rest = "".join(f"{total['cpu_s'] - total['dos_cpu_s']:16.2f}{'':8}" for total in totals.values())
    print(f"{'without the density of states':37}{rest}")
    rates = {}
    for clock, text in (("wall_s", "wall"), ("cpu_s", "CPU")):
        rates = {side: 3600 * len(frames) / total[clock] for side, total in totals.items()}
        print(f"{'structures per hour, ' + text:37}" + "".join(f"{rate:16.0f}{'':8}" for rate in rates.values()))
    calls = [sum(row["force_calls"] for row in found[side]["rows"]) for side in "AB"]
    print(f"calls of CHGNet: A {calls[0]}, B {calls[1]} (ours subtracts the forces at rest and checks the structure's)")
    return rates


def targets(found: dict, differences: list[dict], rates: dict[str, float]) -> bool:
    """Print each figure to reach beside what was measured; True if all are reached."""
    pairs = list(zip(found["A"]["rows"], found["B"]["rows"], strict=True))
    symmetric, lines = stable(pairs, [compare(a, b, "symmetric") for a, b in pairs]), []
    for rows, text in ((differences, "as they come"), (symmetric, "both symmetrised")):
        for name, symbol in QUANTITIES.items():
            got, count = worst(rows, name)
            lines.append((f"{symbol}, B from A, {text}, of {count}, 1e-3", got, "≤", SAME))
    unstable = [[row["symmetric"]["lowest_THz"] < -TOLERANCE for row in pair] for pair in pairs]
    lines.append(("imaginary by one alone, both symmetrised", float(sum(a != b for a, b in unstable)), "≤", 0.0))
    lines.append(("structures per hour, B over A", rates["B"] / rates["A"], "≥", 1.0))
    lines.append(("structures per hour, C over A", rates["C"] / rates["A"], "≥", FASTER))
    return verdict(lines)


def check(frames: list[Atoms], found: dict) -> None:
    """Make sure that A and B solved the same task.

    Raises:
        ValueError: primitive cell, mesh (but for the order of axes), supercell or displacements differ.
    """
    for atoms, a, b in zip(frames, found["A"]["rows"], found["B"]["rows"], strict=True):
        tasks = [
            (row["primitive_atoms"], sorted(row["mesh"]), row["supercell_atoms"], row["displacements"])
            for row in (a, b)
        ]
        if tasks[0] != tasks[1] or tasks[0][0] != len(atoms):
            raise ValueError(
                f"{atoms.info['name']}: A did (cell, mesh, supercell, displacements) {tasks[0]}, B {tasks[1]}"
            )


def main() -> int:
    """Run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three structures, one pass")
    parser.add_argument("--repeats", type=int, default=3, help="passes over all structures (default 3)")
    parser.add_argument("--length", type=float, default=20.0, help="least height of the supercells, Å (20, matcalc's)")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    frames = read_frames(STRUCTURES)
    chosen = list(QUICK) if options.quick else list(range(len(frames)))
    found = measure(frames, chosen, "ABC", 1 if options.quick else options.repeats, options.length)
    about = machine() | {"threads": found["A"]["threads"]}
    print_machine(about)
    for side, answer in found.items():
        versions = ", ".join(f"{name} {number}" for name, number in answer["versions"].items())
        print(f"{side}: {SIDES[side][3]}: {versions}")
    picked = [frames[k] for k in chosen]
    saved = {"machine": about, "structures": [atoms.info["name"] for atoms in picked], "sides": found}
    if options.json:
        Path(options.json).write_text(json.dumps(saved, indent=1))
    check(picked, found)
    differences = print_results(picked, found)
    rates = print_times(picked, found)
    saved |= {"differences_per_mille": differences, "per_hour": rates, "reached": targets(found, differences, rates)}
    if options.json:
        Path(options.json).write_text(json.dumps(saved, indent=1))
    return 0 if saved["reached"] else 1


if __name__ == "__main__":
    sys.exit(main())
