"""Structures of aluminium by kind, to judge its model and to choose from: `python data/make_defects.py FOLDER`.

Written: al_judged.extxyz (labelled before anything is learned; seven kinds that a learning may ask for, and the surface
(110) and the stacking fault, which it may not), al_validation.extxyz (sets error bars) and al_pool.extxyz. They are of
other random numbers, and deterministic: dynamics by ASE's EMT. Labels: `ase-mlx label` with examples/espresso_al.toml's
potential at meshes that follow from the cells, `data/espresso_al_defects.toml`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from snapshots import interleave

from ase_mlx.adapters.ase.pool_frames import liquid, sheared, snapshots, stacking_faults, surfaces, vacancies

A = 4.045
"""Å, the lattice constant of these labels."""

KEPT_OUT = ("surface 110", "stacking fault")
"""Kinds that no pool has: what the model says of them it has learned elsewhere."""

KELVIN = (300.0, 600.0, 900.0)

JUDGED = {
    "bulk": 25, "hot": 25, "shear": 25, "liquid": 7, "vacancy": 7, "surface 100": 9, "surface 110": 9,
    "surface 111": 7, "stacking fault": 17,
}  # fmt: skip
"""Frames of a kind: 300 components of forces and more."""

FAMILIES = {"shear": "al_shear", "surface 111": "al_hexagonal", "stacking fault": "al_hexagonal"}
"""Of the settings of the labels."""

VALIDATION = {"bulk": 8, "hot": 6, "shear": 8, "liquid": 2, "vacancy": 3, "surface 100": 3, "surface 111": 3}
POOL = {"bulk": 30, "hot": 30, "shear": 60, "liquid": 20, "vacancy": 40, "surface 100": 30, "surface 111": 30}


def moved(starts: list[Atoms], kelvin: float, rng: np.random.Generator) -> Atoms:
    """One snapshot of the dynamics of one of some structures; what falls apart is begun again."""
    while True:
        start = starts[int(rng.integers(len(starts)))]
        if frames := snapshots([start], EMT(), kelvin, rng, steps=300, count=1):
            return frames[0]


def of_kind(kind: str, rng: np.random.Generator) -> Iterator[Atoms]:
    """Frames of a kind without end."""
    cubic, primitive = bulk("Al", a=A, cubic=True), bulk("Al", a=A)
    while True:
        scaled = cubic.copy()
        scaled.set_cell(cubic.cell.array * rng.uniform(0.985, 1.015), scale_atoms=True)
        kelvin = KELVIN[int(rng.integers(3))]
        match kind:
            case "bulk":
                yield moved([scaled], KELVIN[int(rng.integers(2))], rng)
            case "hot":
                yield moved([scaled], KELVIN[2], rng)
            case "shear":
                yield moved(sheared(cubic, 1, rng), KELVIN[0], rng)
            case "liquid":
                yield liquid(cubic, EMT(), 1500.0, rng, repeat=(2, 2, 1), steps=600, count=1)[0]
            case "vacancy":
                yield moved(vacancies(scaled, (2, 2, 1)), kelvin, rng)
            case "surface 100" | "surface 110":
                plane = tuple(int(k) for k in kind.split()[1])
                yield moved(surfaces(scaled, 3, 9.0, [plane]), KELVIN[int(rng.integers(2))], rng)
            case "surface 111":
                yield moved(surfaces(scaled, 4, 9.0, [(1, 1, 1)]), KELVIN[int(rng.integers(2))], rng)
            case "stacking fault":
                yield moved(stacking_faults(primitive, 6), KELVIN[int(rng.integers(2))], rng)


def frames(counts: dict[str, int], name: str, part: str) -> list[Atoms]:
    """The frames of a file, the kinds in turn."""
    queues = []
    for kind, count in counts.items():
        rng = np.random.default_rng([*f"{name} {kind}".encode()])
        queue = [atoms for atoms, _ in zip(of_kind(kind, rng), range(count), strict=False)]
        for k, atoms in enumerate(queue):
            atoms.info |= {"config_name": f"{name}_{kind.replace(' ', '')}_{k}", "kind": kind, "part": part}
            atoms.info |= {"family": FAMILIES.get(kind, "al"), "asked": kind not in KEPT_OUT}
        queues.append(queue)
    return interleave(*queues)


def main(folder: str) -> None:
    """Write the files."""
    for name, counts, part in (
        ("al_judged", JUDGED, "test"), ("al_validation", VALIDATION, "val"), ("al_pool", POOL, "train"),
    ):  # fmt: skip
        chosen = frames(counts, name, part)
        write(Path(folder) / f"{name}.extxyz", chosen)
        print(f"{name}: {len(chosen)} frames, {sum(map(len, chosen))} atoms")


if __name__ == "__main__":
    main(sys.argv[1])
