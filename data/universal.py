"""Frames of all elements, labelled by an imported potential, as shards that `universal` is taught by.

    python data/universal.py TEACHER -o runs/universal [--crystals N] [--minutes M] [--device cpu]
    python data/universal.py data/universal_labels.xz -o runs/universal [--contents]
    python data/universal.py TEACHER -o runs/universal --pack data/universal_labels.xz

TEACHER is a model's folder or name (`ase-mlx import nequix-oam-1-pft`). The frames of `universal_frames.py` are made
from the crystals of `mp_crystals.parquet` by a fixed seed, in chunks that depend on nothing else: a repeated call goes
on after the last whole chunk, and `--crystals` takes the first N training crystals of a fixed order. When they are all
there, FOLDER/frames (frames-N with `--crystals`) holds the shards of all chunks, which `ase-mlx train` takes. `part` is
that of the crystal: no formula is in two parts (free atoms, dimers and clusters aside, which are no crystals). The part
`test` is the judged set: 132 formulas, each at rest, rattled, strained and hot; FOLDER/chunks/judged holds it alone.
`--contents` prints what is in the shards. Two calls on one folder share its chunks.

The second call writes the same shards, but for `test`, from the labels that the repository keeps
(`universal_labels.py`), in a minute; the third made that file.
"""

import argparse
import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, perf_counter

import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

import ase_mlx as am
from ase_mlx.adapters.ase.teaching_frames import KIND
from ase_mlx.data.shard_files import record
from ase_mlx.data.shard_writer import ShardWriter, write_shards
from ase_mlx.data.shards import Shards, is_shards
from ase_mlx.keep import digest
from ase_mlx.models.extrapolation import once
from ase_mlx.models.predict import predict

sys.path.insert(0, str(Path(__file__).resolve().parent))
import universal_frames as make  # noqa: E402
from universal_labels import on_grid, pack, unpack  # noqa: E402

PLAN = 2
"""Changes with what the frames are: labels of another plan are refused."""

SEED, CHUNK = 29, 64
"""Of all that is drawn; crystals of a chunk."""

JUDGED, VALIDATION, SMALL = 132, 1024, 24
"""Formulas of the judged set, crystals for validation, most atoms of both."""

LARGEST = 20.0
"""eV/Å: frames with a larger force are left out."""

STRESSED = 0.5
"""eV/Å³: lattices of one or two elements under a larger stress are left out."""

Formula = tuple[tuple[int, int], ...]


