"""Second-order force constants from any ASE calculator, in phonopy's own object.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from ase import Atoms
from phonopy import Phonopy
from phonopy.structure.cells import guess_primitive_matrix
from phonopy.structure.dataset import get_displacements_and_forces

from ase_mlx.adapters.ase.job import property_or_none
from ase_mlx.adapters.ase.job import relax as relax_structure
from ase_mlx.adapters.ase.supercells import kind
from ase_mlx.adapters.choice import settled
from ase_mlx.adapters.phonopy.born import born_charges
from ase_mlx.adapters.phonopy.cells import Supercell, check_crystal, matrix, to_ase, to_phonopy, warn_if_small
from ase_mlx.adapters.phonopy.consistency import check_residuals
from ase_mlx.adapters.phonopy.convergence import LENGTHS, LIMIT, MOST_ATOMS, change
from ase_mlx.adapters.phonopy.follow import follow
from ase_mlx.adapters.phonopy.forces import (
    FORCES,
    check_precision,
    displacement_forces,
    forces_at_rest,
    refusing_forces,
)
from ase_mlx.adapters.phonopy.hessian import hessian_force_constants
from ase_mlx.adapters.phonopy.labelled import keep_labels, space_group_serves
from ase_mlx.adapters.phonopy.stability import OnImaginary, judge, stability
from ase_mlx.adapters.phonopy.store import Store
from ase_mlx.adapters.phonopy.symmetry import FastPhonopy, produce, symmetric
from ase_mlx.models.extrapolation import once, see
from ase_mlx.progress import Steps

Method = Literal["displacements", "random", "hessian"]

RELAXED = 1e-4
"""eV/Å: forces left by the relaxation."""


@once()
def phonons(
    atoms: Atoms,
    calculator,
    supercell: Supercell = "auto",
    displacement: float = 0.01,
    relax: bool = True,
    *,
    method: Method = "displacements",
    born: str | Path | dict | None = None,
    on_imaginary: OnImaginary = "error",
    tolerance: float = 0.05,
    symprec: float = 1e-5,
    folder: str | Path | None = None,
    progress: Steps | None = None,
) -> Phonopy:
    """Second-order force constants of a crystal, the acoustic sum rule and the space group imposed exactly.

    Args:
        atoms: a crystal periodic in three directions, Å; it is not changed. What is on it goes into every supercell:
            masses, moments, charges, tags, own arrays, `info` (the cell's charge times the number of cells); no
            constraints.
        calculator: any ASE calculator, eV and Å, in double precision.
        supercell: three multiples, a 3×3 matrix (columns, as in phonopy), a least height in Å, or "auto": 15 Å, checked
            against 10 Å, and 20 Å where the frequencies still move by more than 0.15 THz.
        displacement: in Å; of one atom at a time, or of all at random.
        relax: bring positions and cell to a minimum first; otherwise the structure is taken as given, and residual
            forces and stress are reported.
        method: "displacements", "random" (as many snapshots as symfc asks for, fitted by symfc), or "hessian" (exact
            second derivatives of our own models).
        born: Born charges (e) and dielectric tensor for the non-analytical correction: phonopy's BORN file or its
            `nac_params`.
        on_imaginary: "error", "follow" (displace along the lowest mode, relax, repeat), or "report" for a warning only.
        tolerance: frequencies in THz above minus this pass as numerical noise.
        symprec: tolerance of the symmetry search in Å.
        folder: finished supercells are kept there; the same call after a kill goes on from them.
        progress: called with the number of supercells done and in all.

    Returns:
        The `phonopy.Phonopy` with compact force constants in eV/Å² and a Γ-centred mesh in THz.

    Raises:
        ValueError: not a crystal, masses without meaning, a supercell of another shape, single precision.
        RuntimeError: the relaxation did not converge.
        ForcesError: the calculator raised or gave NaN; what was finished is kept.
        ImaginaryModesError: naming the lowest frequency, where it lies, and the share of modes below zero.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 3; K. Parlinski et al.,
        Phys. Rev. Lett. 78, 4063 (1997).
    """
    calculator = _checked(calculator, atoms, on_imaginary, method)
    store = Store(folder, calculator)
    recipe = _Recipe(calculator, supercell, displacement, method, born, symprec, store, progress)
    ph = recipe.run(relaxed(atoms, calculator, store) if relax else atoms)
    if on_imaginary == "follow":
        ph = follow(ph, calculator, recipe.run, tolerance, RELAXED)
    see(property_or_none(calculator, "distance", to_ase(ph.unitcell)))
    judge(stability(ph), "error" if on_imaginary == "follow" else on_imaginary, tolerance)
    return ph


@dataclass(frozen=True)
class _Recipe:
    """How the phonons of one structure after another are made."""

    calculator: object
    supercell: Supercell
    displacement: float
    method: Method
    born: str | Path | dict | None
    symprec: float
    store: Store
    progress: Steps | None

    def run(self, atoms: Atoms) -> Phonopy:
        ph = self.converged(atoms) if _is_auto(self.supercell) else self.compute(atoms, self.supercell)
        warn_if_small(ph.supercell, self.calculator)
        return ph

    def compute(self, atoms: Atoms, supercell: Supercell) -> Phonopy:
        unitcell, shape = to_phonopy(atoms, self.calculator), matrix(atoms, supercell, self.symprec)
        primitive = guess_primitive_matrix(unitcell, symprec=self.symprec, distinguish_symbol_index=True)
        group = space_group_serves(atoms, self.calculator)
        ph = FastPhonopy(unitcell, shape, primitive_matrix=primitive, symprec=self.symprec, is_symmetry=group)
        keep_labels(ph, atoms)
        ph.ase_calculator = self.calculator
        if self.born is not None:
            ph.nac_params = born_charges(self.born, ph.primitive)
        if self.method == "hessian":
            forces_at_rest(ph, self.calculator, self.store)
            constants = hessian_force_constants(ph, self.calculator, progress=self.progress)
            ph.force_constants = symmetric(constants, ph.primitive)
            return ph
        snapshots = {"number_of_snapshots": "auto", "random_seed": 0} if self.method == "random" else {}
        ph.generate_displacements(distance=self.displacement, **snapshots)
        ph.forces = displacement_forces(ph, self.calculator, store=self.store, progress=self.progress)
        produce(ph)
        with refusing_forces():
            sets = get_displacements_and_forces(ph.dataset)
            check_residuals(*sets, ph.force_constants, ph.primitive, FORCES, computed=True)
        return ph

    def converged(self, atoms: Atoms) -> Phonopy:
        """Enlarge the supercell until the frequencies stand, or it grows too large; say what was not checked."""
        ph = self.compute(atoms, LENGTHS[0])
        for length in LENGTHS[1:]:
            count = round(abs(np.linalg.det(matrix(atoms, length, self.symprec)))) * len(atoms)
            if count > MOST_ATOMS:
                warnings.warn(
                    f"The supercell of {len(ph.supercell)} atoms was not checked against a larger one, which has "
                    f"{count}. Compare with supercell={length:g}.",
                    stacklevel=4,
                )
                return ph
            larger = self.compute(atoms, length)
            moved, ph = change(ph, larger), larger
            if moved <= LIMIT:
                return ph
        warnings.warn(
            f"From the last supercell to this one of {len(ph.supercell)} atoms the frequencies moved by {moved:.2f} "
            f"THz (rms; limit {LIMIT:g}): give a larger supercell.",
            stacklevel=4,
        )
        return ph


def _is_auto(supercell) -> bool:
    return isinstance(supercell, str) and supercell == "auto"


def relaxed(atoms: Atoms, calculator, store: Store, cell: Literal["free", "shape", "fixed"] = "free") -> Atoms:
    """Relax positions (Å) to 0.1 meV/Å, and the cell or its shape; a finished relaxation is taken from the store.

    The space group is kept.

    Raises:
        RuntimeError: it did not converge.

    Source: ours.
    """
    options = f"{RELAXED} {cell}"
    kept = store.fetch("relaxed", atoms, options)
    if kept is None:
        with once(speak=False):  # the caller looks at the end, which is there again when this is taken from the store
            relaxation = relax_structure(atoms, calculator, fmax=RELAXED, cell=cell)
        if not relaxation.converged:
            raise RuntimeError(f"{relaxation.notes[-1]} Relax it yourself, then call with relax=False.")
        kept = {"cell": relaxation.atoms.cell.array, "positions": relaxation.atoms.positions}
        store.keep("relaxed", atoms, kept, options)
    done = atoms.copy()
    done.set_cell(kept["cell"])
    done.positions = kept["positions"]
    if kind(done) != "crystal":
        raise RuntimeError(f"Relaxed, the crystal of {done.symbols} fell apart into a {kind(done)}.")
    return done


def _checked(calculator, atoms: Atoms, on_imaginary: str, method: str):
    """The calculator of a name; what does not go together is refused."""
    check_crystal(atoms)
    if on_imaginary not in ("error", "follow", "report"):
        raise ValueError(f'on_imaginary: got "{on_imaginary}", expected "error", "follow" or "report".')
    if method not in ("displacements", "random", "hessian"):
        raise ValueError(f'method: got "{method}", expected "displacements", "random" or "hessian".')
    calculator = settled(calculator, atoms)
    check_precision(calculator)
    return calculator
