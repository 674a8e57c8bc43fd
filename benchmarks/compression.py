"""Compressed third-order force constants against phono3py: error of conductivity and linewidths, symmetry, time.

    python benchmarks/compression.py [--quick] [--before CHECKOUT] [--json FILE]

Same force constants (those of phono3py.load), mesh, tetrahedra and threads in the same call; times are medians of
three, phono3py's at 19³ of one run, the fit's apart.
"iterat." compares our iterative solution from compressed and exact elements. Data: phono3py's examples of Si
(PBEsol), NaCl and MgO, and ZnTe (PBEsol), in tests/reference/data. --before times the fit in a checkout of an earlier
commit, too (git worktree add). Fourth order: four_phonon.py.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import phono3py
from verdict import machine, print_machine, verdict

from ase_mlx.adapters.phono3py import load_third_order
from ase_mlx.adapters.phono3py.crystal import crystal_of
from ase_mlx.phonons.brillouin import Mesh
from ase_mlx.phonons.certificate import WIDTH, certify
from ase_mlx.phonons.compression import compress
from ase_mlx.phonons.interaction import interaction_of
from ase_mlx.phonons.iterative import iterative_kappa
from ase_mlx.phonons.transport import LOWEST, relaxation_times

DATA = Path(__file__).resolve().parents[1] / "tests" / "reference" / "data"
TEMPERATURES = np.arange(100.0, 1001.0, 100.0)
ROOM = 2
MESH = 11
COMPONENT = 0

CERTIFIED = np.array([100.0, 300.0, 1000.0])
MESHES = {"Si": (9, 11), "NaCl": (9, 11), "MgO": (9, 11), "ZnTe": (9, 15)}
RANKS = {"Si": (24, 48, 96, 192), "NaCl": (96, 192), "MgO": (96, 192), "ZnTe": (48, 96, 192)}
"""From one mode function of each kind on."""
SEEDS, DRAWS = 2, 5


class Case:
    """One crystal: phono3py's object, ours, and both conductivities without compression."""

    def __init__(self, name: str) -> None:
        path = DATA / f"phono3py-{name}" / "phono3py_params.yaml.xz"
        if name == "mgo":  # random displacements, with the cutoff of phono3py's own test
            options = {"fc_calculator": "symfc", "fc_calculator_options": "| cutoff=4.0"}
            self.ph = phono3py.load(path, log_level=0, **options)
        else:
            self.ph = load_third_order(path)
        self.crystal = crystal_of(self.ph)

    def theirs(self, mesh: int, temperatures) -> tuple[np.ndarray, float]:
        """phono3py's conductivity in W/(m K) and its time in s."""
        self.ph.mesh_numbers = [mesh] * 3
        begin = time.perf_counter()
        self.ph.init_phph_interaction()
        self.ph.run_thermal_conductivity(temperatures=temperatures)
        return self.ph.thermal_conductivity.kappa[0, :, COMPONENT], time.perf_counter() - begin

    def ours(self, mesh: int, temperatures, tensor, couplings: bool = False):
        """Our linewidths and conductivity, and the time in s."""
        begin = time.perf_counter()
        found = relaxation_times(self.crystal, (mesh,) * 3, temperatures, tensor, couplings=couplings)
        return found, time.perf_counter() - begin


