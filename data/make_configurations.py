"""Make the configurations that were labelled by DFT for this repository: `python data/make_configurations.py FOLDER`.

Deterministic: the same files on every run with the same ASE. Langevin dynamics with cheap classical models (Keating's
force field for Si, Ge, Sn; ASE's EMT for Al), 800 steps of 2 fs started at twice the temperature. Odd frames are
strained: about 1 % shear, volume ±5 %. Nothing above 1200 K.
"""

import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from keating import LATTICE_CONSTANT, Keating
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from ase_mlx.data.io import read_frames

HERE = Path(__file__).resolve().parent

HELD_OUT = {(4, 2, 2), (3, 1, 4), (2, 5, 1), (3, 3, 2)}
"""Compositions (Si, Ge, Sn of 8) that occur in test frames alone."""
VALIDATION_ALONE = {(4, 1, 3), (1, 6, 1), (0, 4, 4)}
"""Compositions of validation frames alone: error bars have to hold for unseen alloys too, so they are set on some."""

CUBIC = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
SQRT2_CELL = [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]


def dynamics(ideal: Atoms, calculator, kelvin: float, rng: np.random.Generator) -> Atoms:
    """Thermalise and take the last snapshot of 1.6 ps."""
    atoms = ideal.copy()
    atoms.calc = calculator
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * kelvin, rng=rng)
    Langevin(atoms, 2 * units.fs, temperature_K=kelvin, friction=0.02 / units.fs, rng=rng).run(800)
    return Atoms(ideal.symbols, atoms.positions, cell=ideal.cell, pbc=True)


def strained(atoms: Atoms, rng: np.random.Generator, shear: float = 0.01, volume: float = 0.05) -> Atoms:
    """Strain by a random symmetric tensor of standard deviation `shear` and a random volume change up to ±`volume`."""
    noise = rng.normal(scale=shear, size=(3, 3))
    tensor = np.eye(3) + (noise + noise.T) / 2
    tensor *= ((1 + rng.uniform(-volume, volume)) / np.linalg.det(tensor)) ** (1 / 3)
    out = atoms.copy()
    out.set_cell(atoms.cell.array @ tensor, scale_atoms=True)
    return out


def alloy(counts, cell_matrix, rng: np.random.Generator) -> Atoms:
    """Occupy a diamond cell at random with (Si, Ge, Sn) counts, at Vegard's lattice constant."""
    symbols = [s for s, n in zip(("Si", "Ge", "Sn"), counts, strict=True) for _ in range(n)]
    a = float(np.mean([LATTICE_CONSTANT[s] for s in symbols]))
    atoms = make_supercell(bulk("Si", "diamond", a=a, cubic=True), cell_matrix)
    atoms.symbols = [symbols[i] for i in rng.permutation(len(symbols))]
    return atoms


def group4(name, family, part, number, counts, kelvin, weight=1, cell=CUBIC, salt=0) -> Atoms:
    """Make one Keating snapshot; odd numbers are strained."""
    rng = np.random.default_rng([*f"{family}{salt}".encode(), number])
    ideal = alloy(counts, cell, rng)
    if number % 2:
        ideal = strained(ideal, rng)
    atoms = dynamics(ideal, Keating(ideal), kelvin, rng)
    return named(atoms, name, family, part, "Keating Langevin MD" + (", strained" * (number % 2)), weight, kelvin)


def named(atoms, name, family, part, kind, weight=1, kelvin=None) -> Atoms:
    """Attach the description that the data files carry."""
    atoms.info = {"config_name": name, "config_kind": kind, "family": family, "part": part, "source": "label"}
    atoms.info |= {"energy_weight": weight} | ({} if kelvin is None else {"md_temperature_K": kelvin})
    return atoms


def interleave(*queues):
    """Merge lists so that every prefix holds about the same share of each."""
    places = [((i + 0.5) / len(queue), frame) for queue in queues for i, frame in enumerate(queue)]
    return [frame for _, frame in sorted(places, key=lambda place: place[0])]


