"""Does the distance score see what a potential does not know, and do its bars hold there?

    python benchmarks/distance.py [NAME ...]

Potentials taught by classical ones (`data/surrogates`), whose truth is known for any structure: how many structures of
each kind are beyond the edge of the training data, and what share of the true energies and forces lies within the bars.
Their phonons, and whether the true frequencies lie within the bars before and after these are widened.
Then the shipped models: held-out DFT structures, and strange ones beside what DFT or experiment says of them.
"""

import argparse
import copy
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, diamond111, fcc111
from verdict import machine, print_machine, verdict

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import ForcesError, members, phonons
from ase_mlx.adapters.phonopy.members import narrowed
from ase_mlx.data.io import read_frames
from ase_mlx.data.samples import name_of, sample, split
from ase_mlx.graph import from_atoms
from ase_mlx.learn.files import load_model
from ase_mlx.pretrained import load

SURROGATES = Path(__file__).parent.parent / "data" / "surrogates"

LIMITS = {"AUROC": 0.97, "ordinary": 5.0, "large": 10.0, "68": 70.0, "95": 95.0}
"""At least; at most, %; at most, %; at least, % of flagged energies within σ and 2σ."""

ASKED = {
    "AUROC": "AUROC, wrong beside right ≥ 0.97",
    "ordinary": "held-out frames beyond 1 ≤ 5 %",
    "large": "large cells beyond 1 ≤ 10 %",
    "68": "flagged energies in σ ≥ 70 %",
    "95": "flagged energies in 2σ ≥ 95 %",
    "phonons": "frequencies beyond 1 in σ ≥ 68 %",
}

ORDINARY = "held-out frames", "large cells, ordinary"


def rows_of(model, frames: list[Atoms], kind_of) -> dict[str, list[dict]]:
    """By kind of structure: largest distance, error and bar of the energy (eV), of the force components (eV/Å)."""
    alone = copy.deepcopy(model)
    alone.std_beyond.zero_()
    kinds = defaultdict(list)
    for k, atoms in enumerate(frames):
        s = sample(atoms, model.cutoff, name_of(atoms, k))
        p, narrow = model.with_std(s.graph), alone.with_std(s.graph)
        energy = abs(float(p["energy"] - s.targets["energy"]))
        forces = (p["forces"] - s.targets["forces"]).abs().flatten().numpy()
        z = np.append(forces / narrow.std["forces"].flatten().numpy(), energy / float(narrow.std["energy"]))
        kinds[kind_of(atoms)].append(
            {
                "distance": float(p["distance"].max()),
                "energy": energy,
                "energy std": float(p.std["energy"]),
                "atoms": len(atoms),
                "forces": forces,
                "forces std": p.std["forces"].flatten().numpy(),
                "wrong": z[-1] > 3,
                "wrong somewhere": bool(z.max() > 3),
            }  # fmt: skip
        )
    return kinds


def line(kind: str, rows: list[dict]) -> str:
    """One row of the table."""
    d = np.array([r["distance"] for r in rows])
    z = np.array([r["energy"] / r["energy std"] for r in rows])
    force, bar = (np.concatenate([r[name] for r in rows]) for name in ("forces", "forces std"))
    per_atom = 1e3 * np.median([r["energy"] / r["atoms"] for r in rows])
    inside = lambda x, k: f"{100 * np.mean(x <= k):6.0f}"  # noqa: E731
    return (
        f"{kind:26s} {len(rows):7d} {100 * np.mean(d > 1):8.0f} {d.min():7.2f} {d.max():7.2f}"
        f" {100 * np.mean([r['wrong'] for r in rows]):8.0f} {per_atom:12.1f} {inside(z, 1)} {inside(z, 2)}"
        f" {1e3 * np.sqrt(np.mean(force**2)):12.0f} {inside(force / bar, 1)} {inside(force / bar, 2)}"
    )


