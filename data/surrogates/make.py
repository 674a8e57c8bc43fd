"""Makes the surrogates: potentials of this package taught by classical ones, whose truth is known everywhere.

    python data/surrogates/make.py al_emt|si_tersoff|noble_emt train|structures

`train` labels training structures with the classical potential and trains on them; `structures` makes ordinary and
strange ones of many kinds with their true energies, forces and stress. Both write below `data/surrogates/NAME`.
"""

import io
import lzma
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk, diamond100, diamond111, fcc100, fcc110, fcc111, fcc211
from ase.calculators.calculator import Calculator as ASECalculator
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.calculators.tersoff import Tersoff, TersoffParameters
from ase.cluster import Octahedron
from ase.io import write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from ase_mlx.adapters.ase import Calculator
from ase_mlx.data.io import read_frames
from ase_mlx.data.samples import name_of, split

HERE = Path(__file__).parent

SILICON = TersoffParameters(
    A=1830.8, B=471.18, lambda1=2.4799, lambda2=1.7322, lambda3=0.0, beta=1.1e-6, gamma=1.0, m=3.0, n=0.78734,
    c=100390.0, d=16.217, h=-0.59825, R=2.85, D=0.15,
)  # fmt: skip
"""Tersoff, Phys. Rev. B 38, 9902 (1988), without the cubic screening of λ₃."""

LATTICE = {"Al": 4.0, "Si": 5.432, "Cu": 3.59, "Ag": 4.06, "Au": 4.06}
"""Å; where EMT (Al, noble metals) and Tersoff's potential (Si) have their least energy, or nearly."""


@dataclass(frozen=True)
class Surrogate:
    """Who teaches, on which structures, and the crystal at which the strange ones start."""

    teacher: Callable[[], ASECalculator]
    frames: Callable[[], list[Atoms]]
    symbol: str
    structure: str
    melting: float
    """K."""


def taught_by_dft(name: str, elements: set[str]) -> list[Atoms]:
    """The structures on which a shipped model was trained, those of some elements alone."""
    frames = read_frames(HERE.parent / f"{name}.extxyz.xz")
    return [a for a in frames if set(a.symbols) <= elements]


def alloys_of_copper() -> list[Atoms]:
    """Rattled and strained cells of Cu, Ag, Au, Cu–Ag and Cu–Au of all compositions; Ag and Au never meet."""
    random, frames = np.random.default_rng(0), []
    for k in range(160):
        pair = [("Cu",), ("Ag",), ("Au",), ("Cu", "Ag"), ("Cu", "Au")][k % 5]
        share = random.integers(1, 8) / 8 if len(pair) > 1 else 1.0
        length = share * LATTICE[pair[0]] + (1 - share) * LATTICE[pair[-1]]
        atoms = bulk("Cu", cubic=True, a=length) * ((2, 1, 1) if k % 3 else (2, 2, 2))
        second = random.permutation(len(atoms))[: round((1 - share) * len(atoms))]
        symbols = np.full(len(atoms), pair[0])
        symbols[second] = pair[-1]
        atoms.symbols = symbols
        strain = np.eye(3) * (1 + 0.02 * random.standard_normal()) + 0.015 * random.standard_normal((3, 3))
        atoms.set_cell(atoms.cell @ strain, scale_atoms=True)
        atoms.positions += random.choice([0.03, 0.08, 0.15]) * random.standard_normal((len(atoms), 3))
        atoms.info |= {"config_name": f"{'-'.join(pair)} {k}", "part": {3: "val", 7: "test"}.get(k % 8, "train")}
        frames.append(atoms)
    return frames


SURROGATES = {
    "al_emt": Surrogate(EMT, lambda: taught_by_dft("al", {"Al"}), "Al", "fcc", 930),
    "si_tersoff": Surrogate(
        lambda: Tersoff({("Si", "Si", "Si"): SILICON}), lambda: taught_by_dft("sigesn", {"Si"}), "Si", "diamond", 1680
    ),
    "noble_emt": Surrogate(EMT, alloys_of_copper, "Cu", "fcc", 1350),
}


