"""The laws of films thinner than mean free paths: symmetry, order and limits of temperatures and conductivities.

Source: as of `ase_mlx.models.boltzmann`.
"""

from collections.abc import Callable

import numpy as np

from ase_mlx.models.boltzmann import BoltzmannFilm

from .laws import LawBroken

FILMS = 9
EXACT = 1e-9
"""Of temperatures that are met by construction (dimensionless)."""
CONVERGED = 0.02
"""Variation of the flux above which a model is not asked for more than what holds by construction."""
ROUGH = 0.05
"""Relative, of conductivities."""


def _thicknesses(model: BoltzmannFilm) -> np.ndarray:
    return np.geomspace(*model.config.thickness, FILMS)


def mirrored_temperatures(model: BoltzmannFilm) -> None:
    """What is above the cold contact at x is below the hot one at L - x.

    Raises:
        LawBroken: it is not.
    """
    for length in _thicknesses(model):
        x = np.linspace(0, length, 33)
        temperature = model.at(None, np.column_stack([x, np.full(len(x), length)]))["relative_temperature"]
        _expect(
            "mirrored temperatures", np.abs(temperature + temperature[::-1] - 1).max(), EXACT, f"a film of {length:g} m"
        )


def suppressed_conductivity(model: BoltzmannFilm) -> None:
    """Conductivities (W/(m K)) rise with thickness and stay below the bulk's and the ballistic one, Σ C v L / 4.

    Raises:
        LawBroken: they do not, of a model that has converged.
    """
    if not float(model.residual) < CONVERGED:
        return
    lengths, spectrum = _thicknesses(model), model.spectrum
    conductivity, _ = model.conductivity(lengths)
    limit = np.minimum(spectrum.conductivity, spectrum.flow.sum() * lengths / 4)
    over = max(float((conductivity / limit).max()) - 1, 0.0)
    _expect("suppressed conductivity", over, ROUGH, "the conductivity of a film")
    falls = max(float((conductivity[:-1] / conductivity[1:]).max()) - 1, 0.0)
    _expect("suppressed conductivity", falls, ROUGH, "the fall with thickness")


def even_flux(model: BoltzmannFilm) -> None:
    """The flux is the same at every place of a film, where the model has converged.

    Raises:
        LawBroken: it is not.
    """
    if float(model.residual) < CONVERGED:
        conductivity, std = model.conductivity(_thicknesses(model))
        _expect("even flux", float((std / conductivity).max()), ROUGH, "the flux within a film")


def _expect(law: str, deviation: float, tolerance: float, what: str) -> None:
    if not deviation <= tolerance:
        raise LawBroken(law, "a film", "float64", what, float(deviation), tolerance)


FILM_LAWS: dict[str, Callable[[BoltzmannFilm], None]] = {
    "mirrored temperatures": mirrored_temperatures,
    "suppressed conductivity": suppressed_conductivity,
    "even flux": even_flux,
}