def phonon_reference():
    """Displace one atom of the perfect 64-atom cell by 0.01 Å along x: phonopy's displacement, its order of atoms."""
    cubic = bulk("Si", "diamond", a=5.470, cubic=True)
    images = [[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)]
    sites = (cubic.positions[:, None] + 5.470 * np.array(images)).reshape(-1, 3)
    atoms = Atoms("Si64", sites, cell=2 * cubic.cell.array, pbc=True)
    atoms.positions[0, 0] += 0.01
    return [named(atoms, "si64ph_0", "si64ph", "reference", "perfect cell, one atom displaced by 0.01 A along x", 0)]


PHONON_CRYSTALS = {
    "si": ("Si", "diamond", 5.470),
    "ge": ("Ge", "diamond", 5.744),
    "sige": ("SiGe", "zincblende", 5.594),
    "al": ("Al", "fcc", 4.045),
}
PHONON_STRETCHES = (1.0, 0.985, 1.015, 0.9925, 1.0075)
"""Lattice constants of the quasi-harmonic references in units of that of `PHONON_CRYSTALS`."""


def phonon_references():
    """Displace phonopy's atoms by 0.01 Å in perfect 2x2x2 cells of Si, Ge, SiGe and Al at five volumes each."""
    frames = []
    for number, stretch in enumerate(PHONON_STRETCHES):
        for kind, (formula, lattice, a0) in PHONON_CRYSTALS.items():
            cubic = bulk(formula, lattice, a=a0 * stretch, cubic=True)
            cell = PhonopyAtoms(symbols=list(cubic.symbols), cell=cubic.cell.array, positions=cubic.positions)
            ph = Phonopy(cell, supercell_matrix=2 * np.eye(3, dtype=int), primitive_matrix="F")
            ph.generate_displacements(distance=0.01)
            for which, moved in enumerate(ph.supercells_with_displacements):
                atoms = Atoms(moved.symbols, moved.positions, cell=moved.cell, pbc=True)
                family = f"{kind}{len(atoms)}ph"
                what = f"perfect cell of a = {a0 * stretch:.4f} A, phonopy's displacement {which} of 0.01 A"
                frames.append(named(atoms, f"{family}_v{number}_{which}", family, "reference", what, 0))
    known = {"si64ph_v0_0"}  # phonon_reference() is this one
    return [frame for frame in frames if frame.info["config_name"] not in known]


def volumes_two():
    """Scale the two-atom cells of Ge and SiGe to seven volumes: their equations of state, with dense k points."""
    frames = []
    for kind in ("ge", "sige"):
        formula, lattice, a0 = PHONON_CRYSTALS[kind]
        for number, stretch in enumerate(np.linspace(0.97, 1.03, 7)):
            atoms = bulk(formula, lattice, a=a0 * stretch)
            name = f"{kind}2_eos"
            frames.append(named(atoms, f"{name}_{number}", name, "reference", f"ideal, a = {a0 * stretch:.4f} A", 0))
    return frames


def ideal_bases():
    """Take perfect cubic cells of Si, Ge, SiGe and Al at three volumes: the crystals whose Hessians are labelled."""
    frames = []
    for kind, (formula, lattice, a0) in PHONON_CRYSTALS.items():
        for number, stretch in enumerate((1.0, 0.985, 1.015)):
            atoms = bulk(formula, lattice, a=a0 * stretch, cubic=True)
            family = {"si": "si8", "al": "al4"}.get(kind, "sgs8")
            name = f"{kind}{len(atoms)}_perfect_{number}"
            frames.append(named(atoms, name, family, "train", f"ideal, a = {a0 * stretch:.4f} A", 0))
    return frames


def hessian_columns(bases):
    """Displace all atoms of frames a little, each along a random vector (sd 0.02 Å): with the frame, one column.

    The change of forces is the Hessian times that vector. `base` names the frame, `displacement` (Å) is kept.
    """
    frames = []
    for n, base in enumerate(bases):
        rng = np.random.default_rng([8, n])
        step = rng.normal(scale=0.02, size=(len(base), 3))
        step -= step.mean(axis=0)
        atoms = Atoms(base.numbers, base.positions + step, cell=base.cell, pbc=True)
        name, part = base.info["config_name"], base.info["part"]
        named(atoms, f"{name}_hv", base.info["family"], part, "displaced by sd 0.02 A from its base", 0)
        atoms.info["base"] = name
        atoms.set_array("displacement", step)
        frames.append(atoms)
    return frames


