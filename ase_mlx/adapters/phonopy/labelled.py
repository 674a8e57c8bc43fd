"""phonopy's and phono3py's cells with what is on the atoms: both know masses and magnetic moments alone.

Source: ours.
"""

import warnings

import numpy as np
from ase import Atoms
from jaxtyping import Int
from phonopy.structure.atoms import PhonopyAtoms

from ase_mlx.adapters.ase.labels import CHARGES, MULTIPLICITIES, UNREAD, carried, reads_labels, turned
from ase_mlx.adapters.phonopy.cells import to_ase

HELD = frozenset({"masses", "initial_magmoms"})
"""What phonopy's own cells and files hold."""


def space_group_serves(atoms: Atoms, calculator) -> bool:
    """Tell whether a crystal's (Å) space group may save supercells: not where its atoms carry vectors of their own.

    Source: ours.
    """
    return not (reads_labels(calculator) and turned(atoms))


def keep_labels(ph, atoms: Atoms) -> None:
    """Note on phonopy's or phono3py's object the unit cell (Å) that it was made from, with all its labels.

    Source: ours.
    """
    ph.labelled = atoms.copy()


def warn_of_lost_labels(ph, name: str) -> None:
    """Say which labels a file of phonopy's cannot hold: all but masses (amu) and magnetic moments.

    Source: ours.
    """
    source = getattr(ph, "labelled", None)
    if source is None:
        return
    arrays = [one for one, array in source.arrays.items() if one not in HELD | UNREAD and array.astype(bool).any()]
    whole = [key for key in source.info if key in {*CHARGES, *MULTIPLICITIES} and source.info[key]]
    if arrays or whole:
        warnings.warn(
            f"{name} does not hold what else is on the atoms: {', '.join([*arrays, *whole])}. Read back, a calculator "
            "sees none of it; force constants and symmetry are kept.",
            stacklevel=3,
        )


def unitcell_of(ph) -> Atoms:
    """Give the unit cell (Å, amu) of phonopy's or phono3py's object with the labels it was made with.

    Source: ours.
    """
    return labelled(ph, ph.unitcell, np.arange(len(ph.unitcell)))


def supercell_of(ph) -> Atoms:
    """Give the supercell (Å, amu) at rest with the labels that its unit cell was made with.

    Source: ours.
    """
    return labelled(ph, ph.supercell, images(ph.supercell))


def primitive_of(ph) -> Atoms:
    """Give the primitive cell (Å, amu) with the labels that its unit cell was made with.

    Source: ours.
    """
    return labelled(ph, ph.primitive, images(ph.supercell)[ph.primitive.p2s_map])


def displaced_of(ph) -> list[Atoms]:
    """Give the displaced supercells (Å, amu) with the labels that their unit cell was made with.

    Source: ours.
    """
    return [labelled(ph, cell, images(ph.supercell)) for cell in ph.supercells_with_displacements]


def images(supercell) -> Int[np.ndarray, " atoms"]:
    """Index of each atom of phonopy's supercell in the cell that it was made from; dimensionless.

    Source: ours.
    """
    return np.array([supercell.u2u_map[atom] for atom in supercell.s2u_map])


def labelled(ph, cell: PhonopyAtoms, index: Int[np.ndarray, " atoms"]) -> Atoms:
    """Give any cell of phonopy's (Å, amu) with labels, whose atom k is an image of atom `index[k]` of the unit cell.

    No constraints: forces of displaced atoms are what a calculator is asked for.

    Source: ours.
    """
    source = getattr(ph, "labelled", None)
    if source is not None:
        return carried(source, to_ase(cell), index)
    plain = zip(cell.numbers.tolist(), np.round(cell.masses, 6).tolist(), strict=True)
    if len(set(cell.symbols)) > len(set(plain)):
        warnings.warn(
            f"Labels told the atoms {', '.join(dict.fromkeys(cell.symbols))} apart, but phonopy's file does not hold "
            "them: the calculator sees none. Give the labelled structure instead of the file.",
            stacklevel=3,
        )
    return to_ase(cell)
