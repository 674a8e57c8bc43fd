"""A plane and a bond through a structure, and the density on them: what a picture of a density needs.

Source: ours.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ase_mlx.data.free_atoms import free_atom, superpose
from ase_mlx.graph import at, from_atoms
from ase_mlx.graph.lattice import completed
from ase_mlx.models import Model
from ase_mlx.models.extrapolation import once, see
from ase_mlx.models.predict import predict
from ase_mlx.quantities import SYMBOLS
from ase_mlx.structure import AtomsLike

__all__ = ["DensitySlice", "density_slice"]

REACH = 6.0
"""Å; longest bond."""


@dataclass(frozen=True)
class DensitySlice:
    """Density (e/Å³) along the shortest bond, and in the plane of this bond and a neighbouring one; lengths in Å.

    `axis` is the coordinate along the plane's two axes, `difference` the density there minus free atoms', `atoms` the
    coordinates of atoms in the plane with their `symbols`. `distance` runs along the bond from atom to atom, with
    `density` and `free`; standard deviations are None where the model has none.

    Source: ours.
    """

    axis: Float[np.ndarray, " n"]
    difference: Float[np.ndarray, "n n"]
    atoms: Float[np.ndarray, "some 2"]
    symbols: tuple[str, ...]
    distance: Float[np.ndarray, " m"]
    density: Float[np.ndarray, " m"]
    free: Float[np.ndarray, " m"]
    std: Float[np.ndarray, " m"] | None
    ends: tuple[str, str]


@once()
def density_slice(model: Model, atoms: AtomsLike, width: float = 7.0, points: int = 121) -> DensitySlice | None:
    """Evaluate the density (e/Å³) along a structure's shortest bond and in a plane through it.

    Args:
        model: with a density.
        atoms: the structure, Å.
        width: of the plane, Å.
        points: along each axis of the plane and along the bond.

    Returns:
        None where no two atoms are within 6 Å of each other.

    Raises:
        ValueError: a model without a density, or an unknown element.

    Source: ours.
    """
    graph = from_atoms(atoms, REACH)
    vectors = graph.vectors().numpy()
    if not len(vectors):
        return None
    length = np.linalg.norm(vectors, axis=1)
    bond = int(length.round(3).argmin())
    start, along = int(graph.center[bond]), vectors[bond] / length[bond]
    from_start = np.flatnonzero(graph.center.numpy() == start)
    off = np.linalg.norm(vectors[from_start] - np.outer(vectors[from_start] @ along, along), axis=1)
    bent = from_start[off > 0.2 * length[from_start]]
    across = vectors[bent[length[bent].round(3).argmin()]] if len(bent) else np.roll(along, 1) + [0.1, 0.2, 0.3]
    across = across - (across @ along) * along
    across /= np.linalg.norm(across)
    origin, axis = graph.positions.numpy()[start] + 0.5 * vectors[bond], np.linspace(-width / 2, width / 2, points)
    plane = origin + axis[None, :, None] * along + axis[:, None, None] * across
    line = origin + np.linspace(-0.5, 0.5, points)[:, None] * vectors[bond]
    where = np.concatenate([plane.reshape(-1, 3), line])
    free = superpose(where, atoms.numbers, atoms.positions, np.asarray(atoms.cell), np.asarray(atoms.pbc), free_atom)
    density = predict(model, atoms, std=False, at=at(where))["density"]
    prediction = predict(model, atoms, at=at(line))
    see(prediction.get("distance"))
    places, kinds = _in_plane(atoms, origin, along, across, width / 2)
    symbols = [SYMBOLS[number] for number in atoms.numbers]
    return DensitySlice(
        axis,
        (density - free)[: points**2].reshape(points, points),
        places,
        tuple(symbols[k] for k in kinds),
        np.linspace(0, length[bond], points),
        density[points**2 :],
        free[points**2 :],
        prediction.std.get("density"),
        (symbols[start], symbols[int(graph.neighbor[bond])]),
    )


def _in_plane(
    atoms: AtomsLike, origin: np.ndarray, along: np.ndarray, across: np.ndarray, half: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the images of atoms within 0.1 Å of the plane's square, and their numbers."""
    cell = completed(np.asarray(atoms.cell), np.asarray(atoms.pbc))
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    span = np.where(atoms.pbc, np.ceil(1.5 * half / heights).astype(int) + 1, 0)
    shifts = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in span], indexing="ij"), -1).reshape(-1, 3) @ cell
    away = (atoms.positions[:, None] + shifts - origin).reshape(-1, 3)
    flat = np.stack([away @ along, away @ across], 1)
    near = (np.abs(away @ np.cross(along, across)) < 0.1) & (np.abs(flat) <= half).all(1)
    return flat[near], np.flatnonzero(near) // len(shifts)