def formula_of(numbers: np.ndarray) -> Formula:
    """Atomic numbers and their shares in lowest terms."""
    elements, counts = np.unique(numbers, return_counts=True)
    return tuple(zip(elements.tolist(), (counts // np.gcd.reduce(counts)).tolist(), strict=True))


class Crystals:
    """The table's crystals whose elements the teacher knows, by part, in an order that the seed fixes."""

    def __init__(self, table: Path, elements: tuple[int, ...]):
        rows = pd.read_parquet(table)
        rows = rows[[set(numbers) <= set(elements) for numbers in rows.numbers]]
        self.parts: dict[str, list[Atoms]] = {}
        for k, part in enumerate(("train", "val", "test")):
            these = rows[rows.part == part].sort_values("material_id")
            order = np.random.default_rng([SEED, k]).permutation(len(these))
            self.parts[part] = [crystal_of(these.iloc[int(j)]) for j in order]
        self.held_out = {formula_of(a.numbers) for part in ("val", "test") for a in self.parts[part]}
        self.elements = sorted({int(z) for part in self.parts.values() for a in part for z in a.numbers})

    def small(self, part: str, count: int, distinct: bool) -> list[Atoms]:
        """The first small crystals of a part, of distinct formulas where that is asked for."""
        chosen, seen = [], set()
        for atoms in self.parts[part]:
            formula = formula_of(atoms.numbers)
            if 1 < len(atoms) <= SMALL and not (distinct and formula in seen) and len(chosen) < count:
                chosen.append(atoms)
                seen.add(formula)
        return chosen


def crystal_of(row) -> Atoms:
    """Build the crystal of a row of the table (Å)."""
    cell = np.asarray(row.lattice, dtype=float).reshape(3, 3)
    places = np.vstack(row.frac_coords).astype(float).reshape(-1, 3)
    atoms = Atoms(np.asarray(row.numbers, dtype=int), scaled_positions=places, cell=cell, pbc=True)
    atoms.info["config_name"] = str(row.material_id)
    return atoms


def chunks(crystals: Crystals, count: int) -> Iterator[tuple[str, str, list[Atoms]]]:
    """Name, part and crystals of each chunk; that of free atoms has none."""
    yield "judged", "test", crystals.small("test", JUDGED, True)
    yield "atoms", "train", []
    validation = crystals.small("val", VALIDATION, False)
    for start in range(0, len(validation), 4 * CHUNK):
        yield f"val-{start // (4 * CHUNK):03d}", "val", validation[start : start + 4 * CHUNK]
    for start in range(0, min(count, len(crystals.parts["train"])), CHUNK):
        yield f"train-{start // CHUNK:03d}", "train", crystals.parts["train"][start : min(start + CHUNK, count)]
    yield "lattices", "train", []
    yield "molecules", "train", []
    yield "octets", "train", []


class Labeller:
    """The teacher, and the time and atoms that it took."""

    def __init__(self, teacher: str, device: str):
        self.model = am.load(teacher).to(device)
        tensors = self.model.state_dict().values()
        self.weights = hashlib.sha256(b"".join(t.cpu().numpy().tobytes() for t in tensors)).hexdigest()
        self.atoms, self.seconds = 0, 0.0

    def __call__(self, frames: list[Atoms]) -> list[dict]:
        """Labels of frames, in batches."""
        start = perf_counter()
        with once(speak=False):
            labels = [dict(p) for p in predict(self.model, list(frames), std=False)]
        self.atoms, self.seconds = self.atoms + sum(map(len, frames)), self.seconds + perf_counter() - start
        return labels


def frames_of(name: str, part: str, those: list[Atoms], crystals: Crystals, ask: Labeller) -> list[Atoms]:
    """Make a chunk's frames, without labels."""
    rng = np.random.default_rng([SEED, *name.encode()])
    if name == "atoms":
        return make.free_atoms_and_dimers(crystals.elements, rng)
    if name == "molecules":
        return make.molecules(crystals.elements, rng)
    if name == "lattices":
        simple = make.simple_lattices(crystals.elements, rng)
        simple = [a for a in simple if formula_of(a.numbers) not in crystals.held_out]
        return make.simple_frames(make.quenched(make.quenched(simple, ask), ask), rng)
    if name == "octets":
        octets = [a for a in make.octet_lattices(crystals.elements) if formula_of(a.numbers) not in crystals.held_out]
        return make.octet_frames(make.quenched(make.quenched(octets, ask), ask), rng)
    frames: list[Atoms] = []
    for crystal in those:
        if part == "train":
            frames += make.crystal_frames(crystal, rng)
        elif part == "val":
            kind = str(rng.choice(list(make.SHARES), p=list(make.SHARES.values())))
            frames.append(make.one_frame(crystal, kind, rng))
        else:
            frames += [make.one_frame(crystal, kind, rng) for kind in ("rest", "rattled", "strained")]
            hot = make.marked(crystal.copy(), "hot")
            hot.info["temperature_K"] = float(rng.uniform(300, 2000))
            frames.append(hot)
    moving = [k for k, atoms in enumerate(frames) if atoms.info[KIND] == "hot"]
    for k, atoms in zip(moving, make.heated([frames[k] for k in moving], ask, rng), strict=True):
        frames[k] = atoms
    if part == "train":
        drawn = [make.substituted(a, crystals.elements, rng) for a in those if len(a) <= make.SUBSTITUTED]
        resting = make.quenched([a for a in drawn if a is not None], ask)
        frames += resting + [make.marked(make.small_rattle(a, rng), "prototype") for a in resting]
        frames = [a for a in frames if not a.pbc.all() or formula_of(a.numbers) not in crystals.held_out]
    return frames


def label(frames: list[Atoms], part: str, ask: Labeller, stressed: float) -> tuple[list[Atoms], int]:
    """Put the teacher's labels on frames; how many were left out, for forces, stress or for what is no number."""
    kept = []
    for atoms, labels in zip(frames, ask(frames), strict=True):
        forces = np.array(labels["forces"])
        if not np.isfinite(forces).all() or np.linalg.norm(forces, axis=1).max() > LARGEST:
            continue
        results = {"energy": float(labels["energy"]), "forces": forces}
        if "stress" in labels and np.isfinite(labels["stress"]).all():
            results["stress"] = np.array(labels["stress"])
            if np.abs(results["stress"]).max() > stressed:
                continue
        atoms.info["part"] = part
        atoms.calc = SinglePointCalculator(atoms, **results)
        kept.append(atoms)
    return kept, len(frames) - len(kept)


def write_chunk(folder: Path, name: str, part: str, those: list[Atoms], crystals: Crystals, ask: Labeller) -> None:
    """Make, label and write a chunk, unless it is there."""
    with ShardWriter(folder / name, [name], digest(PLAN, SEED, name, len(those), ask.weights)) as writer:
        if writer.done:
            return
        frames = frames_of(name, part, those, crystals, ask)
        if part != "test":
            frames = [on_grid(atoms) for atoms in frames]
        kept, dropped = label(frames, part, ask, STRESSED if name in ("lattices", "octets") else np.inf)
        for k, atoms in enumerate(kept):
            writer.add(record(atoms, f"{atoms.info.get('config_name', k)}"), (0, k))
        writer.finish()
    print(f"{name}: {len(kept)} frames, {sum(map(len, kept))} atoms, {dropped} left out", flush=True)


def unpacked(file: Path, folder: Path) -> None:
    """Write shards from the file of labels."""
    with ShardWriter(folder, [file.name], digest(PLAN, file.read_bytes())) as writer:
        if not writer.done:
            for k, atoms in enumerate(unpack(file)):
                if k >= writer.at[1]:
                    writer.add(record(atoms, f"{atoms.info.get('config_name', k)}"), (0, k))
            writer.finish()


def contents(folder: Path) -> None:
    """Print frames, atoms, the forces' rms and share of atoms by part and kind, and elements."""
    shards, table = Shards(folder), defaultdict(Counter)
    for k, atoms in enumerate(shards):
        row = table[str(atoms.info["part"]), str(atoms.info[KIND])]
        row.update(frames=1, atoms=len(atoms), large=len(atoms) * (len(atoms) > make.DOUBLED))
        row["squares"] += float(shards.columns["force_squares"][k])
    print(f"{folder}: {len(shards)} frames, {len(shards.elements())} elements")
    print(f"{'part':6}{'kind':12}{'frames':>8}{'atoms':>9}{'rms F, eV/Å':>13}{'in cells > 20':>15}")
    for (part, kind), row in sorted(table.items()):
        rms = np.sqrt(row["squares"] / (3 * row["atoms"]))
        share = row["large"] / row["atoms"]
        print(f"{part:6}{kind:12}{row['frames']:8}{row['atoms']:9}{rms:13.3f}{100 * share:13.0f} %")


def main() -> int:
    """Label until all is there or the minutes are over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="TEACHER", help="a model's folder or name, or a file of labels")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--crystals", type=int, default=10**6)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", type=Path, default=Path(__file__).resolve().parent / "mp_crystals.parquet")
    parser.add_argument("--contents", action="store_true")
    parser.add_argument("--pack", type=Path, metavar="FILE")
    given = parser.parse_args()
    if given.source.endswith(".xz"):
        joined = given.out / "frames"
        unpacked(Path(given.source), joined)
    else:
        joined = labelled(given)
    if joined is None:
        return 0
    if given.pack:
        frames = (atoms for atoms in Shards(joined) if atoms.info["part"] != "test")
        pack(list(frames), given.pack)
        print(f"{given.pack}: {given.pack.stat().st_size / 1e6:.1f} MB")
    if given.contents:
        contents(joined)
    return 0


def labelled(given: argparse.Namespace) -> Path | None:
    """Label all chunks and join them; None where time was over, or another call is at some of them."""
    began, ask = monotonic(), Labeller(given.source, given.device)
    crystals = Crystals(given.table, ask.model.elements)
    count = min(given.crystals, len(crystals.parts["train"]))
    joined = given.out / ("frames" if count == len(crystals.parts["train"]) else f"frames-{count}")
    if not is_shards(joined):
        names, elsewhere = [], []
        for name, part, those in chunks(crystals, count):
            if monotonic() - began > 60 * given.minutes:
                print(f"time is over before {name}; the same call goes on")
                return None
            try:
                write_chunk(given.out / "chunks", name, part, those, crystals, ask)
            except BlockingIOError:
                elsewhere.append(name)
            names.append(given.out / "chunks" / name)
        if elsewhere:
            print(f"another call is at {', '.join(elsewhere)}; it joins the chunks")
            return None
        write_shards(names, joined)
        print(f"{joined}: {ask.atoms} atoms were labelled at {1e3 * ask.seconds / max(ask.atoms, 1):.2f} ms each")
    return joined


if __name__ == "__main__":
    sys.exit(main())
