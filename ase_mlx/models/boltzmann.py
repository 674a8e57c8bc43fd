"""Heat through films as thin as phonons' mean free paths: a network for all thicknesses of a range.

    θ(x, s) = T(x) + (1 - T(0)) E - s (1 - E) h(x, s)        s = Λ μ / L,  E = exp(-x / s),  μ > 0

is what the Boltzmann equation makes of phonons that leave the hot contact: equilibrium at T, what of the contact still
arrives, and a deviation in proportion to their reach s, whose h is a mean of the slope T′ over the way behind them:

    T′ - h - s (1 - E) h′ = 0

Phonons from the cold contact are the mirror image. Two networks stand for T and h; both go over into the line of
Fourier's law where mean free paths are short, by construction. The flux has to be the same at every x.

Source: ours; as equilibrium plus deviation in R. Li, E. Lee and T. Luo, Mater. Today Phys. 19, 100429 (2021).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ase_mlx.graph import Graph
from ase_mlx.heat import Spectrum
from ase_mlx.nn.jets import SeparableNetwork, WaveNetwork
from ase_mlx.quantities import Quantity

from .contract import Field
from .prediction import Prediction
from .ranges import expect_ranges

RELATIVE_TEMPERATURE = Quantity("relative_temperature", "point", (), 1, "dimensionless")
FILM_CONDUCTIVITY = Quantity("film_conductivity", "point", (), 1, "W/(m K)")
CONTACT = 0.2
"""Of the thickness: how near to a contact the networks see places stretched."""
SHORTEST, LONGEST = 1e-2, 1e2
"""Reaches, of the thickness, between which the networks tell them apart."""
DIRECTIONS, REACHES, ACROSS = 24, 14, 41
"""Directions of a half, reaches at which h is asked, and places of a film whose conductivity is asked."""


@dataclass(frozen=True)
class BoltzmannConfig:
    """A spectrum (`capacity` J/(m³ K), `speed` m/s, `mean_free_path` m) and films between two thicknesses (m).

    `temperature_width` is that of the network of T, `rank`, `width` those of the one of h: `SeparableNetwork`'s sizes.

    Source: ours.
    """

    capacity: tuple[float, ...]
    speed: tuple[float, ...]
    mean_free_path: tuple[float, ...]
    thickness: tuple[float, float]
    temperature_width: int = 14
    rank: int = 6
    width: int = 12

    def __post_init__(self):
        """Refuse films that are none.

        Raises:
            ValueError: naming the setting.
        """
        expect_ranges(self, "", thickness=(1e-12, 1e3), temperature_width=(2, 64), rank=(1, 64), width=(2, 64))
        if len(self.thickness) != 2 or not self.thickness[0] < self.thickness[1]:
            raise ValueError(f"got thickness = {self.thickness!r}, expected the thinnest and the thickest film, m")
        self.spectrum  # noqa: B018

    @cached_property
    def spectrum(self) -> Spectrum:
        """The groups of modes, in SI units."""
        return Spectrum(*(np.array(part) for part in (self.capacity, self.speed, self.mean_free_path)))


@dataclass(frozen=True)
class Films:
    """Places × thicknesses × reaches at which the equation is asked, and what of the flux is fixed there.

    `x` (places,) and `reach` (reaches,) are of the thickness, `thickness` (films,) in m, `estimate` (films,) the share
    of the bulk's conductivity. The flux, of Fourier's law's in the bulk, is `by_contact` (1 - T(0)) + Σ `by_slope` h:
    (places, films), (places, films, reaches). All but the thickness is dimensionless.

    Source: ours.
    """

    x: Tensor
    thickness: Tensor
    reach: Tensor
    estimate: Tensor
    by_slope: Tensor
    by_contact: Tensor

    @property
    def parts(self) -> list[Tensor]:
        """All arrays, in the order of the fields; dimensionless but for the thickness (m)."""
        return [getattr(self, name) for name in self.__dataclass_fields__]


class BoltzmannFilm(nn.Module, Field):
    """Relative temperature (1 in the hot contact, 0 in the cold) and conductivity of films, at points (x, L) in m.

    Conductivities are corrected by what is left of the transport equation, put into the flux. Their bars are this
    correction and by how much the flux varies within a film, which an exact solution's does not.

    Source: see the module.
    """

    outputs = (RELATIVE_TEMPERATURE, FILM_CONDUCTIVITY)
    cutoff = 0.0
    elements = ()

    def __init__(self, config: BoltzmannConfig):
        super().__init__()
        self.config, self.spectrum = config, config.spectrum
        self.temperature = WaveNetwork(2, 1, config.temperature_width, 2, 1.5)
        self.slope = SeparableNetwork(3, 1, config.rank, config.width, 2, 1.5)
        self.register_buffer("residual", torch.full((), torch.inf, dtype=torch.float64))

    def films(self, x: np.ndarray, thickness: np.ndarray) -> Films:
        """Prepare places of films.

        Args:
            x: in units of the thickness, with each its mirror image.
            thickness: in units of m.
        """
        w = np.cos(np.pi * (np.arange(REACHES) + 0.5) / REACHES)
        ratio = np.exp((1 - w) / 2 * np.log(SHORTEST / LONGEST))
        reach = (LONGEST * ratio - SHORTEST) / (1 - ratio)
        mu, share = np.polynomial.legendre.leggauss(DIRECTIONS)
        lengths = (self.spectrum.mean_free_path[:, None] * 0.5 * (mu + 1)).ravel()
        weights = (self.spectrum.flow[:, None] * 0.125 * (mu + 1) * share).ravel() / self.spectrum.conductivity
        by_slope, by_contact = np.empty((len(x), len(thickness), REACHES)), np.empty((len(x), len(thickness)))
        for k, length in enumerate(thickness):
            s = lengths / length
            passed = np.exp(-x[:, None] / s)
            by_slope[:, k] = -((1 - passed) * s * weights * length) @ _lagrange(_placed_reach(s), w)
            by_contact[:, k] = passed @ (weights * length)
        estimate = np.array([self.spectrum.suppressed(length) for length in thickness])
        return Films(*(torch.from_numpy(np.ascontiguousarray(p)) for p in (
            x, thickness, reach, estimate, by_slope, by_contact)))  # fmt: skip

    def _film(self, thickness: Tensor) -> Tensor:
        low, high = np.log(self.config.thickness)
        return 2 * (torch.log(thickness) - low) / (high - low) - 1

    def _of_temperature(self, x: Tensor, films: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates of the network of T at points and at their mirror images, and the stretching there."""
        z, stretch = _placed(x)
        return torch.stack([z, films], 1), torch.stack([-z, films], 1), stretch

    def temperatures(self, x: Tensor, thickness: Tensor, estimate: Tensor) -> tuple[Tensor, Tensor]:
        """Relative temperatures and their slopes by x (of the thickness) at points (points,); all is dimensionless.

        Args:
            x: in units of the thickness.
            thickness: in units of m.
            estimate: of the share of the bulk's conductivity, dimensionless.
        """
        here, mirrored, stretch = self._of_temperature(x, self._film(thickness))
        (value, slope), (value_2, slope_2) = self.temperature.jet(here), self.temperature.jet(mirrored)
        room = 0.5 * (1 - estimate)
        line = 0.5 + estimate * (0.5 - x)
        return line + room * (value - value_2)[:, 0], -estimate + room * (slope + slope_2)[:, 0, 0] * stretch

    def _grid(self, films: Films) -> tuple[Tensor, ...]:
        """Coordinates of h, stretching, estimate, reach and x at all places × films × reaches, one row each."""
        mesh = torch.meshgrid(films.x, films.thickness, films.reach, indexing="ij")
        x, thickness, reach = (part.reshape(-1) for part in mesh)
        z, stretch = _placed(x)
        estimate = films.estimate[None, :, None].expand(mesh[0].shape).reshape(-1)
        coordinates = torch.stack([z, _placed_reach(reach), self._film(thickness)], 1)
        return coordinates, stretch, estimate, reach, x

    def _columns(self, films: Films) -> tuple[Tensor, Tensor, Tensor]:
        """Points of T at all places × films: x, thickness, estimate."""
        x, thickness = (part.reshape(-1) for part in torch.meshgrid(films.x, films.thickness, indexing="ij"))
        return x, thickness, films.estimate.expand(len(films.x), -1).reshape(-1)

    def fields(self, films: Films) -> tuple[Tensor, Tensor]:
        """Rows of transport (places, films, reaches), of the estimate, and the flux (places, films), of Fourier's.

        All is dimensionless.
        """
        shape = films.by_slope.shape
        coordinates, stretch, estimate, reach, x = self._grid(films)
        value, slope = self.slope.jet(coordinates)
        h = (-estimate + (1 - estimate) * value[:, 0]).view(shape)
        along = ((1 - estimate) * slope[:, 0, 0] * stretch).view(shape)
        temperature, by_x = (part.view(shape[:2]) for part in self.temperatures(*self._columns(films)))
        behind = (reach * (1 - torch.exp(-x / reach))).view(shape)
        transport = (by_x[..., None] - h - behind * along) / films.estimate[:, None]
        one_way = (films.by_slope * h).sum(-1) + films.by_contact * (1 - temperature[:1])
        return transport, one_way + one_way.flip(0)

    def linear(self, films: Films) -> tuple[Tensor, Tensor]:
        """Derivatives of `fields` by all weights (dimensionless): one axis more than those."""
        shape = films.by_slope.shape
        coordinates, stretch, estimate, reach, x = self._grid(films)
        by_value, by_slope = _derivatives(self.slope, coordinates)
        h, along = (1 - estimate)[:, None] * by_value, ((1 - estimate) * stretch)[:, None] * by_slope
        x_2, thickness, estimate_2 = self._columns(films)
        here, mirrored, stretch_2 = self._of_temperature(x_2, self._film(thickness))
        first, second = _derivatives(self.temperature, here), _derivatives(self.temperature, mirrored)
        room = 0.5 * (1 - estimate_2)[:, None]
        temperature = (room * (first[0] - second[0])).view(*shape[:2], -1)
        by_x = (room * stretch_2[:, None] * (first[1] + second[1])).view(*shape[:2], 1, -1)
        behind = (reach * (1 - torch.exp(-x / reach)))[:, None]
        scale = films.estimate[:, None, None]
        transport = [by_x.expand(*shape, -1) / scale, -(h + behind * along).view(*shape, -1) / scale]
        from_contact = -films.by_contact[..., None] * temperature[:1]
        one_way = [from_contact, torch.einsum("xfs,xfsw->xfw", films.by_slope, h.view(*shape, -1))]
        flux = torch.cat(one_way, -1)
        return torch.cat(transport, -1), flux + flux.flip(0)

    def conductivity(self, thickness: np.ndarray | list) -> tuple[np.ndarray, np.ndarray]:
        """Conductivity of films (films,) and its standard deviation, W/(m K).

        Args:
            thickness: in units of m.

        Raises:
            ValueError: a thickness outside the range of the model.
        """
        lengths = np.atleast_1d(np.asarray(thickness, dtype=np.float64))
        low, high = self.config.thickness
        if not ((lengths >= low * (1 - 1e-9)) & (lengths <= high * (1 + 1e-9))).all():
            raise ValueError(f"got films of {lengths.min():g} to {lengths.max():g} m, expected {low:g} to {high:g} m")
        films = self.films(np.linspace(0, 1, ACROSS), lengths)
        with torch.no_grad():
            transport, flux = self.fields(films)
            left = 2 * (films.by_slope * transport * films.estimate[:, None]).sum(-1).mean(0)
        uneven = (flux - flux.mean(0)).square().mean(0).sqrt()
        bulk = self.spectrum.conductivity
        return bulk * (flux.mean(0) + left).numpy(), bulk * torch.hypot(uneven, left).numpy()

    def forward(self, points: Tensor) -> Prediction:
        """Predict at points (x, thickness), in m: relative_temperature, film_conductivity (W/(m K)) with its std.

        Raises:
            ValueError: a thickness outside the range of the model, or points outside their film.
        """
        x, thickness = points.T
        outside = (x < -1e-9 * thickness) | (x > (1 + 1e-9) * thickness)
        if bool(outside.any()):
            raise ValueError(f"got a point at x, L = {points[outside][0].tolist()} m, expected 0 ≤ x ≤ L")
        lengths, back = torch.unique(thickness, return_inverse=True)
        conductivity, std = self.conductivity(lengths.numpy())
        estimate = torch.tensor([self.spectrum.suppressed(float(length)) for length in lengths], dtype=torch.float64)
        temperature, _ = self.temperatures(x / thickness, thickness, estimate[back])
        values = {"relative_temperature": temperature, "film_conductivity": torch.from_numpy(conductivity)[back]}
        return Prediction(values, std={"film_conductivity": torch.from_numpy(std)[back]})

    def at(self, graph: Graph | None, points: np.ndarray | list, std: bool = False, **conditions: Any) -> Prediction:
        """Predict as `forward`, as numpy arrays (units as there); a film has no atoms, so `graph` is None.

        Raises:
            ValueError: a graph, conditions, or points outside films of the model.
        """
        if graph is not None or conditions:
            raise ValueError("got a graph or conditions for films, expected none: they have no atoms")
        with torch.no_grad():
            prediction = self(torch.from_numpy(np.atleast_2d(np.asarray(points, dtype=np.float64))))
        bars = {name: prediction.std[name].numpy() for name in prediction.std} if std else {}
        return Prediction({name: prediction[name].numpy() for name in prediction}, std=bars)


