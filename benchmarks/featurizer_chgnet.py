"""ThermalFeaturizer over a dataframe of 20 Materials Project crystals with CHGNet as calculator, failures included.

    python benchmarks/featurizer_chgnet.py [--quick] [--markdown] [--folder FOLDER] [--json FILE]

CHGNet 0.4.2 lives in an environment of its own beside this package, which the first call builds. Its forces are in
single precision: displacements are 0.03 Å. Supercells are 15 Å high, all else is the featurizer's default (relaxation,
six volumes, 300 K). Finished rows and supercells stay in the folder: the same call goes on after a kill.

Which crystals: `--choose CRYSTALS.parquet` writes benchmarks/featurizer_crystals.extxyz anew. From the table's crystals
of at most eight atoms, in the order of the SHA-256 of their Materials Project number, the first of each kind: four
elements, four ionic (one alkali or alkaline earth metal with oxygen or a halogen), four covalent (B, C, N, Si, P, S,
Ge, As, Se, Sb, Te with each other or Al, Ga, In, Sn), three intermetallic, three cubic perovskites with oxygen or a
halogen, one with a noble gas, and one whose atoms leave a gap of more than 6 Å. The rule knows no results; the gap was
added to it after a first run, so that one row fails.

Exit code 1 where a row has neither numbers nor a flag nor an error, or a heat capacity beyond Dulong and Petit's.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import io
import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
CRYSTALS = HERE / "featurizer_crystals.extxyz"
ORIGIN = "Materials Project (CC BY 4.0), A. Jain et al., APL Mater. 1, 011002 (2013)"
DISPLACEMENT, SUPERCELL = 0.03, 15.0  # Å
QUICK = ("covalent", "noble gas", "gap")
MOST_ATOMS = 8

ALKALI = {3, 11, 19, 37, 55, 4, 12, 20, 38, 56}
HALOGEN_OXYGEN = {8, 9, 17, 35, 53}
NONMETAL = {5, 6, 7, 14, 15, 16, 32, 33, 34, 51, 52}
P_BLOCK = NONMETAL | {13, 31, 49, 50}
NOBLE = {2, 10, 18, 36, 54}
COLUMNS = {
    "stable": ("stable", "{}"),
    "min_frequency_THz": ("lowest, THz", "{:.2f}"),
    "C_V_300K": ("C_V, J/(K mol)", "{:.2f}"),
    "S_300K": ("S, J/(K mol)", "{:.2f}"),
    "F_300K": ("F, kJ/mol", "{:.3f}"),
    "theta_D": ("θ_D, K", "{:.0f}"),
    "alpha_300K": ("α, 10⁻⁶/K", "{:.1f}"),
    "gamma_mean": ("γ", "{:.2f}"),
}


def kind(row, atoms) -> str | None:
    """Which of the seven kinds a crystal of the table is."""
    from pymatgen.core import Element

    from ase_mlx.adapters.ase.supercells import kind as kind_of

    found = {int(z) for z in row.numbers}
    if found & NOBLE:
        return "noble gas"
    if kind_of(atoms) != "crystal":
        return "gap"
    if len(found) == 1:
        return "element"
    if len(found) == 2 and len(found & ALKALI) == 1 and len(found & HALOGEN_OXYGEN) == 1:
        return "ionic"
    if row.nsites == 5 and row.spacegroup == 221 and len(found) == 3 and found & HALOGEN_OXYGEN:
        return "perovskite"
    if found <= P_BLOCK and found & NONMETAL:
        return "covalent"
    return "intermetallic" if all(Element.from_Z(z).is_metal for z in found) else None


def choose(table: str) -> None:
    """Write the 20 crystals by the rule above."""
    import pandas
    from ase import Atoms
    from ase.io import write

    rows = pandas.read_parquet(table)
    rows = rows[rows.nsites <= MOST_ATOMS]
    left = {"element": 4, "ionic": 4, "covalent": 4, "intermetallic": 3, "perovskite": 3, "noble gas": 1, "gap": 1}
    frames = []
    for row in sorted(rows.itertuples(), key=lambda row: hashlib.sha256(row.material_id.encode()).hexdigest()):
        cell = np.reshape(row.lattice, (3, 3))
        atoms = Atoms(row.numbers, cell=cell, scaled_positions=np.reshape(row.frac_coords, (-1, 3)), pbc=True)
        name = kind(row, atoms)
        if left.get(name, 0) == 0:
            continue
        left[name] -= 1
        atoms.info = {"material_id": row.material_id, "formula": row.formula, "kind": name}
        atoms.info |= {"spacegroup": int(row.spacegroup), "origin": ORIGIN}
        frames.append(atoms)
    frames.sort(key=lambda atoms: list(left).index(atoms.info["kind"]))
    write(CRYSTALS, frames, format="extxyz")


def table(quick: bool):
    """The dataframe that is featurized: number, formula, kind, space group, atoms."""
    import pandas
    from ase.io import read

    frames = read(CRYSTALS, ":")
    if quick:
        frames = [next(f for f in frames if f.info["kind"] == one) for one in QUICK]
    rows = [{name: f.info[name] for name in ("material_id", "formula", "kind", "spacegroup")} for f in frames]
    return pandas.DataFrame(rows).assign(atoms=pandas.Series(frames))


def chgnet():
    """CHGNet's released calculator on one thread."""
    import torch
    from chgnet.model.dynamics import CHGNetCalculator

    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        return CHGNetCalculator(use_device="cpu")


