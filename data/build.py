"""Merge DFT frames into the data files of this repository: `python data/build.py BASE LABELLED...`.

BASE is the folder of the base set (si8.extxyz, sgs8.extxyz, ...), LABELLED are outputs of `ase-mlx label` on the files
of make_configurations.py. Written here: sigesn.extxyz.xz, al.extxyz.xz, phonon_references.extxyz.xz, and the table of
parts in README.md. The same input gives the same bytes.
"""

import io
import lzma
import sys
from collections import Counter
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from displacements import WAVE_CELLS
from make_configurations import HELD_OUT, VALIDATION_ALONE

HERE = Path(__file__).resolve().parent

DESCRIPTION = ("config_name", "config_kind", "family", "part", "source", "energy_weight", "md_temperature_K", "k_grid")
KEEP = (*DESCRIPTION, "minus_TS", "base")
BASE_FILES = {
    "sigesn": ("si8", "sgs8", "si64", "sige64", "si8_eos", "si2_eos"),
    "al": ("al4", "al4_eos"),
}
"""The base set's al32 is not read, its labels lack bands: its six frames were labelled again with the rest of al32."""


def names(prefix: str, numbers: str) -> set[str]:
    """Expand `si8_md` and `3 7` to config names."""
    return {f"{prefix}_{n}" for n in numbers.split()}


BASE_TEST = (
    # hot Si: all of 1200 K, most of 900 K, one strong rattle
    names("si8_md", "3 7 11 15 19 23 27 2 6 10 14 26")
    | names("si8_rattle", "10")
    # alloys of compositions that no train or val frame has: Si4Ge2Sn2, Si3GeSn4, Si2Ge5Sn, Si3Ge3Sn2
    | names("sgs8_md", "0 18 75 51 71 66 74 10 53")
    # alloys of compositions that occur in train
    | names("sgs8_md", "3 7 57 49 48 55 8 45")
    | names("si8_eos", "0 6")
    | names("al4_md", "3 4 7 10")
    | names("al4_rattle", "6 9")
    | names("al4_eos", "0 6")
)
BASE_VAL = (
    names("si8_md", "4 13 18")
    | names("si8_rattle", "1")
    | names("sgs8_md", "16 22 29 54 67")
    | names("sgs8_rattle", "9")
    | names("al4_md", "5 14")
    | names("al4_rattle", "2")
)
PHONONS = {"si64ph", "ge64ph", "sige64ph", "al32ph", "al32phk3"}
"""Families of displaced perfect supercells: a file of their own, which nothing learns from."""
NO_ENERGY = {
    "si64",
    "sige64",
    "si2_eos",
    "ge2_eos",
    "sige2_eos",
    "sn2_eos",
    "sisn2_eos",
    "gesn2_eos",
    "si2",
    "si16",
    "si16p",
    "ge16p",
    "sige16p",
    "sg16",
    *(f"{crystal}{wave}" for crystal in ("si8", "ge8", "sige8", "al4") for wave in WAVE_CELLS),
    *PHONONS,
}
"""Families whose k points shift the energy by meV/atom against the 8-atom cells."""
TOO_COARSE = {"si64", "sige64"}
"""One k point a 64-atom cell is 2x2x2 shifted on 8 atoms, 90 meV/Å rms from converged forces (a model of 8-atom cells
misses their *training* forces by 40 meV/Å, its own by 7): neither trained nor tested on."""

PULAY = {13: 0.038, 14: 0.0151, 32: 0.1520, 50: 0.1035}
"""eV an atom: pressure × volume that the stress of a fixed set of plane waves lacks, by `stress_offset.py`."""

REPEATED = {
    f"{cell}_perfect_{mine}": f"{cell}_eos_{theirs}"
    for cell in ("si8", "al4")
    for mine, theirs in ((0, 3), (1, 2), (2, 4))
}
"""Labelled perfect cells that the base set has: its frames stay, and are what columns of the Hessian start from."""