def labelled(atoms: Atoms, teacher: ASECalculator) -> Atoms:
    """A copy with the teacher's energy (eV), forces (eV/Å) and, of a crystal, stress (eV/Å³)."""
    out = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    out.calc = teacher
    asked = ["energy", "forces"] + ["stress"] * bool(out.pbc.all())
    results = {name: np.array(out.calc.get_property(name, out)) for name in asked}
    results["energy"] = float(results["energy"])
    out.info = {k: v for k, v in atoms.info.items() if k in ("config_name", "kind", "part")}
    out.calc = SinglePointCalculator(out, **results)
    return out


def dynamics(atoms: Atoms, calculator, temperature: float, seed: int, steps: int = 150) -> Atoms:
    """A copy after `steps` of 4 fs of Langevin dynamics at a temperature in K."""
    atoms, random = atoms.copy(), np.random.default_rng(seed)
    atoms.calc = calculator
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * temperature, rng=random)
    Langevin(atoms, 4 * units.fs, temperature_K=temperature, friction=0.02 / units.fs, rng=random).run(steps)
    atoms.calc = None
    return atoms


def ordinary(s: Surrogate, model: Calculator) -> Iterator[tuple[str, Atoms]]:
    """Larger cells than those of the training data, in dynamics of the model itself below two thirds of melting."""
    conventional = bulk(s.symbol, s.structure, a=LATTICE[s.symbol], cubic=True)
    for k in range(24):
        n = 2 + k % 2 if len(conventional) == 8 else 3 + k % 2
        cell = conventional * (n, n, n)
        cell.set_cell(cell.cell * (1 + 0.006 * (k % 5 - 1)), scale_atoms=True)
        yield "large cells, ordinary", dynamics(cell, model, (0.2, 0.35, 0.5, 0.65)[k % 4] * s.melting, k)


def strange(s: Surrogate, model: Calculator) -> Iterator[tuple[str, Atoms]]:
    """Structures of kinds that the training data lack."""
    a, symbol = LATTICE[s.symbol], s.symbol
    diamond = s.structure == "diamond"
    perfect = bulk(symbol, s.structure, a=a, cubic=True) * ((2, 2, 2) if diamond else (3, 3, 3))
    near = a * (np.sqrt(3) / 4 if diamond else np.sqrt(0.5))
    for k in range(3):
        yield "liquid", dynamics(perfect, model, 3 * s.melting, 100 + k)
    for k, gone in enumerate(([0], [0, 1], [0, 5], [7])):
        cell = perfect.copy()
        del cell[gone]
        yield "vacancy", cell if k % 2 == 0 else dynamics(cell, model, 0.3 * s.melting, 200 + k)
    for k, place in enumerate(([0.5, 0.5, 0.5], [0.25, 0.25, 0.25], [0.5, 0, 0])):
        cell = perfect + Atoms(symbol, [np.array(place) * a + 0.1 * k])
        gaps = cell.get_distances(-1, range(len(cell) - 1), mic=True)
        if gaps.min() > 0.6 * near:
            yield "interstitial", cell
    faces = (diamond100, diamond111) if diamond else (fcc100, fcc110, fcc111, fcc211)
    for k, face in enumerate(faces):
        for layers in (6, 9):
            slab = face(symbol, (3, 2, layers) if face is fcc211 else (2, 2, layers), a=a, vacuum=7.0)
            slab.pbc = True
            slab.rattle(0.02 * (layers > 6), seed=k)
            yield "surface", slab
            top = slab.copy()
            top += Atoms(symbol, [top.positions[np.argmax(top.positions[:, 2])] + [0, 0, near]])
            yield "adatom", top
    for stretch in (0.85, 1.0, 1.2, 1.45):
        yield "dimer", Atoms([symbol] * 2, [[0, 0, 0], [stretch * near, 0, 0]])
    yield "free atom", Atoms(symbol)
    yield "free atom", Atoms(symbol, cell=[12, 12, 12], pbc=True)
    for side in (2, 3, 4):
        yield "cluster", Octahedron(symbol, side, latticeconstant=a)
    yield "cluster", Atoms([symbol] * 3, [[0, 0, 0], [near, 0, 0], [near / 2, near, 0]])
    yield "chain", Atoms(symbol, cell=[near, 12, 12], pbc=True)
    volume = perfect.get_volume() / len(perfect)
    others = {"bcc": 2, "sc": 1, "fcc": 4, "diamond": 8}
    for structure, count in others.items():
        if structure != s.structure:
            for scale in (0.97, 1.03):
                length = (count * volume) ** (1 / 3) * scale * (1.12 if structure == "diamond" else 1.0)
                yield "other crystal", bulk(symbol, structure, a=length, cubic=True)
    stacked = "hcp" if not diamond else "wurtzite"
    length = a / np.sqrt(2)
    for scale in (0.99, 1.0, 1.01):
        if diamond:
            cell = bulk("SiSi", "wurtzite", a=length * scale, c=length * scale * np.sqrt(8 / 3))
        else:
            cell = bulk(symbol, "hcp", a=length * scale, c=length * scale * np.sqrt(8 / 3))
        yield f"stacking ({stacked})", cell
    if symbol == "Cu":
        yield from strange_alloys()


