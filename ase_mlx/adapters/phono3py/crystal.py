"""What a `phono3py.Phono3py` knows, as the arrays that `ase_mlx.phonons` works on.

Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
"""

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_masses, chemical_symbols
from jaxtyping import Float
from phono3py import Phono3py
from phono3py.other.isotope import get_mass_variances
from phonopy import Phonopy
from phonopy.phonon.grid import length2mesh
from phonopy.structure.symmetry import NosymDataset

from ase_mlx.adapters.phono3py.symmetry import LabelledPhono3py, check_third
from ase_mlx.adapters.phonopy.consistency import check_finite
from ase_mlx.adapters.phonopy.physical_units import FileUnits
from ase_mlx.adapters.phonopy.symmetry import FastPhonopy
from ase_mlx.phonons.crystal import Crystal
from ase_mlx.phonons.fourth_order import FourthOrder
from ase_mlx.phonons.modes import Modes
from ase_mlx.phonons.orbits import SpaceGroup
from ase_mlx.phonons.third_order import ThirdOrder

NATURAL = 1e-3
"""Relative: a mass further from the natural mixture's is that of chosen isotopes."""


def crystal_of(ph: Phono3py, third: bool = True, harmonic: Phonopy | None = None) -> Crystal:
    """Take force constants (eV/Å³), space group and phonons out of phono3py's object.

    Args:
        ph: with force constants of the second order, and of the third; with `fc4` (eV/Å⁴) where it was given.
        third: False for the second order alone.
        harmonic: what `harmonic_of` makes of it, where it is there already: it searches the symmetry of a supercell.

    Raises:
        ValueError: no force constants, or third-order ones that vanish.

    Source: ours.
    """
    if ph.fc2 is None or (third and ph.fc3 is None):
        missing = "second" if ph.fc2 is None else "third"
        raise ValueError(f"got a Phono3py without {missing}-order force constants, expected them; set ph.forces first.")
    primitive, dataset = ph.primitive, ph.primitive_symmetry.dataset
    harmonic = harmonic_of(ph) if harmonic is None else harmonic
    group = SpaceGroup(primitive.cell, primitive.scaled_positions, dataset.rotations, dataset.translations)

    def modes(points: Float[np.ndarray, "q 3"], velocities: bool) -> Modes:
        result = harmonic.run_qpoints(points, with_eigenvectors=True, with_group_velocities=velocities)
        return Modes(points, result.frequencies, result.eigenvectors, result.group_velocities if velocities else None)

    held = ThirdOrder(*_shared(ph, ph.fc3)) if third else None
    if third:
        check_finite(ph.fc3, "third-order force constants")
        check_third(ph)
    fourth = None if fourth_of(ph) is None else FourthOrder(*_shared(ph, fourth_of(ph)))
    return Crystal(group, primitive.masses, modes, _reach(ph.supercell.cell), held, fourth)


def fourth_of(ph: Phono3py) -> np.ndarray | None:
    """Fourth-order force constants in eV/Å⁴ that phono3py's object was given as `fc4`: it has no place of its own.

    Source: ours.
    """
    return getattr(ph, "fc4", None)


def _shared(ph: Phono3py, constants: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rows of the primitive cell's atoms, and the vectors that share them, as `ForceConstants` has them."""
    primitive = ph.primitive
    vectors, images = primitive.get_smallest_vectors()
    constants = constants if len(constants) == len(primitive) else constants[primitive.p2s_map]
    return (
        np.ascontiguousarray(constants),
        np.array([primitive.p2p_map[atom] for atom in primitive.s2p_map]),
        vectors,
        np.ascontiguousarray(images[:, :, ::-1]),
        primitive.scaled_positions,
        primitive.masses,
    )


def harmonic_of(ph: Phono3py) -> Phonopy:
    """Make phonopy's object of the second-order force constants (eV/Å²), Born charges included.

    Source: ours.
    """
    shape = ph.supercell_matrix if ph.phonon_supercell_matrix is None else ph.phonon_supercell_matrix
    symmetric = not isinstance(ph.symmetry.dataset, NosymDataset)
    of_supercell = ph.phonon_supercell_symmetry if isinstance(ph, LabelledPhono3py) and symmetric else None
    options = {"primitive_matrix": ph.primitive_matrix, "is_symmetry": symmetric, "symmetry": of_supercell}
    harmonic = FastPhonopy(ph.unitcell, shape, **options)
    harmonic.force_constants = ph.fc2
    if ph.nac_params is not None:  # phono3py.load leaves e²/4πε₀ in the unit of the file, beside lengths in Å
        harmonic.nac_params = FileUnits().born(ph.nac_params, "the Phono3py")
    return harmonic


def mass_variances_of(ph: Phono3py) -> Float[np.ndarray, " atoms"]:
    """Natural isotopes: Σ f (1 − m/m̄)² of each atom of the primitive cell, dimensionless, from phonopy's table.

    Raises:
        ValueError: masses (amu) that are not those of the natural mixtures.

    Source: phonopy's table of isotopes (J. R. de Laeter et al., Pure Appl. Chem. 75, 683 (2003)).
    """
    primitive = ph.primitive
    symbols, natural = [chemical_symbols[number] for number in primitive.numbers], atomic_masses[primitive.numbers]
    for symbol, mass, mean in zip(symbols, primitive.masses, natural, strict=True):
        if abs(mass / mean - 1) > NATURAL:
            raise ValueError(
                f"isotopes=True scatters phonons at the natural mixture of isotopes, got {symbol} of {mass:g} amu, "
                f"expected {mean:g}; leave isotopes out for a crystal of one isotope, or clear the masses"
            )
    return get_mass_variances(symbols=symbols)


def mesh_numbers(ph: Phono3py, mesh: float | Sequence[float]) -> tuple[int, int, int]:
    """Turn a length in Å into numbers of points that respect the symmetry; three numbers pass as they are.

    Raises:
        ValueError: neither.

    Source: phonopy's rule (A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023)).
    """
    if np.ndim(mesh) == 0 and np.isfinite(mesh) and mesh > 0:
        numbers = length2mesh(float(mesh), ph.primitive.cell, ph.primitive_symmetry.pointgroup_operations)
    else:
        numbers = np.asarray(mesh)
    if numbers.shape != (3,) or np.any(numbers < 1) or np.any(numbers != np.rint(numbers)):
        raise ValueError(f"mesh: got {mesh}, expected three positive integers or a length in Å.")
    return tuple(int(n) for n in numbers)


def _reach(cell: np.ndarray) -> float:
    """Radius in Å of the largest sphere that does not touch its images."""
    steps = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    lengths = np.linalg.norm(steps @ cell, axis=1)
    return float(np.min(lengths[lengths > 1e-8])) / 2