def base_frames(folder: Path, kind: str) -> list[Atoms]:
    """Read the base set and give every frame its part."""
    frames = []
    for family in BASE_FILES.get(kind, ()):
        for atoms in ase.io.read(folder / f"{family}.extxyz", ":"):
            name = atoms.info["config_name"]
            part = "test" if name in BASE_TEST else "val" if name in BASE_VAL else "train"
            part = "val" if composition(atoms) in VALIDATION_ALONE else part
            part = "reference" if family in TOO_COARSE or family == "si2_eos" else part
            weight = int(family not in NO_ENERGY)
            atoms.info |= {"family": family, "part": part, "source": "base", "energy_weight": weight}
            frames.append(atoms)
    return frames


def labelled_frames(paths: tuple[str, ...]) -> list[Atoms]:
    """Read labelled frames without those that the base set has, and give each its part and weight."""
    found = [atoms for path in paths for atoms in ase.io.read(path, ":")]
    frames = [atoms for atoms in found if atoms.info["config_name"] not in REPEATED]
    for atoms in frames:
        atoms.info |= {"energy_weight": int(atoms.info["family"] not in NO_ENERGY), "part": part_of(atoms)}
        if "base" in atoms.info:
            atoms.info["base"] = REPEATED.get(atoms.info["base"], atoms.info["base"])
    return frames


def part_of(atoms: Atoms) -> str:
    """Give validation a third of the first labelled test frames, and all frames of the compositions that it keeps."""
    if composition(atoms) in VALIDATION_ALONE:
        return "val"
    part, (family, number) = atoms.info["part"], atoms.info["config_name"].rsplit("_", 1)
    third = family.endswith("_test") and int(number) % 3 == 0
    return "val" if part == "test" and third and composition(atoms) not in HELD_OUT else part


def slim(atoms: Atoms) -> Atoms:
    """Keep the labels and the description; energies to 1e-8 eV, stress to 1e-9 eV/Å³."""
    out = Atoms(atoms.numbers, atoms.positions, cell=np.round(atoms.cell.array, 10) + 0.0, pbc=True)
    energy = round(float(atoms.calc.results["free_energy"]), 8)
    stress = np.round(atoms.get_stress(), 9) + 0.0
    out.calc = SinglePointCalculator(out, energy=energy, free_energy=energy, forces=atoms.get_forces(), stress=stress)
    out.info = {key: atoms.info[key] for key in KEEP if key in atoms.info}
    if "minus_TS" in out.info:
        out.info["minus_TS"] = round(float(out.info["minus_TS"]), 8)
    return out


def corrected(atoms: Atoms) -> Atoms:
    """Take the Pulay offset of pw.x's stress away, in place."""
    atoms.calc.results["stress"] = atoms.get_stress() - pulay_stress(atoms)
    return atoms


def pulay_stress(atoms: Atoms) -> np.ndarray:
    """Give the Voigt stress (eV/Å³) by which pw.x's lies above the strain derivative of the energy at one cutoff."""
    pressure = sum(PULAY[z] for z in atoms.numbers) / atoms.get_volume()
    return np.array([pressure, pressure, pressure, 0.0, 0.0, 0.0])


def add_columns(frames: list[Atoms]) -> None:
    """Give frames that name a base their displacement (Å) and change of forces (eV/Å) from it, to 1e-8."""
    known = {atoms.info["config_name"]: atoms for atoms in frames}
    for atoms in (a for a in frames if "base" in a.info):
        name, base = atoms.info["config_name"], known.get(atoms.info["base"])
        if base is None:
            raise ValueError(f"got {name} without its base {atoms.info['base']}; expected both in one file")
        if base.info["part"] != atoms.info["part"]:
            raise ValueError(f"got {name} in {atoms.info['part']}, its base in {base.info['part']}; expected one part")
        same = np.array_equal(base.numbers, atoms.numbers) and np.abs(base.cell.array - atoms.cell.array).max() < 1e-8
        step = atoms.positions - base.positions if same else np.inf
        if np.abs(step).max() > 0.5:
            raise ValueError(f"got {name}, which is not {atoms.info['base']} with all atoms displaced a little")
        atoms.set_array("displacement", np.round(step, 8) + 0.0)
        atoms.set_array("force_change", np.round(atoms.get_forces() - base.get_forces(), 8) + 0.0)


