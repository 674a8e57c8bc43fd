"""Superposed neutral atoms as a density of any crystal, where no model knows its elements.

Source: ours; the atoms by Quantum ESPRESSO's ld1.x, see `ase_mlx.data.free_atoms`.
"""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float

from ase_mlx.data.free_atoms import neutral_atom
from ase_mlx.graph import Points
from ase_mlx.models.density import reference_atom
from ase_mlx.models.density_field import Vector
from ase_mlx.models.field import AtomField, planes, torch_dtype
from ase_mlx.quantities import SYMBOLS
from ase_mlx.structure import AtomsLike

RANGE = 6.0
"""Å, up to which an atom reaches; what a free alkali atom has beyond goes back into it."""


def limits(structure: AtomsLike) -> str:
    """Say what superposed atoms are not, and which electrons of each count as valence.

    Source: ours.
    """
    kinds = [int(z) for z in np.unique(np.asarray(structure.numbers))]
    valence = ", ".join(f"{SYMBOLS[z]} {neutral_atom(z)[2]:g}" for z in kinds)
    return (
        "This density is the sum of neutral atoms, since no model knows their elements: no bonds, no charge transfer, "
        f"no error bars (valence electrons: {valence}). It serves as the start of a DFT code or to show where atoms "
        "are; charges, dipoles and differences of it mean nothing."
    )


def smoothed(
    radius: Float[np.ndarray, " points"], density: Float[np.ndarray, " points"]
) -> Float[np.ndarray, " points"]:
    """Smooth a valence density (e/Å³ at radii in Å) near the nucleus, where it has the orbitals' inner waves.

    Within the radius of the outermost shell's maximum it becomes a + b r² + c r⁴ with the same value and slope there,
    and the same electrons within; beyond it nothing changes. A grid of 0.2 Å holds it.

    Source: ours; the idea is that of norm-conserving pseudopotentials.
    """
    shell = 4 * np.pi * radius**2 * density
    within = np.concatenate([[0.0], np.cumsum((shell[1:] + shell[:-1]) / 2 * np.diff(radius))])
    for k in range(int(np.argmax(shell)), len(radius) - 1):
        c = radius[k]
        slope = (density[k + 1] - density[k - 1]) / (radius[k + 1] - radius[k - 1])
        powers = np.array([0, 2, 4])
        equations = [c**powers, powers * c ** np.maximum(powers - 1, 0), 4 * np.pi * c ** (powers + 3) / (powers + 3)]
        smooth = radius[: k + 1, None] ** powers @ np.linalg.solve(np.array(equations), [density[k], slope, within[k]])
        if smooth.min() >= 0:
            return np.concatenate([smooth, density[k + 1 :]])
    return density


class SuperposedAtoms:
    """The valence density (e/Å³) of neutral atoms, hydrogen to plutonium, put where a structure has them.

    It serves `write_density`, `write_restart` and `density_surface` in the place of a model.

    Source: ours.
    """

    def density_planes(
        self,
        atoms: AtomsLike,
        points: Points,
        std: bool = False,
        charge: float = 0.0,
        dipole: Vector | None = None,
        axis: int = 0,
    ) -> "SuperposedPlanes":
        """Give the density (e/Å³) on the grid of the cell, plane by plane.

        Raises:
            ValueError: a charge or a dipole, which neutral atoms have not, or an element beyond plutonium.
        """
        if charge or dipole is not None:
            raise ValueError(f"got charge={charge:g} and dipole={dipole}, expected neither: the atoms are neutral")
        warnings.warn(limits(atoms), stacklevel=3)
        return SuperposedPlanes(atoms, tuple(points.shape))


class SuperposedPlanes:
    """Planes of superposed atoms (e/Å³): see `ase_mlx.models.density_planes.DensityPlanes`.

    Source: ours.
    """

    known, counted = False, False

    def __init__(self, atoms: AtomsLike, shape: tuple[int, int, int]):
        """Tabulate the structure's atoms (Å)."""
        numbers = np.asarray(atoms.numbers)
        kinds, kind = np.unique(numbers, return_inverse=True)
        free = [neutral_atom(int(z)) for z in kinds]
        splines = torch.from_numpy(np.stack([reference_atom(r, smoothed(r, d), n, RANGE) for r, d, n in free]))
        electrons = torch.tensor([atom[2] for atom in free], dtype=torch.float64)
        self.shape, self.expected = shape, float(electrons[torch.from_numpy(kind)].sum())
        self._splines, self._electrons, self._kind = splines, electrons, torch.from_numpy(kind)
        self._places = [np.asarray(a) for a in (atoms.positions, atoms.cell, atoms.pbc)]

    def planes(self, turned: bool, dtype: type) -> Iterator[tuple[int, np.ndarray, float]]:
        """First plane, values (e/Å³), and electrons that were restored so far (dimensionless)."""

        def tables(some: np.ndarray):
            kind = self._kind[torch.from_numpy(some)]
            return self._splines[kind, None].to(torch_dtype(dtype)), self._electrons[kind]

        field = AtomField(*self._places, RANGE, tables)
        return planes(field.turned if turned else field, self.shape[::-1] if turned else self.shape, dtype)

    def std_planes(self, turned: bool) -> Iterator[tuple[int, np.ndarray]]:
        """None: nothing is known of the errors."""
        return iter(())
