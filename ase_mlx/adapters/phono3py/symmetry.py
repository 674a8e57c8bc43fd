"""phono3py's object for crystals whose labels tell atoms of one element apart.

Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
"""

import numpy as np
from jaxtyping import Float
from phono3py import Phono3py
from phono3py.phonon3.fc3 import set_permutation_symmetry_compact_fc3
from phonopy.structure.cells import Primitive, Supercell

from ase_mlx.adapters.phonopy.symmetry import FastSymmetry, brought

Third = Float[np.ndarray, "primitive supercell supercell 3 3 3"]

VANISHING = 1e-8
"""eV/Å³."""


class LabelledPhono3py(Phono3py):
    """phono3py's own object, to which atoms such as Cu1 and Cu2 are different, and which finds symmetries fast.

    Nothing else differs.

    Source: ours.
    """

    def _search_symmetry(self) -> None:
        self._symmetry = self._symmetry_of(self._supercell, s2p_map=self._primitive.s2p_map)

    def _search_primitive_symmetry(self) -> None:
        self._primitive_symmetry = self._symmetry_of(self._primitive)

    def _search_phonon_supercell_symmetry(self) -> None:
        apart = self._phonon_supercell_matrix is not None
        self._phonon_supercell_symmetry = self._symmetry_of(self._phonon_supercell) if apart else self._symmetry

    def _symmetry_of(self, cell: Supercell | Primitive, **maps) -> FastSymmetry:
        options = {"lang": self._lang, "distinguish_symbol_index": True}
        return FastSymmetry(cell, self._symprec, self._is_symmetry, **options, **maps)


def symmetric_third(constants: Third, primitive: Primitive) -> Third:
    """Project compact force constants, eV/Å³, onto those with exact permutation symmetry and acoustic sum rules.

    Where phono3py does one after the other, three times, this is the limit of so doing: what lacks permutation symmetry
    is left out, then the means over each atom, which are as symmetric.

    Args:
        constants: in eV/Å³, rows of the primitive cell's atoms, as phono3py keeps them.
        primitive: phonopy's primitive cell, which knows the translations of the supercell.

    Returns:
        Force constants in eV/Å³.

    Source: ours.
    """
    even = constants.copy()
    set_permutation_symmetry_compact_fc3(even, primitive)
    row, moved = brought(primitive)
    third, second = even.mean(axis=2), even.mean(axis=1)
    first = np.moveaxis(third[row[:, None], moved], -1, 2)
    both = third.mean(axis=1)
    even -= third[:, :, None]
    even -= second[:, None]
    even -= first
    even += both[:, None, None] - both.mean(axis=0)
    even += both[row].transpose(0, 2, 1, 3)[None, :, None] + both[row].transpose(0, 2, 3, 1)[None, None]
    return even


def produce_third(ph: Phono3py, solver: str | None) -> None:
    """Make compact force constants (eV/Å², eV/Å³) of displacements (Å) and forces (eV/Å); random ones by symfc.

    Raises:
        ValueError: the supercell's symmetry leaves no third-order force constants.

    Source: A. Seko and A. Togo, Phys. Rev. B 110, 214302 (2024).
    """
    try:
        ph.produce_fc3(is_compact_fc=True, fc_calculator=solver)
    except AssertionError as error:  # of symfc 1.7.3, where it is left without a basis
        raise _vanishing(ph) from error
    check_third(ph)


def check_third(ph: Phono3py) -> None:
    """Refuse a supercell whose symmetry leaves no third-order force constants (eV/Å³): phonons would never scatter.

    Raises:
        ValueError: it is one.

    Source: ours.
    """
    if ph.fc3 is not None and ph.fc2 is not None and np.abs(ph.fc3).max() < VANISHING:
        raise _vanishing(ph)


def _vanishing(ph: Phono3py) -> ValueError:
    return ValueError(
        f"got a supercell of {len(ph.supercell)} atoms whose symmetry leaves no third-order force constants, since "
        "each atom has all others in opposite directions at once; expected one that has some: take a larger supercell"
    )
