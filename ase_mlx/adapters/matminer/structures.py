"""From a dataframe's structures to ASE's atoms.

Source: ours.
"""

from typing import Any

from ase import Atoms
from pymatgen.core import IStructure
from pymatgen.io.ase import AseAtomsAdaptor


def to_atoms(structure: Any) -> Atoms:
    """Turn a pymatgen Structure or ASE Atoms into new Atoms (Å) whose atoms are all free to move.

    Raises:
        TypeError: something else.
        ValueError: sites that several elements, or an element and a vacancy, share.

    Source: the conversion is pymatgen's `AseAtomsAdaptor`.
    """
    if isinstance(structure, IStructure):
        if not structure.is_ordered:
            raise ValueError(
                "got sites with partial occupancy, expected one whole atom a site; choose an ordered structure, such "
                "as one of pymatgen's OrderDisorderedStructureTransformation"
            )
        atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    elif isinstance(structure, Atoms):
        atoms = structure.copy()
    else:
        raise TypeError(f"got {type(structure).__name__}, expected a pymatgen Structure or ASE Atoms")
    atoms.set_constraint()  # pymatgen's selective_dynamics becomes one, and would keep a crystal from its minimum
    return atoms


def formula(structure: Any) -> str:
    """Name a structure by its reduced formula, other things by their type; dimensionless.

    Source: ours.
    """
    if isinstance(structure, IStructure):
        return structure.composition.reduced_formula
    if isinstance(structure, Atoms):
        return structure.get_chemical_formula(mode="metal", empirical=True)
    return type(structure).__name__
