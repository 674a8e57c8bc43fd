"""From the units of the code that computed forces to eV, Å and amu, once, where a file is read.

Source: the table of units in phonopy's documentation (A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023)).
"""

import warnings
from dataclasses import dataclass

import numpy as np
from phonopy.physical_units import get_calculator_physical_units, get_physical_units
from phonopy.structure.atoms import PhonopyAtoms

NEAR = 1e-3
"""Relative: constants of other years differ by less."""


@dataclass(frozen=True)
class FileUnits:
    """What one unit of length is in Å, one of force in eV/Å, and one of energy in eV.

    Source: ours.
    """

    length: float = 1.0
    force: float = 1.0
    energy: float = 1.0

    @classmethod
    def of(cls, calculator: str | None) -> "FileUnits":
        """Units of the calculator that phonopy's file names; None stands for VASP's, eV and Å.

        Raises:
            ValueError: a name that phonopy does not know.

        Source: phonopy's table.
        """
        units = get_calculator_physical_units(calculator)
        return cls(units.distance_to_A, units.force_to_eVperA, units.energy_to_eV)

    def cell(self, cell: PhonopyAtoms) -> PhonopyAtoms:
        """Bring a cell to Å.

        Source: ours.
        """
        if getattr(cell, "has_weighted_species", False):
            raise ValueError(
                "got a site with a mixture of elements, expected one element a site: phonons need an order"
            )
        cell = cell.copy()
        cell.cell = cell.cell * self.length
        return cell

    def dataset(self, dataset: dict) -> dict:
        """Bring displacements to Å and forces to eV/Å, in each of phonopy's and phono3py's layouts.

        Source: ours.
        """
        scale = {"displacement": self.length, "displacements": self.length, "cutoff_distance": self.length}
        scale |= {"pair_distance": self.length, "forces": self.force}
        scale |= {"supercell_energy": self.energy, "supercell_energies": self.energy}

        def converted(entry: dict) -> dict:
            entry = {key: value * scale[key] if key in scale else value for key, value in entry.items()}
            for key in ("first_atoms", "second_atoms"):
                if key in entry:
                    entry[key] = [converted(one) for one in entry[key]]
            return entry

        return converted(dict(dataset))

    def constants(self, constants: np.ndarray) -> np.ndarray:
        """Bring force constants to eV/Å².

        Source: ours.
        """
        return constants * (self.force / self.length)

    def born(self, params: dict, what: str) -> dict:
        """Bring the factor e²/4πε₀ of Born charges to eV Å, and Ewald parameters to 1/Å.

        The factor is a constant of nature: where a file's is another one, it is said, and this one taken.

        Raises:
            ValueError: a factor that is no finite number.

        Source: phonopy's table; ours.
        """
        params, right = {key: value for key, value in params.items() if value is not None}, coulomb()
        factor = float(params.get("factor", right / (self.force * self.length**2))) * self.force * self.length**2
        if not np.isfinite(factor):
            raise ValueError(f"got {what} with the unit conversion factor {params['factor']}, expected a number")
        if abs(factor / right - 1) > NEAR:
            warnings.warn(
                f"{what}: the unit conversion factor {params['factor']:g} is {factor:.4g} eV Å in the units of the "
                f"file's calculator, and e²/4πε₀ is {right:.4f} eV Å: this is taken.",
                stacklevel=4,
            )
            factor = right
        return params | {"factor": factor} | {k: params[k] / self.length for k in ("G_cutoff", "Lambda") if k in params}


def coulomb() -> float:
    """Give e²/4πε₀ in eV Å, of phonopy's constants.

    Source: phonopy.
    """
    return get_physical_units().Hartree * get_physical_units().Bohr
