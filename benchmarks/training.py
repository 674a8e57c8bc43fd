"""Training: data that do not fit in memory, the time of an epoch, the way through the code.

    python benchmarks/training.py [--shards] [--epochs] [--processes] [--trace] [--lines] [--quick]
                                  [--gigabytes 4] [--limit 2] [--before ...]

`--shards`: frames of data/sigesn.extxyz.xz (8 atoms), repeated to 64 atoms and rattled by 0.01 Å until they take 4 GB
as samples with graphs, are written into shards in a temporary folder and trained on for an epoch, each in a process
whose address space is limited to 2 GB (RLIMIT_AS). The labels are those before the rattling: they serve the size
alone. The same samples in a list are tried under the same limit.

`--epochs`: sigesn's training on the commit before there was one run for all kinds (a worktree of git) and on this tree,
in turn. `--processes`: the same training in one process and in two that share every batch through gloo: losses of each
epoch, and how much sooner two end. `--trace`: the files that a tiny training enters on both, by `sys.setprofile`.
`--lines`: files and lines by folder on both, and the files of each kind. Exit code 1 where a figure is missed.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from verdict import machine, print_machine, verdict

DATA = Path(__file__).resolve().parents[1] / "data" / "sigesn.extxyz.xz"
CUTOFF = 6.0
"""Å."""

EDGES = 20_000
"""Of a batch: some seven frames."""

CACHE = 2**27
"""Bytes of samples that the loader keeps."""

GB = 1e9


def resident() -> float:
    """Memory in use now, GB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / GB


