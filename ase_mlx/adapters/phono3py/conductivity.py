"""The lattice thermal conductivity of a crystal, exact or with a certificate of what compression changed in it.

Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015); Y. Luo et al., arXiv 2503.05913.
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms
from jaxtyping import Float, Num
from phono3py import Phono3py

from ase_mlx.adapters.choice import settled
from ase_mlx.adapters.phono3py.crystal import (
    crystal_of,
    fourth_of,
    harmonic_of,
    mass_variances_of,
    mesh_numbers,
)
from ase_mlx.adapters.phono3py.force_constants import third_order
from ase_mlx.adapters.phono3py.learned import learned
from ase_mlx.adapters.phono3py.load import load_third_order
from ase_mlx.adapters.phono3py.members import relative_std
from ase_mlx.adapters.phono3py.notes import notable, notes_of, of_mesh
from ase_mlx.adapters.phonopy.born import NO_BORN, born_charges, may_be_polar
from ase_mlx.adapters.phonopy.cells import Supercell
from ase_mlx.adapters.phonopy.stability import judge, stability
from ase_mlx.heat.kappa_files import KappaTable
from ase_mlx.keep import Entries, digest
from ase_mlx.models.extrapolation import once
from ase_mlx.phonons.brillouin import Mesh
from ase_mlx.phonons.certificate import WIDTH, Certificate, certify
from ase_mlx.phonons.compression import Compression, compress, load_compression
from ase_mlx.phonons.crystal import Crystal
from ase_mlx.phonons.force_fit import MOST
from ase_mlx.phonons.fourth_order import ROOM
from ase_mlx.phonons.iterative import iterative_kappa
from ase_mlx.phonons.tensor_files import arrays_of, tensor_of
from ase_mlx.phonons.transport import Relaxation, relaxation_times
from ase_mlx.phonons.wigner import coherence_kappa
from ase_mlx.progress import Progress, Steps, steps_of

MESH = 60.0
"""Å: 19×19×19 points for silicon."""

SAME = 1e-3
"""Å; how far a tensor's crystal may be from the one that it is taken for."""

COHERENT = 0.1
"""Of the conductivity: what coherences add is said from there on."""

TEMPERATURES = tuple(range(100, 1001, 100))
"""K."""

UNSTABLE = "phonons(..., on_imaginary='follow') finds the stable structure, `tolerance` in THz leaves such modes out"
"""What helps against imaginary modes here."""


@dataclass(frozen=True)
class Conductivity:
    """A lattice thermal conductivity and all it was made from.

    `kappa` in W/(m K) in the order xx yy zz yz xz xy, at `temperatures` in K. `kappa_std` is its error bar in the
    same unit, None where none is known. `coherence` is what tunnelling between modes would add to it (Wigner's
    transport equation). Where a tensor stood for the third order and force constants are held, `kappa` is corrected
    by exact elements, as `certificate` says, with its standard error in `kappa_std` in the relaxation-time
    approximation; it is None where nothing was compressed (as is `compression`, the tensor with its errors) or no force
    constants are held. `quartic` is the fourth-order tensor with its errors, None where there is none; what the draw of
    quartets leaves uncertain is in `kappa_std`, in relaxation times. `modes` has linewidths of all phonons (those of
    the tensor where `certificate` is not exact; it says how far they may be off), their shares, and the conductivity,
    in the relaxation-time approximation; `phono3py` is the object with the force constants.

    Source: ours.
    """

    temperatures: Float[np.ndarray, " t"]
    kappa: Float[np.ndarray, "t 6"]
    kappa_std: Float[np.ndarray, "t 6"] | None
    coherence: Float[np.ndarray, "t 6"]
    certificate: Certificate | None
    compression: Compression | None
    quartic: Compression | None
    modes: Relaxation
    phono3py: Phono3py
    notes: tuple[str, ...]

    @property
    def compressed_kappa(self) -> Float[np.ndarray, "t 6"] | None:
        """What the tensor alone gives in the relaxation-time approximation in W/(m K), None without a certificate.

        Source: ours.
        """
        return None if self.certificate is None else self.certificate.compressed

    @property
    def table(self) -> KappaTable:
        """In SI units, for `Material.of` and `Spectrum.of`: temperatures in fields, films thinner than mean free paths.

        Source: ours.
        """
        modes = self.modes
        return KappaTable.of(
            self.temperatures, self.kappa, modes.weights, modes.heat_capacity, self.phono3py.primitive.volume,
            modes.modes.velocities, modes.gamma,
        )  # fmt: skip


