"""Frames that teach a potential of all elements: crystals at rest, rattled, strained, hot, defective, cut, substituted.

Every function draws from the random generator that it is handed, so that the same seed makes the same frames. A frame's
`info["taught"]` says what it is for. Å, K, eV.
"""

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.data import atomic_numbers, chemical_symbols
from ase.data.g2 import molecule_names

from ase_mlx.adapters.ase.supercells import heights
from ase_mlx.adapters.ase.teaching_frames import KIND, nearest_distance, opened, rattled, strained
from ase_mlx.nn.repulsion import RADII

Ask = Callable[[Sequence[Atoms]], list[dict]]
"""Labels of frames by the teacher: energy (eV), forces (eV/Å), stress (eV/Å³, Voigt; absent without a volume)."""

SHARES = {"rattled": 0.35, "shaken": 0.25, "strained": 0.20, "rest": 0.10, "hot": 0.10}
"""Of the frames of a crystal: small and large rattles, strains, at rest, short dynamics."""

SMALL, LARGE = (0.005, 0.04), (0.04, 0.12)
"""Standard deviations of a rattle's components, in nearest distances."""

SUPERCELL, DOUBLED, SUBSTITUTED, HOT = 8, 20, 12, 20
"""Most atoms of a crystal that is repeated 2×2×2, along its shortest vector, substituted, heated."""

HEATED, KEPT = 20, 12
"""Steps of dynamics, and the first one after which its frame may be kept."""

QUENCHED = 8
"""Steps of a substituted crystal towards rest."""

LATTICES = ("fcc", "bcc", "hcp", "sc", "diamond")
"""Of elements: few of their crystals are in the table."""

COMPOUNDS, PAIRED = ("rocksalt", "zincblende", "cesiumchloride"), 900
"""Lattices of compounds of two elements, and how many are drawn."""

OCTETS = (
    ("Li Na K Rb Cs Cu Ag Tl", "F Cl Br I"),
    ("Be Mg Ca Sr Ba Zn Cd Hg Pb", "O S Se Te"),
    ("B Al Ga In Tl Sc Y La", "N P As Sb"),
    ("C Si Ge Sn", "C Si Ge Sn"),
    ("Ti Zr Hf V Nb Ta", "C N"),
)
"""Elements that share eight electrons, or make hard carbides and nitrides: in rocksalt and zincblende, or diamond."""


MOLECULES, APART = (0.01, 0.03, 0.06, 0.12), (2.5, 5.0)
"""Å: standard deviations of the rattles of a molecule's atoms, and shortest distances between two molecules."""

STIFF = 0.5
"""eV/Å³: bulk modulus by which a quench turns pressure into strain."""

FAMILIES = (
    (3, 11, 19, 37, 55), (4, 12, 20, 38, 56), (21, 39, *range(57, 72)), (22, 40, 72), (23, 41, 73), (24, 42, 74),
    (25, 43, 75), (26, 44, 76), (27, 45, 77), (28, 46, 78), (29, 47, 79), (30, 48, 80), (5, 13, 31, 49, 81),
    (6, 14, 32, 50, 82), (7, 15, 33, 51, 83), (8, 16, 34, 52), (9, 17, 35, 53), (89, 90, 91, 92, 93, 94),
)  # fmt: skip
"""Elements that take each other's places."""


def crystal_frames(crystal: Atoms, rng: np.random.Generator) -> list[Atoms]:
    """Draw the frames of a training crystal that need no teacher; those of kind "hot" begin dynamics."""
    frames = [one_frame(crystal, str(kind), rng) for kind in rng.choice(list(SHARES), 2, p=list(SHARES.values()))]
    n = len(crystal)
    if n <= SUPERCELL:
        large = crystal.repeat(2)
        frames += [one_frame(large, str(kind), rng) for kind in rng.choice(("rattled", "shaken"), 2, p=(0.6, 0.4))]
    elif n <= DOUBLED and rng.random() < 0.3:
        large = crystal.repeat(np.where(np.arange(3) == np.argmin(heights(crystal)), 2, 1))
        frames.append(one_frame(large, "rattled", rng))
    else:
        large = crystal
    if rng.random() < 0.15 and len(large) > 3:
        frames.append(defect(large, rng))
    if rng.random() < 0.08 and n <= DOUBLED:
        frames.append(marked(opened(small_rattle(crystal, rng), int(rng.integers(3)), rng), "slab"))
    if rng.random() < 0.03:
        frames.append(cluster(crystal, rng))
    return frames


