"""The symmetry of a crystal in the standard setting, as moyopy finds it.

spglib, of the same authors, is what models read: the two differ in three crystals of a thousand, whose symmetry depends
on the tolerance, and models keep their numbers.

Source: moyopy (K. Shinohara and A. Togo, github.com/spglib/moyo).
"""

import logging

import moyopy
import numpy as np
from jaxtyping import Float, Int

logging.getLogger("moyo").addHandler(logging.NullHandler())  # else each conventional cell puts a line on the terminal


def symmetry_of(
    cell: Float[np.ndarray, "3 3"],
    fractional: Float[np.ndarray, "atoms 3"],
    numbers: Int[np.ndarray, " atoms"],
    symprec: float,
) -> moyopy.MoyoDataset:
    """Find a crystal's space group, orbits and cell in the standard setting.

    Unique axis b and cell choice 1 of monoclinic groups, hexagonal axes of rhombohedral ones, origin choice 2.

    Args:
        cell: row vectors, Å.
        fractional: coordinates of the atoms (dimensionless).
        numbers: atomic numbers.
        symprec: how far atoms may be from symmetric places, Å.

    Raises:
        ValueError: none could be determined.

    Source: see the module.
    """
    atoms = moyopy.Cell(cell.tolist(), fractional.tolist(), [int(z) for z in numbers])
    try:
        return moyopy.MoyoDataset(atoms, symprec=symprec, setting=moyopy.Setting.standard())
    except ValueError as error:
        raise ValueError(
            f"got a crystal of {len(numbers)} atoms whose symmetry could not be determined at {symprec} Å ({error}), "
            "expected one without atoms on top of each other; use another symprec"
        ) from error