HEADER = (
    f"{'':26s} {'':7s} {'beyond':>8s} {'distance':>15s} {'wrong,':>8s} {'energies, median':>26s} {'forces, rms':>26s}\n"
    f"{'kind':26s} {'frames':>7s} {'1, %':>8s} {'from':>7s} {'to':>7s} {'%':>8s} {'meV/atom':>12s}"
    f" {'in σ':>6s} {'2σ':>6s} {'meV/Å':>12s} {'in σ':>6s} {'2σ':>6s}"
)


def auroc(high: np.ndarray, low: np.ndarray) -> float:
    """Share of pairs in which what is wrong has the larger score."""
    return float(np.mean((high[:, None] > low) + 0.5 * (high[:, None] == low))) if len(high) * len(low) else np.nan


def in_short(rows: list[dict]) -> list[str]:
    """Columns of a kind in the overview."""
    z = np.array([r["energy"] / r["energy std"] for r in rows])
    beyond, per_atom = np.mean([r["distance"] > 1 for r in rows]), np.median([r["energy"] / r["atoms"] for r in rows])
    return [f"{100 * beyond:.0f}", f"{1e3 * per_atom:.1f}", f"{100 * np.mean(z <= 2):.0f}"]


def overview(title: str, heads: list[str], tables: dict[str, dict[str, list[str]]]) -> None:
    """Print what is asked of all surrogates side by side."""
    print(f"\n{title}\n{'':34}" + "".join(f"{name:>{13 * len(heads)}}" for name in tables))
    if any(heads):
        print(f"{'':34}" + len(tables) * "".join(f"{head:>13}" for head in heads))
    for row in dict.fromkeys(name for table in tables.values() for name in table):
        cells = (cell for table in tables.values() for cell in table.get(row, len(heads) * [""]))
        print(f"{row:34}" + "".join(f"{cell:>13}" for cell in cells))


def surrogate(folder: Path) -> dict:
    """Print the table of one surrogate and return what is asked of it."""
    model, frames = load_model(folder / "model"), read_frames(folder / "structures.extxyz.xz")
    kinds = rows_of(model, frames, lambda a: a.info["kind"])
    print(f"\n{folder.name}: a potential taught by a classical one\n{HEADER}")
    for kind in sorted(kinds, key=lambda k: (k not in ORDINARY, k)):
        print(line(kind, kinds[kind]))
    rows = [r for kind, rs in kinds.items() if "stacking" not in kind for r in rs]
    d, wrong = np.array([r["distance"] for r in rows]), np.array([r["wrong"] for r in rows])
    flagged = [r for kind, rs in kinds.items() if kind not in ORDINARY for r in rs if r["distance"] > 1]
    z = np.array([r["energy"] / r["energy std"] for r in flagged])
    share = lambda kind: 100 * np.mean([r["distance"] > 1 for r in kinds[kind]])  # noqa: E731
    return {
        "AUROC": auroc(d[wrong], d[~wrong]),
        "ordinary": share(ORDINARY[0]), "large": share(ORDINARY[1]),
        "68": 100 * np.mean(z <= 1), "95": 100 * np.mean(z <= 2),
        "kinds": {kind: in_short(kinds[kind]) for kind in sorted(kinds, key=lambda k: (k not in ORDINARY, k))},
    }  # fmt: skip


def crystals(name: str) -> list[tuple[str, Atoms]]:
    """Ordinary, strained and other crystals of a surrogate's element, and one of vacancies."""
    symbol, structure, a = {"al_emt": ("Al", "fcc", 4.0), "si_tersoff": ("Si", "diamond", 5.432)}.get(
        name, ("Cu", "fcc", 3.59)
    )
    perfect = bulk(symbol, structure, a=a)
    volume, cubic = perfect.get_volume() / len(perfect), bulk(symbol, structure, a=a, cubic=True)
    rows = [
        (f"{structure}, length × {x:g}", bulk(symbol, structure, a=a * x)) for x in (0.92, 0.98, 1, 1.02, 1.06, 1.1)
    ]
    for other, count, wide in (("bcc", 2, 1), ("sc", 1, 1), ("fcc", 4, 1), ("diamond", 8, 1.12)):
        for x in (0.97, 1.03):
            if other != structure:
                rows.append((f"{other}, length × {x:g}", bulk(symbol, other, a=(count * volume) ** (1 / 3) * wide * x)))
    missing = cubic * (2, 2, 1) if len(cubic) == 4 else cubic
    del missing[0]
    return [*rows, ("a vacancy in each cell", missing)]


