"""An open potential on our kernels beside its own code, CHGNet and SevenNet-0: parity, time, memory.

    python benchmarks/foundation.py --weights FOLDER [--name nequix-oam-1-pft] [--quick] [--json FILE]

FOLDER holds checkpoints of Nequix (`ase-mlx import --list` says where they come from); those of SevenNet lie in its
wheel. Parity is that of every `.nqx` file with nequix 0.4.5, of SevenNet-0 with sevenn 0.13.0, on the 20 Materials
Project crystals of `featurizer_crystals.extxyz`, rattled by 0.05 Å. Times are those of `--name` and of SevenNet-0: CPU
milliseconds per atom of one thread, neighbour lists included, medians; rock salt of 64 to 4,096 atoms through each
code's ASE calculator after small moves (peers as far as their memory allows), and the 20 crystals at once where a code
has batches (ours, CHGNet, Nequix; SevenNet-0's own one by one). Peers run in environments of their own, which the first
call builds; what they compute of the 20 crystals is kept in benchmarks/work by the content of the question. Exit code 1
where a figure is missed.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
import driver  # noqa: E402
from verdict import machine, print_machine, verdict  # noqa: E402

HERE = Path(__file__).resolve().parent
KEPT = HERE / "work" / "foundation"
OURS, OUR_SEVENN = "Nequix, our kernels", "SevenNet-0, our kernels"
OWN, CHGNET, SEVENN = "Nequix 0.4.5", driver.LABELS["chgnet"], driver.LABELS["sevenn"]
CALLS = {64: 7, 512: 3, 1000: 3, 4096: 2}
LARGEST = {"nequix": 512, "chgnet": 1000, "sevenn": 512}
"""Atoms of a cell that peers are asked for: CHGNet was ended by the system at 4,096, beyond 21 GB; others follow."""


def crystals() -> list[Atoms]:
    """The 20 crystals, rattled."""
    frames = []
    for k, atoms in enumerate(read(HERE / "featurizer_crystals.extxyz", ":")):
        frames.append(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True))
        frames[-1].rattle(0.05, seed=k)
    return frames


def salt(atoms: int) -> Atoms:
    """Rattled rock salt of 8 n³ atoms."""
    cell = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(round((atoms / 8) ** (1 / 3)))
    cell.rattle(0.05, seed=atoms)
    return cell


def kept(peer: str, request: dict, *files: Path) -> dict:
    """A peer's predictions of frames (eV, eV/Å, eV/Å³), computed once for the same files, versions and workers."""
    own = [HERE / "peers" / name for name in (f"{peer}_worker.py", "measure.py", "environments.py")]
    content = [json.dumps(request, sort_keys=True).encode(), *(p.read_bytes() for p in (*own, *files))]
    path = KEPT / f"{hashlib.sha256(b''.join(hashlib.sha256(c).digest() for c in content)).hexdigest()[:24]}.npz"
    if not path.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        arguments = dict(zip(request["files"], map(str, files), strict=True))
        driver.ask(peer, {"task": request["task"], "out": str(path), **arguments})
    with np.load(path) as arrays:
        return dict(arrays)


def parity(checkpoint: Path, frames: list[Atoms], data: Path) -> dict[str, float]:
    """Largest deviations from the original code: eV/atom, eV/Å, eV/Å³, in float32 and float64."""
    import torch

    from ase_mlx.adapters.checkpoints import read_checkpoint
    from ase_mlx.models.predict import predict

    if checkpoint.suffix == ".nqx":
        theirs = kept("nequix", {"task": "evaluate", "files": ["data", "checkpoint"]}, data, checkpoint)
    else:
        theirs = kept("sevenn", {"task": "evaluate", "files": ["data"]}, data)
    sizes, model, row = np.array([len(a) for a in frames]), read_checkpoint(checkpoint), {}
    for dtype in (torch.float32, torch.float64):
        ours = predict(model.to(dtype), frames, std=False)
        forces, stress = np.concatenate([p["forces"] for p in ours]), np.array([p["stress"] for p in ours])
        energy = np.array([float(p["energy"]) for p in ours])
        name = str(dtype).removeprefix("torch.")
        row |= {
            f"energy, {name}": float((abs(energy - theirs["energy"]) / sizes).max()),
            f"forces, {name}": float(abs(forces - theirs["forces"]).max()),
            f"stress, {name}": float(abs(stress - theirs["stress"]).max()),
        }
    return row


def sevennet() -> Path:
    """SevenNet-0's checkpoint in the environment of sevenn."""
    python = driver.environments.create("sevenn")
    name = "SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth"
    return next(python.parents[1].glob(f"lib/python*/site-packages/sevenn/pretrained_potentials/{name}"))