def columns(file, most):
    """Choose frames of the data file, 900 K at most, for columns of the Hessian; `most` by part."""

    def make():
        known = [a for a in read_frames(HERE / file) if a.info.get("md_temperature_K", 9999) <= 900]
        elements = set(np.concatenate([a.numbers for a in known]))
        small = [a for a in known if len(a) <= 8 and a.info["family"] in ("si8", "sgs8", "al4")]
        ideal = [a for a in ideal_bases() if set(a.numbers) <= elements]
        chosen = ideal + [a for a in ideal if a.info["config_name"].endswith("_0")]
        picked = []
        for part, number in most.items():
            found = [a for a in small if a.info["part"] == part and "base" not in a.info]
            order = np.random.default_rng([9, number]).permutation(len(found))
            picked.append([found[k] for k in order[:number]])
        frames = hessian_columns(chosen + interleave(*picked))
        for n in range(len(ideal), 2 * len(ideal)):  # the perfect cell of each crystal has two columns
            if n < len(frames) and frames[n].info["config_name"].endswith("perfect_0_hv"):
                frames[n].info["config_name"] += "2"
        return frames

    return make


TEMPERATURES = (300, 600, 900, 1200)


WAVE_CELLS = {
    "w": [[0.5, 1, 0.5], [0, 0, 1], [1, 0, 0]],
    "d": [[2, 0, 0], [0, 0.5, 0.5], [0, 0.5, -0.5]],
    "s": [[0.5, -0.5, 0], [0, 0, 1], [1, 1, 0]],
}
"""Smallest cells, in lattice constants, that hold a wave at W, half way to X, and half way along [110]: together with X
and L they are all that a 2x2x2 cubic cell holds (Lloyd-Williams and Monserrat, Phys. Rev. B 92, 184301 (2015))."""


def waves(kinds):
    """Displace all atoms of crystals' wave cells at random (sd 0.02 Å), both ways: a column of the Hessian each."""

    def make():
        frames = []
        for number, stretch in enumerate((1.0, 0.985, 1.015)):
            for kind in kinds:
                formula, lattice, a0 = PHONON_CRYSTALS[kind]
                for which, (letter, cell) in enumerate(WAVE_CELLS.items()):
                    primitive = bulk(formula, lattice, a=a0 * stretch)
                    shape = np.array(cell) * a0 * stretch @ np.linalg.inv(primitive.cell.array)
                    ideal = make_supercell(primitive, np.rint(shape).astype(int))
                    rng = np.random.default_rng([11, number, list(PHONON_CRYSTALS).index(kind), which])
                    step = rng.normal(scale=0.02, size=(len(ideal), 3))
                    step -= step.mean(axis=0)
                    family, part = f"{kind}{len(ideal)}{letter}", "val" if number == 0 else "train"
                    name = f"{family}_{number}"
                    for sign, suffix in ((-1, ""), (1, "_hv")):
                        atoms = Atoms(ideal.numbers, ideal.positions + sign * step, cell=ideal.cell, pbc=True)
                        what = f"a = {a0 * stretch:.4f} A, displaced by sd 0.02 A, {'minus plus'.split()[sign > 0]}"
                        named(atoms, name + suffix, family, part, what, 0)
                        if suffix:
                            atoms.info["base"] = name
                        frames.append(atoms)
        return frames

    return make


