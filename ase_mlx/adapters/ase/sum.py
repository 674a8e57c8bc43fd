"""A potential and a correction as one calculator: dispersion for layered and molecular crystals.

Source: ours; D3: S. Grimme, S. Ehrlich and L. Goerigk, J. Comput. Chem. 32, 1456 (2011), by the package `dftd3`.
"""

from importlib.util import find_spec
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator as _Base
from ase.calculators.calculator import PropertyNotImplementedError, all_changes

from ase_mlx.adapters.ase.labels import THERMAL, in_voigt

ADDED = ("energy", "free_energy", "forces", "stress")
"""Properties to which both contribute."""

FUNCTIONAL = "PBE"
"""Whose parameters the correction takes: all potentials that can be imported were taught PBE without dispersion."""


class Sum(_Base):
    """Energy (eV), forces (eV/Å) and stress (eV/Å³) of an ASE calculator plus those of a correction.

    What else the first one gives comes through as it is: its error bars, which a correction without error leaves alone,
    distance scores, charges. Members of an ensemble are shifted, so that phonons keep their error bars.

    Source: ours.
    """

    def __init__(self, calculator: Any, correction: Any):
        """Add two calculators.

        Args:
            calculator: a `Calculator` or any of ASE's, eV and Å.
            correction: of ASE, such as `dftd3.ase.DFTD3(method="PBE", damping="d3bj")`; its energy counts as exact.

        Raises:
            ValueError: the correction has no forces.
        """
        super().__init__()
        if "forces" not in correction.implemented_properties:
            raise ValueError(f"got a {type(correction).__name__} as correction, expected a calculator with forces")
        self.calculator, self.correction = calculator, correction
        self.ignores_labels = getattr(calculator, "ignores_labels", False)
        self.choice = getattr(calculator, "choice", None)

    @property
    def implemented_properties(self) -> list[str]:
        """What both give of energies, forces and stress, and the first one's charges."""
        first, second = self.calculator.implemented_properties, self.correction.implemented_properties
        both = [n for n in ("energy", "forces", "stress") if n in first and n in second]
        return [*both[:1], "free_energy", *both[1:], *(n for n in first if n == "charges")]

    @property
    def extras(self) -> tuple[str, ...]:
        """What the first calculator serves beside ASE's names, without what would lack the correction."""
        names = getattr(self.calculator, "extras", ())
        return tuple(name for name in names if name.removesuffix("_std") not in THERMAL)

    def _get_name(self) -> str:
        """What ASE writes into trajectories and databases."""
        return f"{self.calculator.name} + {self.correction.name}"

    def reset(self) -> None:
        """Forget the last structure."""
        super().reset()
        for one in (getattr(self, "calculator", None), getattr(self, "correction", None)):
            if callable(getattr(one, "reset", None)):
                one.reset()

    def calculate(
        self, atoms: Atoms | None = None, properties: list[str] | None = None, system_changes: list[str] = all_changes
    ) -> None:
        """Fill `results` (eV, eV/Å, eV/Å³) for a structure; called by ASE."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        for name in properties or ["energy"]:
            self.results[name] = self._added(name, self.atoms) if name in ADDED else self._first(name, self.atoms)

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True, **conditions: Any
    ) -> Any:
        """Return a property of the sum, or what the first calculator alone gives, in its unit.

        Args:
            name: of a property of ASE, or one of `extras`.
            atoms: Å; the last structure where None.
            allow_calculation: otherwise None where it is not computed yet.
            **conditions: of the first calculator's extras.

        Raises:
            PropertyNotImplementedError: it is not given, or would lack the correction.
        """
        if name in self.implemented_properties:
            return super().get_property(name, atoms, allow_calculation)
        atoms = self.atoms if atoms is None else atoms
        if name.removesuffix("_members") in ADDED and name in self.extras:
            return self.calculator.get_property(name, atoms) + self._correction(name.removesuffix("_members"), atoms)
        return self._first(name, atoms, **conditions)

    def _added(self, name: str, atoms: Atoms) -> Any:
        alone = "energy" if name == "free_energy" and name not in self.calculator.implemented_properties else name
        value = self.calculator.get_property(alone, atoms)
        return (in_voigt(value) if name == "stress" else value) + self._correction(name, atoms)

    def _correction(self, name: str, atoms: Atoms) -> Any:
        value = self.correction.get_property(name.removeprefix("free_"), atoms)
        return np.asarray(value) if np.ndim(value) else float(value)

    def _first(self, name: str, atoms: Atoms, **conditions: Any) -> Any:
        if name not in (*self.extras, "charges"):
            names = ", ".join((*self.implemented_properties, *self.extras))
            raise PropertyNotImplementedError(
                f"got a request for {name!r}, expected one of {names}; "
                f"what else {self.calculator.name} gives would lack {self.correction.name}"
            )
        return self.calculator.get_property(name, atoms, **conditions)


def with_dispersion(calculator: Any, functional: str = FUNCTIONAL) -> Sum:
    """Add Grimme's D3 with Becke and Johnson's damping (eV, Å) to a calculator taught a functional that has none.

    Raises:
        ValueError: the package `dftd3` is not installed, or knows no such functional.

    Source: S. Grimme, S. Ehrlich and L. Goerigk, J. Comput. Chem. 32, 1456 (2011), with the three-body term of dftd3.
    """
    if find_spec("dftd3") is None:
        raise ValueError(
            "got a request for dispersion, which the package dftd3 computes, and it is not installed here; "
            "pip install 'ase-mlx[dispersion]'"
        )
    from dftd3.ase import DFTD3

    correction = DFTD3(method=functional, damping="d3bj")
    try:
        correction.get_potential_energy(Atoms("He", [[0, 0, 0]]))
    except Exception as error:
        raise ValueError(f"got functional {functional!r}, of which dftd3 has no parameters ({error}): PBE?") from error
    correction.reset()
    return Sum(calculator, correction)
