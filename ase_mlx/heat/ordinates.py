"""Heat through a film as thin as mean free paths: the phonon Boltzmann equation by discrete ordinates.

    Λ μ ∂θ/∂x = T - θ        for each group of modes and each direction μ: relative temperatures of phonons on their way
    Σ C v ∫ μ θ dμ           the same at every x: heat is conserved
    θ = 1 at x = 0 for μ > 0, θ = 0 at x = L for μ < 0: phonons that come from the contacts have their temperatures

Temperatures are relative: 1 in the hot contact, 0 in the cold. Directions are Gauss' points of each half; along each,
the equation is integrated exactly for temperatures that are linear between places, which are closer at the contacts.

Source: G. Chen, Nanoscale Energy Transport and Conversion (2005), chapter 7; short characteristics of P. B. Kunasz and
L. Auer, J. Quant. Spectrosc. Radiat. Transf. 39, 67 (1988).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .spectrum import Spectrum

PLACES, DIRECTIONS = 120, 24
FIRST = 1e-4
"""Of the widths between places, the least at a contact, of the thickness, were all of them geometric."""
GEOMETRIC = 0.3
"""Share of the width that grows by a factor from place to place; the rest is equal."""


@dataclass(frozen=True)
class FilmSolution:
    """A film of some `thickness` (m): its `conductivity` (W/(m K)) from contact to contact, and temperatures within.

    `relative_temperature` (places,) is dimensionless, at `x` (places,) in m.

    Source: as of the module.
    """

    thickness: float
    conductivity: float
    x: Float[np.ndarray, " places"]
    relative_temperature: Float[np.ndarray, " places"]


def places(count: int) -> Float[np.ndarray, " places"]:
    """Lay places over a film of unit thickness (dimensionless), closer at both contacts.

    Source: ours.
    """
    even = np.linspace(0, 1, count // 2 + 1)
    grown = np.expm1(even * np.log1p(0.5 / FIRST)) * FIRST / 0.5
    half = 0.5 * (GEOMETRIC * grown + (1 - GEOMETRIC) * even)
    return np.concatenate([half, 1 - half[-2::-1]])


def discrete_ordinates(
    spectrum: Spectrum, thickness: float, count: int = PLACES, directions: int = DIRECTIONS
) -> FilmSolution:
    """Solve a film between two contacts that absorb all phonons.

    Args:
        spectrum: the groups of modes.
        thickness: in units of m.
        count: of places, about.
        directions: of each half.

    Raises:
        ValueError: a thickness that is not positive.

    Source: see the module.
    """
    if not thickness > 0:
        raise ValueError(f"got a film of {thickness} m, expected more than 0")
    x = places(count)
    faces = np.sort(np.concatenate([x, 0.5 * (x[1:] + x[:-1])]))
    by_temperature, by_contact = _forward(spectrum, thickness, x, faces, directions)
    by_temperature = by_temperature - by_temperature[::-1, ::-1]  # the other half comes from the cold contact
    rows = [0, *range(1, len(faces), 2), len(faces) - 1]
    flux, inflow = by_temperature[rows], by_contact[rows]
    temperature = np.linalg.solve(np.diff(flux, axis=0), -np.diff(inflow))
    heat = float((flux @ temperature + inflow).mean())  # W/(m² K)
    return FilmSolution(thickness, heat * thickness, thickness * x, temperature)


def _forward(
    spectrum: Spectrum, thickness: float, x: np.ndarray, faces: np.ndarray, directions: int
) -> tuple[np.ndarray, np.ndarray]:
    """Flux (W/(m² K)) of phonons on their way from the hot contact: by temperatures at places, and by the contact's."""
    mu, share = np.polynomial.legendre.leggauss(directions)
    mu, share = 0.5 * (mu + 1), 0.5 * share
    reach = (spectrum.mean_free_path[:, None] * mu / thickness).ravel()
    weight = (0.5 * spectrum.flow[:, None] * mu * share).ravel()
    theta, contact = np.zeros((len(reach), len(x))), np.ones(len(reach))
    by_temperature, by_contact = np.zeros((len(faces), len(x))), np.zeros(len(faces))
    by_contact[0] = weight.sum()
    for j in range(1, len(faces)):
        depth = (faces[j] - faces[j - 1]) / reach
        passed = np.exp(-depth)
        mean = np.where(depth > 1e-4, -np.expm1(-depth) / np.maximum(depth, 1e-4), 1 - depth / 2 + depth**2 / 6)
        k = (j - 1) // 2
        begin, end = ((face - x[k]) / (x[k + 1] - x[k]) for face in (faces[j - 1], faces[j]))
        theta *= passed[:, None]
        contact *= passed
        theta[:, k] += (mean - passed) * (1 - begin) + (1 - mean) * (1 - end)
        theta[:, k + 1] += (mean - passed) * begin + (1 - mean) * end
        by_temperature[j], by_contact[j] = weight @ theta, weight @ contact
    return by_temperature, by_contact
