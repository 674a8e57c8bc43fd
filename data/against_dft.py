"""Measure how far the labels of a foundation potential are from DFT, by class of bonding, and write it into cards.

    python data/against_dft.py nequix-oam-1-pft                      # measures: ase_mlx/weights/errors_against_dft.json
    python data/against_dft.py MODEL_FOLDER --labels nequix-oam-1-pft  # the table into the card of a student

What is known of DFT: crystals of the part `test` of mp_crystals.parquet, minima of the Materials Project (so forces and
stresses there are upper bounds of the error, since those relaxations stop at an energy), their formation energies, and
the Quantum ESPRESSO frames of sigesn.extxyz.xz and al.extxyz.xz, which no teacher saw (Si for covalent crystals, Al for
metals; Ge and Sn, whose d electrons are in the core there, apart; columns of the Hessian and frames of one k point are
left out). Energies are relative to the elements: one reference energy an element is fitted, and another one for what
the Materials Project corrects so that its energies are on one scale: metals in oxides and fluorides with a Hubbard U,
and anions. Nothing is known of hot frames of other materials: their shares of forces and stress are the larger of those
of Si and Al.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ase import Atoms

import ase_mlx as am
from ase_mlx.adapters.checkpoints import load_named
from ase_mlx.adapters.checkpoints.published import TABLES, published
from ase_mlx.data.io import read_frames
from ase_mlx.descriptors.bond_classes import CLASSES, NONMETALS, WITH_U, bond_class, has_u
from ase_mlx.descriptors.elements import element_property
from ase_mlx.graph import from_atoms
from ase_mlx.learn.cards import CARD, read_card
from ase_mlx.models.against_dft import LINE, MEASURED, AgainstDFT, mean_square
from ase_mlx.models.extrapolation import once
from ase_mlx.models.predict import predict
from ase_mlx.pretrained import find
from ase_mlx.units import EV_PER_A3_IN_GPA

HERE = Path(__file__).resolve().parent
FRAMES = {
    "Si, hot and strained": ("sigesn.extxyz.xz", {"Si"}),
    "Si–Ge–Sn, hot and strained": ("sigesn.extxyz.xz", {"Si", "Ge", "Sn"}),
    "Al, hot and strained": ("al.extxyz.xz", {"Al"}),
}
SHARES = {CLASSES[1]: "Si, hot and strained", CLASSES[0]: "Al, hot and strained"}
"""Frames that the shares of forces and stress of a class are from."""

SAMPLED = ("MD", "rattle", "ideal")
"""Words in `config_kind` of snapshots, and not of displaced supercells and columns of the Hessian."""

SYMMETRIC = {"forces": 1e-4, "stress": 1e-6}
"""eV/Å, eV/Å³; components of crystals at rest that are below are zero by symmetry: they say nothing of errors."""

CORRECTED = frozenset("O S Se Te Si Sb H N F Cl Br I".split())
"""Elements whose energies as anions the Materials Project corrects: A. Wang et al., Sci. Rep. 11, 15496 (2021)."""

BOND, NEAR = 1.15, 3.5
"""Bonds are shorter than 1.15 sums of two covalent radii, and of two nonmetals than 3.5 Å."""

INSIDE_68, INSIDE_95 = 0.6827, 0.95
SOURCE = (
    "data/against_dft.py: {crystals} crystals of the Materials Project at rest, whose forces and stresses are upper "
    "bounds, energies relative to the elements; shares of forces and stress by {frames} hot and strained frames of Si "
    "and of Al (Quantum ESPRESSO, PBE). Of hot frames of other materials there is no DFT: they have the larger share"
)


def crystals(quick: bool) -> tuple[list[Atoms], np.ndarray]:
    """Crystals of the test part and their formation energies in eV/atom."""
    table = pd.read_parquet(HERE / "mp_crystals.parquet")
    table = table[table.part == "test"].iloc[:: 10 if quick else 1]
    atoms = [
        Atoms(n, cell=c.reshape(3, 3), scaled_positions=x.reshape(-1, 3), pbc=True)
        for n, c, x in zip(table.numbers, table.lattice, table.frac_coords, strict=True)
    ]
    return atoms, table.formation_energy_per_atom.to_numpy()


def dft_frames(file: str, elements: set[str], quick: bool) -> list[Atoms]:
    """Labelled snapshots with just these elements."""
    frames = []
    for atoms in read_frames(HERE / file):
        info, kinds = atoms.info, set(atoms.symbols)
        alone = kinds == elements if len(elements) == 1 else len(kinds) > 1
        if alone and len(atoms) >= 4 and any(word in str(info.get("config_kind", "")) for word in SAMPLED):
            one_point = str(info.get("k_grid", "")).startswith("1 1 1") or info.get("family") in ("si64", "sige64")
            frames += [] if one_point else [atoms]
    return frames[:: 10 if quick else 1]


def species(atoms: Atoms) -> list[str]:
    """Elements of the atoms, apart where the Materials Project corrects its energies: with a Hubbard U, and as anions.

    An atom of `CORRECTED` is an anion unless most of its kind in the crystal have a more electronegative nonmetal as
    neighbour: sulphur in sulphides, not in sulphates.
    """
    symbols = np.array(atoms.symbols, dtype=object)
    kinds, names = set(symbols), symbols.copy()
    if has_u(kinds):
        anion = "O" if "O" in kinds else "F"
        names = [f"{s} with U in {anion}" if s in WITH_U else s for s in symbols]
    if len(kinds) == 1 or not kinds & CORRECTED:
        return list(names)
    graph, z = from_atoms(atoms, NEAR), atoms.numbers
    i, j = graph.center.numpy(), graph.neighbor.numpy()
    radius, chi = element_property("CovalentRadius") / 100, element_property("Electronegativity")
    near = np.linalg.norm(graph.vectors().numpy(), axis=1) < BOND * (radius[z[i]] + radius[z[j]])
    oxidised = np.zeros(len(atoms), bool)
    oxidised[i[near & (chi[z[j]] > chi[z[i]]) & np.isin(symbols[j], list(NONMETALS))]] = True
    anions = {s for s in kinds & CORRECTED if oxidised[symbols == s].mean() <= 0.5}
    return [f"{s} as anion" if s in anions else name for s, name in zip(symbols, names, strict=True)]


def fitted(energies: np.ndarray, atoms: list[list[str]], rounds: int = 4) -> dict[str, float]:
    """Best reference energy (eV) of each species; robust: several times, without outliers."""
    names = sorted({s for a in atoms for s in a})
    shares = np.array([[a.count(s) / len(a) for s in names] for a in atoms])
    kept = np.ones(len(atoms), bool)
    for _ in range(rounds):
        references = np.linalg.lstsq(shares[kept], energies[kept], rcond=None)[0]
        left = energies - shares @ references
        kept = np.abs(left) < 5 * np.median(np.abs(left))
    return dict(zip(names, references.tolist(), strict=True))


def relative(energies: np.ndarray, atoms: list[list[str]], references: dict[str, float]) -> np.ndarray:
    """Energies less the references (eV/atom); NaN where one is not known."""
    return energies - [np.mean([references.get(s, np.nan) for s in a]) for a in atoms]


@dataclass(frozen=True)
class Case:
    """A structure whose DFT is known: what a model says of it, and by how much that is off (eV/atom, eV/Å, eV/Å³)."""

    atoms: Atoms
    prediction: am.models.Prediction
    errors: dict[str, np.ndarray]

    @property
    def formula(self) -> str:
        """The reduced formula, by which halves are told apart."""
        return self.atoms.get_chemical_formula(empirical=True)

    @property
    def bonds(self) -> str:
        """The class of bonding."""
        return bond_class(self.atoms.symbols)


def predictions(model, atoms: list[Atoms]) -> list:
    """What a model says, with bars, of bare structures."""
    bare = [Atoms(a.numbers, a.positions, cell=a.cell, pbc=True) for a in atoms]
    with once(speak=False):
        return predict(model, bare)


def judged(case: Atoms, prediction, errors: dict[str, np.ndarray]) -> Case:
    """A case without the components that are zero by symmetry."""
    zero = {n: np.abs(prediction[n]) < size for n, size in SYMMETRIC.items()}
    return Case(case, prediction, {n: np.where(zero[n], np.nan, e) if n in zero else e for n, e in errors.items()})


def at_rest(model, quick: bool) -> tuple[list[Case], np.ndarray]:
    """Crystals that the model knows, errors of forces and stress, and energies less those of formation (eV/atom)."""
    atoms, formation = crystals(quick)
    known = np.array([set(a.numbers) <= set(model.elements) for a in atoms])
    atoms, formation = [a for a, k in zip(atoms, known, strict=True) if k], formation[known]
    answers = zip(atoms, predictions(model, atoms), strict=True)
    cases = [judged(a, p, {"forces": p["forces"], "stress": p["stress"]}) for a, p in answers]
    return cases, np.array([float(c.prediction["energy"]) / len(c.atoms) for c in cases]) - formation


def with_energies(cases: list[Case], energies: np.ndarray, references: dict[str, float]) -> list[Case]:
    """Add the errors of energies relative to the elements (eV/atom)."""
    left = relative(energies, [species(c.atoms) for c in cases], references)
    return [replace(c, errors=c.errors | {"energy": np.array([e])}) for c, e in zip(cases, left, strict=True)]


def of_frames(model, name: str, quick: bool) -> list[Case]:
    """Frames with DFT; energies relative to the best references of their own elements."""
    frames = dft_frames(*FRAMES[name], quick)
    answers = predictions(model, frames)
    energies = [(float(p["energy"]) - a.get_potential_energy()) / len(a) for p, a in zip(answers, frames, strict=True)]
    kinds = [list(a.symbols) for a in frames]
    left = relative(np.array(energies), kinds, fitted(np.array(energies), kinds))
    cases = []
    for a, p, e in zip(frames, answers, left, strict=True):
        errors = {"forces": p["forces"] - a.get_forces(), "stress": p["stress"] - a.get_stress()}
        cases.append(judged(a, p, errors | {"energy": np.array([e])}))
    return cases


def rms(case: Case, name: str) -> float:
    """Root mean square component of what is predicted."""
    return float(mean_square(name, torch.as_tensor(np.array(case.prediction[name]))).mean().sqrt())


def inner(values: Iterable[np.ndarray], share: float = INSIDE_68) -> float:
    """The size below which a share of the values lies."""
    pooled = np.abs(np.concatenate([np.ravel(v) for v in values]))
    return float(np.nanquantile(pooled, share))


def measured(cases: list[Case], frames: dict[str, list[Case]], labels: str, sha256: str) -> AgainstDFT:
    """The table of the model that predicted the cases: widths at rest, shares by frames."""
    classes: dict[str, dict] = {}
    for bonds in CLASSES:
        some = [c for c in cases if c.bonds == bonds]
        rows = classes[bonds] = {n: {"width": inner(c.errors[n] for c in some)} for n in MEASURED}
        for name, row in rows.items():
            row["count"] = int(sum(np.isfinite(c.errors[name]).sum() for c in some))
    shares = {
        bonds: {n: share(frames[which], n, classes[bonds][n]["width"]) for n in SYMMETRIC}
        for bonds, which in SHARES.items()
    }
    for bonds, rows in classes.items():
        for name in SYMMETRIC:
            rows[name]["share"] = shares[bonds][name] if bonds in shares else max(s[name] for s in shares.values())
    count = sum(len(frames[which]) for which in SHARES.values())
    return AgainstDFT(labels, sha256, classes, source=SOURCE.format(crystals=len(cases), frames=count))


def share(frames: list[Case], name: str, width: float) -> float:
    """The share s of the root mean square such that 68 % of the errors are within √(width² + s² rms²)."""
    squares = (np.square(c.errors[name]) - width**2 for c in frames)
    excess = np.concatenate([np.ravel(square / rms(c, name) ** 2) for square, c in zip(squares, frames, strict=True)])
    return float(np.sqrt(max(0.0, np.nanquantile(excess, INSIDE_68))))


def in_bars(case: Case, table: AgainstDFT) -> dict[str, np.ndarray]:
    """Errors in units of `std_dft`."""
    graph = from_atoms(case.atoms, 0.5)
    shapes = {n: case.prediction[n] if n == "forces" else case.prediction[n][None] for n in MEASURED}
    widths = table.widths(graph, {n: torch.as_tensor(np.array(v)) for n, v in shapes.items()})
    ratios = {}
    for name, width in widths.items():
        own = case.prediction.std[name] if name in case.prediction.std else 0.0
        bar = np.hypot(own, width.numpy().reshape(np.shape(case.prediction[name])))
        ratios[name] = case.errors[name] / (bar / len(case.atoms) if name == "energy" else bar)
    return ratios


def halves(cases: list[Case], seed: int = 0) -> np.ndarray:
    """Mark one half, drawn by formula, or by frame where there is one formula only."""
    keys = [c.formula for c in cases]
    keys = keys if len(set(keys)) > 10 else list(range(len(cases)))
    unique = sorted(set(keys))
    chosen = set(np.random.default_rng(seed).permutation(len(unique))[: len(unique) // 2].tolist())
    return np.array([unique.index(k) in chosen for k in keys])


def tails(cases: list[Case], table: AgainstDFT) -> AgainstDFT:
    """The table with the number of bars within which 95 % of the errors of the cases lie."""
    ratios = [in_bars(c, table) for c in cases]
    return replace(table, tail={n: inner((r[n] for r in ratios), INSIDE_95) for n in MEASURED})


def inside(cases: list[Case], table: AgainstDFT) -> dict[str, float]:
    """Count cases, and give of each quantity the shares (%) of errors within one bar and within `tail` bars."""
    ratios = [in_bars(c, table) for c in cases]
    row: dict[str, float] = {"count": len(cases)}
    for name in MEASURED:
        sizes = np.abs(np.concatenate([np.ravel(r[name]) for r in ratios]))
        sizes = sizes[np.isfinite(sizes)]
        for within, bars in ((68, 1.0), (95, table.tail[name])):
            row[f"{name} {within}"] = 100 * float((sizes <= bars).mean()) if len(sizes) else float("nan")
    return row


def coverage(cases: list[Case], table: AgainstDFT) -> dict[str, dict[str, float]]:
    """What lies inside the bars, by class and of all."""
    classes = {bonds: [c for c in cases if c.bonds == bonds] for bonds in CLASSES} | {"all": cases}
    return {bonds: inside(some, table) for bonds, some in classes.items() if some}


def print_coverage(title: str, rows: dict[str, dict[str, float]], table: AgainstDFT) -> None:
    """One line a class: shares within σ and within t σ, %."""
    print(f"\n{title}\n{'inside, %':32}" + "".join(f"{name:>14}" for name in MEASURED))
    tail = "".join(f"{'σ':>8}{table.tail[n]:4.1f} σ" for n in MEASURED)
    print(f"{'':24}{'cases':>8}{tail}")
    for bonds, row in rows.items():
        shares = "".join(f"{row[f'{n} 68']:8.1f}{row[f'{n} 95']:6.1f}" for n in MEASURED)
        print(f"{bonds:26}{row['count']:6}{shares}", flush=True)


def print_table(table: AgainstDFT) -> None:
    """Widths of each class: meV/atom, meV/Å and %, GPa and %."""
    columns = f"{'energy':>9}{'forces':>9}{'+ share':>10}{'stress':>9}{'+ share':>10}{'crystals':>10}"
    print(f"\n{'labels against DFT':26}{columns}")
    print(f"{'68 % within':26}{'meV/atom':>9}{'meV/Å':>9}{'of rms, %':>10}{'GPa':>9}{'of rms, %':>10}")
    for bonds, row in table.classes.items():
        forces, stress = (f"{100 * row[n]['share']:10.1f}" for n in SYMMETRIC)
        widths = (1e3 * row["energy"]["width"], 1e3 * row["forces"]["width"], EV_PER_A3_IN_GPA * row["stress"]["width"])
        energy, force, pressure = widths
        print(f"{bonds:26}{energy:9.1f}{force:9.1f}{forces}{pressure:9.2f}{stress}{row['energy']['count']:10}")


def measure(name: str) -> None:
    """Write the table of a published potential beside the shipped models."""
    model, one = load_named(name), published(read_card(find(name))["origin"]["sha256"])
    if one is None:
        raise ValueError(f"got {name!r}, expected one of the files that `ase-mlx import --list` names")
    cases, energies = at_rest(model, quick=False)
    references = fitted(energies, [species(c.atoms) for c in cases])
    cases = with_energies(cases, energies, references)
    frames = {which: of_frames(model, which, quick=False) for which in SHARES.values()}
    table = tails(cases, measured(cases, frames, one.name, one.sha256))
    print_table(table)
    tables = json.loads(TABLES.read_text("utf-8")) if TABLES.exists() else {}
    tables[one.name] = table.line() | {"references": references}
    TABLES.write_text(json.dumps(tables, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def carry(folder: Path, labels: str) -> None:
    """Write the table of a student's labels into its card, with the tails of its own bars."""
    lines = json.loads(TABLES.read_text("utf-8"))[labels]
    references = lines.pop("references")
    cases, energies = at_rest(load_named(folder), quick=False)
    cases = with_energies(cases, energies, references)
    table = tails(cases, AgainstDFT(**lines))
    print_coverage(f"{folder}, crystals at rest", coverage(cases, table), table)
    card = json.loads((folder / CARD).read_text("utf-8"))
    text = json.dumps(card | {LINE: table.line()}, indent=1, ensure_ascii=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def main() -> int:
    """Measure labels, or carry what was measured into a card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an imported potential's name or folder; with --labels a student's folder")
    parser.add_argument("--labels", help="the published potential that made the student's labels")
    arguments = parser.parse_args()
    if arguments.labels:
        carry(Path(arguments.model), arguments.labels)
    else:
        measure(arguments.model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