def composition(atoms: Atoms) -> tuple[int, ...]:
    """Count Si, Ge, Sn."""
    return tuple(int((atoms.numbers == z).sum()) for z in (14, 32, 50))


def check(frames: list[Atoms]) -> None:
    """Refuse double names, double structures, and a training frame of a composition that is held out."""
    counted = Counter(atoms.info["config_name"] for atoms in frames)
    if twice := [name for name, n in counted.items() if n > 1]:
        raise ValueError(f"got config names twice: {twice}; expected one frame a name")
    seen = {}
    for atoms in frames:
        key = (tuple(atoms.numbers), np.round(atoms.cell.array, 5).tobytes(), np.round(atoms.positions, 5).tobytes())
        key += (atoms.info["family"],) * (atoms.info["family"] in PHONONS)  # two meshes of k points for one structure
        if key in seen:
            raise ValueError(f"got one structure as {seen[key]} and {atoms.info['config_name']}; leave one out")
        seen[key] = atoms.info["config_name"]
        if atoms.info["part"] not in ("train", "val", "test", "reference"):
            raise ValueError(f"got part {atoms.info['part']!r} of {atoms.info['config_name']}")
    learned = {composition(a) for a in frames if a.info["part"] == "train"}
    for part in ("val", "test"):
        unseen = {composition(a) for a in frames if a.info["part"] == part and len(a) == 8} - learned
        if unseen:
            print(f"compositions (Si, Ge, Sn) of {part} frames that no training frame has:", *sorted(unseen))


def write(path: Path, frames: list[Atoms]) -> None:
    """Write extxyz, packed where the name says so; whole or not at all."""
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    data = text.getvalue().encode()
    part = path.with_name(path.name + ".part")
    part.write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME) if path.suffix == ".xz" else data)
    part.replace(path)


def table(frames: list[Atoms]) -> str:
    """Count frames per family, source and part, and name those that no training touches."""
    rows = Counter((a.info["family"], a.info["source"], len(a), a.info["part"]) for a in frames)
    lines = ["| family | source | atoms | train | val | test | reference | energy_weight |", "|---" * 8 + "|"]
    for family, source in dict.fromkeys((a.info["family"], a.info["source"]) for a in frames):
        sizes = sorted({atoms for f, s, atoms, _ in rows if (f, s) == (family, source)})
        counts = [sum(rows[family, source, n, part] for n in sizes) for part in ("train", "val", "test", "reference")]
        cells = [family, source, ", ".join(map(str, sizes)), *counts, int(family not in NO_ENERGY)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    for part in ("test", "val", "reference"):
        found = [a.info["config_name"] for a in frames if a.info["part"] == part]
        lines += ["", f"**{part}** ({len(found)}): {' '.join(found)}"]
    return "\n".join(lines)


def main(base: str, *labelled: str) -> None:
    """Build all files."""
    new = labelled_frames(labelled)
    kinds = {
        "sigesn": [a for a in new if set(a.numbers) <= {14, 32, 50} and a.info["family"] not in PHONONS],
        "al": [a for a in new if set(a.numbers) == {13} and a.info["family"] not in PHONONS],
        "phonon_references": [a for a in new if a.info["family"] in PHONONS],
    }
    tables = []
    for kind, frames in kinds.items():
        frames = [slim(corrected(atoms)) for atoms in base_frames(Path(base), kind) + frames]
        add_columns(frames)
        check(frames)
        write(HERE / f"{kind}.extxyz.xz", frames)
        tables.append(f"### {kind}.extxyz.xz: {len(frames)} frames\n\n{table(frames)}")
        print(f"{kind}: {len(frames)} frames, {(HERE / f'{kind}.extxyz.xz').stat().st_size / 1e3:.0f} kB")
    readme = HERE / "README.md"
    start, end = "<!-- parts: written by build.py -->", "<!-- end of parts -->"
    before, rest = readme.read_text(encoding="utf-8").split(start)
    after = rest.split(end)[1]
    readme.write_text(before + "\n\n".join((start, *tables, end)) + after, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
