"""Elastic constants and moduli as columns of a dataframe.

Source: ours, on matminer (L. Ward et al., Comput. Mater. Sci. 152, 60 (2018)).
"""

import math
import warnings
from typing import Any

import numpy as np
from ase import Atoms
from jaxtyping import Float
from pymatgen.analysis.elasticity import ElasticTensor
from pymatgen.io.ase import AseAtomsAdaptor

from ase_mlx.adapters.ase.elastic_constants import Elastic, elastic
from ase_mlx.adapters.choice import settled
from ase_mlx.adapters.matminer.one_process import RowByRow, ours
from ase_mlx.adapters.matminer.structures import formula
from ase_mlx.adapters.phonopy.forces import check_precision

MODULI = {
    "K_Voigt": "bulk_voigt",
    "K_Reuss": "bulk_reuss",
    "K_VRH": "bulk",
    "G_Voigt": "shear_voigt",
    "G_Reuss": "shear_reuss",
    "G_VRH": "shear",
    "E_VRH": "young",
    "poisson_ratio": "poisson",
    "elastic_anisotropy": "anisotropy",
}
"""Columns, named as matminer's data set `elastic_tensor_2015` names them, and the moduli that they are."""

ENTRIES = tuple(zip(*np.triu_indices(6), strict=True))

IEEE = """@article{dejong2015,
  author = {de Jong, Maarten and others},
  title = {Charting the complete elastic properties of inorganic crystalline compounds},
  journal = {Sci. Data}, volume = {2}, pages = {150009}, year = {2015}, doi = {10.1038/sdata.2015.9}
}"""


class ElasticFeaturizer(RowByRow):
    """Elastic constants of crystals, by any ASE calculator with a stress, each with its error bar.

    Features:
        C_11 … C_66: the 21 constants with relaxed ions, GPa, in the axes of the IEEE standard, as in matminer's and the
            Materials Project's data: they do not depend on how the input is turned.
        K_Voigt, K_Reuss, K_VRH, G_Voigt, G_Reuss, G_VRH, E_VRH: bulk, shear and Young's moduli, GPa.
        poisson_ratio, elastic_anisotropy: Hill's Poisson ratio and the universal anisotropy, dimensionless.
        theta_D: Debye temperature of the sound waves, K.
        min_stiffness: the least stiffness of any strain, GPa; Born's criterion asks that it be above zero.
        stable: whether it is.
    Each number is followed by its standard deviation over the calculator's members in a column `..._std`, NaN where
    unknown. Of an unstable crystal moduli and Debye temperature are NaN, and a warning says so.

    One process works, whatever is asked: a forked network may hang. The calculator uses its own threads or device.

    Args:
        calculator: any ASE calculator, eV and Å, in double precision; ours has members for the error bars. "auto"
            chooses for each structure, and a last column `calculator` names what was chosen.
        relax: bring each structure to a minimum first.
        displacement: of the finite differences, in Å.

    Source: D. C. Wallace, Thermodynamics of Crystals (1972); the axes: M. de Jong et al., Sci. Data 2, 150009 (2015).
    """

    def __init__(self, calculator, relax: bool = True, displacement: float = 0.01):
        """Keep the arguments.

        Raises:
            ValueError: a displacement that is not above zero, or a calculator in single precision.
        """
        self.calculator = calculator
        self.relax = relax
        self.displacement = displacement
        self.check()

    def feature_labels(self) -> list[str]:
        """Name the columns; the class says what they are and their units.

        Source: ours.
        """
        names = [f"C_{i + 1}{j + 1}" for i, j in ENTRIES] + [*MODULI, "theta_D", "min_stiffness"]
        labels = [label for name in names for label in (name, f"{name}_std")] + ["stable"]
        return [*labels, "calculator"] if self.calculator == "auto" else labels

    def citations(self) -> list[str]:
        """Cite the source of the axes and this package, in BibTeX.

        Source: ours.
        """
        return [IEEE, ours()]

    def check(self) -> None:
        """Refuse a displacement (Å) without meaning, and a calculator in single precision.

        Raises:
            ValueError: naming it.

        Source: ours.
        """
        if not 0 < self.displacement < math.inf:
            raise ValueError(f"displacement: got {self.displacement!r}, expected a finite number above zero.")
        check_precision(self.calculator)

    def _row(self, atoms: Atoms) -> list:
        calculator = settled(self.calculator, atoms)
        result = elastic(atoms, calculator, self.relax, self.displacement)
        for note in result.notes:
            warnings.warn(f"{formula(atoms)}: {note}", stacklevel=3)
        tensors = _standard_axes(atoms, result)
        std = np.std(tensors[1:], axis=0, ddof=1) if len(tensors) > 1 else np.full((6, 6), math.nan)
        row = [number for i, j in ENTRIES for number in (float(tensors[0, i, j]), float(std[i, j]))]
        for name in MODULI.values():
            row += [
                math.nan if part is None else float(getattr(part, name)) for part in (result.moduli, result.moduli_std)
            ]
        row += [_number(result.debye_temperature), _number(result.debye_temperature_std), float(result.eigenvalues[0])]
        row += [_number(None if result.eigenvalues_std is None else result.eigenvalues_std[0]), result.stable]
        return [*row, calculator.choice.name] if self.calculator == "auto" else row


def _standard_axes(atoms, result: Elastic) -> Float[np.ndarray, "rows 6 6"]:
    """Turn the tensor and its members, GPa, into the axes of the IEEE standard."""
    tensors = [result.tensor, *(() if result.members is None else result.members)]
    turn = ElasticTensor.get_ieee_rotation(AseAtomsAdaptor.get_structure(atoms))
    return np.array([ElasticTensor.from_voigt(tensor).rotate(turn, tol=1e-2).voigt for tensor in tensors])


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
