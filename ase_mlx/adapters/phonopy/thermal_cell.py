"""A supercell whose atoms move as its harmonic force constants let them: uncorrelated hot structures without dynamics.

Source: ours.
"""

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from jaxtyping import Float
from phonopy import Phonopy
from phonopy.harmonic.force_constants import compact_fc_to_full_fc

from ase_mlx.adapters.phonopy.labelled import supercell_of

SOFTEST = 0.02
"""Share of the modes whose curvature is taken for that of the last of them: soft and imaginary ones go no further."""


@dataclass(frozen=True)
class ThermalCell:
    """A supercell at rest (Å) and its modes, in Å of all atoms for a thermal energy kT of 1 eV.

    Source: ours.
    """

    atoms: Atoms
    modes: Float[np.ndarray, "modes atoms 3"]

    def displaced(self, temperature: float, rng: np.random.Generator) -> Atoms:
        """Draw a structure (Å) of the classical harmonic crystal at a temperature (K)."""
        drawn = rng.normal(scale=np.sqrt(units.kB * temperature), size=len(self.modes))
        out = self.atoms.copy()
        out.positions += np.tensordot(drawn, self.modes, 1)
        return out

    def mean_square(self, temperature: float) -> float:
        """Mean square displacement of an atom (Å²) at a temperature (K)."""
        return float(units.kB * temperature * np.square(self.modes).sum() / len(self.atoms))


def thermal_cell(ph: Phonopy) -> ThermalCell:
    """Diagonalise the supercell's force constants (eV/Å²), the acoustic modes at Γ left out.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), for the force constants.
    """
    atoms, constants = supercell_of(ph), ph.force_constants
    n = len(atoms)
    if constants.shape[0] != n:
        constants = compact_fc_to_full_fc(ph.primitive, constants)
    root = np.sqrt(np.repeat(atoms.get_masses(), 3))
    dynamical = constants.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n) / np.outer(root, root)
    squares, vectors = np.linalg.eigh((dynamical + dynamical.T) / 2)
    moving = np.argsort(np.abs(squares))[3:]  # the crystal as a whole stays
    size = np.abs(squares[moving])
    size = np.maximum(size, np.quantile(size, SOFTEST))
    modes = (vectors[:, moving] / np.sqrt(size) / root[:, None]).T
    return ThermalCell(atoms, modes.reshape(-1, n, 3))
