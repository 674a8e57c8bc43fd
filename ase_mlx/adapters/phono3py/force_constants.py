"""Third-order force constants from any ASE calculator.

Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
"""

from pathlib import Path

from ase import Atoms
from phono3py import Phono3py
from phonopy.structure.cells import guess_primitive_matrix

from ase_mlx.adapters.ase.job import property_or_none
from ase_mlx.adapters.phono3py.displaced_pairs import displaced
from ase_mlx.adapters.phono3py.symmetry import LabelledPhono3py
from ase_mlx.adapters.phonopy.born import born_charges
from ase_mlx.adapters.phonopy.cells import Supercell, check_crystal, matrix, to_phonopy, warn_if_small
from ase_mlx.adapters.phonopy.consistency import check_residuals
from ase_mlx.adapters.phonopy.force_constants import phonons, relaxed
from ase_mlx.adapters.phonopy.forces import FORCES, check_precision, displacement_forces, refusing_forces
from ase_mlx.adapters.phonopy.labelled import keep_labels, space_group_serves
from ase_mlx.adapters.phonopy.store import Store
from ase_mlx.models.extrapolation import once, see
from ase_mlx.progress import Steps


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
    progress: Steps | None = None,
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
        ph.nac_params = born_charges(born, ph.primitive)
    warn_if_small(ph.supercell, calculator)
    if not pairs:
        settings = {"relax": False, "on_imaginary": "report", "symprec": symprec, "folder": folder}
        ph.fc2 = phonons(atoms, calculator, ph.supercell_matrix, **settings).force_constants
        return ph
    ph.generate_displacements(distance=displacement)
    ph.forces = displacement_forces(ph, calculator, store=store, progress=progress)
    _produce(ph)
    return ph


def _produce(ph: Phono3py) -> None:
    ph.produce_fc3()
    ph.symmetrize_fc3()
    ph.symmetrize_fc2()
    _check_answers(ph)


def _check_answers(ph: Phono3py) -> None:
    """Compare the calculator's forces (eV/Å) with those of the harmonic crystal that came out of them."""
    with refusing_forces():
        check_residuals(*displaced(ph.dataset, len(ph.supercell)), ph.fc2, ph.primitive, FORCES, computed=True)