def one_frame(crystal: Atoms, kind: str, rng: np.random.Generator) -> Atoms:
    """Make one frame of a kind of `SHARES`."""
    if kind == "hot" and len(crystal) > HOT:
        kind = "rattled"
    if kind == "rattled":
        frame = strained(small_rattle(crystal, rng), rng.uniform(-0.02, 0.03), 0.005, rng)
    elif kind == "shaken":
        size = rng.uniform(*LARGE) * nearest_distance(crystal)
        frame = strained(rattled(crystal, size, rng), rng.uniform(-0.05, 0.10), 0.02, rng)
    elif kind == "strained":
        frame = strained(crystal, rng.uniform(-0.12, 0.15), 0.03 * (rng.random() < 0.6), rng)
    else:
        frame = crystal.copy()
    if kind == "hot":
        frame.info["temperature_K"] = float(rng.uniform(300, 2000))
    return marked(frame, kind)


def small_rattle(crystal: Atoms, rng: np.random.Generator) -> Atoms:
    """Displace all atoms a little."""
    return rattled(crystal, rng.uniform(*SMALL) * nearest_distance(crystal), rng)


def marked(atoms: Atoms, kind: str) -> Atoms:
    """Say what a frame is for."""
    atoms.info[KIND] = kind
    return atoms


def defect(crystal: Atoms, rng: np.random.Generator) -> Atoms:
    """Take out an atom, or let two atoms of different elements change places."""
    frame, kind = small_rattle(crystal, rng), "vacancy"
    first = int(rng.integers(len(frame)))
    others = np.flatnonzero(frame.numbers != frame.numbers[first])
    if len(others) and rng.random() < 0.5:
        second = int(rng.choice(others))
        frame.numbers[[first, second]] = frame.numbers[[second, first]]
        kind = "antisite"
    else:
        del frame[first]
    return marked(frame, kind)


def cluster(crystal: Atoms, rng: np.random.Generator) -> Atoms:
    """Cut an atom and its two to eleven nearest ones out of a crystal."""
    large = small_rattle(crystal.repeat(3), rng)
    centre = large.positions.mean(axis=0)
    start = large.positions[np.argmin(np.linalg.norm(large.positions - centre, axis=1))]
    nearest = np.argsort(np.linalg.norm(large.positions - start, axis=1))[: int(rng.integers(3, 13))]
    return marked(Atoms(large.numbers[nearest], large.positions[nearest]), "cluster")


def substituted(crystal: Atoms, elements: Sequence[int], rng: np.random.Generator) -> Atoms | None:
    """Put similar elements in some places of a crystal, with the volume of their covalent radii; None where none is."""
    exchange = {}
    for z in np.unique(crystal.numbers):
        alike = [e for family in FAMILIES if z in family for e in family if e != z and e in elements]
        if alike and rng.random() < 0.7:
            exchange[int(z)] = int(rng.choice(alike))
    if not exchange:
        return None
    frame = crystal.copy()
    frame.numbers = [exchange.get(int(z), int(z)) for z in crystal.numbers]
    radii = np.array((0.0, *RADII))
    grown = radii[frame.numbers].sum() / radii[crystal.numbers].sum()
    frame.set_cell(frame.cell.array * grown, scale_atoms=True)
    return marked(frame, "prototype")


def quenched(frames: Sequence[Atoms], ask: Ask) -> list[Atoms]:
    """Move substituted crystals some steps towards rest, all together: along forces, the volume along the pressure."""
    frames = [atoms.copy() for atoms in frames]
    for _ in range(QUENCHED):
        for atoms, label in zip(frames, ask(frames), strict=True):
            step = 0.04 * label["forces"]
            step *= np.minimum(1, 0.1 / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-9))
            atoms.positions += step
            strain = np.clip(-label["stress"][:3].mean() / (3 * STIFF), -0.03, 0.03)
            atoms.set_cell(atoms.cell.array * (1 + strain), scale_atoms=True)
    return frames


def heated(frames: Sequence[Atoms], ask: Ask, rng: np.random.Generator) -> list[Atoms]:
    """Let crystals at rest move for some twenty to sixty femtoseconds, all together, begun at twice their temperature.

    In a quarter of a period half of the kinetic energy is potential energy: frames of about that temperature.
    """
    frames = [atoms.copy() for atoms in frames]
    masses = [atoms.get_masses()[:, None] for atoms in frames]
    steps = [float(np.clip(0.45 * np.sqrt(m.min()), 0.5, 3.0)) * units.fs for m in masses]
    last = rng.integers(KEPT, HEATED + 1, len(frames))
    velocities = []
    for atoms, mass in zip(frames, masses, strict=True):
        spread = np.sqrt(2 * units.kB * atoms.info["temperature_K"] / mass)
        velocity = rng.normal(size=(len(atoms), 3)) * spread
        velocities.append(velocity - (mass * velocity).sum(axis=0) / mass.sum())
    for step in range(HEATED):
        moving = [k for k in range(len(frames)) if step < last[k]]
        for k, label in zip(moving, ask([frames[k] for k in moving]), strict=True):
            velocities[k] += steps[k] * label["forces"] / masses[k]
            frames[k].positions += steps[k] * velocities[k]
    return frames