def accuracy(name: str, case: Case, rank, lines: list, rows: list) -> None:
    """Errors at 11³ against the same force constants uncompressed (phono3py and our own exact route)."""
    made = compress(case.crystal, rank)
    theirs, _ = case.theirs(MESH, TEMPERATURES)
    exact, _ = case.ours(MESH, TEMPERATURES, None, couplings=True)
    found, _ = case.ours(MESH, TEMPERATURES, made.tensor, couplings=True)
    certificate = certify(case.crystal, found)
    iterative = iterative_kappa(case.crystal, found)[0] / iterative_kappa(case.crystal, exact)[0] - 1
    error = found.kappa[:, COMPONENT] / theirs - 1
    counted = exact.gamma[ROOM] > 0
    widths = np.abs(found.gamma[ROOM][counted] / exact.gamma[ROOM][counted] - 1)
    full, compact = made.ratios
    rows.append(
        {
            "crystal": name, "rank": made.tensor.rank, "numbers": made.tensor.size, "full": full, "compact": compact,
            "held_out": made.held_out,
            "fit_s": made.seconds, "kappa_300": 100 * error[ROOM], "kappa_worst": 100 * np.abs(error).max(),
            "width_median": 100 * np.median(widths), "width_95": 100 * np.percentile(widths, 95),
            "iterative_worst": 100 * np.abs(iterative[:, COMPONENT]).max(),
            "exact_route": 100 * np.abs(exact.kappa[:, COMPONENT] / theirs - 1).max(), "certificate": str(certificate),
        }
    )  # fmt: skip
    show_accuracy(rows[-1:])
    if name == "Si" and rank == "auto":
        lines.append(("Si: kappa(300 K) off by, %", abs(rows[-1]["kappa_300"]), "≤", 0.5))
        lines.append(("Si: full tensor over numbers stored", full, "≥", 500))
        lines.append(("Si: linewidths off by (median), %", rows[-1]["width_median"], "≤", 0.5))
        lines.append(("Si: linewidths off by (95th percentile), %", rows[-1]["width_95"], "≤", 3.0))
    elif name == "Si":
        lines.append((f"Si, rank {made.tensor.rank}: kappa(300 K) off by, %", abs(rows[-1]["kappa_300"]), "≤", 2.0))
        lines.append((f"Si, rank {made.tensor.rank}: full tensor over numbers", full, "≥", 1500))
    else:
        lines.append((f"{name}: kappa, RTA, 100 to 1000 K, off by, %", rows[-1]["kappa_worst"], "≤", 2.0))
        lines.append((f"{name}: kappa, iterative, 100 to 1000 K, off, %", rows[-1]["iterative_worst"], "≤", 2.0))


def show_heads() -> None:
    print("\nCompressed tensors beside the whole ones")
    print(f"{'':6}{'rank':>6}{'full/':>9}{'compact/':>10}{'held out':>10}{'fit':>7}{'kappa':>9}{'worst T':>9}"
          f"{'iterat.':>9}{'widths':>9}{'95th':>7}{'exact':>9}")  # fmt: skip
    print(f"{'':6}{'':>6}{'numbers':>9}{'numbers':>10}{'%':>10}{'s':>7}{'300 K, %':>9}{'%':>9}{'worst, %':>9}"
          f"{'med., %':>9}{'%':>7}{'route, %':>9}")  # fmt: skip


def show_accuracy(rows: list[dict]) -> None:
    for r in rows:
        print(f"{r['crystal']:6}{r['rank']:6d}{r['full']:9.0f}{r['compact']:10.0f}{100 * r['held_out']:10.2f}"
              f"{r['fit_s']:7.1f}{r['kappa_300']:+9.2f}{r['kappa_worst']:9.2f}{r['iterative_worst']:9.2f}{r['width_median']:9.2f}"
              f"{r['width_95']:7.2f}{r['exact_route']:9.4f}")  # fmt: skip
    sys.stdout.flush()


def others(case: Case, size: int) -> list[dict]:
    """Other forms of the same force constants at as many numbers, their conductivities by our uncompressed route."""
    third = case.crystal.third
    exact = case.ours(MESH, [300.0], None)[0].kappa[0, COMPONENT]
    n, atoms = third.constants.shape[:2]
    cube = third.constants.transpose(0, 3, 1, 4, 2, 5).reshape(3 * n, 3 * atoms, 3 * atoms)
    found = []

    def add(name: str, numbers: int, rebuilt: np.ndarray) -> None:
        constants = rebuilt.reshape(n, 3, atoms, 3, atoms, 3).transpose(0, 2, 4, 1, 3, 5)
        crystal = replace(case.crystal, third=replace(third, constants=np.ascontiguousarray(constants)))
        kappa = relaxation_times(crystal, (MESH,) * 3, [300.0]).kappa[0, COMPONENT]
        away = np.linalg.norm(rebuilt - cube) / np.linalg.norm(cube)
        found.append({"form": name, "numbers": numbers, "tensor": 100 * away, "kappa": 100 * (kappa / exact - 1)})
        print(f"{name:34}{numbers:9d}{100 * away:10.2f}{100 * (kappa / exact - 1):+11.3g}", flush=True)

    print(f"\n{'other forms of silicon, 11³, 300 K':34}{'numbers':>9}{'tensor, %':>10}{'kappa, %':>11}")
    side = longest_sides(case)
    for factor in (1, 10):
        cuts = np.unique(np.round(side, 4)) + 1e-3
        cut = min(cuts, key=lambda c: abs(27 * np.count_nonzero(side <= c) - factor * size))
        kept = np.where((side <= cut)[..., None, None, None], third.constants, 0.0)
        numbers = 27 * int(np.count_nonzero(side <= cut))
        add(f"cut at {cut:.2f} Å", numbers, kept.transpose(0, 3, 1, 4, 2, 5).reshape(cube.shape))
        left, values, right = np.linalg.svd(cube.transpose(1, 0, 2).reshape(3 * atoms, -1), full_matrices=False)
        rank = max(1, round(factor * size / (left.shape[0] + right.shape[1])))
        short = (left[:, :rank] * values[:rank]) @ right[:rank]
        numbers = rank * (left.shape[0] + right.shape[1])
        add(f"SVD of one atom, rank {rank}", numbers, short.reshape(3 * atoms, 3 * n, -1).transpose(1, 0, 2))
        rank = max(1, round(factor * size / sum(cube.shape)))
        add(f"plain CP, rank {rank}", rank * sum(cube.shape), alternating(cube, rank))
    return found


