"""Force constants from forces, with sum rule, permutation symmetry and space group imposed exactly.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 3.
"""

import numpy as np
from jaxtyping import Float, Int
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import Primitive, compute_permutation_for_rotation
from phonopy.structure.symmetry import Symmetry
from scipy.spatial import cKDTree

Constants = Float[np.ndarray, "primitive supercell 3 3"]

SAME_TRANSLATION = 1e-4
"""Dimensionless: translations of a supercell that differ by less, in its own axes, are one."""


def produce(ph: Phonopy) -> None:
    """Turn the forces that `ph` holds, eV/Å, into symmetric compact force constants, eV/Å²; random ones by symfc.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 3.
    """
    solver = "traditional" if "first_atoms" in ph.dataset else "symfc"
    ph.produce_force_constants(calculate_full_force_constants=False, fc_calculator=solver, show_drift=False)
    constants, rows = ph.force_constants, ph.primitive.p2s_map
    # symfc takes time reversal for a translation of an antiferromagnet, and then gives all rows
    constants = constants[rows] if len(constants) != len(rows) else constants
    ph.force_constants = symmetric(constants, ph.primitive)


def symmetric(constants: Constants, primitive: Primitive) -> Constants:
    """Project compact force constants, eV/Å², onto those with exact permutation symmetry and acoustic sum rule.

    Both projections commute with each other and with the space group, so what phonopy distributed by symmetry stays
    symmetric: the result is that of symfc's projector (compared in the tests), without its basis.

    Args:
        constants: in eV/Å², rows of the primitive cell's atoms, as phonopy keeps them.
        primitive: phonopy's primitive cell, which knows the translations of the supercell.

    Returns:
        Force constants in eV/Å².

    Source: ours.
    """
    row, column = _exchanged(primitive)
    even = (constants + constants[row, column].swapaxes(2, 3)) / 2
    mean = even.mean(axis=1)
    return even - mean[:, None] - mean[row].swapaxes(2, 3) + mean.mean(axis=0)


def _exchanged(primitive: Primitive) -> tuple[Int[np.ndarray, "p s"], Int[np.ndarray, "p s"]]:
    """Where compact force constants keep the pair (j, i) for each pair (i, j): row and column."""
    row, moved = brought(primitive)
    return np.broadcast_to(row, (len(primitive.p2s_map), len(row))), moved[:, primitive.p2s_map].T


def brought(primitive: Primitive) -> tuple[Int[np.ndarray, " s"], Int[np.ndarray, "s s"]]:
    """Row of each atom j in compact force constants, and where each atom goes as j is brought to its primitive cell.

    Source: ours.
    """
    row = np.array([primitive.p2p_map[atom] for atom in primitive.s2p_map])
    translations = primitive.atomic_permutations
    bringing = np.empty(len(row), dtype=int)
    for translation, images in enumerate(translations):
        bringing[images == primitive.s2p_map] = translation
    return row, translations[bringing]


class FastPhonopy(Phonopy):
    """phonopy's own object, made faster: its supercell's symmetry costs a point group and its translations, not both.

    A supercell of 432 tin atoms has 20,736 operations; phonopy matches all positions for each. Atoms such as Cu1 and
    Cu2, whose labels differ, are different ones. It remembers the
    calculator that its force constants are of, for what these alone do not give. Nothing else differs.

    Source: ours.
    """

    ase_calculator: object = None

    def __init__(self, unitcell: PhonopyAtoms, *args, symmetry: "FastSymmetry | None" = None, **kwargs):
        """Take what phonopy takes, and the supercell's symmetry where it is known."""
        self._given_symmetry = symmetry
        super().__init__(unitcell, *args, distinguish_symbol_index=True, **kwargs)

    def _search_symmetry(self) -> None:
        self._symmetry = self._given_symmetry or FastSymmetry(
            self._supercell,
            self._symprec,
            self._is_symmetry,
            s2p_map=self._primitive.s2p_map,
            lang=self._lang,
            distinguish_symbol_index=True,
        )


class FastSymmetry(Symmetry):
    """Symmetry whose operations are products of one operation a rotation with the pure translations.

    phonopy looks for the point group by comparing each operation with all rotations before it, three quarters of the
    time of reading force constants of 512 atoms: until it has, it sees one operation a rotation.

    Source: ours.
    """

    def _set_symmetry_dataset(self) -> None:
        super()._set_symmetry_dataset()
        self._leave_translations_out()

    def _set_symmetry_operations_with_magmoms(self) -> None:
        super()._set_symmetry_operations_with_magmoms()
        self._leave_translations_out()

    def _leave_translations_out(self) -> None:
        self._all_operations = self._symmetry_operations
        rotations = self._all_operations["rotations"]
        first = np.sort(np.unique(rotations.reshape(-1, 9), axis=0, return_index=True)[1])
        self._symmetry_operations = {name: values[first] for name, values in self._all_operations.items()}

    def _set_atomic_permutations(self) -> None:
        self._symmetry_operations = getattr(self, "_all_operations", self._symmetry_operations)
        rotations, shifts = self.symmetry_operations["rotations"], self.symmetry_operations["translations"]
        _, first, coset = np.unique(rotations.reshape(-1, 9), axis=0, return_index=True, return_inverse=True)
        pure = np.flatnonzero((rotations == np.eye(3, dtype=int)).all(axis=(1, 2)))
        tree = cKDTree(_wrapped(shifts[pure]), boxsize=1.0)
        distance, nearest = tree.query(_wrapped(shifts - shifts[first][coset.ravel()]))
        if distance.max() > SAME_TRANSLATION or len(first) * len(pure) != len(rotations):
            super()._set_atomic_permutations()
            return
        translations, representatives = self._match(pure), self._match(first)
        self._atomic_permutations = np.empty((len(rotations), len(self._cell)), dtype="int64")
        for k, representative in enumerate(representatives):
            chosen = np.flatnonzero(coset.ravel() == k)
            self._atomic_permutations[chosen] = translations[nearest[chosen]][:, representative]

    def get_site_symmetry(self, atom_number: int | np.integer) -> Int[np.ndarray, "k 3 3"]:
        """Find the rotations that leave an atom where it is.

        Source: ours.
        """
        fixed = self.atomic_permutations[:, atom_number] == atom_number
        return self.symmetry_operations["rotations"][fixed]

    def _match(self, operations: Int[np.ndarray, " k"]) -> Int[np.ndarray, "k atoms"]:
        positions, lattice = self._cell.scaled_positions, np.array(self._cell.cell.T, order="C")
        types = self._cell.totuple(distinguish_symbol_index=True)[2]
        permutations = []
        for k in operations:
            rotation, shift = (self.symmetry_operations[name][k] for name in ("rotations", "translations"))
            moved = positions @ rotation.T + shift
            permutations.append(
                compute_permutation_for_rotation(positions, moved, lattice, self.tolerance, types, lang=self._lang)
            )
        return np.array(permutations)


def _wrapped(shifts: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k 3"]:
    """Bring dimensionless shifts into [0, 1), where rounding cannot leave them at 1."""
    inside = shifts - np.floor(shifts)
    return np.where(inside >= 1.0, 0.0, inside)