def simple_lattices(elements: Sequence[int], rng: np.random.Generator) -> list[Atoms]:
    """Each element in five lattices, and drawn pairs in three; neighbours as far apart as their covalent radii say."""
    crystals = [_lattice(lattice, (z,)) for z in elements for lattice in LATTICES]
    for _ in range(PAIRED):
        pair = tuple(int(z) for z in rng.choice(elements, 2, replace=False))
        crystals.append(_lattice(str(rng.choice(COMPOUNDS)), pair))
    return crystals


def octet_lattices(elements: Sequence[int]) -> list[Atoms]:
    """Compounds of `OCTETS`, and their carbon, silicon, germanium and tin alone."""
    pairs = {(a, b) for first, second in OCTETS for a in first.split() for b in second.split()}
    crystals = []
    for a, b in sorted(pair for pair in pairs if pair[0] <= pair[1] or pair[::-1] not in pairs):
        numbers = tuple(dict.fromkeys((atomic_numbers[a], atomic_numbers[b])))
        if set(numbers) <= set(elements):
            lattices = ("diamond",) if len(numbers) == 1 else ("rocksalt", "zincblende")
            crystals += [_lattice(lattice, numbers) for lattice in lattices]
    return crystals


def octet_frames(resting: Sequence[Atoms], rng: np.random.Generator) -> list[Atoms]:
    """Of compounds of `OCTETS`: at rest, four times under strain, and eight cells rattled twice and shaken once."""
    frames = []
    for crystal in resting:
        frames += [one_frame(crystal, kind, rng) for kind in ("rest", *4 * ("strained",))]
        frames += [one_frame(crystal.repeat(2), kind, rng) for kind in ("rattled", "rattled", "shaken")]
    return frames


def _lattice(lattice: str, numbers: tuple[int, ...]) -> Atoms:
    """A primitive cell (Å)."""
    name = "".join(chemical_symbols[z] for z in numbers)
    crystal = bulk(name, lattice, a=4.0, **({"covera": np.sqrt(8 / 3)} if lattice == "hcp" else {}))
    grown = sum(RADII[z - 1] for z in numbers) * 2 / len(numbers) / nearest_distance(crystal)
    crystal.set_cell(crystal.cell.array * grown, scale_atoms=True)
    return crystal


def simple_frames(resting: Sequence[Atoms], rng: np.random.Generator) -> list[Atoms]:
    """Of simple lattices: at rest, twice under strain, and eight cells rattled and shaken."""
    frames = []
    for crystal in resting:
        frames += [one_frame(crystal, kind, rng) for kind in ("rest", "strained", "strained")]
        frames += [one_frame(crystal.repeat(2), kind, rng) for kind in ("rattled", "shaken")]
    return frames


def molecules(elements: Sequence[int], rng: np.random.Generator) -> list[Atoms]:
    """Molecules of the G2 set, rattled, and each beside another one that is turned at random."""
    whole = [molecule(name) for name in molecule_names]
    whole = [Atoms(m.numbers, m.positions) for m in whole if len(m) > 1 and set(m.numbers) <= set(elements)]
    frames = [rattled(m, size, rng) for m in whole for size in MOLECULES]
    for first in whole:
        second, away = whole[int(rng.integers(len(whole)))].copy(), rng.normal(size=3)
        second.euler_rotate(*rng.uniform(0, 360, 3), center="COM")
        away, gap = away / np.linalg.norm(away), rng.uniform(*APART)
        second.translate(first.get_center_of_mass() - second.get_center_of_mass())
        while _between(first, second) < gap:
            second.translate(0.1 * away)
        frames.append(rattled(first + second, float(rng.choice(MOLECULES)), rng))
    return [marked(m, "molecule") for m in frames]


def _between(first: Atoms, second: Atoms) -> float:
    """Shortest distance of an atom of one molecule to one of the other (Å)."""
    return float(np.linalg.norm(first.positions[:, None] - second.positions, axis=-1).min())


def free_atoms_and_dimers(elements: Sequence[int], rng: np.random.Generator) -> list[Atoms]:
    """Each element's free atom, dimers of each element, and of drawn pairs, from 0.6 to 2.2 sums of covalent radii."""
    frames = [marked(Atoms([z]), "free atom") for z in elements]
    pairs = [(z, z) for z in elements for _ in range(6)]
    pairs += [tuple(int(z) for z in rng.choice(elements, 2)) for _ in range(6 * len(elements))]
    for first, second in pairs:
        length = rng.uniform(0.6, 2.2) * (RADII[first - 1] + RADII[second - 1])
        frames.append(marked(Atoms([first, second], [[0, 0, 0], [0, 0, length]]), "dimer"))
    return frames
