"""Heat capacity, entropy, free energy, Debye temperature and thermal expansion as columns of a dataframe.

Source: ours, on matminer (L. Ward et al., Comput. Mater. Sci. 152, 60 (2018)) and phonopy.
"""

import json
import math
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ase import Atoms
from phonopy import Phonopy

from ase_mlx.adapters.choice import settled
from ase_mlx.adapters.matminer.one_process import RowByRow, ours
from ase_mlx.adapters.matminer.structures import formula
from ase_mlx.adapters.phonopy import (
    Harmonic,
    ImaginaryModesWarning,
    harmonic,
    members,
    phonons,
    quasi_harmonic,
)
from ase_mlx.adapters.phonopy.cells import Supercell
from ase_mlx.adapters.phonopy.forces import check_precision
from ase_mlx.adapters.phonopy.labelled import unitcell_of
from ase_mlx.adapters.phonopy.store import Store

TOLERANCE = 0.05
"""THz: frequencies above minus this pass as numerical noise."""

STEP = 10.0
"""K: the expansion is a difference over twice this, or over the temperature itself where that is less."""

PHONOPY = """@article{phonopy2023,
  author = {Togo, Atsushi},
  title = {First-principles Phonon Calculations with Phonopy and Phono3py},
  journal = {J. Phys. Soc. Jpn.}, volume = {92}, pages = {012001}, year = {2023}, doi = {10.7566/JPSJ.92.012001}
}"""
QUASI_HARMONIC = """@article{baroni2010,
  author = {Baroni, Stefano and Giannozzi, Paolo and Isaev, Eyvaz},
  title = {Density-Functional Perturbation Theory for Quasi-Harmonic Calculations},
  journal = {Rev. Mineral. Geochem.}, volume = {71}, pages = {39--57}, year = {2010}, doi = {10.2138/rmg.2010.71.3}
}"""


