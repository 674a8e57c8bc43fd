"""Films as thin as phonons' mean free paths: no data but the Boltzmann equation and the modes of a crystal.

Source: as of `ase_mlx.models.boltzmann`.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ase_mlx.data.csv_columns import text_chunks
from ase_mlx.heat import Spectrum, discrete_ordinates
from ase_mlx.keep import digest
from ase_mlx.models.boltzmann import CONTACT, BoltzmannConfig, BoltzmannFilm, Films

from ..config import build
from ..equations import EquationFit, EquationRecipe
from ..metrics import Residuals, errors

POINTS, PLACES_A_FILM = 270, 3.3
"""Places × films, and how many more places there are than films."""
CONVERGED = 0.02
"""By how much of itself the flux may vary within a film (root mean square) of a solution."""
FLUX = 3.0
"""Weight of the flux's rows against those of transport."""
JUDGED = 12
"""Films that discrete ordinates judge."""


@dataclass(frozen=True)
class Modes:
    """The modes of a crystal: a `file` of phono3py, read at `temperature` (K) into `groups`, with the cell's `volume`.

    Or groups as they are: `capacity` in J/(m³ K), `speed` in m/s, `mean_free_path` in m.

    Source: ours.
    """

    capacity: tuple[float, ...]
    speed: tuple[float, ...]
    mean_free_path: tuple[float, ...]


@dataclass(frozen=True)
class FilmFit(EquationFit):
    """As `EquationFit`, with more patience: what is left falls slowly, and conductivities gain from it.

    Source: ours.
    """

    epochs: int = 60
    patience: int = 20


@dataclass(frozen=True)
class BoltzmannTraining:
    """Films of `thickness` from one to another, in units of m, of `modes`; settings of the networks (`model`), the fit.

    Source: ours.
    """

    thickness: tuple[float, float]
    modes: Modes
    title: str = ""
    model: dict[str, Any] = field(default_factory=dict)
    fit: FilmFit = field(default_factory=FilmFit)
    kind: Literal["boltzmann"] = "boltzmann"


@dataclass(frozen=True)
class FilmConductivities:
    """Conductivities (W/(m K)) of films by thickness (m), with standard deviations (W/(m K)) where measured.

    Source: ours.
    """

    thickness: np.ndarray
    conductivity: np.ndarray
    std: np.ndarray | None = None

    def __len__(self) -> int:
        """Count the films."""
        return len(self.thickness)


