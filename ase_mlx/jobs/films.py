"""Conductivity of films as thin as mean free paths, by a network and by discrete ordinates.

Source: as of `ase_mlx.models.boltzmann` and `ase_mlx.heat.ordinates`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ase_mlx.heat.ordinates import FilmSolution, discrete_ordinates
from ase_mlx.learn.recipes.boltzmann import CONVERGED, BoltzmannRecipe, BoltzmannTraining
from ase_mlx.models.boltzmann import BoltzmannFilm
from ase_mlx.progress import Progress
from ase_mlx.whole.tables import write_csv

from .equations import fitted

FILES = ("films.csv", "films.png")
FILMS = 13
"""Thicknesses of the table."""
DISAGREE = 0.05
"""Difference of network and discrete ordinates, relative, that is told."""


@dataclass(frozen=True)
class FilmConductivity:
    """Films by `thickness` (m): `conductivity` of the network with `std`, and `ordinates`, W/(m K).

    `notes` say where it may be wrong.

    Source: ours.
    """

    model: BoltzmannFilm
    thickness: np.ndarray
    conductivity: np.ndarray
    ordinates: tuple[FilmSolution, ...]
    std: np.ndarray
    seconds: float
    card: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table: m, W/(m K), shares of the bulk's conductivity."""
        bulk = self.model.spectrum.conductivity
        return [
            {
                "thickness": film.thickness, "conductivity": float(k), "std": float(u), "of_bulk": float(k / bulk),
                "discrete_ordinates": film.conductivity,
            }
            for film, k, u in zip(self.ordinates, self.conductivity, self.std, strict=True)
        ]  # fmt: skip


def film_conductivity(
    training: BoltzmannTraining,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    words: Callable[[str], str] = str,
) -> FilmConductivity:
    """Solve all films between two thicknesses by one network, and some of them by discrete ordinates.

    Args:
        training: thicknesses (m), modes, settings.
        folder: where the network is kept, and goes on from after a kill; None: nowhere.
        progress: called with the stage, the number of steps done and the number in all.
        words: how notes are put.

    Raises:
        ValueError: thicknesses or modes that are none.

    Source: ours.
    """
    begin = time.process_time()
    model, card = fitted(BoltzmannRecipe(training), folder, progress)
    thickness = np.geomspace(*model.config.thickness, FILMS)
    conductivity, std = model.conductivity(thickness)
    ordinates = tuple(discrete_ordinates(model.spectrum, length) for length in thickness)
    notes = []
    if not card["converged"]:
        notes.append(
            f"NOT CONVERGED: the flux varies by {100 * card['residual']['flux']:.2g} % within films (below "
            f"{100 * CONVERGED:g} % counts as a solution); give fit.epochs, fit.points or model.rank more"
        )
    off = np.abs(conductivity / [film.conductivity for film in ordinates] - 1)
    if off.max() > DISAGREE:
        notes.append(f"network and discrete ordinates differ by up to {100 * off.max():.2g} %: believe the ordinates")
    seconds = time.process_time() - begin
    notes = [words(note) for note in notes]
    return FilmConductivity(model, thickness, conductivity, ordinates, std, seconds, card, notes)


def films_job(
    training: BoltzmannTraining,
    folder: str | Path,
    work: str | Path | None = None,
    progress: Progress | None = None,
    words: Callable[[str], str] = str,
) -> FilmConductivity:
    """Solve films and write their table and a figure.

    Args:
        training: as of `film_conductivity`; units are m, J/(m³ K), m/s.
        folder: for the results.
        work: where the network is kept.
        progress: as of `film_conductivity`.
        words: as of `film_conductivity`.

    Raises:
        ValueError: as of `film_conductivity`.
        OSError: the folder cannot be written.

    Source: ours.
    """
    from ase_mlx.figures.films import draw_films

    films, folder = film_conductivity(training, work, progress, words), Path(folder)
    write_csv(folder / FILES[0], list(films.rows[0]), [list(row.values()) for row in films.rows])
    draw_films(films, training.title or "Films", folder / FILES[1])
    return replace(films, files=list(FILES))
