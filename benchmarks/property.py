"""Properties of crystals that no training saw: descriptors, networks from scratch, a network on universal's trunk.

    python benchmarks/property.py [-o FOLDER] [--rows NAME ...] [--quick] [--json FILE]

All learn the `train` part of `mp_crystals.parquet` (and 87 ground states of elements), set their bars on `val`, and are
judged on `test`, split by formula. "neighbour sums" is the textbooks' h ← σ(W(h + Σh)) with as many parameters as the
network from scratch. That on universal's trunk also learns energies under strain and of elements in simple lattices
(`data/property_labels.py` writes them first). Its teacher has seen the Materials Project: its row says what trunk and
labels bring, not what is known of a crystal that nobody computed. Trainings stay in FOLDER and go on after a kill; they
take half an hour of a core each.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
from ase.build import bulk
from verdict import machine, print_machine, verdict

import ase_mlx as am
from ase_mlx.graph import from_atoms
from ase_mlx.learn.files import load_model
from ase_mlx.learn.metrics import errors
from ase_mlx.learn.recipe import evaluating, read_training
from ase_mlx.learn.recipes.crystal_network import CrystalNetworkRecipe
from ase_mlx.learn.run import run
from ase_mlx.models.crystal_network import CrystalNetwork, CrystalNetworkConfig

DATA = Path(__file__).resolve().parents[1] / "data"
DESCRIPTORS, SCRATCH, SUMS, TRUNK = "descriptors", "from scratch", "neighbour sums", "universal's trunk"
DIRECT = {"GaAs": 5.75, "InP": 5.97, "CdTe": 6.62, "ZnS": 5.45, "ZnSe": 5.74, "ZnTe": 6.18, "CdSe": 6.21, "GaN": 4.55}
"""Zincblende semiconductors with a direct gap and PBE's lattice constants, Å: under pressure their gaps rise."""

UNITS = {"formation_energy": "meV/atom", "hull_distance": "meV/atom", "band_gap": "meV", "metal_probability": "AUROC"}


def parameters(model) -> int:
    """Count the weights of a model."""
    return sum(p.numel() for p in model.parameters())


def settings(row: str, quick: Path | None):
    """Give the training of a row: that of data/property_scratch.toml, or what differs from it."""
    _, config = read_training(DATA / ("property.toml" if row == TRUNK else "property_scratch.toml"))
    if row == SUMS:
        target, sizes = parameters(fresh(config, "equivariant", 64)), range(64, 1024, 8)
        channels = min(sizes, key=lambda c: abs(parameters(fresh(config, "sums", c)) - target))
        config = replace(config, model={"messages": "sums", "channels": channels})
    if quick:
        config = replace(config, data=replace(config.data, file=str(quick)), fit=replace(config.fit, epochs=2))
    return config


def fresh(config, messages: str, channels: int) -> CrystalNetwork:
    """Make an untrained network for all elements, whose weights are counted."""
    elements = tuple(range(1, 88))
    return CrystalNetwork(
        CrystalNetworkConfig(tuple(config.data.properties), elements, channels=channels, messages=messages)
    )


def trained(row: str, folder: Path, quick: Path | None):
    """Train the network of a row, or take the one that is there."""
    if not (folder / "card.json").exists():
        recipe = CrystalNetworkRecipe(settings(row, quick))
        run(recipe, folder, lambda p: print(f"  {row}: epoch {p.epoch}, {p.val_loss:.4f}", file=sys.stderr, flush=True))
    return load_model(folder)


def judged(model, table: Path) -> dict:
    """Errors on the test part, by target, and CPU milliseconds a crystal without reading."""
    kind = "crystal_network" if isinstance(model, CrystalNetwork) else "crystal_property"
    recipe = evaluating(model, kind, table)
    data = recipe.read(model, table, "test")
    start = process_time()
    rows = errors(recipe.residuals(model, data))
    return rows | {"ms": 1e3 * (process_time() - start) / len(data)}