def test_group4():
    """Take 30 Si and 45 alloy snapshots like those of the base data."""
    rng = np.random.default_rng(11)
    kelvin = [TEMPERATURES[(n // 2) % 4] for n in range(45)]
    silicon = [group4(f"si8_test_{n}", "si8", "test", n, (8, 0, 0), kelvin[n], salt=1) for n in range(30)]
    alloys = []
    for n in range(45):
        sn = int(rng.integers(0, 5))
        si = int(rng.integers(1, 9 - sn))
        alloys.append(group4(f"sgs8_test_{n}", "sgs8", "test", n, (si, 8 - si - sn, sn), kelvin[n], salt=1))
    return interleave(silicon, alloys)


def train_group4():
    """Take 60 alloys of a wider range (no Sn, Ge-rich, pure Ge) and 30 of Si; every ninth is for validation."""
    rng = np.random.default_rng(12)
    frames = []
    for n in range(60):
        counts = None
        while counts is None or counts in HELD_OUT or counts == (8, 0, 0):
            sn = int(rng.integers(0, 5)) if n % 3 else 0
            si = int(rng.integers(0, 9 - sn)) if n % 10 else 0
            counts = (si, 8 - si - sn, sn)
        part = "val" if n % 9 == 8 else "train"
        frames.append(group4(f"sgs8_more_{n}", "sgs8", part, n, counts, TEMPERATURES[(n // 2) % 4], salt=2))
    silicon = []
    for n in range(30):
        part = "val" if n % 9 == 8 else "train"
        silicon.append(group4(f"si8_more_{n}", "si8", part, n, (8, 0, 0), TEMPERATURES[(n // 2) % 4], salt=2))
    return interleave(frames, silicon)


def held_out_group4():
    """Take 24 Si and 60 alloy snapshots like `test_group4`'s, half of them to set error bars on, half to judge."""
    rng = np.random.default_rng(14)
    kelvin = [TEMPERATURES[(n // 2) % 4] for n in range(60)]
    parts = [("val", "test")[(n // 2 + n // 8) % 2] for n in range(60)]
    silicon = [group4(f"si8_held_{n}", "si8", parts[n], n, (8, 0, 0), kelvin[n], salt=3) for n in range(24)]
    alloys = []
    for n in range(60):
        sn = int(rng.integers(0, 5))
        si = int(rng.integers(1, 9 - sn))
        counts = (si, 8 - si - sn, sn)
        part = "test" if counts in HELD_OUT else "val" if counts in VALIDATION_ALONE else parts[n]
        alloys.append(group4(f"sgs8_held_{n}", "sgs8", part, n, counts, kelvin[n], salt=3))
    return interleave(silicon, alloys)


def more_train_group4():
    """Take 72 alloys for training, compositions drawn as in `test_group4` without those that are held out."""
    rng = np.random.default_rng(15)
    frames = []
    for n in range(72):
        counts = None
        while counts is None or counts in HELD_OUT | VALIDATION_ALONE or counts == (8, 0, 0):
            sn = int(rng.integers(0, 5))
            si = int(rng.integers(0, 9 - sn))
            counts = (si, 8 - si - sn, sn)
        frames.append(group4(f"sgs8_wide_{n}", "sgs8", "train", n, counts, TEMPERATURES[(n // 2) % 4], salt=4))
    return frames


def longer_cells():
    """Take 12 Si and 12 SiGe snapshots in the 16-atom √2×√2×1 cell."""
    rng = np.random.default_rng(13)
    pure, mixed = [], []
    for n in range(12):
        kelvin = (300, 600, 900)[(n // 2) % 3]
        pure.append(group4(f"si16_{n}", "si16", "train", n, (16, 0, 0), kelvin, 0, SQRT2_CELL))
        si = int(rng.integers(2, 15))
        mixed.append(group4(f"sg16_{n}", "sg16", "train", n, (si, 16 - si, 0), kelvin, 0, SQRT2_CELL))
    return interleave(pure, mixed)


def primitive_sixteen():
    """Take 12 Keating snapshots of silicon's 2x2x2 primitive supercell: phonons at L, which cubic 8-atom cells lack."""
    frames = []
    for n in range(12):
        rng = np.random.default_rng([6, n])
        kelvin = (300, 600)[n % 2]
        ideal = bulk("Si", "diamond", a=5.47) * 2
        ideal = strained(ideal, rng) if n % 4 == 3 else ideal
        atoms = dynamics(ideal, Keating(ideal), kelvin, rng)
        frames.append(named(atoms, f"si16p_{n}", "si16p", "train", "Keating Langevin MD", 0, kelvin))
    return frames


def primitive_sixteen_alloys():
    """Take Keating snapshots of Ge's and SiGe's 2x2x2 primitive supercells at three volumes: phonons at L."""
    frames = []
    for kind in ("ge", "sige"):
        formula, lattice, a0 = PHONON_CRYSTALS[kind]
        for n in range(10):
            rng = np.random.default_rng([7, n, len(kind)])
            ideal = bulk(formula, lattice, a=a0 * (1.0, 0.985, 1.015)[n % 3]) * 2
            atoms = dynamics(ideal, Keating(ideal), 300, rng)
            name = f"{kind}16p"
            frames.append(named(atoms, f"{name}_{n}", name, "train", "Keating Langevin MD", 0, 300))
    return interleave(frames[:10], frames[10:])


def strained_crystals():
    """Strain perfect cubic cells of Al, Ge and SiGe at random (sd 2 %, volume up to 4 %): their elastic constants."""
    frames = []
    for kind, number in (("al", 20), ("ge", 10), ("sige", 10)):
        formula, lattice, a0 = PHONON_CRYSTALS[kind]
        for n in range(number):
            rng = np.random.default_rng([10, n, len(kind), number])
            atoms = strained(bulk(formula, lattice, a=a0, cubic=True), rng, shear=0.02, volume=0.04)
            part = "val" if n % 5 == 4 else "train"
            family = "al4" if kind == "al" else "sgs8"
            frames.append(named(atoms, f"{kind}_strain_{n}", family, part, "ideal, strained", 1))
    return frames


def aluminium():
    """Take 45 EMT snapshots of the cubic four-atom cell: every third for the test, five for validation."""
    frames = []
    for n in range(45):
        rng = np.random.default_rng([4, n])
        kelvin = (300, 500, 700, 900)[(n // 2) % 4]
        ideal = bulk("Al", "fcc", a=4.045 * (1 + 1.0e-5 * kelvin), cubic=True)
        if n % 2:
            ideal = strained(ideal, rng)
        part = "test" if n % 3 == 2 else "val" if n % 9 == 0 else "train"
        atoms = dynamics(ideal, EMT(), kelvin, rng)
        frames.append(named(atoms, f"al4_more_{n}", "al4", part, "EMT Langevin MD" + ", strained" * (n % 2), 1, kelvin))
    return frames


def aluminium_32():
    """Take 20 EMT snapshots of the cubic 32-atom cell, half of them for training, a quarter each for val and test."""
    frames = []
    for n in range(20):
        rng = np.random.default_rng([8, n])
        kelvin = (300, 500, 700, 900)[(n // 4 + n) % 4]
        ideal = bulk("Al", "fcc", a=4.045 * (1 + 1.0e-5 * kelvin), cubic=True) * 2
        if (n // 4) % 2:
            ideal = strained(ideal, rng)
        part = ("train", "val", "train", "test")[n % 4]
        atoms = dynamics(ideal, EMT(), kelvin, rng)
        frames.append(
            named(atoms, f"al32_more_{n}", "al32", part, "EMT Langevin MD" + ", strained" * ((n // 4) % 2), 1, kelvin)
        )
    return frames


def primitive():
    """Strain and shift 20 primitive Si cells: strains of 2 % in each component, the second atom moved by 0.05 Å."""
    frames = []
    for n in range(20):
        rng = np.random.default_rng([5, n])
        atoms = strained(bulk("Si", "diamond", a=5.470), rng, shear=0.02, volume=0.04)
        atoms.positions[1] += rng.normal(scale=0.05, size=3)
        frames.append(named(atoms, f"si2_more_{n}", "si2", "train", "strained, second atom displaced sd 0.05 A", 0))
    return frames


QUEUES = {
    "q0_phonon": phonon_reference,
    "q10_phonons": phonon_references,
    "q11_eos": volumes_two,
    "q12_perfect": ideal_bases,
    "q15_prim": primitive_sixteen_alloys,
    "q16_strain": strained_crystals,
    "q13_columns_sigesn": columns("sigesn.extxyz.xz", {"train": 60, "val": 20, "test": 20}),
    "q14_columns_al": columns("al.extxyz.xz", {"train": 20, "val": 5, "test": 8}),
    "q19_waves_group4": waves(("si", "ge", "sige")),
    "q20_waves_al": waves(("al",)),
    "q1_test": test_group4,
    "q2_train": train_group4,
    "q3_sixteen": longer_cells,
    "q6_prim": primitive_sixteen,
    "q7_held": held_out_group4,
    "q4_al4": aluminium,
    "q5_si2": primitive,
    "q8_al32": aluminium_32,
    "q9_wide": more_train_group4,
}


def main(folder: str) -> None:
    """Write one extxyz file per queue."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, make in QUEUES.items():
        frames = make()
        ase.io.write(Path(folder) / f"{name}.extxyz", frames, format="extxyz")
        print(f"{name}: {len(frames)} frames", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