class BoltzmannRecipe(EquationRecipe):
    """How networks for films are made.

    Source: see the module.
    """

    Config = BoltzmannTraining
    model: BoltzmannFilm

    def __init__(self, config: BoltzmannTraining):
        """Build the networks of some films.

        Raises:
            ValueError: thicknesses or modes that are none.
        """
        self.config, self.fit = config, config.fit
        torch.manual_seed(config.fit.seed)
        settings = {"thickness": list(config.thickness), **asdict(config.modes), **config.model}
        self.model = BoltzmannFilm(build(BoltzmannConfig, settings, "model"))

    def content(self, seed: int) -> tuple[Films, str]:
        """Prepare places and films at Chebyshev points that the seed shifts."""
        random, model = np.random.default_rng(seed), self.model
        count = self.fit.points or POINTS
        few = max(3, round((count / PLACES_A_FILM) ** 0.5))
        half = max(3, round(count / few / 2))
        stretched = np.cos(np.pi * (np.arange(half) + random.uniform(0.2, 0.8)) / half)
        ratio = np.exp(stretched * np.log((1 + CONTACT) / CONTACT))
        x = np.clip((ratio * (1 + CONTACT) - CONTACT) / (1 + ratio), 0, 1)
        x = np.sort(np.concatenate([[0.0, 1.0], x, 1 - x]))
        x = 0.5 * (x + 1 - x[::-1])  # each with its mirror image to the last digit
        along = np.cos(np.pi * (np.arange(few - 2) + random.uniform(0.2, 0.8)) / (few - 2))
        low, high = np.log(model.config.thickness)
        films = model.films(x, np.exp(low + (np.array([-1.0, *np.sort(along), 1.0]) + 1) / 2 * (high - low)))
        return films, digest(films.parts)[:16]

    @staticmethod
    def rows(model: BoltzmannFilm, content: Films) -> dict[str, Tensor]:
        """Transport at every place, film and reach; the flux, whose mean over a film it has to be. Dimensionless."""
        transport, flux = model.fields(content)
        uneven = flux / flux.mean(0) - 1
        return {"transport": transport / transport.numel() ** 0.5, "flux": FLUX * uneven / flux.numel() ** 0.5}

    @classmethod
    def linear(cls, model: BoltzmannFilm, content: Films, derivatives: bool) -> tuple[Tensor, Tensor | None]:
        """Rows (dimensionless), and their derivatives by hand."""
        with torch.no_grad():
            rows = torch.cat([part.reshape(-1) for part in cls.rows(model, content).values()])
            if not derivatives:
                return rows, None
            transport, flux = model.linear(content)
            _, value = model.fields(content)
            mean = value.mean(0)[:, None]
            uneven = flux / mean - value[..., None] / mean**2 * flux.mean(0)
            parts = [(transport, 1.0, transport), (uneven, FLUX, flux)]
            return rows, torch.cat([w * p.flatten(0, -2) / p[..., 0].numel() ** 0.5 for p, w, _ in parts])

    def finish(self) -> dict[str, Any]:
        """Judge the flux at other places, and conductivities by discrete ordinates."""
        model = self.model
        with torch.no_grad():
            rows = self.rows(model, self.content(self.fit.seed + 200)[0])
        weights = {"transport": 1.0, "flux": FLUX}
        sizes = {name: float(part.square().sum()) ** 0.5 / weights[name] for name, part in rows.items()}
        model.residual.fill_(sizes["flux"])
        beside = errors(self.residuals(model, self.read(model, Path())))
        lines = {"title": self.config.title, "residual": sizes, "converged": sizes["flux"] < CONVERGED}
        lines |= {"errors": beside, "errors_on": "discrete ordinates", "fit": asdict(self.fit)}
        return lines | {"epochs": dict(self.epochs)}

    @classmethod
    def located(cls, table: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Read modes from the file of phono3py that a problem names.

        Raises:
            FileNotFoundError: no such file.
            ValueError: as of `Spectrum.from_phono3py`.
        """
        modes = table.get("modes")
        if not isinstance(modes, dict) or "file" not in modes:
            return table
        extra = set(modes) - {"file", "temperature", "groups", "volume"}
        if extra:
            raise ValueError(
                f"got modes = {{{', '.join(modes)}}}, expected file, temperature (K), groups, volume (Å³ of the cell)"
            )
        options = {name: modes[name] for name in ("temperature", "groups", "volume") if name in modes}
        spectrum = Spectrum.from_phono3py(folder / modes["file"], **options)
        return {**table, "modes": {name: getattr(spectrum, name).tolist() for name in spectrum.__dataclass_fields__}}

    @classmethod
    def read(cls, model: BoltzmannFilm, path: Path, part: str = "all") -> FilmConductivities:
        """Read measured conductivities of films; without a file, what discrete ordinates say.

        Raises:
            ValueError: missing columns, or thicknesses outside the model's range.
        """
        if path.suffix == ".csv":
            return read_films(path)
        low, high = model.config.thickness
        thickness = np.geomspace(low, high, JUDGED)
        return FilmConductivities(
            thickness, np.array([discrete_ordinates(model.spectrum, length).conductivity for length in thickness])
        )

    @classmethod
    def residuals(cls, model: BoltzmannFilm, data: FilmConductivities) -> dict[str, Residuals]:
        """Compare conductivities (W/(m K)); bars of the model and of measurements are added in squares."""
        conductivity, std = model.conductivity(data.thickness)
        std = std if data.std is None else np.hypot(std, data.std)
        return {"film_conductivity": Residuals("W/(m K)", data.conductivity, conductivity, std)}

    @classmethod
    def evaluates(cls, model: torch.nn.Module, path: Path) -> bool:
        """Take files of measured films, for films."""
        return isinstance(model, BoltzmannFilm) and path.suffix == ".csv"


def read_films(path: Path) -> FilmConductivities:
    """Read a CSV file of films: thickness (m), conductivity (W/(m K)), and perhaps std (W/(m K)).

    Raises:
        FileNotFoundError: no such file.
        ValueError: missing columns, or entries that are not positive.

    Source: ours.
    """
    table = pd.concat(text_chunks(path, 10_000))
    names = ["thickness", "conductivity", *(["std"] if "std" in table else [])]
    missing = [name for name in names if name not in table]
    if missing:
        raise ValueError(f"got {path.name} with columns {', '.join(table)}, expected also {', '.join(missing)}")
    columns = table[names].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    if not (np.isfinite(columns) & (columns > 0)).all():
        raise ValueError(f"got entries of {path.name} that are no positive numbers, expected m and W/(m K)")
    return FilmConductivities(*columns.T)
