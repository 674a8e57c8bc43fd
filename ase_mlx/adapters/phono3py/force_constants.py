"""Third-order force constants: from files of phono3py, or from any ASE calculator.

Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015); A. Seko and A. Togo, Phys. Rev. B 110,
214302 (2024), for symfc.
"""

import contextlib
import warnings
from pathlib import Path

import numpy as np
import phono3py
import yaml
from ase import Atoms
from phono3py import Phono3py
from phonopy.exception import ForceCalculatorRequiredError
from phonopy.file_IO import parse_BORN
from phonopy.structure.cells import guess_primitive_matrix

from ase_mlx.adapters.ase.job import property_or_none
from ase_mlx.adapters.phono3py.symmetry import LabelledPhono3py
from ase_mlx.adapters.phonopy.cells import Supercell, check_crystal, matrix, to_phonopy, warn_if_small
from ase_mlx.adapters.phonopy.force_constants import phonons, relaxed
from ase_mlx.adapters.phonopy.forces import Progress, check_precision, displacement_forces
from ase_mlx.adapters.phonopy.labelled import keep_labels, space_group_serves
from ase_mlx.adapters.phonopy.store import Store
from ase_mlx.models.extrapolation import once, see

UNREADABLE = (AssertionError, TypeError, KeyError, AttributeError, RuntimeError, ValueError, OSError)
"""What phono3py raises on files that are none of its own."""

BROKEN = 1e-3
"""Relative violation of permutation symmetry or sum rule above which force constants are called broken."""


@once()
def third_order(
    atoms: Atoms,
    calculator,
    supercell: Supercell = 10.0,
    displacement: float = 0.03,
    relax: bool = True,
    *,
    born: str | Path | dict | None = None,
    symprec: float = 1e-5,
    pairs: bool = True,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> Phono3py:
    """Second- and third-order force constants of a crystal by displacing atoms, and pairs of them.

    Args:
        atoms: a crystal periodic in three directions, Å. It is not changed; its labels go as in `phonons`.
        calculator: any ASE calculator, eV and Å, in double precision.
        supercell: three multiples, a 3×3 matrix (columns, as in phonopy), or a least height in Å.
        displacement: in Å.
        relax: bring positions and cell to a minimum first.
        born: Born charges (e) and dielectric tensor: phonopy's BORN file or its `nac_params`.
        symprec: tolerance of the symmetry search in Å.
        pairs: False stops at the second order, for a third one that is learned from forces.
        folder: finished supercells are kept there; the same call after a kill goes on from them.
        progress: called with the number of supercells done and in all.

    Returns:
        The `phono3py.Phono3py` with compact force constants in eV/Å² and eV/Å³, symmetric as phono3py makes them.

    Raises:
        ValueError: not a crystal, masses without meaning, a supercell of another shape, single precision.
        RuntimeError: the relaxation did not converge.
        ForcesError: the calculator raised or gave NaN; what was finished is kept.

    Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015), appendix.
    """
    check_crystal(atoms)
    check_precision(calculator)
    store = Store(folder, calculator)
    atoms = relaxed(atoms, calculator, store) if relax else atoms
    see(property_or_none(calculator, "distance", atoms))
    unitcell, group = to_phonopy(atoms, calculator), space_group_serves(atoms, calculator)
    cells = {"primitive_matrix": guess_primitive_matrix(unitcell, symprec=symprec, distinguish_symbol_index=True)}
    ph = LabelledPhono3py(unitcell, matrix(atoms, supercell, symprec), symprec=symprec, is_symmetry=group, **cells)
    keep_labels(ph, atoms)
    if born is not None:
        ph.nac_params = born if isinstance(born, dict) else parse_BORN(ph.primitive, filename=str(born))
    warn_if_small(ph.supercell, calculator)
    if not pairs:
        settings = {"relax": False, "on_imaginary": "report", "symprec": symprec, "folder": folder}
        ph.fc2 = phonons(atoms, calculator, ph.supercell_matrix, **settings).force_constants
        return ph
    ph.generate_displacements(distance=displacement)
    ph.forces = displacement_forces(ph, calculator, store=store, progress=progress)
    ph.produce_fc3()
    ph.symmetrize_fc3()  # not by symfc 1.7.3, whose projector fails on fcc copper
    ph.symmetrize_fc2()
    return ph


def load_third_order(path: str | Path, symmetrize: bool = False) -> Phono3py:
    """Read phono3py's yaml with forces, or with FORCES_FC3, fc3.hdf5 and fc2.hdf5 beside it.

    Args:
        path: phono3py_params.yaml or phono3py_disp.yaml, packed or not; eV and Å.
        symmetrize: project force constants that were read onto those with all symmetries, by symfc.

    Returns:
        The `phono3py.Phono3py` with force constants in eV/Å² and eV/Å³.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of phono3py's, no forces, or a truncated one.

    Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"got {str(path)!r}, expected an existing phono3py_params.yaml")
    try:
        with contextlib.chdir(path.parent):  # phono3py looks for FORCES_FC3 and fc3.hdf5 in the working directory
            try:
                ph = phono3py.load(path.name, log_level=0)
            except ForceCalculatorRequiredError:  # random displacements
                ph = phono3py.load(path.name, fc_calculator="symfc", log_level=0)
    except (*UNREADABLE, yaml.YAMLError) as error:
        raise ValueError(
            f"got {str(path)!r}, which phono3py {phono3py.__version__} cannot read ({type(error).__name__}: {error}), "
            "expected its yaml, whole, with forces in it or FORCES_FC3 or fc3.hdf5 beside it"
        ) from error
    if ph.fc3 is None or ph.fc2 is None:
        raise ValueError(
            f"got {str(path)!r} without forces, and no FORCES_FC3 or fc3.hdf5 and fc2.hdf5 beside it; expected either. "
            "Compute the displaced supercells first (phono3py-init), or give a structure and a calculator."
        )
    if symmetrize:
        ph.symmetrize_fc3(use_symfc_projector=True)
        ph.symmetrize_fc2(use_symfc_projector=True)
    permutation, rule = broken_symmetry(ph.fc3)
    if max(permutation, rule) > BROKEN:
        warnings.warn(
            f"The third-order force constants of {path.name} break permutation symmetry by {100 * permutation:.3g} % "
            f"and the acoustic sum rule by {100 * rule:.3g} % of their size; symmetrize=True projects them.",
            stacklevel=2,
        )
    return ph


def broken_symmetry(constants: np.ndarray) -> tuple[float, float]:
    """How far compact or full third-order force constants (eV/Å³) break permutation symmetry and acoustic sum rule.

    Returns:
        Norm of the difference under exchange of the last two atoms over that of the constants, and the largest sum over
        the last atom over the largest constant; dimensionless.

    Source: ours.
    """
    size = float(np.linalg.norm(constants))
    if size == 0:
        return 0.0, 0.0
    swapped = constants.transpose(0, 2, 1, 3, 5, 4)
    sums = np.abs(constants.sum(axis=2)).max()
    return float(np.linalg.norm(constants - swapped)) / size, float(sums / np.abs(constants).max())