def longest_sides(case: Case) -> np.ndarray:
    """The longest side of each triangle of atoms in Å, (n, N, N), by nearest images."""
    cell, positions = case.ph.supercell.cell, case.ph.supercell.scaled_positions
    apart = positions[:, None] - positions
    shifts = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 1, 3)
    pairs = np.linalg.norm((apart - np.rint(apart) + shifts) @ cell, axis=-1).min(axis=0)
    rows = pairs[case.ph.primitive.p2s_map]
    return np.maximum(np.maximum(rows[:, :, None], rows[:, None]), pairs)


def alternating(cube: np.ndarray, rank: int, rounds: int = 100) -> np.ndarray:
    """The usual CP decomposition by alternating least squares, no symmetry imposed, rebuilt."""
    random = np.random.default_rng(0)
    factors = [random.normal(size=(k, rank)) for k in cube.shape]
    for _ in range(rounds):
        for k, indices in enumerate(("abc,br,cr->ar", "abc,ar,cr->br", "abc,ar,br->cr")):
            x, y = (f for i, f in enumerate(factors) if i != k)
            gram = (x.T @ x) * (y.T @ y)
            factors[k] = np.einsum(indices, cube, x, y, optimize=True) @ np.linalg.pinv(gram)
    return np.einsum("ar,br,cr->abc", *factors, optimize=True)


def violations(case: Case, tensor) -> dict[str, float]:
    """Relative violation of each symmetry by the elements at random wave vectors."""
    random = np.random.default_rng(0)
    q = random.random((2, 3))
    q = np.concatenate([q, -q.sum(axis=0, keepdims=True)])

    def element(points: np.ndarray) -> np.ndarray:
        a, b, c = tensor.transform(points)
        return np.einsum("r,ir,jr,kr->ijk", tensor.signs, a, b, c)

    group, here = tensor.group, element(q)
    size = np.abs(here).max()
    atoms = len(group.positions)
    swapped = element(q[[1, 0, 2]]).transpose(1, 0, 2)
    at_rest = element(np.array([np.zeros(3), q[0], -q[0]])).reshape(atoms, 3, 3 * atoms, 3 * atoms).sum(axis=0)
    shifted = element(q + np.array([[1, 0, 0], [0, -2, 0], [-1, 2, 0]]))
    phases = np.exp(2j * np.pi * np.array([[1, 0, 0], [0, -2, 0], [-1, 2, 0]]) @ group.positions.T)
    back = np.einsum("ia,ja,ka->ijk", *(np.repeat(p, 3)[:, None] for p in phases)) * here
    turned = []
    for operation, rotation in enumerate(group.rotations):
        image = element(q @ np.linalg.inv(rotation))
        places = np.column_stack([np.zeros((atoms, 3), int), np.arange(atoms)])
        target = group.move(operation, np.zeros(3, int), places)[:, 3]
        matrix = np.zeros((atoms, 3, atoms, 3))
        matrix[target, :, np.arange(atoms), :] = group.cartesian[operation]
        matrix = matrix.reshape(3 * atoms, -1)
        mapped = np.einsum("ia,jb,kc,abc->ijk", matrix, matrix, matrix, here)
        turned.append(np.abs(image - mapped).max() / size)
    return {
        "permutation": float(np.abs(swapped - here).max() / size),
        "translation": float(np.abs(shifted - back).max() / size),
        "sum rule": float(np.abs(at_rest).max() / size),
        "point group": float(max(turned)),
    }


