"""Force constants from any ASE calculator.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms
from jaxtyping import Float, Num
from phonopy import Phonopy
from phonopy.interface.symfc import SymfcFCSolver
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import guess_primitive_matrix

from ase_mlx.adapters.ase.job import property_or_none
from ase_mlx.adapters.ase.job import relax as relax_structure
from ase_mlx.adapters.ase.supercells import kind, supercell_matrix
from ase_mlx.adapters.phonopy.stability import Imaginary, judge, stability

RESIDUAL_FORCE = 0.02
"""eV/Å: above this the structure is not at a stationary point and its harmonic expansion is in doubt."""


def phonons(
    atoms: Atoms,
    calculator,
    supercell: str | Sequence[int] | Num[np.ndarray, "3 3"] = "auto",
    displacement: float = 0.01,
    relax: bool = True,
    imaginary: Imaginary = "raise",
    tolerance: float = 0.05,
    symprec: float = 1e-5,
) -> Phonopy:
    """Second-order force constants by finite displacements, the acoustic sum rule and the space group imposed exactly.

    Args:
        atoms: a crystal periodic in three directions, Å; masses and magnetic moments are kept. It is not changed.
        calculator: any ASE calculator, eV and Å, in double precision.
        supercell: three multiples, a 3×3 matrix (columns, as in phonopy), or "auto": at least 10 Å in each direction.
        displacement: of one atom at a time, in Å.
        relax: bring positions and cell to a minimum first.
        imaginary: "raise", or "report" for a warning only.
        tolerance: frequencies in THz above minus this pass as numerical noise.
        symprec: tolerance of the symmetry search in Å.

    Returns:
        The `phonopy.Phonopy` with force constants in eV/Å² and a Γ-centred mesh in THz.

    Raises:
        ValueError: not a crystal, a supercell of another shape, or a calculator in single precision.
        RuntimeError: the relaxation did not converge.
        ImaginaryModesError: naming the lowest frequency, where it lies, and the share of modes below zero.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 3; K. Parlinski et al.,
        Phys. Rev. Lett. 78, 4063 (1997).
    """
    _check(atoms, calculator, imaginary)
    if relax:
        relaxed = relax_structure(atoms, calculator, fmax=1e-4)
        if not relaxed.converged:
            raise RuntimeError(f"{relaxed.notes[-1]} Relax it yourself, then call phonons(..., relax=False).")
        atoms = relaxed.atoms
    unitcell = _to_phonopy(atoms)
    ph = Phonopy(
        unitcell,
        _matrix(atoms, supercell, symprec),
        primitive_matrix=guess_primitive_matrix(unitcell, symprec=symprec),
        symprec=symprec,
    )
    ph.generate_displacements(distance=displacement)
    residual = np.linalg.norm(calculator.get_property("forces", _to_ase(ph.supercell)), axis=1).max()
    if residual > RESIDUAL_FORCE:
        warnings.warn(
            f"The undisplaced atoms feel up to {residual:.3g} eV/Å: no stationary point, so the frequencies are those "
            "of a crystal held by force. Use relax=True.",
            stacklevel=2,
        )
    ph.forces = displacement_forces(ph, calculator, "forces")
    produce(ph, projector(ph))
    judge(stability(ph), imaginary, tolerance)
    return ph


def displacement_forces(ph: Phonopy, calculator, name: str) -> Float[np.ndarray, "..."] | None:
    """Forces of the displaced supercells less those at rest, in eV/Å; None where the calculator lacks the property.

    Args:
        ph: with displacements, Å.
        calculator: any ASE calculator, eV and Å.
        name: "forces", or "forces_members" for shape (displacements, members, atoms, 3); dimensionless.

    Returns:
        Forces in eV/Å.

    Source: K. Parlinski et al., Phys. Rev. Lett. 78, 4063 (1997).
    """
    rest = property_or_none(calculator, name, _to_ase(ph.supercell))
    if rest is None:
        return None
    cells = (_to_ase(cell) for cell in ph.supercells_with_displacements)
    return np.stack([np.asarray(calculator.get_property(name, cell), dtype=float) - rest for cell in cells])


def produce(ph: Phonopy, project: Callable[[np.ndarray], np.ndarray]) -> None:
    """Turn the forces that `ph` holds, eV/Å, into symmetric force constants, eV/Å².

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 3.
    """
    ph.produce_force_constants(fc_calculator="traditional", show_drift=False)
    ph.force_constants = project(ph.force_constants)


def projector(ph: Phonopy) -> Callable[[np.ndarray], np.ndarray]:
    """Make the map of force constants, eV/Å², onto those with exact sum rule, permutation symmetry and space group.

    Returns:
        The map; force constants stay in eV/Å².

    Source: A. Seko and A. Togo, Phys. Rev. B 110, 214302 (2024) (symfc).
    """
    # phonopy's own `symmetrize_force_constants` builds this basis anew at each call: 0.5 s a member.
    basis = SymfcFCSolver(ph.supercell).compute_basis_set(orders=[2])[2]
    compress, blocks = basis.compression_matrix.tocsc(), basis.blocked_basis_set
    return lambda fc: (compress @ (blocks @ (blocks.T @ (compress.T @ fc.ravel())))).reshape(fc.shape)


def _matrix(atoms: Atoms, supercell, symprec: float) -> np.ndarray:
    if isinstance(supercell, str):
        if supercell != "auto":
            raise ValueError(f'supercell: got "{supercell}", expected "auto", three integers or a 3×3 integer matrix.')
        return supercell_matrix(atoms, symprec=symprec)
    matrix = np.asarray(supercell)
    matrix = np.diag(matrix) if matrix.shape == (3,) else matrix
    if matrix.shape != (3, 3) or not np.array_equal(matrix, np.rint(matrix)) or round(np.linalg.det(matrix)) == 0:
        raise ValueError(f"supercell: got {supercell}, expected three integers or an integer 3×3 matrix with a volume.")
    return np.rint(matrix).astype(int)


def _check(atoms: Atoms, calculator, imaginary: str) -> None:
    sort = kind(atoms)
    if sort != "crystal":
        raise ValueError(f"Phonons need a crystal periodic in three directions, got a {sort}.")
    if imaginary not in ("raise", "report"):
        raise ValueError(f'imaginary: got "{imaginary}", expected "raise" or "report".')
    if str(getattr(calculator, "dtype", "float64")).endswith("float32"):
        raise ValueError(
            "Finite displacements need forces in double precision, got a float32 calculator; "
            'make it with dtype="float64".'
        )


def _to_phonopy(atoms: Atoms) -> PhonopyAtoms:
    moments = atoms.get_initial_magnetic_moments()
    return PhonopyAtoms(
        numbers=atoms.numbers,
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
        magnetic_moments=moments if np.any(moments) else None,
    )


def _to_ase(cell: PhonopyAtoms) -> Atoms:
    return Atoms(
        numbers=cell.numbers,
        cell=cell.cell,
        scaled_positions=cell.scaled_positions,
        masses=cell.masses,
        magmoms=cell.magnetic_moments,
        pbc=True,
    )