def times(peer: str, folder: Path, sizes: list[int], **model) -> dict:
    """Of one code: rows of rock salt, and milliseconds per atom of the 20 crystals."""
    data, sizes = str(folder / f"{peer}.extxyz"), [n for n in sizes if n <= LARGEST.get(peer, n)]
    write(data, [salt(n) for n in sizes])
    frames = driver.ask(peer, {"task": "frames", "data": data, "calls": [CALLS[n] for n in sizes], **model})
    write(data, crystals())
    batch = driver.ask(peer, {"task": "batch", "data": data, **model})
    return {"frames": frames["frames"], "batch": batch["ms_per_atom"]}


def print_times(rows: dict[str, dict], sizes: list[int]) -> None:
    """One line a code."""
    print("\nms per atom, CPU, one thread; peak memory")
    print(f"{'':30}" + "".join(f"{n:>10}" for n in sizes) + f"{'20 crystals':>14}{'MiB':>9}")
    for label, row in rows.items():
        by_size = {r["atoms"]: r for r in row["frames"]}
        cells = "".join(f"{by_size[n]['ms_per_atom']:10.2f}" if n in by_size else f"{'-':>10}" for n in sizes)
        print(f"{label:30}{cells}{row['batch']:14.2f}{max(r['peak_memory_MiB'] for r in row['frames']):9.0f}")


def targets(deviations: dict[str, dict], rows: dict[str, dict]) -> bool:
    """Print each figure to reach beside what was measured; True if all are reached."""
    lines = []
    for name, row in deviations.items():
        for key, value in row.items():
            limit, unit = (1e-5, "10⁻⁶ eV/Å³") if key.startswith("stress") else (1e-4, "10⁻⁶ eV/Å")
            unit = "10⁻⁶ eV/atom" if key.startswith("energy") else unit
            lines.append((f"{name}: {key}, {unit}", 1e6 * value, "≤", 1e6 * limit))
    cost = {label: {r["atoms"]: r["ms_per_atom"] for r in row["frames"]} for label, row in rows.items()}
    for n in cost[OWN]:
        lines.append((f"times faster than its own code, {n} atoms", cost[OWN][n] / cost[OURS][n], "≥", 8.0))
    lines.append(("times faster than its own code, 20 crystals", rows[OWN]["batch"] / rows[OURS]["batch"], "≥", 8.0))
    for n in (n for n in cost[CHGNET] if n >= 512):
        lines.append((f"times faster than CHGNet, {n} atoms", cost[CHGNET][n] / cost[OURS][n], "≥", 2.0))
    if SEVENN in rows:
        name = "SevenNet-0: times faster than its own code, {} atoms"
        lines += [(name.format(n), cost[SEVENN][n] / cost[OUR_SEVENN][n], "≥", 3.0) for n in cost[SEVENN]]
    lines.append(("times faster than CHGNet, 20 crystals", rows[CHGNET]["batch"] / rows[OURS]["batch"], "≥", 1.4))
    return verdict(lines)


def main() -> int:
    """Run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, metavar="FOLDER", type=Path)
    parser.add_argument("--name", default="nequix-oam-1-pft", help="of the checkpoint that is timed")
    parser.add_argument("--quick", action="store_true", help="no 4,096 atoms, parity of one checkpoint, no SevenNet-0")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    sizes = [64, 512] if options.quick else [64, 512, 1000, 4096]
    import torch

    from ase_mlx.adapters.checkpoints import import_checkpoint

    torch.set_num_threads(1)
    about = machine()
    print_machine(about)
    timed = (options.weights / f"{options.name}.nqx").resolve()
    checkpoints = [timed] if options.quick else sorted(options.weights.resolve().glob("*.nqx"))
    KEPT.mkdir(parents=True, exist_ok=True)
    data = KEPT / "crystals.extxyz"
    write(data, crystals())
    checkpoints += [] if options.quick else [sevennet()]
    deviations = {path.stem: parity(path, crystals(), data) for path in checkpoints}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        import_checkpoint(timed, folder / "model")
        rows = {OURS: times("ase_mlx", folder, sizes, checkpoint=str(folder / "model"))}
        rows[CHGNET] = times("chgnet", folder, sizes)
        rows[OWN] = times("nequix", folder, sizes, checkpoint=str(timed))
        if not options.quick:
            import_checkpoint(sevennet(), folder / "sevennet")
            rows[OUR_SEVENN] = times("ase_mlx", folder, sizes, checkpoint=str(folder / "sevennet"))
            rows[SEVENN] = times("sevenn", folder, sizes)
    print_times(rows, sizes)
    good = targets(deviations, rows)
    if options.json:
        result = {"machine": about, "parity": deviations, "rows": rows, "reached": good}
        Path(options.json).write_text(json.dumps(result, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