def speed(case: Case, meshes, repeats: int, lines: list, record: list) -> None:
    """Wall times of the whole conductivity at 300 K, with the fit and without."""
    made = compress(case.crystal, 96)
    mesh = Mesh((MESH,) * 3, case.crystal.group.rotations)
    modes = case.crystal.modes(mesh.points, False)
    interaction = interaction_of(case.crystal, mesh, modes.amplitudes(case.crystal.masses, LOWEST), made.tensor)
    pairs = [(int(p), mesh.triplets(int(p))[0]) for p in mesh.irreducible[0]]
    for _ in range(2):
        begin = time.perf_counter()
        for point, triplets in pairs:
            interaction.strengths(point, triplets)
        spent = time.perf_counter() - begin
    each = 1e3 * spent / sum(len(t) for _, t in pairs)
    lines.append(("ms per triplet, rank 96", each, "≤", 0.03))
    print(f"\n{each:.4f} ms per triplet; fit of rank {made.tensor.rank} {made.seconds:.1f} s")
    print(f"{'mesh':>6}{'phono3py, s':>14}{'ours, s':>10}{'ratio':>8}{'with fit':>10}{'kappa, %':>10}")
    for size, goal in meshes:
        rounds = repeats if size < 19 else 1
        theirs = [case.theirs(size, [300.0]) for _ in range(rounds)]
        ours = [case.ours(size, [300.0], made.tensor) for _ in range(repeats)]
        a, b = statistics.median(t for _, t in theirs), statistics.median(t for _, t in ours)
        off = 100 * (ours[0][0].kappa[0, COMPONENT] / theirs[0][0][0] - 1)
        print(f"{size:5d}³{a:14.2f}{b:10.2f}{a / b:8.1f}{a / (b + made.seconds):10.1f}{off:+10.2f}", flush=True)
        record.append({"mesh": size, "phono3py_s": a, "ours_s": b, "fit_s": made.seconds, "kappa_off": off})
        lines.append((f"Si {size}³: times faster without the fit", a / b, "≥", goal))
        if size == 15:
            lines.append(("Si 15³: times faster with the fit", a / (b + made.seconds), "≥", 3.0))


def coverage(cases: dict[str, Case], quick: bool, lines: list) -> list:
    """Do intervals hold the exact conductivities, for tensors of several ranks and seeds, on several meshes?"""
    rows = []
    print(f"\n{'corrected, worst':16}{'tensor, %':>10}{'corrected, %':>14}{'interval, %':>13}{'inside':>12}"
          f"{'exact in the end':>18}")  # fmt: skip
    for name, case in cases.items():
        exact = {n: case.ours(n, CERTIFIED, None)[0].kappa[:, 0] for n in MESHES[name][: 1 if quick else None]}
        for rank in (24, 192) if quick else RANKS[name]:
            found = [
                corrected(case, n, rank, seed, draw, kappa)
                for seed in range(1 if quick else SEEDS)
                for n, kappa in exact.items()
                for draw in range(DRAWS)
            ]
            rows += [{"crystal": name, "rank": rank} | row for row in found]
            drawn = [r for r in found if not r["exact"]]
            sides = [x for r in drawn for x in r["inside"]]
            tensor, error, half = (max(max(r[k]) for r in found) for k in ("tensor", "error", "half"))
            print(f"{name:6}rank {rank:<5d}{tensor:10.2f}{error:14.2f}{half:13.2f}{sum(sides):6d} of {len(sides):3d}"
                  f"{len(found) - len(drawn):12d} of {len(found):d}", flush=True)  # fmt: skip
    drawn = [r for r in rows if not r["exact"]]
    runs, inside = len(rows), np.mean([x for r in drawn for x in r["inside"]])
    print(f"{runs} runs, {len(CERTIFIED)} temperatures each: inside the 95 % interval {100 * inside:.1f} %")
    lines.append(("certificate: runs", runs, "≥", 3 if quick else 200))
    lines.append(("certificate: inside the 95 % interval, %", 100 * inside, "≥", 93))
    lines.append(("certificate: corrected kappa off by at most, %", max(max(r["error"]) for r in rows), "≤", 1.0))
    return rows


TENSORS = {}


