"""Classes of bonding by composition alone: by which errors of potentials against DFT are told apart.

Source: ours.
"""

from collections.abc import Iterable

from ase_mlx.descriptors.elements import element_property
from ase_mlx.quantities import SYMBOLS

NONMETALS = frozenset("H He B C N O F Ne Si P S Cl Ar Ge As Se Br Kr Sb Te I Xe At Rn".split())
"""Elements that make bonds to others polar; between metals alone electrons screen the field."""

WITH_U = frozenset("Co Cr Fe Mn Mo Ni V W".split())
"""Metals to whose oxides and fluorides the Materials Project's DFT adds a Hubbard U."""

ANIONS = {
    "oxides": frozenset("O"),
    "halides": frozenset(("F", "Cl", "Br", "I")),
    "chalcogenides": frozenset(("S", "Se", "Te")),
    "pnictides, carbides": frozenset(("N", "P", "As", "C")),
}
"""Classes of compounds of metals by their most electronegative element."""

CLASSES = ("metals", "covalent", "oxides, fluorides with U", *ANIONS, "others of metals")
"""All of them; the last are borides, hydrides, silicides, germanides, antimonides of metals."""


def has_u(symbols: Iterable[str]) -> bool:
    """Whether the Materials Project's DFT of a compound of these elements has a Hubbard U.

    Source: A. Jain et al., Phys. Rev. B 84, 045115 (2011).
    """
    elements = set(symbols)
    return bool(elements & WITH_U) and bool(elements & {"O", "F"})


def bond_class(symbols: Iterable[str]) -> str:
    """Name the class of a compound of these elements: one of `CLASSES`, the first that fits.

    Metals have no nonmetal, covalent crystals and molecules nothing else; of the rest, with a Hubbard U in DFT or not,
    the most electronegative element decides (Pauling; equal ones in alphabetical order).

    Source: ours.
    """
    elements = sorted(set(symbols))
    if not NONMETALS & set(elements):
        return CLASSES[0]
    if NONMETALS >= set(elements):
        return CLASSES[1]
    if has_u(elements):
        return CLASSES[2]
    chi = element_property("Electronegativity")
    anion = max(elements, key=lambda symbol: chi[SYMBOLS.index(symbol)])
    return next((name for name, anions in ANIONS.items() if anion in anions), CLASSES[-1])
