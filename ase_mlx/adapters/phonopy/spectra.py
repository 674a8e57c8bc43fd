"""Bands, densities of states, thermal displacements and group velocities, each with its error bar.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase.cell import Cell
from jaxtyping import Float
from phonopy import Phonopy

from ase_mlx.adapters.phonopy.members import propagate
from ase_mlx.units import BOLTZMANN, PLANCK

Mesh = float | tuple[int, int, int]


@dataclass(frozen=True)
class Property:
    """An array with its members' standard deviation in the same unit, which is None, never zero, where unknown.

    Source: ours.
    """

    value: Float[np.ndarray, "..."]
    std: Float[np.ndarray, "..."] | None
    axis: Float[np.ndarray, "..."] = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class Spectrum:
    """Bands along the lattice's path and the density of states; `std` holds their error bars by name.

    `bands` in THz, `distances` along the path in 1/Å with `ticks` at its named points, `dos` in states/THz per
    primitive cell of `natoms` atoms, `debye_temperature` of the parabola fitted to it in K. With Born charges Γ is
    there twice where the path goes through it, once for each direction that it is reached from.

    Source: ours.
    """

    natoms: int
    distances: Float[np.ndarray, " path"]
    ticks: tuple[tuple[float, str], ...]
    bands: Float[np.ndarray, "path bands"]
    dos_frequencies: Float[np.ndarray, " grid"]
    dos: Float[np.ndarray, " grid"]
    debye_temperature: float
    std: Mapping[str, np.ndarray] = field(default_factory=dict)


def spectrum(ph: Phonopy, ensemble: Sequence[Phonopy] = (), points: int = 200, mesh: Mesh = 60.0) -> Spectrum:
    """Bands along the path of the lattice's type, and the density of states by the tetrahedron method.

    Args:
        ph: from `phonons`.
        ensemble: from `members`, force constants in eV/Å².
        points: of the path.
        mesh: three numbers, or a length in Å, of the Γ-centred mesh of the density of states.

    Returns:
        Bands in THz and states in 1/THz.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 6; the path is ASE's (W. Setyawan and S. Curtarolo,
        Comput. Mater. Sci. 49, 299 (2010)).
    """
    path = Cell(ph.primitive.cell).bandpath(npoints=points, eps=1e-3)
    axis, ticks, labels = path.get_linear_kpoint_axis()
    distances, waves, directions = _approached(axis, path.kpts, ph.nac_params is not None)
    grid = np.linspace(0, 1.05 * max(1.0, ph.run_mesh(mesh, is_gamma_center=True).frequencies.max()), 301)

    def function(one: Phonopy) -> dict[str, np.ndarray]:
        one.run_mesh(mesh, is_gamma_center=True)
        dos = one.run_total_dos(freq_min=grid[0], freq_max=grid[-1] + 1e-9, freq_pitch=grid[1] - grid[0])
        dos.run_debye_frequency()
        return {
            "bands": _bands(one, waves, directions),
            "dos": np.interp(grid, dos.frequency_points, dos.dos),
            "debye_temperature": float(dos.debye_frequency) * PLANCK / BOLTZMANN,
        }

    mean, std = propagate(function, ph, ensemble)
    named = tuple((float(x), label) for x, label in zip(ticks, labels, strict=True))
    return Spectrum(len(ph.primitive), distances, named, dos_frequencies=grid, std=std, **mean)


def _approached(
    axis: Float[np.ndarray, " path"], waves: Float[np.ndarray, "path 3"], polar: bool
) -> tuple[Float[np.ndarray, " more"], Float[np.ndarray, "more 3"], dict[int, np.ndarray]]:
    """Distances and wave vectors with Γ once for each side, and the directions in which it is reached, by their row.

    In a polar crystal Γ's frequencies depend on the direction: the longitudinal mode's field stays.
    """
    rows: list[tuple[float, np.ndarray]] = []
    directions: dict[int, np.ndarray] = {}
    for k, (x, q) in enumerate(zip(axis, waves, strict=True)):
        sides = [other for other in (k - 1, k + 1) if 0 <= other < len(axis) and abs(axis[other] - x) > 1e-9]
        if polar and np.abs(q).max() < 1e-8 and sides:
            for other in sides:
                directions[len(rows)] = waves[other] - q
                rows.append((x, q))
        else:
            rows.append((x, q))
    return np.array([x for x, _ in rows]), np.array([q for _, q in rows]), directions


def _bands(ph: Phonopy, waves: Float[np.ndarray, "q 3"], directions: dict[int, np.ndarray]) -> np.ndarray:
    frequencies = ph.run_qpoints(waves).frequencies.copy()
    for row, direction in directions.items():
        frequencies[row] = ph.run_qpoints([[0, 0, 0]], nac_q_direction=direction).frequencies[0]
    return frequencies


def projected_dos(
    ph: Phonopy,
    ensemble: Sequence[Phonopy] = (),
    frequencies: Float[np.ndarray, " grid"] | None = None,
    mesh: Mesh = 40.0,
) -> Property:
    """Density of states of each atom of the primitive cell, by the tetrahedron method.

    Args:
        ph: from `phonons`.
        ensemble: from `members`, force constants in eV/Å².
        frequencies: an even grid in THz; 201 points from zero to the highest frequency if not given.
        mesh: three numbers, or a length in Å, of a Γ-centred mesh.

    Returns:
        States per THz of shape (atoms, grid); `axis` has the frequencies in THz.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 6.
    """
    if frequencies is None:
        frequencies = np.linspace(0, 1.05 * ph.run_mesh(mesh, is_gamma_center=True).frequencies.max(), 201)
    grid = np.asarray(frequencies, dtype=float)

    def function(one: Phonopy) -> dict[str, np.ndarray]:
        one.run_mesh(mesh, with_eigenvectors=True, is_mesh_symmetry=False, is_gamma_center=True)
        dos = one.run_projected_dos(freq_min=grid[0], freq_max=grid[-1] + 1e-9, freq_pitch=grid[1] - grid[0])
        return {"dos": np.stack([np.interp(grid, dos.frequency_points, row) for row in dos.projected_dos])}

    mean, std = propagate(function, ph, ensemble)
    return Property(mean["dos"], std.get("dos"), grid)


def thermal_displacements(
    ph: Phonopy, ensemble: Sequence[Phonopy] = (), temperatures: Sequence[float] = (0.0, 300.0), mesh: Mesh = 40.0
) -> Property:
    """Mean square displacement matrices of each atom, as X-ray diffraction refines them (Cartesian axes).

    Args:
        ph: from `phonons`.
        ensemble: from `members`, force constants in eV/Å².
        temperatures: in K.
        mesh: three numbers, or a length in Å, of a Γ-centred mesh.

    Returns:
        U in Å² of shape (temperatures, atoms, 3, 3); `axis` has the temperatures in K.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 6.
    """
    kelvin = np.asarray(temperatures, dtype=float)

    def function(one: Phonopy) -> dict[str, np.ndarray]:
        one.run_mesh(mesh, with_eigenvectors=True, is_mesh_symmetry=False, is_gamma_center=True)
        matrices = one.run_thermal_displacement_matrices(
            temperatures=kelvin, freq_min=1e-3, exclude_gamma_acoustic=True
        )
        return {"u": np.real(matrices.thermal_displacement_matrices)}

    mean, std = propagate(function, ph, ensemble)
    return Property(mean["u"], std.get("u"), kelvin)


def group_velocities(ph: Phonopy, qpoints: Float[np.ndarray, "q 3"], ensemble: Sequence[Phonopy] = ()) -> Property:
    """Group velocities ∂ω/∂k of all bands; those of degenerate bands are phonopy's choice among equals.

    Args:
        ph: from `phonons`.
        qpoints: in units of the primitive cell's reciprocal vectors, dimensionless.
        ensemble: from `members`, force constants in eV/Å².

    Returns:
        Velocities in km/s of shape (q, bands, 3); `axis` has the wave vectors.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 6.
    """
    waves = np.atleast_2d(np.asarray(qpoints, dtype=float))

    def function(one: Phonopy) -> dict[str, np.ndarray]:
        return {"v": 0.1 * one.run_qpoints(waves, with_group_velocities=True).group_velocities}  # THz Å = 100 m/s

    mean, std = propagate(function, ph, ensemble)
    return Property(mean["v"], std.get("v"), waves)