@once()
def conductivity(
    source: Atoms | str | Path | Phono3py,
    calculator=None,
    mesh: float | Sequence[float] = MESH,
    temperatures: Num[np.ndarray, " t"] | Sequence[float] = TEMPERATURES,
    rank: int | str | Path | None = None,
    *,
    supercell: Supercell = 10.0,
    displacement: float = 0.03,
    relax: bool = True,
    isotopes: bool = False,
    boundary: float | None = None,
    tolerance: float = 0.05,
    solver: Literal["rta", "iterative"] = "rta",
    order: Literal[3, 4] = 3,
    error_bars: bool = True,
    device: str = "cpu",
    born: str | Path | dict | None = None,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> Conductivity:
    """Lattice thermal conductivity from third-order force constants.

    Args:
        source: a crystal (Å) with a calculator, phono3py's yaml with forces, or its object with force constants.
        calculator: any ASE calculator, eV and Å, in double precision; for a crystal, and for the fourth order.
        mesh: three numbers, or a length in Å (numbers = length times reciprocal vectors); Γ-centred.
        temperatures: in K.
        rank: None compresses nothing; a number of products; "auto": as many as held-out elements want; "learned"; a
            file of `ase-mlx compress`. Force constants that are held correct it, to a half 95 % interval of 1 %.
        supercell: of a crystal, as in `phonons`: multiples, a 3×3 matrix, or a least height in Å.
        displacement: in Å.
        relax: relax a crystal first.
        isotopes: add scattering by natural isotopes.
        boundary: mean free path between boundaries, in units of μm as in phono3py.
        tolerance: frequencies in THz above minus this pass as numerical noise.
        solver: "rta", the relaxation-time approximation, or "iterative", the linearised Boltzmann equation.
        order: 4 adds four-phonon scattering, of a Phono3py's `fc4` (eV/Å⁴), fc4.hdf5 beside a yaml, or 360 supercells.
        error_bars: of a crystal whose calculator has members.
        device: of torch.
        born: Born charges (e) and dielectric tensor: phonopy's BORN file or its `nac_params`; they win over a yaml's.
        folder: finished supercells of a crystal are kept there, force constants of a yaml, and a fitted tensor.
        progress: called with the stage (supercells, points of the mesh, …), number done and in all.

    Returns:
        The conductivity in W/(m K), linewidths and all else.

    Raises:
        ValueError: a source without forces, no calculator, a mesh that breaks the point group, another's tensor.
        ImaginaryModesError, ForcesError, RuntimeError, MemoryError: as `phonons`; no convergence; too little memory.

    Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015); Y. Luo et al., arXiv 2503.05913.
    """
    calculator, temperatures = _checked(temperatures, solver, order, source, calculator)
    (source, rank, pairs), rest = _read_tensor(source, rank, order), (isotopes, boundary, device)
    run = {"folder": folder, "progress": progress}
    ph = _force_constants(source, calculator, (supercell, displacement, relax), (pairs, order == 3), born, run)
    solved = _solved(ph, calculator, mesh, temperatures, rank, solver, order, tolerance, rest, run)
    return _with_std(solved, calculator, error_bars and isinstance(source, Atoms) and pairs, run)


def _read_tensor(source, rank, order: int) -> tuple[Any, Any, bool]:
    """Read the tensor of a file, and a yaml that needs no third order besides; tell whether pairs are displaced."""
    if rank is None or isinstance(rank, int) or rank in ("auto", "learned"):
        return source, rank, rank != "learned"
    rank = load_compression(rank)
    if isinstance(source, str | Path):
        source = load_third_order(source, third=False, fourth=order == 4)
    return source, rank, False


def _force_constants(
    source: Atoms | str | Path | Phono3py, calculator, steps, wanted: tuple[bool, bool], born, run: dict
) -> Phono3py:
    if isinstance(source, Atoms):
        return third_order(source, calculator, *steps, born=born, pairs=wanted[0], **_of(run, "supercells"))
    if not isinstance(source, Phono3py):  # those that learn want forces, which kept force constants come without
        folder = run["folder"] if all(wanted) else None
        return load_third_order(source, born=born, folder=folder, fourth=not wanted[1])
    if born is not None:
        source.nac_params = born_charges(born, source.primitive)
    return source


def _of(run: dict, stage: str) -> dict:
    return run | {"progress": steps_of(run["progress"], stage)}


def _solved(
    ph: Phono3py, calculator, mesh, temperatures, rank, solver: str, order: int, tolerance: float, scattering, run: dict
) -> Conductivity:
    stage = partial(steps_of, run["progress"])
    if order == 4 and calculator is None and fourth_of(ph) is None:
        raise ValueError(
            "order=4 needs a calculator, from whose forces a fourth order is learned, or force constants in fc4.hdf5 "
            "beside the yaml (`fc4` of a Phono3py); got neither."
        )
    harmonic = harmonic_of(ph)
    judge(stability(harmonic), "error", tolerance, UNSTABLE)
    numbers, learn = mesh_numbers(ph, mesh), rank == "learned"
    asked = rank.tensor.rank if isinstance(rank, Compression) else {"auto": 384, "learned": 0, None: 0}.get(rank, rank)
    _check_memory(ph, numbers, len(temperatures), max(MOST if learn or order == 4 else 0, asked), order)
    pairs = not (learn or isinstance(rank, Compression)) or ph.fc3 is not None
    crystal = crystal_of(ph, pairs, harmonic)
    Mesh(numbers, crystal.group.rotations)  # one that breaks the point group is refused before the fit
    compression, quartic = _tensors(ph, calculator, crystal, rank, order, run)
    isotopes, boundary, device = scattering
    boundary = None if boundary is None else 1e4 * boundary  # from μm to Å
    variances = mass_variances_of(ph) if isotopes else None

    def linewidths_from(third, fourth) -> Relaxation:
        rest = {"boundary": boundary, "device": device, "couplings": solver == "iterative"}
        rest |= {"progress": stage("points of the mesh"), "quartic": (fourth or "exact") if order == 4 else None}
        return relaxation_times(crystal, numbers, temperatures, third, variances, **rest)

    result, certificate = _certified(crystal, compression, quartic, linewidths_from, stage("certificate"))
    if isinstance(rank, int) and notable(certificate):
        warnings.warn(f"rank={rank}: {certificate}.", stacklevel=4)
    corrected = result.kappa if certificate is None else certificate.corrected
    kappa, std = corrected, None
    if solver == "iterative":
        kappa = iterative_kappa(crystal, result, stage("temperatures"))[0] * _ratio(corrected, result.kappa)
    elif certificate is not None and not certificate.exact:
        std = certificate.std
    elif result.drawn_std.any():
        std = result.drawn_std
    more = coherence_kappa(crystal, result)
    polar = (NO_BORN,) if ph.nac_params is None and may_be_polar(ph.primitive.symbols) else ()
    if certificate is not None:
        result = replace(result, mode_kappa=result.mode_kappa * certificate.ratios[..., None])
    notes = notes_of(compression, quartic, crystal.reach if learn else None, certificate, solver) + polar
    notes += of_mesh(numbers, ph.primitive.cell)
    share = float(more[result.middle, :3].mean() / kappa[result.middle, :3].mean())
    if share > COHERENT:
        notes += (f"Coherences between modes would add {100 * share:.0f} %: phonons alone do not carry this heat.",)
    four = result.four and replace(result.four, squares=None)
    result = replace(result, couplings=None, interaction=None, four=four)
    return Conductivity(temperatures, kappa, std, more, certificate, compression, quartic, result, ph, notes)


def _tensors(
    ph: Phono3py, calculator, crystal: Crystal, rank, order: int, run: dict
) -> tuple[Compression | None, Compression | None]:
    """What stands for force constants of the third and of the fourth order, None where these are taken themselves."""
    if isinstance(rank, Compression):
        third = _of_crystal(rank, crystal)
    elif rank == "learned":
        third = learned(ph, calculator, 3, **_of(run, "supercells"))
    else:
        third = None if rank is None else _compressed(ph, crystal, rank, run)
    if order == 3 or (rank is None and crystal.fourth is not None):
        return third, None
    return third, learned(ph, calculator, 4, **_of(run, "supercells"))


def _certified(
    crystal: Crystal, third: Compression | None, fourth: Compression | None, linewidths_from, progress: Steps | None
) -> tuple[Relaxation, Certificate | None]:
    """Linewidths and their certificate, where there are tensors and force constants for all of them."""
    tensors = [None if x is None else x.tensor for x in (third, fourth)]
    result = linewidths_from(*tensors)
    orders = [order for order, tensor in zip((3, 4), tensors, strict=True) if tensor is not None]
    if not orders or any({3: crystal.third, 4: crystal.fourth}[order] is None for order in orders):
        return result, None
    certificate = certify(crystal, result, orders=orders, progress=progress)
    if certificate.exact or certificate.half_widths.max() > WIDTH:
        result = linewidths_from(None, None)
        certificate = certificate.superseded(result)
    return result, certificate


def _of_crystal(kept: Compression, crystal: Crystal) -> Compression:
    """A tensor from a file, which has to be this crystal's."""
    theirs, ours = kept.tensor.group, crystal.group
    same = kept.tensor.order == 3 and theirs.positions.shape == ours.positions.shape
    if same:
        apart = (theirs.positions - ours.positions + 0.5) % 1 - 0.5
        same = max(abs(theirs.lattice - ours.lattice).max(), abs(apart @ ours.lattice).max()) < SAME
    if not same:
        raise ValueError(
            f"rank: got the tensor of another crystal (order {kept.tensor.order}, {len(theirs.positions)} atoms, "
            f"{abs(np.linalg.det(theirs.lattice)):.2f} Å³), expected order 3 of this one ({len(ours.positions)} atoms, "
            f"{abs(np.linalg.det(ours.lattice)):.2f} Å³) in the same cell and order of atoms; compress its own."
        )
    return kept


def _compressed(ph: Phono3py, crystal: Crystal, rank: int | str, run: dict) -> Compression:
    """Compress, or take the tensor that an earlier call kept of the same force constants."""
    kept = Entries(run["folder"])
    key = digest("third order", rank, ph.fc2, ph.fc3, ph.nac_params, vars(crystal.group), crystal.masses)
    if (arrays := kept.fetch("tensor", key)) is not None:
        names = [field.name for field in fields(Compression) if field.name != "tensor"]
        errors = {name: arrays.pop(name).item() for name in names}
        return Compression(tensor_of(arrays, 3), **errors)
    compression = compress(crystal, rank, progress=steps_of(run["progress"], "fit of the tensor"))
    kept.keep("tensor", key, arrays_of(compression.tensor) | compression.errors)
    return compression


def _ratio(corrected: np.ndarray, compressed: np.ndarray) -> np.ndarray:
    """One over the other, and 1 where symmetry allows nothing."""
    counted = np.abs(compressed) > 1e-8 * np.abs(compressed).max(axis=1, keepdims=True)
    return np.where(counted, corrected / np.where(counted, compressed, 1.0), 1.0)


def _with_std(solved: Conductivity, calculator, wanted: bool, run: dict) -> Conductivity:
    if not wanted:
        return solved
    quartic = solved.quartic and solved.quartic.tensor
    spread = relative_std(solved.phono3py, calculator, solved.temperatures, **_of(run, "error bars"), quartic=quartic)
    if spread is None:
        return replace(solved, notes=(*solved.notes, "No error bar of the potential: the calculator has no members."))
    drawn = 0.0 if solved.kappa_std is None else solved.kappa_std
    return replace(solved, kappa_std=np.hypot(spread * solved.kappa, drawn))


def _checked(temperatures, solver: str, order: int, source, calculator) -> tuple[Any, np.ndarray]:
    """The calculator of a name, and temperatures in K; what does not go together is refused."""
    crystal = isinstance(source, Atoms)
    calculator = settled(calculator, source) if crystal else calculator
    if crystal and calculator is None:
        raise ValueError("got a crystal without a calculator, expected one; or give phono3py's yaml with forces.")
    if solver not in ("rta", "iterative"):
        raise ValueError(f'solver: got "{solver}", expected "rta" or "iterative".')
    if order not in (3, 4):
        raise ValueError(f"order: got {order}, expected 3, or 4 for four-phonon scattering too.")
    kelvin = np.asarray(temperatures, dtype=float)
    if kelvin.ndim != 1 or not len(kelvin) or np.any(kelvin <= 0):
        raise ValueError(f"temperatures: got {kelvin} K, expected positive numbers.")
    return calculator, kelvin


def _check_memory(ph: Phono3py, numbers: tuple[int, int, int], temperatures: int, products: int, order: int) -> None:
    points, bands = int(np.prod(numbers)), 3 * len(ph.primitive)
    pairs, reach = points // 2, (len(ph.supercell) / len(ph.primitive)) ** (1 / 3)
    bytes_needed = points * bands * (16 * products + 48 * bands + 8 * temperatures)
    bytes_needed += pairs * bands * (24 * bands**2 + 16 * temperatures) + 15 * 8 * points
    # the sum over folded cells, axis by axis: about nine times those of a face of the supercell, four times a side's
    bytes_needed += torch.get_num_threads() * 16 * bands**3 * 9 * reach**2 * (4 * reach + max(numbers))
    if order == 4 and fourth_of(ph) is not None:
        bytes_needed += fourth_of(ph).nbytes + ROOM
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else np.inf
    if bytes_needed > 0.9 * free:
        raise MemoryError(
            f"The mesh {numbers} would need about {bytes_needed / 1e9:.1f} GB, of which {free / 1e9:.1f} GB are free. "
            "Take a smaller mesh or fewer temperatures."
        )
