"""Labelled structures as tensors: what training and evaluation read.

Source: ours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from ase import Atoms
from jaxtyping import Float, Int
from torch import Tensor

from ase_mlx.data.labels import labels_of
from ase_mlx.graph import Graph, batch, from_atoms
from ase_mlx.quantities import SYMBOLS
from ase_mlx.units import RYDBERG_IN_EV

MIXED_UNITS_EV_PER_ATOM = 5.0
"""A frame whose energy per atom misses the least-squares reference energies by more is of another kind."""


FREE = 1e-6
"""Å³: a cell of less has no volume: its atoms are free."""


@runtime_checkable
class Trainable(Protocol):
    """What the training loop reads of training structures: a graph (Å) and names; a loss knows the rest.

    `join` makes one of several, `to` moves one to a device.

    Source: ours.
    """

    graph: Graph
    names: tuple[str, ...]

    def to(self, device: str | torch.device) -> Any:
        """Move everything to a device."""

    @staticmethod
    def join(samples: list[Any]) -> Any:
        """Batch samples (the loss's units) into one."""


@dataclass(frozen=True)
class Sample:
    """One or several structures with targets: energy (eV), forces (eV/Å), stress (Voigt, eV/Å³).

    `weight` holds one dimensionless weight per structure and target; 0 leaves a target out. Where `weight["hessian"]`
    is not 0, `displacement` (Å) and `force_change` (eV/Å) lead here from another structure, which is one of `base`.

    Source: ours.
    """

    graph: Graph
    targets: Mapping[str, Tensor]
    weight: Mapping[str, Tensor]
    names: tuple[str, ...] = field(default=())
    base: Graph | None = None

    def to(self, device: str | torch.device) -> "Sample":
        """Move everything (eV, Å) to a device."""
        return Sample(
            self.graph.to(device),
            {k: v.to(device) for k, v in self.targets.items()},
            {k: v.to(device) for k, v in self.weight.items()},
            self.names,
            None if self.base is None else self.base.to(device),
        )

    @staticmethod
    def join(samples: list["Sample"]) -> "Sample":
        """Batch samples (eV, Å) into one."""
        bases = [s.base for s in samples if s.base is not None]
        return Sample(
            batch([s.graph for s in samples]),
            {k: torch.cat([s.targets[k] for s in samples]) for k in samples[0].targets},
            {k: torch.cat([s.weight[k] for s in samples]) for k in samples[0].weight},
            tuple(name for s in samples for name in s.names),
            batch(bases) if bases else None,
        )


def batches(samples: list[Trainable], size: int) -> list[Trainable]:
    """Join samples (eV, Å) in groups of at most `size`, crystals apart from structures without a volume and a stress.

    Source: ours.
    """
    kinds: dict[bool, list[Trainable]] = {}
    for s in samples:
        kinds.setdefault(bool((s.graph.volume > 1e-6).all()), []).append(s)
    return [alike[0].join(alike[k : k + size]) for alike in kinds.values() for k in range(0, len(alike), size)]


def name_of(atoms: Atoms, index: int) -> str:
    """Name a frame by its `config_name`, or by its place in the file.

    Source: ours.
    """
    return str(atoms.info.get("config_name", f"frame {index}"))


def sample(atoms: Atoms, cutoff: float, name: str) -> Sample:
    """Turn one labelled structure into tensors, edges up to `cutoff` (Å).

    The energy is the force-consistent `free_energy` (eV) where given; `info["energy_weight"]` (dimensionless, default
    1) says whether it counts. A missing stress, or a cell without volume, leaves the stress out. The arrays
    `displacement` (Å) and `force_change` (eV/Å) together make a column of the Hessian.

    Raises:
        ValueError: no energy, no forces, or values that are no finite numbers or no physics; a displacement that moves
            nothing.

    Source: ours.
    """
    energy, forces, stress = labels_of(atoms, name)
    has_stress = stress is not None
    stress = stress if has_stress else np.zeros(6)
    as_tensor = lambda x: torch.as_tensor(np.asarray(x, dtype=np.float64))  # noqa: E731
    moved, change = column_of(atoms, name)
    base = None
    if moved.any():
        base = Atoms(atoms.numbers, atoms.positions - moved, cell=atoms.cell, pbc=atoms.pbc)
    weight = {
        "energy": as_tensor([weight_of(atoms, "energy_weight", name)]),
        "forces": as_tensor([1.0]),
        "stress": as_tensor([float(has_stress) * weight_of(atoms, "stress_weight", name)]),
        "hessian": as_tensor([float(base is not None)]),
    }
    targets = {
        "energy": as_tensor([energy]),
        "forces": as_tensor(forces).reshape(-1, 3),
        "stress": as_tensor(stress).reshape(1, 6),
        "displacement": as_tensor(moved),
        "force_change": as_tensor(change),
    }
    # edges of its own: at a displaced atom, pairs cross the cutoff
    start = None if base is None else from_atoms(base, cutoff)
    return Sample(from_atoms(atoms, cutoff), targets, weight, (name,), start)


def weight_of(atoms: Atoms, key: str, name: str) -> float:
    """Read the (dimensionless) weight of a target of a frame from its `info`; 1 where there is none.

    Raises:
        ValueError: it is no number from 0.

    Source: ours.
    """
    try:
        weight = float(atoms.info.get(key, 1.0))
    except (TypeError, ValueError):
        weight = -1.0
    if not 0 <= weight < np.inf:
        raise ValueError(f"got {key} = {atoms.info[key]!r} in {name}, expected a number from 0")
    return weight


def column_of(atoms: Atoms, name: str) -> tuple[Float[np.ndarray, "atoms 3"], Float[np.ndarray, "atoms 3"]]:
    """Read displacement (Å) and change of forces (eV/Å) of the atoms, both zero where the frame lacks one of them.

    Raises:
        ValueError: not three finite numbers an atom, or a displacement that moves nothing.

    Source: ours.
    """
    nothing = np.zeros((len(atoms), 3))
    if not {"displacement", "force_change"} <= set(atoms.arrays):
        return nothing, nothing
    moved, change = (np.asarray(atoms.arrays[k], dtype=np.float64) for k in ("displacement", "force_change"))
    if moved.shape != nothing.shape or change.shape != nothing.shape or not np.isfinite([moved, change]).all():
        raise ValueError(
            f"got arrays displacement of shape {moved.shape} and force_change of shape {change.shape} in {name}, "
            "expected three finite numbers an atom (Å, eV/Å) in both; leave both out where one is unknown"
        )
    if not moved.any():
        raise ValueError(f"got a displacement of zero in {name}, expected one that moves an atom; leave it out")
    return moved, change


def composition(numbers: np.ndarray, elements: tuple[int, ...]) -> Float[np.ndarray, " elements"]:
    """Count the atoms of each element (dimensionless).

    Source: ours.
    """
    return np.array([np.count_nonzero(numbers == z) for z in elements], dtype=np.float64)


def reference_energies(
    frames: list[Atoms], elements: tuple[int, ...], interaction: Float[np.ndarray, " frames"] | None = None
) -> tuple[float, ...]:
    """Fit one energy per element (eV) to total energies by least squares, frames of zero `energy_weight` left out.

    `interaction` (eV) is what a model already explains of each frame.

    Raises:
        ValueError: a frame is so far from the fit that units or pseudopotentials must be mixed.

    Source: ours.
    """
    indices = [k for k, a in enumerate(frames) if float(a.info.get("energy_weight", 1.0)) > 0]
    used = [frames[k] for k in indices]
    counts = np.array([composition(a.numbers, elements) for a in used])
    energies = np.array([a.calc.results.get("free_energy", a.calc.results.get("energy")) for a in used], dtype=float)
    taken = None if interaction is None else interaction[indices]
    return fit_references(counts, energies, lambda k: name_of(used[k], k), taken)


def energies_of_free_atoms(free: Mapping[int, float], elements: tuple[int, ...]) -> tuple[float, ...]:
    """Order energies of free atoms (eV) by atomic number as elements are.

    Raises:
        ValueError: an element without one.

    Source: ours.
    """
    if missing := [z for z in elements if z not in free]:
        raise ValueError(
            f'got references = "free atoms" and no free atom of {", ".join(symbols(tuple(missing)))} among the '
            "training frames, expected one atom without a cell for each element; add them, or leave references out"
        )
    return tuple(free[z] for z in elements)


def fit_references(
    counts: Any,
    energies: Float[np.ndarray, " frames"],
    name: Callable[[int], str],
    interaction: Float[np.ndarray, " frames"] | None = None,
) -> tuple[float, ...]:
    """Fit one energy per element (eV) to total energies by least squares.

    Args:
        counts: atoms of each element, of each frame; dense or sparse (SciPy).
        energies: eV.
        name: of a frame, by its place.
        interaction: what a model already explains of each frame, eV.

    Raises:
        ValueError: a frame is so far from the fit that units or pseudopotentials must be mixed.

    Source: ours.
    """
    fit = _robust(counts, energies)
    off = np.abs(energies - counts @ fit) / _atoms(counts)
    bad = np.flatnonzero(off > MIXED_UNITS_EV_PER_ATOM)
    if bad.size:
        worst = ", ".join(f"{name(int(k))} ({off[k]:.1f} eV/atom)" for k in bad[np.argsort(-off[bad])][:3])
        raise ValueError(
            f"got {bad.size} of {len(energies)} frames far from one reference energy per element: {worst}; expected "
            "energies in eV from one code and one set of pseudopotentials; convert the units "
            f"(1 Ry = {RYDBERG_IN_EV:.4f} eV) or "
            "split the set"
        )
    fit = fit if interaction is None else _robust(counts, energies - interaction)
    return tuple(float(e) for e in fit)


def _atoms(counts: Any) -> np.ndarray:
    return np.asarray(counts.sum(1)).ravel()


def _robust(counts: Any, energies: np.ndarray) -> np.ndarray:
    """Least squares per atom with outliers down-weighted, so that a few foreign frames cannot hide themselves."""
    weight = 1 / _atoms(counts)
    for _ in range(20):
        fit = _least_squares(counts, energies, weight)
        off = np.abs(energies - counts @ fit) / _atoms(counts)
        weight = 1 / _atoms(counts) / np.sqrt(1 + (off / max(np.median(off), 1e-3)) ** 2)
    return fit


def _least_squares(counts: Any, energies: np.ndarray, weight: np.ndarray) -> np.ndarray:
    if isinstance(counts, np.ndarray):
        return np.linalg.lstsq(counts * weight[:, None], energies * weight, rcond=None)[0]
    weighted = counts.multiply(weight[:, None]).tocsr()  # millions of frames: by normal equations
    normal = (weighted.T @ weighted).toarray()
    return np.linalg.lstsq(normal, weighted.T @ (energies * weight), rcond=1e-12)[0]


def split(frames: list[Atoms], seed: int = 0, validation: float = 0.1) -> dict[str, list[int]]:
    """Sort frame indices into train, val and test by `info["part"]`; at random where no frame has one.

    The random order depends on `seed`; a fraction `validation` (dimensionless) of the frames is held out.

    Frames of any other part ("reference", …) are used for nothing.

    Raises:
        ValueError: fewer than two frames are left for training, or none for validation.

    Source: ours.
    """
    parts: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    if any("part" in a.info for a in frames):
        for k, atoms in enumerate(frames):
            parts.get(str(atoms.info.get("part", "")), []).append(k)
    else:
        drawn = draw_parts(len(frames), seed, validation)
        parts |= {part: places.tolist() for part, places in drawn.items()}
    expect_parts(parts)
    return parts


def draw_parts(frames: int, seed: int, validation: float) -> dict[str, Int[np.ndarray, "..."]]:
    """Draw a fraction `validation` (dimensionless) of so many frames for validation, by the seed; train on the rest.

    Source: ours.
    """
    order = np.random.default_rng(seed).permutation(frames)
    n_val = max(1, round(validation * frames))
    return {"val": np.sort(order[:n_val]), "train": np.sort(order[n_val:])}


def expect_parts(parts: Mapping[str, Sequence[int] | Int[np.ndarray, "..."]]) -> None:
    """Refuse a split that nothing can be trained on.

    Raises:
        ValueError: fewer than two frames for training, or none for validation.

    Source: ours.
    """
    if len(parts["train"]) < 2 or not len(parts["val"]):
        raise ValueError(
            f"got {len(parts['train'])} training and {len(parts['val'])} validation frames, expected at least two and "
            'one; add frames, or mark them by info["part"] = "train" | "val" | "test"'
        )


def elements_of(frames: list[Atoms]) -> tuple[int, ...]:
    """List the atomic numbers that occur, ascending.

    Source: ours.
    """
    return tuple(int(z) for z in np.unique(np.concatenate([a.numbers for a in frames])))


def symbols(elements: tuple[int, ...]) -> tuple[str, ...]:
    """Name elements by their chemical symbols.

    Source: ours.
    """
    return tuple(SYMBOLS[z] for z in elements)