def phonons_of(folder: Path) -> tuple[float, dict[str, list[str]]]:
    """Print errors of frequencies and bars; the share (%) within σ beyond 1 comes back, and rows in short."""
    sys.path.insert(0, str(SURROGATES))
    from make import SURROGATES as TEACHERS

    teacher, model = TEACHERS[folder.name].teacher(), Calculator(folder / "model", dtype="float64")
    print(f"\n{folder.name}: frequencies on 5³ points, truth beside model{'':30s}bars as inside       widened")
    two = f"  {'in σ %':>8s} {'2σ':>5s}"
    print(f"{'crystal':28s} distance  truth, rms THz  error, rms THz{two}{two}")
    shares, short, own = [], {}, crystals(folder.name)[0][0].split(",")[0]
    for label, atoms in crystals(folder.name):
        options = {"supercell": 9.0, "relax": False, "on_imaginary": "report"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            distance = float(model.get_property("distance", atoms).max())
            try:
                truth, ph = (phonons(atoms, one, **options) for one in (teacher, model))
            except ForcesError as error:
                print(f"{label:28s} {distance:8.2f}  left out: {str(error)[:60]}")
                continue
            near, factor = narrowed(ph, members(ph, model))
        true, mean, *each = (one.run_mesh([5, 5, 5], is_gamma_center=True).frequencies for one in (truth, ph, *near))
        counted = np.abs(true) > 0.3
        z = np.abs(mean - true)[counted] / np.std(each, axis=0, ddof=1)[counted]
        inside = [100 * np.mean(z <= k * wide) for wide in (1, factor) for k in (1, 2)]
        rms = [np.sqrt(np.mean(x[counted] ** 2)) for x in (true, mean - true)]
        print(f"{label:28s} {distance:8.2f}  {rms[0]:14.2f}  {rms[1]:14.2f}  {inside[0]:8.0f} {inside[1]:5.0f}"
              f"  {inside[2]:8.0f} {inside[3]:5.0f}", flush=True)  # fmt: skip
        shares += [inside[2]] * (distance > 1)
        name = label.replace(f"{own}, length", "at rest").replace(", length", "").split(" in ")[0]
        short[name] = [f"{distance:.2f}", f"{rms[1]:.2f}", f"{inside[2]:.0f}"]
    return float(np.mean(shares)), short


def shipped(name: str) -> float:
    """Print the table of held-out DFT frames of a shipped model; the share of frames beyond 1 comes back, %."""
    model = load(name)
    frames = read_frames(Path(__file__).parent.parent / "data" / f"{name}.extxyz.xz")
    test = [frames[k] for k in split(frames)["test"]]
    print(f"\n{name}: held-out DFT frames\n{HEADER}")
    kinds = rows_of(model, test, lambda a: a.get_chemical_formula(empirical=True))
    for kind in sorted(kinds):
        print(line(kind, kinds[kind]))
    everything = [r for rows in kinds.values() for r in rows]
    print(line("all", everything))
    return 100 * np.mean([r["distance"] > 1 for r in everything])


def energy(model, atoms: Atoms) -> tuple[float, float, float, int]:
    """Energy and its bar (eV), the largest distance and the number of atoms beyond 1."""
    p = model.with_std(from_atoms(atoms, model.cutoff))
    return float(p["energy"]), float(p.std["energy"]), float(p["distance"].max()), int((p["distance"] > 1).sum())


def examples() -> list[tuple[str, float, float, float, float, int]]:
    """What people ask of crystals beyond bulk: prediction, bar, what DFT or experiment says, distance, atoms beyond."""
    rows = []
    for name, symbol, structure, a, free, missing in (
        ("sigesn", "Si", "diamond", 5.47, 4.6, 3.6),
        ("al", "Al", "fcc", 4.045, 3.5, 0.65),
    ):
        model = load(name)
        perfect = bulk(symbol, structure, a=a, cubic=True) * ((3, 3, 3) if symbol == "Si" else (4, 4, 4))
        reference = energy(model, perfect)[0] / len(perfect)
        atom = energy(model, Atoms(symbol))
        rows.append((f"{symbol}: cohesive energy, eV", atom[0] - reference, atom[1], free, *atom[2:]))
        vacancy = perfect.copy()
        del vacancy[0]
        e = energy(model, vacancy)
        rows.append((f"{symbol}: vacancy, unrelaxed, eV", e[0] - len(vacancy) * reference, e[1], missing, *e[2:]))
        slab = (fcc111 if symbol == "Al" else diamond111)(symbol, (2, 2, 8), a=a, vacuum=8.0)
        slab.pbc = True
        e = energy(model, slab)
        area = 2 * np.linalg.norm(np.cross(slab.cell[0], slab.cell[1])) / 16.0217663
        truth = 0.8 if symbol == "Al" else 1.7
        rows.append((f"{symbol}(111), J/m²", (e[0] - len(slab) * reference) / area, e[1] / area, truth, *e[2:]))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="surrogates, instead of all")
    names = parser.parse_args().names
    torch.set_num_threads(1)
    print_machine(machine())
    reached, kinds, modes, goals = [], {}, {}, {}
    for folder in sorted(f.parent for f in SURROGATES.glob("*/structures.extxyz.xz")):
        if not names or folder.name in names:
            found = surrogate(folder)
            kinds[folder.name] = found.pop("kinds")
            found["phonons"], modes[folder.name] = phonons_of(folder)
            goals[folder.name] = {
                text: [f"{found[name]:.3f}" if name == "AUROC" else f"{found[name]:.0f}"]
                for name, text in ASKED.items()
            }
            reached += [
                (f"{folder.name}: AUROC of the largest distance", found["AUROC"], "≥", LIMITS["AUROC"]),
                (f"{folder.name}: held-out frames beyond 1, %", found["ordinary"], "≤", LIMITS["ordinary"]),
                (f"{folder.name}: large ordinary cells beyond 1, %", found["large"], "≤", LIMITS["large"]),
                (f"{folder.name}: flagged energies within σ, %", found["68"], "≥", LIMITS["68"]),
                (f"{folder.name}: flagged energies within 2σ, %", found["95"], "≥", LIMITS["95"]),
                (f"{folder.name}: frequencies beyond 1 within σ, %", found["phonons"], "≥", 68.0),
            ]
    overview("What is asked of potentials taught by classical ones", [""], goals)
    heads = ["beyond 1, %", "meV/atom", "in 2σ, %"]
    overview("By kind: beyond the edge, error of the energy (median), inside its bar", heads, kinds)
    overview("Frequencies: distance, error (rms), inside widened bars", ["distance", "THz", "in σ, %"], modes)
    for name in () if names else ("sigesn", "al"):
        reached.append((f"{name}: held-out frames beyond 1, %", shipped(name), "≤", LIMITS["ordinary"]))
    if not names:
        print(f"\n{'shipped models':28s} predicted     bar   truth  distance  atoms beyond 1")
        for label, value, bar, truth, distance, count in examples():
            print(f"{label:28s} {value:9.2f} {bar:7.2f} {truth:7.2f} {distance:9.2f} {count:15d}")
            reached.append(
                (f"{label}: inside its bar, or flagged", float(abs(value - truth) < bar or count > 0), "≥", 1)
            )
    return 0 if verdict(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
