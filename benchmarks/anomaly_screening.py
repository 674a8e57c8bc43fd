"""Screening as a job: speed, kills, and what to look at next.

    python benchmarks/anomaly_screening.py [--only speed kill active]... [--quick] [--json FILE]

speed: crystals a second and core without the start of processes, where the time goes, and structures a second end to
end on two cores, beside matminer's featurizers of the same kind in its default pool.
kill: a screening of 20,000 structures gets SIGKILL three times; its table has to equal that of one never stopped.
active: crystals of the lowest tenth of their anion class found among the first 5 % of 15,709 that are asked for, by
`suggest`, by the predicted energy, at random; 300 random ones to begin with, five seeds.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from anomaly_tasks import FILE, load
from verdict import machine, print_machine, verdict

from ase_mlx.data.tables import open_table
from ase_mlx.learn.anomaly.calibration import tail_quantiles
from ase_mlx.learn.anomaly.crystals import Crystals
from ase_mlx.learn.config import TableFit
from ase_mlx.learn.recipes.crystal_property import train_property
from ase_mlx.models.crystal_property import CrystalPropertyConfig
from ase_mlx.pretrained import find
from ase_mlx.screen.ranges import double_model, open_job, run_local, write_results
from ase_mlx.screen.scores import Screening, screen
from ase_mlx.screen.suggestions import suggest

WORK = Path(__file__).resolve().parent / "work" / "anomaly-screening"
TASKS = ("speed", "kill", "active")
BEGIN, SHARE, ROUNDS = 300, 0.05, 5


def some(rows: int) -> Path:
    """A parquet file of the first rows of the data, in random order; more than there are: repeated."""
    frame = pd.read_parquet(FILE)
    order = np.random.default_rng(0).permutation(max(rows, len(frame)))[:rows] % len(frame)
    path = WORK / f"{rows}.parquet"
    WORK.mkdir(parents=True, exist_ok=True)
    frame.iloc[order].reset_index(drop=True).to_parquet(path)
    return path


def apart(path: Path) -> dict[str, float]:
    """CPU milliseconds a crystal of the parts of a screening within one process."""
    from ase_mlx.descriptors.bonding import bonding_descriptors
    from ase_mlx.descriptors.symmetry import symmetry_descriptors
    from ase_mlx.graph import batch
    from ase_mlx.learn.anomaly.crystals import STRUCTURE_COLUMNS, graph_of
    from ase_mlx.models.crystal_property import check_crystals

    model, frame = double_model(str(find("bhnaa"))), pd.read_parquet(path)
    frame = frame.iloc[:1024].reset_index(drop=True)
    ranges = [frame.iloc[:512].reset_index(drop=True), frame.iloc[512:].reset_index(drop=True)]
    list(screen([frame.iloc[:64]], model, Screening("novelty")))  # warm

    def cost(work) -> tuple[float, object]:
        start = time.process_time()
        value = work()
        return 1e3 * (time.process_time() - start) / len(frame), value

    whole, _ = cost(lambda: list(screen(ranges, model, Screening("novelty"))))
    lists, graphs = cost(
        lambda: [graph_of(*values) for values in zip(*(frame[c] for c in STRUCTURE_COLUMNS), strict=True)]
    )
    checks, _ = cost(lambda: [check_crystals(graph, model.elements) for graph in graphs])
    joined = batch(graphs)
    rows = model.property.described(joined)
    return {
        "whole": whole,
        "neighbours, graphs": lists,
        "checks": checks,
        "symmetry": cost(lambda: symmetry_descriptors(joined))[0],
        "bonding": cost(lambda: bonding_descriptors(joined))[0],
        "networks": cost(lambda: (model.nats(rows), model.property.table(rows)))[0],
    }


def speed(rows: int) -> dict[str, float]:
    path = some(rows)
    parts = apart(path)
    print("CPU ms a crystal: " + ", ".join(f"{name} {value:.2f}" for name, value in parts.items()))
    shutil.rmtree(WORK / "speed", ignore_errors=True)
    job = open_job(open_table(path), find("bhnaa"), Screening("novelty"), WORK / "speed")
    start = time.perf_counter()
    run_local(job, 2)
    write_results(job)
    ours = time.perf_counter() - start
    few = min(rows, 400)
    theirs = matminer(pd.read_parquet(path).iloc[:few])
    found = {
        "structures": rows,
        "crystals a second and core": 1e3 / parts["whole"],
        "ours, structures/s": rows / ours,
        "matminer's default pool, structures/s": few / theirs,
    }
    print(
        f"speed: {rows / ours:.0f} structures/s with descriptors, scores, two processes' start, results of {rows};\n"
        f"matminer's pool for composition, symmetry, density and one neighbour list alone: {few / theirs:.1f} ({few})"
    )
    return found


def matminer(frame: pd.DataFrame) -> float:
    """Seconds of matminer's featurizers of the same descriptors, as its documentation shows them."""
    from matminer.featurizers.base import MultipleFeaturizer
    from matminer.featurizers.composition import ElementProperty, Stoichiometry, ValenceOrbital
    from matminer.featurizers.structure import DensityFeatures, GlobalSymmetryFeatures
    from pymatgen.core import Structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = pd.DataFrame(
            {
                "structure": [
                    Structure(np.reshape(c, (3, 3)), list(n), np.reshape(f, (-1, 3)))
                    for c, n, f in zip(frame.lattice, frame.numbers, frame.frac_coords, strict=True)
                ]
            }
        )
        table["composition"] = [s.composition for s in table["structure"]]
        start = time.perf_counter()
        on_composition = MultipleFeaturizer(
            [ElementProperty.from_preset("magpie", impute_nan=True), Stoichiometry(), ValenceOrbital(impute_nan=True)]
        )
        on_composition.featurize_dataframe(table, "composition", pbar=False, ignore_errors=True, inplace=True)
        on_structure = MultipleFeaturizer([GlobalSymmetryFeatures(), DensityFeatures()])
        on_structure.featurize_dataframe(table, "structure", pbar=False, ignore_errors=True, inplace=True)
        return time.perf_counter() - start


