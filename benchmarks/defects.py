"""Do the models that were taught by DFT hold where their learning asked for labels, and where it did not?

    python benchmarks/defects.py [--model al=FOLDER ...] [--data FILE ...] [--json FILE]

Frames of data/active/MODEL_judged.extxyz.xz, labelled before anything was learned (`data/make_defects.py`), by kind:
rms error of forces and stress, as shares of the rms of the labels, and of the energy, less one zero of energy of all
frames, since other settings have another; shares of force components within the 68 and 95 % bars, of energies within
95 %; frames flagged (distance above 1). Kinds that the learning may ask for: forces within 6 % of the rms, coverage
within 8 points, at most 20 % of the frames flagged. Kinds kept from it (`asked=False`): the same, or at least 90 % of
the frames flagged and 90 % of the components within 95 % bars. Exit code 1 where a figure is missed.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from verdict import machine, print_machine, verdict

import ase_mlx as am
from ase_mlx.data.io import read_frames
from ase_mlx.models.extrapolation import once
from ase_mlx.units import NORMAL_95

JUDGED = Path(__file__).resolve().parents[1] / "data" / "active"
COLUMNS = ("kind", "frames", "comp.", "rms F", "F %", "E meV", "S %", "in 68", "in 95", "E in 95", "flagged")


def rows_of(model, frames: list[Atoms]) -> list[dict]:
    """One row a kind."""
    with once(speak=False):
        predictions = am.predict(model, [a.copy() for a in frames])
    offset = np.median(
        [(p["energy"] - a.get_potential_energy()) / len(a) for p, a in zip(predictions, frames, strict=True)]
    )
    tail = model.tail
    rows = []
    for kind in dict.fromkeys(str(a.info["kind"]) for a in frames):
        chosen = [(a, p) for a, p in zip(frames, predictions, strict=True) if a.info["kind"] == kind]
        forces = np.concatenate([a.get_forces().ravel() for a, _ in chosen])
        error = np.concatenate([np.ravel(p["forces"]) - a.get_forces().ravel() for a, p in chosen])
        std = np.concatenate([np.ravel(p.std["forces"]) for _, p in chosen])
        energy = np.array([(p["energy"] - a.get_potential_energy()) / len(a) - offset for a, p in chosen])
        bar = np.array([p.std["energy"] / len(a) for a, p in chosen])
        stress = np.array([np.array(p["stress"]) - a.get_stress() for a, p in chosen])
        labels = np.array([a.get_stress() for a, _ in chosen])
        distance = np.array([np.max(p["distance"]) for _, p in chosen])
        rows.append({
            "kind": kind, "frames": len(chosen), "components": len(forces),
            "asked": bool(chosen[0][0].info.get("asked", True)),
            "rms": float(np.sqrt(np.square(forces).mean())),
            "forces": float(100 * np.sqrt(np.square(error).mean() / np.square(forces).mean())),
            "energy": float(1000 * np.sqrt(np.square(energy).mean())),
            "stress": float(100 * np.sqrt(np.square(stress).mean() / np.square(labels).mean())),
            "inside 68": float(100 * (np.abs(error) <= std).mean()),
            "inside 95": float(100 * (np.abs(error) <= tail.get("forces", NORMAL_95) * std).mean()),
            "energy inside 95": float(100 * (np.abs(energy) <= tail.get("energy", NORMAL_95) * bar).mean()),
            "flagged": float(100 * (distance > 1).mean()),
        })  # fmt: skip
    return rows


def holds(row: dict) -> bool:
    """Whether a kind reaches its figures."""
    close = abs(row["inside 68"] - 68) <= 8 and abs(row["inside 95"] - 95) <= 8
    good = row["forces"] <= 6 and close and row["flagged"] <= 20
    return good or (not row["asked"] and row["flagged"] >= 90 and row["inside 95"] >= 90)


def table(name: str, rows: list[dict]) -> None:
    """Print the rows of a model."""
    print(f"\n{name}: rms in eV/Å, errors of energies in meV/atom, the rest in %; * kept from the learning")
    print(f"{COLUMNS[0]:18}" + "".join(f"{c:>9}" for c in COLUMNS[1:]))
    for row in rows:
        mark = "" if row["asked"] else " *"
        values = (
            row["forces"],
            row["energy"],
            row["stress"],
            row["inside 68"],
            row["inside 95"],
            row["energy inside 95"],
        )
        print(
            f"{row['kind'] + mark:18}{row['frames']:9}{row['components']:9}{row['rms']:9.3f}"
            + "".join(f"{v:9.1f}" for v in values) + f"{row['flagged']:9.0f}" + ("" if holds(row) else "   missed")
        )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="*", default=[], metavar="NAME=FOLDER", help="in place of the shipped one")
    parser.add_argument("--data", nargs="*", type=Path, default=[], help="files NAME_judged.*, default data/active")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print_machine(machine())
    places = dict(pair.split("=", 1) for pair in options.model)
    results, figures = {}, []
    for path in options.data or sorted(JUDGED.glob("*_judged.extxyz.xz")):
        name = path.name.split("_judged")[0]
        rows = rows_of(am.load(places.get(name, name)), read_frames(path))
        table(name, rows)
        results[name] = rows
        for kind, those in (
            ("asked for", [r for r in rows if r["asked"]]),
            ("kept out", [r for r in rows if not r["asked"]]),
        ):
            if those:
                figures.append((f"{name}, kinds {kind} that hold", sum(map(holds, those)) / len(those), "≥", 1.0))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": results}, indent=1), encoding="utf-8")
    return 0 if verdict(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
