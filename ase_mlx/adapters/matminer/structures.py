"""From a dataframe's structures to ASE's atoms.

Source: ours.
"""

from typing import Any

import numpy as np
from ase import Atoms
from pymatgen.core import IStructure
from pymatgen.electronic_structure.core import Magmom
from pymatgen.io.ase import AseAtomsAdaptor

from ase_mlx.occupancy import check_occupancy, refusal

HYDROGEN = {2: 2.014102, 3: 3.016049}
"""Masses of deuterium and tritium in amu by their mass number; to ASE both are hydrogen."""


def to_atoms(structure: Any) -> Atoms:
    """Turn a pymatgen Structure or ASE Atoms into new Atoms (Å) whose atoms are all free to move, labels kept.

    Of pymatgen's: site properties, spins of species and `Magmom` vectors, the charge of a structure (as
    `info["charge"]`, e), deuterium and tritium as hydrogen of their masses (amu).

    Raises:
        TypeError: something else.
        ValueError: sites that several elements, or an element and a vacancy, share; a site property that only some of
            the sites have, where it is a charge or a moment.

    Source: the conversion is pymatgen's `AseAtomsAdaptor`.
    """
    if isinstance(structure, IStructure):
        atoms = _from_pymatgen(structure)
    elif isinstance(structure, Atoms):
        atoms = structure.copy()
    else:
        raise TypeError(f"got {type(structure).__name__}, expected a pymatgen Structure or ASE Atoms")
    check_occupancy(atoms)
    atoms.set_constraint()  # pymatgen's selective_dynamics becomes one, and would keep a crystal from its minimum
    return atoms


def _from_pymatgen(structure: IStructure) -> Atoms:
    if not structure.is_ordered:
        shared = [site.species.as_dict() for site in structure if not site.is_ordered]
        raise ValueError(refusal(shared))
    moments = _moments(structure)
    bare = structure.copy()
    for name in ("magmom", "charge"):
        values = structure.site_properties.get(name)
        if values is not None and any(value is None for value in values):
            raise ValueError(
                f"got the site property {name!r} on some of the sites alone, expected it on all or none; give the "
                "others a value"
            )
    if moments is not None and "magmom" in bare.site_properties:
        bare.remove_site_property("magmom")
    atoms = AseAtomsAdaptor.get_atoms(bare, msonable=False)
    if moments is not None:
        atoms.set_initial_magnetic_moments(moments)
    heavy = {k: HYDROGEN.get(round(float(structure[k].specie.atomic_mass))) for k in np.flatnonzero(atoms.numbers == 1)}
    if any(heavy.values()):
        atoms.set_masses([heavy.get(k) or mass for k, mass in enumerate(atoms.get_masses())])
    charge = structure._charge  # as it was set; the public one is the sum of oxidation states where it was not
    if charge:
        atoms.info["charge"] = float(charge)
    return atoms


def _moments(structure: IStructure) -> np.ndarray | None:
    """Magnetic moments in Bohr magnetons, scalars or Cartesian vectors, of site properties or of species' spins."""
    values = structure.site_properties.get("magmom")
    if values is None:
        spins = [getattr(site.specie, "spin", None) for site in structure]
        return np.array([spin or 0.0 for spin in spins], dtype=float) if any(spins) else None
    if any(value is None for value in values):
        return None
    vectors = [Magmom(value).get_moment() if isinstance(value, Magmom) else value for value in values]
    flat = [np.ravel(value) for value in vectors]
    if any(isinstance(value, Magmom) for value in values):
        collinear = np.abs([vector[:2] for vector in flat]).max() < 1e-8
        return np.array([vector[2] for vector in flat]) if collinear else np.array(flat)
    return np.array(vectors, dtype=float)


def formula(structure: Any) -> str:
    """Name a structure by its reduced formula, other things by their type.

    Source: ours.
    """
    if isinstance(structure, IStructure):
        return structure.composition.reduced_formula
    if isinstance(structure, Atoms):
        return structure.get_chemical_formula(mode="metal", empirical=True)
    return type(structure).__name__