def kill(rows: int) -> dict[str, float]:
    path = some(rows)
    tables = {}
    for name, kills in (("straight", 0), ("killed", 3)):
        out = WORK / name
        shutil.rmtree(out, ignore_errors=True)
        command = [str(Path(sys.executable).with_name("ase-mlx")), "screen", str(path), "-o", str(out)]
        done = 0
        for k in range(kills + 1):
            process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
            until = rows * (k + 1) / (kills + 1) / 512
            while (
                k < kills and process.poll() is None and len(list((out / "work").glob("rows-*"))) < max(until, done + 1)
            ):
                time.sleep(0.1)
            if k < kills:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            done = len(list((out / "work").glob("rows-*")))
            print(f"  {name}: {'killed' if k < kills else 'finished'} with {done} finished ranges", file=sys.stderr)
        tables[name] = pd.read_parquet(out / "results.parquet")
    a, b = tables.values()
    differ = int((a.astype(str) != b.astype(str)).any(axis=1).sum()) if len(a) == len(b) else max(len(a), len(b))
    print(f"kill: {len(b)} rows after three kills, {rows - len(b)} lost, {differ} differ")
    return {"rows": rows, "lost": rows - len(b), "differ": differ, "kills": 3}


def active(seeds: int, pool_rows: int | None) -> dict[str, float]:
    pool = load(pool_rows)["formula"].train
    tail, total = in_tail(pool)[1].sum(), int(SHARE * len(pool))
    found: dict[str, list[float]] = {"suggest": [], "lowest predicted": [], "random": []}
    for seed in range(seeds):
        for way, values in found.items():
            values.append(ask(way, pool, seed))
        print(f"  active: seed {seed}: " + ", ".join(f"{w} {v[-1]:.0f}" for w, v in found.items()), file=sys.stderr)
    mean = {way: float(np.mean(values)) for way, values in found.items()}
    spread = {way: float(np.std(values, ddof=1)) if seeds > 1 else 0.0 for way, values in found.items()}
    print(f"active: {total} of {len(pool)} crystals asked for, {tail} in the tail; found, mean of {seeds} seeds")
    for way in found:
        print(f"  {way:18} {mean[way]:6.1f} ± {spread[way]:.1f}   {100 * mean[way] / total:5.1f} % of what was asked")
    return {"asked": total, "in the tail": int(tail), "seeds": found, **mean}