def show(rows: dict[str, dict]) -> None:
    """Print the table, a line a model."""
    print(
        f"\n{'test part':19}{'weights':>8}" + "".join(f"{name.replace('_', ' '):>19}" for name in UNITS) + f"{'ms':>9}"
    )
    print(f"{'MAE, inside 90 %':27}" + "".join(f"{unit:>19}" for unit in UNITS.values()) + f"{'each':>9}")
    for name, row in rows.items():
        cells = []
        for target in UNITS:
            r = row["errors"].get(target)
            if r is None:
                cells.append(f"{'—':>19}")
            elif target == "metal_probability":
                cells.append(f"{r['auroc']:19.3f}")
            else:
                cells.append(f"{r['mae']:10.1f}{100 * r['inside_90']:7.1f} %")
        print(f"{name:19}{row['weights']:8}" + "".join(cells) + f"{row['errors']['ms']:9.2f}")


def expanded(models: dict) -> None:
    """Print how the gaps of direct semiconductors change with the volume: fall, in nature."""
    print("\ngap and its change by the logarithm of the volume, eV; in nature all fall (Phys. Rev. B 60, 5404)")
    print(f"{'':13}" + "".join(f"{name:>19}" for name in models))
    right = dict.fromkeys(models, 0)
    for name, a in DIRECT.items():
        cells = []
        for label, model in models.items():
            graph = from_atoms(bulk(name, "zincblende", a=a), model.cutoff)
            value, slope = model.double().by_strain(graph, "band_gap")
            change = float(slope[0, :3].sum()) / 3
            right[label] += change < 0
            cells.append(f"{float(value[0]):11.2f}{change:+8.2f}")
        print(f"{name:13}" + "".join(cells))
    print(f"{'right sign':13}" + "".join(f"{count:14} of {len(DIRECT)}" for count in right.values()))


def figures(rows: dict[str, dict]) -> list[tuple[str, float, str, float]]:
    """List what is to be reached."""
    mae = {name: row["errors"]["formation_energy"]["mae"] for name, row in rows.items()}
    lines = []
    if SCRATCH in rows:
        lines.append(("from scratch, formation energy, meV/atom", mae[SCRATCH], "≤", mae[DESCRIPTORS]))
        lines.append(("from scratch, goal", mae[SCRATCH], "≤", 45.0))
        lines.append(("metals, from scratch", rows[SCRATCH]["errors"]["metal_probability"]["auroc"], "≥", 0.93))
    if TRUNK in rows:
        lines.append(("on the trunk, formation energy, meV/atom", mae[TRUNK], "≤", 35.0))
        lines.append(("metals, on the trunk", rows[TRUNK]["errors"]["metal_probability"]["auroc"], "≥", 0.95))
    for name, row in rows.items():
        inside = [r["inside_90"] for r in row["errors"].values() if isinstance(r, dict) and "inside_90" in r]
        lines.append((f"90 % bars, {name}, points off", 100 * max(abs(x - 0.9) for x in inside), "≤", 2.0))
    return lines


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=DATA.parent / "runs" / "property")
    parser.add_argument("--rows", nargs="*", default=[SCRATCH, SUMS, TRUNK])
    parser.add_argument("--quick", action="store_true", help="1,500 crystals, two epochs")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print_machine(about := machine())
    table, quick = DATA / "mp_crystals.parquet", None
    if args.quick:
        args.out = args.out / "quick"
        args.out.mkdir(parents=True, exist_ok=True)
        table = quick = args.out / "crystals.parquet"
        pd.read_parquet(DATA / "mp_crystals.parquet").sample(1500, random_state=np.random.RandomState(0)).to_parquet(
            quick
        )
    models = {DESCRIPTORS: am.load("formation_energy")}
    models |= {row: trained(row, args.out / row.replace("'s", "").replace(" ", "_"), quick) for row in args.rows}
    rows = {name: {"weights": parameters(m), "errors": judged(m, table)} for name, m in models.items()}
    show(rows)
    expanded({name: model for name, model in models.items() if isinstance(model, CrystalNetwork)})
    ok = verdict(figures(rows))
    if args.json:
        args.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1, default=float))
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