def limited(task, limit: float, *arguments):
    """What a function gives in a new process of so many GB of address space, with its peak (GB) and seconds."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_limited, args=(there, task, limit, arguments))
    process.start()
    there.close()
    try:
        answer = here.recv()
    except EOFError:
        answer = {"peak": float("nan"), "seconds": float("nan")}
    process.join()
    return answer


def _limited(pipe, task, limit, arguments):
    resource.setrlimit(resource.RLIMIT_AS, (int(limit * GB), int(limit * GB)))
    start = time.monotonic()
    answer = task(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GB
    pipe.send(answer | {"peak": peak, "seconds": time.monotonic() - start})


def write(folder: str, gigabytes: float) -> dict:
    """Shards whose samples take so many GB; the size of one is taken from the first."""
    from ase.calculators.singlepoint import SinglePointCalculator

    from ase_mlx.data.graph_batches import size_of
    from ase_mlx.data.io import read_frames
    from ase_mlx.data.labels import labels_of
    from ase_mlx.data.samples import sample
    from ase_mlx.data.shard_files import record
    from ase_mlx.data.shard_writer import ShardWriter

    frames = [a for a in read_frames(DATA) if len(a) == 8 and a.info["part"] == "train" and a.info["family"] == "si8"]
    random, total, first = np.random.default_rng(0), 0, 0.0
    with ShardWriter(folder, [DATA.name], "benchmark") as writer:
        while total < gigabytes * GB:
            small = frames[writer.frames % len(frames)]
            atoms = small.repeat((2, 2, 2))
            energy, forces, stress = labels_of(small, "frame")
            atoms.positions += random.normal(0, 0.01, atoms.positions.shape)
            atoms.calc = SinglePointCalculator(atoms, energy=8 * energy, forces=np.tile(forces, (8, 1)), stress=stress)
            atoms.info = {"config_name": f"si64_{writer.frames}", "part": "train"}
            for name in ("displacement", "force_change"):
                atoms.arrays.pop(name, None)
            if writer.frames % 100 == 0:
                size = size_of(sample(atoms, CUTOFF, "frame"))
            total += size
            writer.add(record(atoms, "frame"), (0, writer.frames))
            if writer.frames == 2000:
                first = resident()
        frames_written = writer.frames
        writer.finish()
    files = sum(file.stat().st_size for file in Path(folder).iterdir()) / GB
    return {"frames": frames_written, "decoded": total / GB, "files": files, "early": first, "late": resident()}


def count(folder: str) -> dict:
    """Edges of all frames, counted once."""
    from ase_mlx.data.shards import Shards

    early = []
    edges = Shards(folder).edges(CUTOFF, lambda done, total: early.append(resident()) if done == total // 4 else None)
    return {"edges": int(edges.sum()), "early": early[0], "late": resident()}


def train(folder: str) -> dict:
    """An epoch of a small potential over all frames, by the one loop: memory after each twentieth of it."""
    import torch

    from ase_mlx.data.graph_batches import GraphBatches, ShardSamples, size_of
    from ase_mlx.data.shards import Shards
    from ase_mlx.learn.fit import Stage, fit
    from ase_mlx.learn.methods import network
    from ase_mlx.learn.recipes.potential import PotentialFit, potential_loss
    from ase_mlx.models.potential import Potential, PotentialConfig

    torch.set_num_threads(1)
    shards = Shards(folder)
    places = shards.places("train")
    elements = shards.elements(places)
    sizes = {"cutoff": CUTOFF, "l_max": 1, "layers": 1, "channels": 4, "latent": 8, "radial_hidden": (8,), "members": 0}
    scales = {
        "reference_energies": shards.reference_energies(places, elements),
        "energy_scale": shards.rms_force(places),
        "neighbors": float(shards.edges(CUTOFF).sum() / shards.columns["atoms"].sum()),
    }
    model = Potential(PotentialConfig(elements, **sizes, **scales)).float()
    batches = GraphBatches(ShardSamples(shards, places, CUTOFF, CACHE), edges=EDGES)
    steps, memory, decoded, frames = batches.steps(0), [], 0, 0

    def loss(model, group, random):
        nonlocal decoded, frames
        decoded, frames = decoded + size_of(group), frames + group.graph.n_graphs
        if frames * 20 // len(places) > len(memory):
            memory.append(resident())
        return potential_loss(model, group, random)

    history = fit(Stage(model, loss, batches, network(PotentialFit(epochs=1))))
    return {
        "frames": frames,
        "steps": steps,
        "decoded": decoded / GB,
        "memory": memory,
        "loss": history[-1]["train_loss"],
    }


def hold(folder: str) -> dict:
    """As before: all samples in a list, until the memory ends."""
    from ase_mlx.data.samples import sample
    from ase_mlx.data.shards import Shards

    samples, reserve = [], bytearray(2**26)
    try:
        for atoms in Shards(folder):
            samples.append(sample(atoms, CUTOFF, "frame"))
    except (MemoryError, RuntimeError) as error:  # torch says it in a RuntimeError
        del reserve
        held, samples = len(samples), None
        return {"held": held, "error": str(error)[:80]}
    return {"held": len(samples), "error": ""}


def shards(options: argparse.Namespace) -> tuple[dict, bool]:
    """The table of `--shards`, and whether its figures are reached."""
    gigabytes, limit = (0.5, 1.7) if options.quick else (options.gigabytes, options.limit)
    with tempfile.TemporaryDirectory(prefix="ase-mlx-shards-") as folder:
        place = str(Path(folder, "frames"))
        rows = {
            "write the shards": limited(write, limit, place, gigabytes),
            "count the edges": limited(count, limit, place),
            "train an epoch": limited(train, limit, place),
            "the samples in a list": limited(hold, limit, place),
        }
    written, counted, trained, listed = rows.values()
    print(f"\n{written['frames']} frames of 64 Si atoms, cutoff {CUTOFF:g} Å: {written['files']:.2f} GB of shards")
    print(f"samples with graphs: {trained['decoded']:.2f} GB; limit of the address space: {limit:g} GB\n")
    print(f"{'':24} {'peak, GB':>9} {'early':>7} {'late':>7} {'seconds':>8}")
    memory = trained["memory"]
    trained |= {"early": memory[len(memory) // 3], "late": memory[-1]}
    for name, row in rows.items():
        early, late = (f"{row[key]:7.3f}" if key in row else f"{'':7}" for key in ("early", "late"))
        print(f"{name:24} {row['peak']:9.3f} {early} {late} {row['seconds']:8.1f}")
    print(f"\nmemory along the epoch, GB: {' '.join(f'{x:.3f}' for x in memory)}")
    print(f"{trained['steps']} steps; mean loss {trained['loss']:.3f}")
    end = f"ends after {listed['held']} frames: {listed['error']}" if listed.get("error") else "holds them all"
    end = end if "held" in listed else "ends the process: its libraries do not survive the lack of memory"
    print(f"a list {end}")
    figures = [
        ("samples, GB", trained["decoded"], "≥", 0.95 * gigabytes),
        ("frames trained on, of all", trained["frames"] / written["frames"], "≥", 1.0),
        ("peak of the epoch, GB", trained["peak"], "≤", limit),
        ("memory late / early in the epoch", trained["late"] / trained["early"], "≤", 1.1),
        ("memory late / early in counting", counted["late"] / counted["early"], "≤", 1.1),
    ]
    if not options.quick:
        figures.append(("memory late / early in writing", written["late"] / written["early"], "≤", 1.2))
    return rows, verdict(figures)


BEFORE = "5ff25b9"
"""The commit before there was one run for all kinds."""

SMALL = """
[data]
file = "{data}"
[model]
l_max = 2
layers = 3
channels = 32
[fit]
epochs = {epochs}
batch_size = 5
learning_rate = 0.006
hessian_weight = 0.05
"""


@contextmanager
def trees(commit: str = BEFORE) -> Iterator[dict[str, Path]]:
    """This tree and, in a worktree of git, that of the commit before."""
    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory(prefix="ase-mlx-before-") as folder:
        place = Path(folder, "tree")
        subprocess.run(["git", "worktree", "add", "-q", "--detach", place, commit], cwd=root, check=True)
        try:
            yield {"before": place, "after": root}
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", place], cwd=root, check=True)


def probe(tree: Path, what: str, config: str, processes: int = 0):
    """What `training_probe.py` prints with one tree on the path, in as many processes of torchrun (0: without it)."""
    with tempfile.TemporaryDirectory(prefix="ase-mlx-probe-") as folder:
        Path(folder, "train.toml").write_text(config, encoding="utf-8")
        words = [str(Path(__file__).with_name("training_probe.py")), what, "train.toml", "model"]
        if processes:
            words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *words]
        words = [sys.executable, *words]
        environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def epochs(options: argparse.Namespace) -> tuple[dict, bool]:
    """CPU seconds of an epoch of the training of sigesn, before and after, in turn."""
    config = SMALL.format(data=DATA, epochs=3 if options.quick else 4)
    seconds: dict[str, list[float]] = {"before": [], "after": []}
    with trees(options.before) as tree:
        for _ in range(1 if options.quick else 2):
            for name, place in tree.items():
                seconds[name] += probe(place, "epochs", config)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    print("\nan epoch of sigesn's training, one thread, CPU seconds: median (all)")
    for name, values in seconds.items():
        print(f"{name:8} {middle[name]:7.2f} ({', '.join(f'{x:.2f}' for x in values)})")
    return seconds, verdict([("epoch after / before", middle["after"] / middle["before"], "≤", 1.05)])


def processes(options: argparse.Namespace) -> tuple[dict, bool]:
    """Losses of one process and of two, and the time of an epoch of the clock."""
    config = SMALL.format(data=DATA, epochs=3 if options.quick else 5).replace("batch_size = 5", "batch_size = 10")
    config = 'dtype = "float64"\n' + config  # in single precision two orders of one sum part within an epoch
    root = Path(__file__).resolve().parents[1]
    rows = {count: np.array(probe(root, "losses", config, count), dtype=float) for count in (1, 2)}
    print("\nsigesn's training, 10 frames a step, one thread a process")
    print(f"{'epoch':>5} {'loss, one':>12} {'two':>12} {'held out, one':>14} {'two':>12}")
    for k, (one, two) in enumerate(zip(rows[1], rows[2], strict=True), 1):
        print(f"{k:5} {one[0]:12.6f} {two[0]:12.6f} {one[1]:14.6f} {two[1]:12.6f}")
    off = np.abs(rows[2][:, :2] / rows[1][:, :2] - 1)
    seconds = {count: float(np.median(np.diff(table[:, 2]))) for count, table in rows.items()}
    print(f"seconds an epoch: one process {seconds[1]:.2f}, two {seconds[2]:.2f}")
    print(f"largest difference (relative) by epoch: {', '.join(f'{x:.1e}' for x in off.max(axis=1))}")
    figures = [("1e9 x largest difference in the first epoch", 1e9 * float(off[0].max()), "≤", 10.0)]
    return {str(count): table.tolist() for count, table in rows.items()}, verdict(figures)


def trace(options: argparse.Namespace) -> tuple[dict, bool]:
    """Files that one tiny training enters, before and after."""
    with tempfile.TemporaryDirectory() as folder:
        from ase.io import write

        from ase_mlx.data.io import read_frames

        frames = [a for a in read_frames(DATA) if len(a) == 8][:6]
        for k, atoms in enumerate(frames):
            atoms.info["part"] = "val" if k == 5 else "train"
            for name in ("displacement", "force_change"):
                atoms.arrays.pop(name, None)
        file = Path(folder, "frames.extxyz")
        write(file, frames)
        config = SMALL.format(data=file, epochs=1).replace("hessian_weight = 0.05\n", "")
        with trees(options.before) as tree:
            rows = {name: probe(place, "trace", config) for name, place in tree.items()}
    for name, row in rows.items():
        leading = list(dict.fromkeys(row["stays"]))
        print(
            f"\n{name}: {len(row['files'])} files; {len(row['stays'])} stays in {len(leading)} files of cli and learn,"
        )
        print(f"{len(row['climbs'])} of them back up from learn to cli. In the order of the first call:")
        print("  " + "\n  ".join(row["files"]))
    return rows, True


def lines(options: argparse.Namespace) -> tuple[dict, bool]:
    """Files and lines of Python by folder, before and after; files of each kind."""
    counted = {name: _python(commit) for name, commit in (("before", options.before), ("now", "HEAD"))}
    print(f"\n{'':24}{'files':>8}{'now':>6}{'lines':>9}{'now':>8}")
    for folder in sorted({folder for table in counted.values() for folder in table}):
        (files, length), (files_now, length_now) = (table.get(folder, (0, 0)) for table in counted.values())
        print(f"{folder:24}{files:8}{files_now:6}{length:9}{length_now:8}")
    kinds = _kinds()
    print("\nFiles of a kind, and those that name it in a list: its model, its recipe, learn/recipe.py, learn/files.py")
    for kind, (own, listed) in kinds.items():
        print(f"{kind:24}{len(own):4} ({', '.join(own)}) + {len(listed)}")
    return {"folders": counted, "kinds": kinds}, True


def _python(commit: str) -> dict[str, tuple[int, int]]:
    """Files and lines of a commit by folder of the package or of the tree."""
    run = lambda *words: subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout  # noqa: E731
    table: dict[str, tuple[int, int]] = {}
    for name in run("ls-tree", "-r", "--name-only", commit).splitlines():
        parts = name.split("/")
        if name.endswith(".py") and parts[0] in ("ase_mlx", "tests", "benchmarks", "scripts", "data"):
            folder = "/".join(parts[:2]) if parts[0] == "ase_mlx" and len(parts) > 2 else parts[0]
            files, length = table.get(folder, (0, 0))
            table[folder] = files + 1, length + run("show", f"{commit}:{name}").count("\n")
    return table


def _kinds() -> dict[str, tuple[list[str], list[str]]]:
    """Files of the package's kinds: models, recipes and what they have of their own; lists that name them."""
    from ase_mlx.learn.recipe import RECIPES

    package = Path(__file__).resolve().parents[1] / "ase_mlx"
    table = {}
    for kind in RECIPES:
        own = [path for folder in ("models", "learn/recipes") for path in package.glob(f"{folder}/{kind}*")]
        own += [path for path in package.glob(f"learn/{kind}") if path.is_dir()]
        lists = [name for name in ("learn/recipe.py", "learn/files.py") if f'"{kind}"' in (package / name).read_text()]
        table[kind] = [str(path.relative_to(package)) for path in own if "__pycache__" not in str(path)], lists
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", action="store_true", help="data that do not fit in memory")
    parser.add_argument("--epochs", action="store_true", help="time of an epoch before and after")
    parser.add_argument("--processes", action="store_true", help="two processes against one")
    parser.add_argument("--trace", action="store_true", help="files that a tiny training enters, before and after")
    parser.add_argument("--lines", action="store_true", help="lines by folder, before and after; files of a kind")
    parser.add_argument("--before", default=BEFORE, help="commit that --epochs and --trace compare with")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="of samples")
    parser.add_argument("--limit", type=float, default=2.0, help="GB of address space")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    about = machine()
    print_machine(about)
    tables = {"shards": shards, "epochs": epochs, "processes": processes, "trace": trace, "lines": lines}
    asked = [name for name in tables if getattr(options, name)] or list(tables)
    results = {name: tables[name](options) for name in asked}
    if options.json:
        rows = {name: table for name, (table, _) in results.items()}
        options.json.write_text(json.dumps({"machine": about} | rows, indent=1), encoding="utf-8")
    return 0 if all(reached for _, reached in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