def corrected(case: Case, mesh: int, rank: int, seed: int, draw: int, exact: np.ndarray) -> dict:
    """One draw: how far (in %, at each temperature) tensor and corrected conductivity are off, and the interval."""
    key = (id(case), rank, seed)
    if key not in TENSORS:
        TENSORS.clear()
        TENSORS[key] = compress(case.crystal, rank, seed=seed).tensor
    if (*key, mesh) not in TENSORS:
        TENSORS[*key, mesh] = case.ours(mesh, CERTIFIED, TENSORS[key])[0]
    found = certify(case.crystal, TENSORS[*key, mesh], seed=draw)
    last = found.exact or found.half_widths.max() > WIDTH
    error = np.zeros(len(exact)) if last else np.abs(found.corrected[:, 0] / exact - 1)
    return {
        "mesh": mesh, "seed": seed, "draw": draw, "tensor": list(100 * np.abs(found.compressed[:, 0] / exact - 1)),
        "error": list(100 * error), "half": list(100 * found.half_widths * (not last)), "triplets": found.triplets,
        "inside": [bool(x) for x in error <= found.half_widths], "exact": bool(last),
    }  # fmt: skip


FIT = """
import json, sys, time
from ase_mlx.adapters.phono3py import load_third_order
from ase_mlx.adapters.phono3py.crystal import crystal_of
from ase_mlx.phonons.compression import compress
import torch
torch.set_num_threads(1)
crystals = [crystal_of(load_third_order(path)) for path in sys.argv[1:]]
compress(crystals[0], 24)
for crystal in crystals:
    begin = time.process_time()
    made = compress(crystal)
    spent = time.process_time() - begin
    print(json.dumps({"rank": made.tensor.rank, "held_out": 100 * made.held_out, "cpu_s": spent}))
"""


def fits(before: Path | None, lines: list) -> list:
    """CPU seconds of "auto" here and in a checkout of an earlier commit, in processes of their own, in turn."""
    names = ("Si", "ZnTe")
    paths = [str(DATA / f"phono3py-{name.lower()}" / "phono3py_params.yaml.xz") for name in names]
    rows = []
    for label, root in (("now", Path(__file__).parents[1]), ("before", before)):
        if root is None:
            continue
        environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        run = subprocess.run(
            [sys.executable, "-c", FIT, *paths], env=environment, cwd=root, check=True, capture_output=True, text=True
        )
        found = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
        rows += [{"crystal": name, "when": label} | row for name, row in zip(names, found, strict=True)]
    print(f"\n{'fit, auto':16}{'rank':>6}{'held out, %':>13}{'s CPU':>8}")
    for r in rows:
        print(f"{r['crystal']:6}{r['when']:10}{r['rank']:6d}{r['held_out']:13.2f}{r['cpu_s']:8.1f}", flush=True)
    for now, old in zip(rows[:2], rows[2:], strict=bool(before)):
        lines.append((f"{now['crystal']}: CPU time of the fit, before over now", old["cpu_s"] / now["cpu_s"], "≥", 5))
        lines.append((f"{now['crystal']}: held-out error, now over before", now["held_out"] / old["held_out"], "≤", 1))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="silicon alone, 11³, eight runs of the certificate")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit, whose fit is timed, too")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    about = machine() | {"phono3py": version("phono3py")}
    print_machine(about)
    names = ("Si",) if options.quick else tuple(MESHES)
    cases = {name: Case(name.lower()) for name in names}
    relaxation_times(cases["Si"].crystal, (3, 3, 3), [300.0])  # compiles
    compress(cases["Si"].crystal, 24)
    lines, rows, times = [], [], []
    show_heads()
    for name, case in cases.items():
        accuracy(name, case, "auto", lines, rows)
    accuracy("Si", cases["Si"], 96, lines, rows)
    print("\nTheir certificates", *(f"{r['crystal']:6}{r['rank']:6d}   {r['certificate']}" for r in rows), sep="\n")
    broken = violations(cases["Si"], compress(cases["Si"].crystal, 96).tensor)
    lines += [(f"{name}: relative violation", value, "≤", 1e-10) for name, value in broken.items()]
    print("\n" + ", ".join(f"{name} broken by {value:.1e}" for name, value in broken.items()))
    beside = [] if options.quick else others(cases["Si"], next(r["numbers"] for r in rows if r["crystal"] == "Si"))
    meshes = [(11, 5.0)] if options.quick else [(11, 5.0), (15, 8.0), (19, 10.0)]
    speed(cases["Si"], meshes, 1 if options.quick else 3, lines, times)
    held = coverage(cases, options.quick, lines)
    compared = fits(options.before, lines)
    reached = verdict(lines)
    if options.json:
        saved = {
            "machine": about,
            "accuracy": rows,
            "violations": broken,
            "others": beside,
            "times": times,
            "certificates": held,
            "fits": compared,
        }
        options.json.write_text(json.dumps(saved | {"reached": reached}, indent=1, default=float))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