def noise(atoms, calculator) -> float:
    """Rms change of the forces (eV/Å) of 2×2×2 cells with moved atoms when all is shifted: zero but for rounding."""
    cell = atoms.repeat(2)
    cell.rattle(0.02, seed=0)
    shifted = cell.copy()
    shifted.positions += [0.37, 1.11, 2.2]
    shifted.wrap()
    forces = [np.array(calculator.get_property("forces", one)) for one in (cell, shifted)]
    return float(np.sqrt(np.mean((forces[1] - forces[0]) ** 2)))


def featurize(frame, folder: Path, calculator):
    """The frame with the featurizer's columns and errors."""
    from ase_mlx.adapters.matminer import ThermalFeaturizer

    featurizer = ThermalFeaturizer(calculator, supercell=SUPERCELL, displacement=DISPLACEMENT, folder=folder)
    return featurizer.featurize_dataframe(frame, "atoms", ignore_errors=True, return_errors=True)


def cells(row) -> list[str]:
    """One row's texts; an error's last line in place of numbers."""
    error = row["ThermalFeaturizer Exceptions"]
    texts = [row["material_id"], row["formula"], str(row["spacegroup"]), row["kind"]]
    if isinstance(error, str):
        return [*texts, "failed: " + " ".join(error.strip().splitlines()[-1].split())[:120]]
    for name, (_, form) in COLUMNS.items():
        value = 1e6 * row[name] if name == "alpha_300K" else row[name]
        texts.append(
            ("yes" if value else "**no**") if name == "stable" else "" if value != value else form.format(value)
        )
    return texts


def print_table(done, markdown: bool) -> None:
    """Rows with thermal functions, aligned for the terminal or for the documentation; the others in one line."""
    heads = ["Materials Project", "formula", "space group", "kind", *(head for head, _ in COLUMNS.values())]
    left_out = done[done["C_V_300K"].isna()]
    rows = [cells(row) for _, row in done.drop(left_out.index).iterrows()]
    others = [
        cells(row)[4] if isinstance(row["ThermalFeaturizer Exceptions"], str) else f"{row['min_frequency_THz']:.2f}"
        for _, row in left_out.iterrows()
    ]
    others = ", ".join(f"{formula} {text}" for formula, text in zip(left_out["formula"], others, strict=True))
    if markdown:
        print("| " + " | ".join(heads) + " |")
        print("|" + "---|" * 4 + "---|" + "---:|" * (len(heads) - 5))
        for row in rows:
            print("| " + " | ".join(row) + " |")
    else:
        widths = [max(len(row[k]) for row in [heads, *rows]) for k in range(len(heads))]
        for row in [heads, *rows]:
            print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)))
    print(f"\nNo thermal functions, lowest frequency in THz: {others}")


def judge(done) -> bool:
    """Print what became of the rows, and the figures to reach; True if all are reached."""
    from verdict import verdict

    from ase_mlx.units import GAS

    failed = done["ThermalFeaturizer Exceptions"].notna()
    unstable = ~failed & (done["stable"] == False)  # noqa: E712  the column holds NaN where a row failed
    numbers = done["C_V_300K"].notna()
    expands = done["alpha_300K"].notna()
    print(
        f"\n{len(done)} rows: {numbers.sum()} with thermal functions ({expands.sum()} of them with thermal expansion), "
        f"{unstable.sum()} with imaginary modes, {failed.sum()} failed"
    )
    accounted = float((numbers ^ unstable ^ failed).sum())
    classical = 3 * GAS
    lines = [("rows with numbers, a flag or an error", accounted, "≥", float(len(done)))]
    if numbers.any():
        lines.append(("largest C_V(300 K) over 3R", done["C_V_300K"].max() / classical, "≤", 1.0))
    return verdict(lines)


def main() -> int:
    """Run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three crystals")
    parser.add_argument("--markdown", action="store_true", help="the table for docs/featurizers.md")
    parser.add_argument("--folder", type=Path, default=HERE / "work" / "featurizer_chgnet", help="of finished work")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--choose", metavar="CRYSTALS.parquet", help="write the 20 crystals anew and stop")
    options = parser.parse_args()
    if options.choose:
        choose(options.choose)
        return 0
    if importlib.util.find_spec("chgnet") is None:
        return subprocess.run([environment(), __file__, *sys.argv[1:]]).returncode
    from verdict import machine, print_machine

    start = time.perf_counter()
    frame, calculator = table(options.quick), chgnet()
    noises = [1e6 * noise(atoms, calculator) for atoms in frame["atoms"]]
    done = featurize(frame, options.folder, calculator)
    print_machine(machine() | {"chgnet": version("chgnet")})
    print(f"supercells of {SUPERCELL} Å, displacements of {DISPLACEMENT} Å; no error bars: CHGNet has no members")
    print(f"rounding of the forces, rms: {np.median(noises):.1f} µeV/Å (median), {max(noises):.1f} at most")
    print("per mole of atoms at 300 K\n")
    print_table(done, options.markdown)
    print(f"\n{time.perf_counter() - start:.0f} s, less what the folder had")
    good = judge(done)
    if options.json:
        text = done.drop(columns="atoms").to_json(orient="records", indent=1)
        Path(options.json).write_text(json.dumps({"rows": json.loads(text), "reached": good}, indent=1))
    return 0 if good else 1


def environment() -> str:
    """The interpreter of CHGNet's environment with this package and matminer, built where it is missing."""
    sys.path.insert(0, str(HERE / "peers"))
    import environments

    return str(environments.create("matcalc"))


if __name__ == "__main__":
    sys.exit(main())
