"""phono3py's object for crystals whose labels tell atoms of one element apart.

Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
"""

from phono3py import Phono3py
from phonopy.structure.cells import Primitive, Supercell
from phonopy.structure.symmetry import Symmetry


class LabelledPhono3py(Phono3py):
    """phono3py's own object, to which atoms such as Cu1 and Cu2 are different; nothing else differs.

    Source: ours.
    """

    def _search_symmetry(self) -> None:
        self._symmetry = self._symmetry_of(self._supercell, s2p_map=self._primitive.s2p_map)

    def _search_primitive_symmetry(self) -> None:
        self._primitive_symmetry = self._symmetry_of(self._primitive)

    def _symmetry_of(self, cell: Supercell | Primitive, **maps) -> Symmetry:
        options = {"lang": self._lang, "distinguish_symbol_index": True}
        return Symmetry(cell, self._symprec, self._is_symmetry, **options, **maps)