def in_tail(pool: Crystals) -> tuple[np.ndarray, np.ndarray]:
    """The tenth of each anion class, eV/atom, and which crystals lie below it."""
    limit = tail_quantiles(pool)[pool.anions]
    return limit, pool.properties["formation_energy"] <= limit


def ask(way: str, pool: Crystals, seed: int) -> float:
    """How many crystals of the tail are among the first that are asked for."""
    limit, hits = in_tail(pool)
    total = int(SHARE * len(pool))
    begin = min(BEGIN, total // 2)
    first = np.random.default_rng(seed).permutation(len(pool))
    asked = list(first[:begin])
    for k in range(ROUNDS):
        count = (total - begin) * (k + 1) // ROUNDS + begin - len(asked)
        rest = np.setdiff1d(first, asked, assume_unique=False)
        asked += list(rest[choose(way, pool, np.array(asked), rest, limit, count, seed)])
    return float(hits[asked].sum())


def choose(way: str, pool, asked: np.ndarray, rest: np.ndarray, limit: np.ndarray, count: int, seed: int) -> np.ndarray:
    if way == "random":
        return np.random.default_rng([seed, len(asked)]).permutation(len(rest))[:count]
    held = max(len(asked) // 6, 20)
    order = np.random.default_rng([seed, len(asked), 1]).permutation(asked)
    config = CrystalPropertyConfig(("formation_energy",), pool.elements)
    fit = TableFit(epochs=60, batch_size=64, seed=seed)
    model = train_property(pool.take(order[held:]), pool.take(order[:held]), config, fit)
    found = model.table(pool.rows[rest])
    if way == "lowest predicted":
        return np.argsort(found["formation_energy"] - limit[rest])[:count]
    chance = model.probability_below(found, "formation_energy", limit[rest])
    return suggest(chance, found.members["formation_energy"], found.std["formation_energy"], count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    about = machine()
    print_machine(about)
    quick = chosen.quick
    runs = {
        "speed": lambda: speed(400 if quick else 4000),
        "kill": lambda: kill(2048 if quick else 20_000),
        "active": lambda: active(2 if quick else 5, 3000 if quick else None),
    }
    results = {task: runs[task]() for task in chosen.only}
    lines = []
    if "speed" in results:
        lines += [("crystals a second and core", results["speed"]["crystals a second and core"], "≥", 500.0)]
        lines += [("structures/s, two cores", results["speed"]["ours, structures/s"], "≥", 80.0)]
        ratio = results["speed"]["ours, structures/s"] / results["speed"]["matminer's default pool, structures/s"]
        lines += [("times matminer's default pool", ratio, "≥", 1.0)]
    if "kill" in results:
        lines += [
            ("rows lost", results["kill"]["lost"], "≤", 0),
            ("rows that differ", results["kill"]["differ"], "≤", 0),
        ]
    if "active" in results:
        ours = results["active"]["suggest"]
        lines += [("hits over random", ours / results["active"]["random"], "≥", 1.0)]
        lines += [("hits over lowest predicted", ours / results["active"]["lowest predicted"], "≥", 1.0)]
    if chosen.json:
        chosen.json.write_text(json.dumps({"machine": about, "results": results}, indent=1))
    sys.exit(0 if verdict(lines) else 1)


if __name__ == "__main__":
    main()
