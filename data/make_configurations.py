"""Make the configurations that were labelled by DFT for this repository: `python data/make_configurations.py FOLDER`.

Deterministic: the same files on every run with the same ASE. Langevin dynamics with cheap classical models (Keating's
force field for Si, Ge, Sn; ASE's EMT for Al), 800 steps of 2 fs started at twice the temperature. Odd frames are
strained: about 1 % shear, volume ±5 %. Nothing above 1200 K.
"""

import sys
from pathlib import Path

import ase.io
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from displacements import (
    PHONON_CRYSTALS,
    TEMPERATURES,
    columns,
    ideal_bases,
    phonon_reference,
    phonon_references,
    volumes_two,
    waves,
)
from keating import Keating
from snapshots import SQRT2_CELL, dynamics, group4, interleave, named, strained

HELD_OUT = {(4, 2, 2), (3, 1, 4), (2, 5, 1), (3, 3, 2)}
"""Compositions (Si, Ge, Sn of 8) that occur in test frames alone."""

VALIDATION_ALONE = {(4, 1, 3), (1, 6, 1), (0, 4, 4)}
"""Compositions of validation frames alone: error bars have to hold for unseen alloys too, so they are set on some."""


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


def simplex_group4():
    """Take five snapshots of every composition of eight atoms, four for the pool of active learning and one to judge.

    Those of the pool are at 300, 600, 900 and 1200 K, every second strained; that of the test has its own sites.
    """
    pool, test = [], []
    compositions = [(si, ge, 8 - si - ge) for si in range(9) for ge in range(9 - si)]
    for m, counts in enumerate(compositions):
        letters = "_".join(map(str, counts))
        for k, kelvin in enumerate((300, 600, 900, 1200)):
            pool.append(group4(f"simplex_{letters}_{k}", "sgs8", "pool", 2 * m + k % 2, counts, kelvin, salt=20 + k))
        kelvin = TEMPERATURES[(m // 2) % 4]
        test.append(group4(f"simplex_test_{letters}", "sgs8", "test", m, counts, kelvin, salt=30))
    order = np.random.default_rng(21).permutation(len(compositions))
    return [frame for m in order for frame in (test[m], *(pool[4 * m + k] for k in (1, 2, 0, 3)))]


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
    "q21_simplex": simplex_group4,
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