class ThermalFeaturizer(RowByRow):
    """Thermal properties of crystals from their phonons, by any ASE calculator, each with its error bar.

    Features, per mole of ATOMS (phonopy's own numbers are per primitive cell), their labels with the temperature:
        C_V_300K: heat capacity at constant volume, J/(K mol).
        S_300K: vibrational entropy, J/(K mol).
        F_300K: vibrational free energy, zero-point energy included, kJ/mol.
        theta_D: Debye temperature of the sound waves of the elastic constants, K.
        alpha_300K: volumetric thermal expansion, 1/K.
        gamma_mean: thermodynamic Grüneisen parameter at the same temperature, dimensionless.
        min_frequency_THz: the lowest frequency of a mesh, negative where imaginary.
        stable: whether that lies above -0.05 THz.
    Each number is followed by its standard deviation over the calculator's members in a column `..._std`, NaN where
    unknown. Crystals with imaginary modes have `stable` False and NaN in the thermal columns.

    One process works, whatever is asked: a forked network may hang. The calculator uses its own threads or device.

    Args:
        calculator: any ASE calculator, eV and Å, in double precision; ours has members for the error bars. "auto"
            chooses for each structure, and a last column `calculator` names what was chosen.
        temperature: in K, above zero.
        supercell: as in `phonons`: a least height in Å, three multiples, a 3×3 matrix, or "auto".
        relax: bring each structure to a minimum first. Thermal expansion is that of the minimum in either case.
        expansion: also alpha and gamma, by phonons at six more volumes; otherwise they are no columns.
        folder: one for all structures; finished rows, supercells and relaxations are kept there and never done twice.
        displacement: of the finite differences, in Å; 0.03 for forces in single precision.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023); S. Baroni, P. Giannozzi and E. Isaev, Rev. Mineral. Geochem.
        71, 39 (2010).
    """

    def __init__(
        self,
        calculator,
        temperature: float = 300.0,
        supercell: Supercell = 10.0,
        relax: bool = True,
        expansion: bool = True,
        folder: str | Path | None = None,
        displacement: float = 0.01,
    ):
        """Keep the arguments.

        Raises:
            ValueError: a temperature or displacement that is not above zero, a calculator in single precision, or a
                folder with the work of another one.
        """
        self.calculator = calculator
        self.temperature = temperature
        self.supercell = supercell
        self.relax = relax
        self.expansion = expansion
        self.folder = folder
        self.displacement = displacement
        self.check()

    def feature_labels(self) -> list[str]:
        """Name the columns; the class says what they are and their units.

        Source: ours.
        """
        at = f"{self.temperature:g}K"
        numbers = [f"C_V_{at}", f"S_{at}", f"F_{at}", "theta_D"]
        numbers += [f"alpha_{at}", "gamma_mean"] if self.expansion else []
        numbers += ["min_frequency_THz"]
        labels = [label for name in numbers for label in (name, f"{name}_std")] + ["stable"]
        return [*labels, "calculator"] if self.calculator == "auto" else labels

    def citations(self) -> list[str]:
        """Cite phonopy, the quasi-harmonic approximation where it is used, and this package, in BibTeX.

        Source: ours.
        """
        return [PHONOPY, *([QUASI_HARMONIC] if self.expansion else []), ours()]

    def check(self) -> None:
        """Refuse arguments without meaning (K, Å), and a calculator in single precision.

        Raises:
            ValueError: naming them.

        Source: ours.
        """
        for name in ("temperature", "displacement"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name}: got {value!r}, expected a finite number above zero.")
        check_precision(self.calculator)
        if not isinstance(self.calculator, str):
            Store(self.folder, self.calculator)

    def _row(self, atoms: Atoms) -> list:
        calculator = settled(self.calculator, atoms)
        folder = self.folder
        if folder is not None and self.calculator == "auto":  # a folder holds the work of one calculator
            folder = Path(folder) / calculator.choice.name
        store, options = Store(folder, calculator), self._options()
        kept = store.fetch("thermal", atoms, options)
        if kept is None:
            kept = {"row": np.array(self._compute(atoms, calculator, folder), dtype=float)}
            store.keep("thermal", atoms, kept, options)
        *numbers, stable = kept["row"].tolist()
        return [*numbers, bool(stable), *([calculator.choice.name] if self.calculator == "auto" else [])]

    def _options(self) -> str:
        """Say all that a row depends on beside structure and calculator; another version computes it anew."""
        supercell = self.supercell if isinstance(self.supercell, str) else np.asarray(self.supercell, float).tolist()
        numbers = float(self.temperature), float(self.displacement), bool(self.relax), bool(self.expansion)
        return json.dumps([*numbers, supercell, version("ase-mlx")])

    def _compute(self, atoms: Atoms, calculator, folder: str | Path | None) -> list[float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImaginaryModesWarning)  # the column `stable` says it
            report = {"on_imaginary": "report", "tolerance": TOLERANCE}
            ph = phonons(atoms, calculator, self.supercell, self.displacement, self.relax, folder=folder, **report)
            ensemble = members(ph, calculator, folder)
            thermal = harmonic(ph, ensemble, temperatures=np.array([self.temperature]), **report)
        modes = thermal.stability
        if modes.is_interpolation(TOLERANCE):
            warnings.warn(
                f"{formula(atoms)}: {modes}; {modes.exact:.3f} THz where the supercell is exact. Only interpolation "
                "makes these modes imaginary: take a larger supercell.",
                stacklevel=2,
            )
        stable = modes.lowest >= -TOLERANCE
        if stable and thermal.debye_temperature is None:
            warnings.warn(f"{formula(atoms)}: {' '.join(thermal.notes)}", stacklevel=2)
        pairs = _thermal(thermal) if stable else [(math.nan, math.nan)] * 4
        if self.expansion:
            pairs += self._expansion(ph, calculator, folder) if stable else [(math.nan, math.nan)] * 2
        pairs.append(_lowest(thermal))
        return [number for pair in pairs for number in pair] + [float(stable)]

    def _expansion(self, ph: Phonopy, calculator, folder: str | Path | None) -> list[tuple[float, float]]:
        """Thermal expansion and Grüneisen parameter with error bars; NaN, with a warning, where there are none."""
        step = min(STEP, self.temperature / 2)
        atoms = unitcell_of(ph)
        try:
            curves = quasi_harmonic(
                atoms,
                calculator,
                ph.supercell_matrix,
                self.displacement,
                self.temperature + step * np.array([-1.0, 0.0, 1.0]),
                on_imaginary="report",
                tolerance=TOLERANCE,
                folder=folder,
            )
        except ValueError as error:  # too few volumes are stable, or the free energy has no minimum among them
            warnings.warn(f"{formula(atoms)}: no thermal expansion: {error}", stacklevel=2)
            return [(math.nan, math.nan)] * 2
        return [_pair(getattr(curves, name)[1], curves.std.get(name), 1) for name in ("expansion", "gruneisen")]


def _thermal(thermal: Harmonic) -> list[tuple[float, float]]:
    per_atom = 1 / thermal.natoms
    pairs = []
    for name in ("heat_capacity", "entropy", "free_energy"):
        value, std = _pair(getattr(thermal, name)[0], thermal.std.get(name), 0)
        pairs.append((value * per_atom, std * per_atom))
    debye = math.nan if thermal.debye_temperature is None else thermal.debye_temperature
    return [*pairs, _pair(debye, thermal.std.get("debye_temperature"))]


def _lowest(thermal: Harmonic) -> tuple[float, float]:
    q = int(np.argmin(np.abs(thermal.qpoints - thermal.stability.qpoint).max(axis=1)))
    band = int(np.argmin(np.abs(thermal.frequencies[q] - thermal.stability.lowest)))
    return _pair(thermal.stability.lowest, thermal.std.get("frequencies"), q, band)


def _pair(value: float, std: np.ndarray | None, *place: int) -> tuple[float, float]:
    return float(value), math.nan if std is None else float(np.asarray(std)[place])
