"""Energy, forces and stress of a labelled frame, under whatever names they stand in its file.

Source: ours; the virial is QUIP's (A. P. Bartók and G. Csányi, Int. J. Quantum Chem. 115, 1051 (2015)): −V σ.
"""

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from jaxtyping import Float

from ase_mlx.units import VOIGT

LARGEST = {"forces": 1e3, "stress": 1e2}
"""eV/Å and eV/Å³; beyond them nuclei touch or the teacher failed."""


def named_labels(
    frames: list[Atoms], energy: str = "", forces: str = "", stress: str = "", first: int = 0
) -> list[Atoms]:
    """Take labels (eV, eV/Å, eV/Å³) from `info` and `arrays` under the names that a file gives them; empty: ASE's.

    `first` is the place of the first frame in its file.

    Raises:
        ValueError: a frame lacks what was named.

    Source: ours.
    """
    names = {"energy": energy, "forces": forces, "stress": stress}
    if not any(names.values()):
        return frames
    out = []
    for k, atoms in enumerate(frames, first):
        results = {} if atoms.calc is None else dict(atoms.calc.results)
        for label, key in names.items():
            if not key:
                continue
            values = _results(atoms) | atoms.info | atoms.arrays
            if key not in values and label != "stress":
                raise ValueError(f"got frame {k} without {key!r}, expected it as named in [data]; {keys_of(atoms)}")
            if key in values:
                results[label] = values[key]
        if energy:
            results.pop("free_energy", None)
        taken = atoms.copy()
        taken.calc = SinglePointCalculator(taken, **results)
        out.append(taken)
    return out


def labels_of(atoms: Atoms, name: str) -> tuple[float, Float[np.ndarray, "atoms 3"], Float[np.ndarray, " 6"] | None]:
    """The force-consistent energy (eV), forces (eV/Å) and, in a cell with volume, stress (Voigt, eV/Å³) of a frame.

    Where there is a `virial` (eV) in place of a stress, the stress is −virial / V.

    Raises:
        ValueError: no energy, no forces, or values that are no finite numbers or no physics.

    Source: ours.
    """
    results = _results(atoms)
    energy, forces = results.get("free_energy", results.get("energy")), results.get("forces")
    if energy is None or forces is None:
        lacking = " and ".join(n for n, v in (("energy", energy), ("forces", forces)) if v is None)
        raise ValueError(
            f"got {name} without {lacking}, expected energy (eV) and forces (eV/Å) for every frame; {keys_of(atoms)}; "
            "label it with `ase-mlx label`, or leave it out"
        )
    energy = float(_numbers(energy, (), "energy", name))
    forces = _numbers(forces, (len(atoms), 3), "forces", name)
    volume, stress = abs(atoms.cell.volume), results.get("stress")
    if stress is None and volume > 1e-6 and "virial" in atoms.info:
        stress = -_numbers(atoms.info["virial"], None, "virial", name) / volume
    if stress is None or volume <= 1e-6:
        return energy, forces, None
    stress = _numbers(stress, None, "stress", name)
    stress = stress.reshape(3, 3)[VOIGT] if stress.size == 9 else stress
    return energy, forces, _numbers(stress, (6,), "stress", name)


def _results(atoms: Atoms) -> dict[str, Any]:
    return {} if atoms.calc is None else dict(atoms.calc.results)


def _numbers(values: Any, shape: tuple[int, ...] | None, label: str, name: str) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"got {label} = {values!r} in {name}, expected numbers; mend or leave out this frame"
        ) from error
    if shape is not None and array.shape != shape:
        raise ValueError(f"got {label} of shape {array.shape} in {name}, expected {shape}; mend this frame")
    if not np.isfinite(array).all():
        raise ValueError(
            f"got NaN or infinite labels in {name} ({label}), expected finite eV, eV/Å, eV/Å³; the teacher failed there"
        )
    if np.abs(array).max(initial=0) > LARGEST.get(label, np.inf):
        raise ValueError(
            f"got {label} of {np.abs(array).max():.1e} in {name}, expected at most {LARGEST[label]:g} "
            f"{'eV/Å' if label == 'forces' else 'eV/Å³'}; the teacher failed there: label it again or leave it out"
        )
    return array


def keys_of(atoms: Atoms) -> str:
    """Say which names a frame has, and how to call them labels.

    Source: ours.
    """
    results = _results(atoms)
    info = [key for key in atoms.info if key not in results]
    arrays = [key for key in atoms.arrays if key not in ("numbers", "positions", *results)]
    text = f"it has {', '.join(map(str, [*results, *info, *arrays])) or 'no labels at all'}"
    energies = [k for k in info if "energy" in k.lower()]
    forces = [k for k in arrays if "force" in k.lower()]
    if energies or forces:
        named = [f'{n} = "{k[0]}"' for n, k in (("energy", energies), ("forces", forces)) if k]
        text += (
            f"; if these are labels, say so in [data]: {', '.join(named)} (options of these names in `ase-mlx data`)"
        )
    return text