def _placed(x: Tensor) -> tuple[Tensor, Tensor]:
    """Stretch places near contacts: coordinates within [-1, 1], odd about the middle, and their slope."""
    size = np.log((1 + CONTACT) / CONTACT)
    left, right = x + CONTACT, 1 - x + CONTACT
    return torch.log(left / right) / size, (1 / left + 1 / right) / size


def _placed_reach(s: Any) -> Any:
    """Logarithm of reaches, within [-1, 1]: nothing changes below the shortest and above the longest."""
    log = torch.log if isinstance(s, Tensor) else np.log
    return 1 - 2 * log((s + SHORTEST) / (s + LONGEST)) / np.log(SHORTEST / LONGEST)


def _lagrange(w: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Weights of values at Chebyshev's nodes for values at w: (w, nodes).

    Source: J.-P. Berrut and L. N. Trefethen, SIAM Rev. 46, 501 (2004), eq. 4.2.
    """
    signed = (-1.0) ** np.arange(len(nodes)) * np.sin(np.pi * (np.arange(len(nodes)) + 0.5) / len(nodes))
    away = w[:, None] - nodes
    terms = signed / np.where(np.abs(away) < 1e-13, 1e-13, away)
    return terms / terms.sum(1, keepdims=True)


def _derivatives(network: nn.Module, coordinates: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of values, and of their slopes by the first coordinate, by all weights: (points, weights)."""
    n, inputs = coordinates.shape
    by_value, by_slope = torch.zeros(n, 2, 1).double(), torch.zeros(n, 2, inputs, 1).double()
    by_value[:, 0, 0], by_slope[:, 1, 0, 0] = 1.0, 1.0
    columns = network.rows(coordinates, by_value, by_slope)
    return columns[:, 0], columns[:, 1]