def strange_alloys() -> Iterator[tuple[str, Atoms]]:
    """Silver and gold side by side, which the training data lack, and all three elements together."""
    random = np.random.default_rng(1)
    for k in range(8):
        cell = bulk("Ag", cubic=True, a=LATTICE["Ag"]) * (2, 2, 2)
        symbols = ["Ag", "Au"] if k < 4 else ["Cu", "Ag", "Au"]
        cell.symbols = random.choice(symbols, len(cell))
        mean = np.mean([LATTICE[x] for x in cell.symbols])
        cell.set_cell(cell.cell * mean / LATTICE["Ag"], scale_atoms=True)
        cell.rattle(0.05, seed=k)
        yield "unseen pair of elements", cell


def train(name: str) -> None:
    """Label the training structures and train with the settings of the shipped models."""
    from ase_mlx.cli import main

    s, folder = SURROGATES[name], HERE / name
    folder.mkdir(exist_ok=True)
    teacher = s.teacher()
    frames = [labelled(a, teacher) for a in s.frames()]
    write(folder / "training.extxyz", frames)
    config = folder / "training.toml"
    config.write_text(
        f'[data]\nfile = "training.extxyz"\ntitle = "Surrogate {name}"\nlicence = "MIT, as this repository"\n'
        'origin = "data/surrogates/make.py"\nlevel_of_theory = "a classical potential"\n\n'
        "[model]\nl_max = 2\nlayers = 3\nchannels = 32\n\n"
        "[fit]\nepochs = 120\nbatch_size = 5\nlearning_rate = 0.006\nseed = 0\n"
    )
    sys.argv = ["ase-mlx", "train", str(config), "-o", str(folder / "model")]
    main()


def structures(name: str) -> None:
    """Write ordinary and strange structures with the truth."""
    s, folder = SURROGATES[name], HERE / name
    model, teacher, frames = Calculator(str(folder / "model")), s.teacher(), []
    training = read_frames(folder / "training.extxyz")
    for k in split(training)["test"]:
        training[k].info = {"kind": "held-out frames", "config_name": name_of(training[k], k)}
        frames.append(training[k])
    for generate in (ordinary, strange):
        for kind, atoms in generate(s, model):
            atoms.info = {"kind": kind, "config_name": f"{kind} {len(frames)}"}
            try:
                frames.append(labelled(atoms, teacher))
            except ZeroDivisionError:  # ASE's Tersoff, where an atom has one neighbour
                print(f"left out: {kind}, {len(atoms)} atoms, which the teacher cannot take")
                continue
            print(frames[-1].info["config_name"], len(atoms), flush=True)
    text = io.StringIO()
    write(text, frames, format="extxyz")
    (folder / "structures.extxyz.xz").write_bytes(lzma.compress(text.getvalue().encode(), preset=9))


if __name__ == "__main__":
    {"train": train, "structures": structures}[sys.argv[2]](sys.argv[1])
