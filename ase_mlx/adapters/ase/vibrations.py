"""Thermal functions of one structure as properties of a calculator: phonons once, any temperature of them.

Source: ours; phonons and sums as in `ase_mlx.adapters.phonopy`.
"""

from collections import OrderedDict
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from ase_mlx.adapters.ase.labels import THERMAL, without_results
from ase_mlx.adapters.identity import identity
from ase_mlx.keep import digest

KEPT = 8
"""Crystals whose phonons are kept."""

HEIGHT = 10.0
"""Å; of the supercell where none is asked for, as in `ThermalFeaturizer`."""


class Vibrations:
    """Phonons of the last structures that one calculator was asked about, by all that is on them.

    Source: ours.
    """

    def __init__(self, calculator):
        """Begin with none (units: eV, Å); the calculator works in double precision."""
        self.calculator = calculator
        self.phonons: OrderedDict[str, tuple] = OrderedDict()

    def get(
        self,
        name: str,
        atoms: Atoms,
        allow_calculation: bool = True,
        temperature: float | None = None,
        **options: Any,
    ) -> float | None:
        """Give a thermal function, or its error bar, of all atoms of a structure at its minimum of energy.

        Args:
            name: one of `labels.THERMAL`, or with `_std`.
            atoms: a crystal, Å.
            allow_calculation: otherwise None where its phonons are not known yet.
            temperature: K.
            **options: of `ase_mlx.adapters.phonopy.phonons`; `folder` keeps the work on the disk.

        Returns:
            Heat capacity at constant volume and entropy in eV/K, free energy in eV.

        Raises:
            ValueError: no temperature, no crystal, imaginary modes.
            PropertyNotImplementedError: an error bar that is not known.

        Source: ours.
        """
        if temperature is None or not 0 <= temperature < np.inf:
            raise ValueError(f"got temperature={temperature} for {name}, expected temperature= in K, zero or more")
        options = {"supercell": HEIGHT} | options
        bare = without_results(atoms.copy())
        key = self._key(bare, {k: v for k, v in options.items() if k not in ("folder", "progress")})
        if key not in self.phonons and not allow_calculation:
            return None
        quantity = THERMAL[name.removesuffix("_std")]
        thermal = self._harmonic(key, bare, float(temperature), options)
        values = thermal.std if name.endswith("_std") else {quantity: getattr(thermal, quantity)}
        if quantity not in values:
            raise PropertyNotImplementedError(
                f"got a request for {name!r}, which is not known for this structure: {' '.join(thermal.notes)} (error "
                "bars need a model trained with members)"
            )
        return float(values[quantity][0]) * len(atoms) / thermal.natoms / _unit(quantity)

    def _harmonic(self, key: str, atoms: Atoms, temperature: float, options: dict[str, Any]):
        from ase_mlx.adapters.phonopy import harmonic, members, phonons  # phonopy, for those who ask

        if key not in self.phonons:
            ph = phonons(atoms, self.calculator, **options)
            self.phonons[key] = (ph, members(ph, self.calculator, options.get("folder")), None)
        self.phonons.move_to_end(key)
        while len(self.phonons) > KEPT:
            self.phonons.popitem(last=False)
        ph, ensemble, elastic = self.phonons[key]
        thermal = harmonic(ph, ensemble, np.array([temperature]), elastic=elastic)
        self.phonons[key] = (ph, ensemble, thermal.elastic)
        return thermal

    def _key(self, atoms: Atoms, options: dict[str, Any]) -> str:
        constraints = [constraint.todict() for constraint in atoms.constraints]
        on_atoms = (atoms.arrays, atoms.cell.array, atoms.pbc, atoms.info, constraints)
        return digest(identity(self.calculator).key, options, *on_atoms)


def _unit(quantity: str) -> float:
    """One eV, or one eV/K, in the units of phonopy: kJ/mol, J/(K mol)."""
    from phonopy.physical_units import get_physical_units

    return get_physical_units().EvTokJmol * (1 if quantity == "free_energy" else 1000)
