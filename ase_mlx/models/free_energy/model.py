"""The Helmholtz free energy of a crystal, F(V, T), per atom: a prior, what moves it as a whole, and a network.

F = E(V) + Σ f(ω(V, T), T): Vinet's curve, and oscillators. Learned are seven shifts (of V₀, B₀, B₀′, of all
frequencies, of all Grüneisen parameters and of their slope, and with temperature) and a network of rank and volume, by
which each frequency changes: a sum of products of functions of one of them.
Whatever they are, F is one function, so that Maxwell's relations hold; S(0) = 0; and C_V → 3 k_B.

Source: ours; physics as of `oscillators`. Bars are Laplace's: D. J. C. MacKay, Neural Comput. 4, 448 (1992).
"""

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, jvp, vmap

from ase_mlx.graph import Graph
from ase_mlx.nn.jets import WaveNetwork
from ase_mlx.quantities import Quantity
from ase_mlx.units import BOLTZMANN, EV_PER_A3_IN_GPA, PLANCK

from ..contract import Field
from ..prediction import Prediction
from .config import SHIFTS, FreeEnergyConfig
from .oscillators import Jet, oscillators, settling, vinet

AT = ("free_energy", "pressure", "entropy", "heat_capacity_v", "bulk_modulus")
"""At a volume and a temperature."""
ALONG = ("volume", "expansion", "bulk_modulus", "heat_capacity_p", "heat_capacity_v", "entropy", "gibbs_energy")
"""At a pressure and a temperature."""
UNITS = {
    "free_energy": "eV/atom", "pressure": "GPa", "entropy": "eV/K", "heat_capacity_v": "eV/K", "bulk_modulus": "GPa",
    "volume": "Å³/atom", "expansion": "1/K", "heat_capacity_p": "eV/K", "gibbs_energy": "eV/atom",
}  # fmt: skip
STRAIN = 0.25
"""Strain that the network sees as 1: within a crystal's expansion it is nearly linear."""
HIDDEN = 0.3
"""Width of the prior of hidden weights about where they begin, dimensionless."""
ITERATIONS, LONGEST = 9, 0.04
"""Of Newton's method for the volume, and how far a step of it goes in ln V."""
BALANCED = 1e-6
"""GPa that a volume's pressure may be off."""
CHUNK = 64


class FreeEnergy(nn.Module, Field):
    """F(V, T) per atom, at points of volume (Å³/atom) and temperature (K): not of atoms, so without a graph.

    `width` is a square root of the covariance of all weights: of the prior until it is fitted.

    Source: see the module.
    """

    outputs = tuple(Quantity(name, "point", (), 1, UNITS[name]) for name in AT)
    cutoff = 0.0
    elements = ()

    def __init__(self, config: FreeEnergyConfig):
        super().__init__()
        self.config, prior = config, config.prior
        self.shifts = nn.Parameter(torch.zeros(len(SHIFTS), dtype=torch.float64))
        sizes = (config.products, config.width, config.depth, config.steepness)
        self.of_strain, self.of_rank = WaveNetwork(1, *sizes), WaveNetwork(1, *sizes)
        with torch.no_grad():
            self.of_strain.weights[-1].zero_()
            self.of_strain.offsets[-1].zero_()
        self.register_buffer("start", self._flat())
        self.register_buffer("width", torch.diag(self.prior_widths()))
        lines = torch.tensor(prior.frequencies, dtype=torch.float64)
        self.register_buffer("lines", lines, persistent=False)
        self.register_buffer("shares", torch.from_numpy(prior.shares), persistent=False)
        count = len(lines)
        ranks = torch.from_numpy((np.arange(count) + 0.5) / count)  # cube roots of the middle ranks, as edges have them
        self.register_buffer("ranks", 2 * ranks[:, None] - 1, persistent=False)
        with torch.no_grad():
            self.register_buffer("size", self.of_rank(self.ranks).square().sum(1).mean().sqrt())
        self.scale = PLANCK / BOLTZMANN * float(torch.exp(lines[:, 0]) @ self.shares) / 3

    def _flat(self) -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self.parameters()])

    def prior_widths(self) -> Float[Tensor, " weights"]:
        """Standard deviations of the weights' prior about `start`, dimensionless; the network's output is of size 1."""
        last = {id(self.of_strain.weights[-1]): math.sqrt(1.0 / self.config.width)}
        last |= {id(self.of_strain.offsets[-1]): math.sqrt(0.5), id(self.shifts): 1.0}
        sizes = [(p.numel(), last.get(id(p), HIDDEN)) for p in self.parameters()]
        return torch.cat([torch.full((count,), width, dtype=torch.float64) for count, width in sizes])

    def prior_rows(self) -> Float[Tensor, " weights"]:
        """Distance of all weights from the prior's mean, in standard deviations of it: dimensionless."""
        return (torch.cat([p.reshape(-1) for p in self.parameters()]) - self.start) / self.prior_widths()

    def before(self) -> "FreeEnergy":
        """Give the prior itself, as a model with its bars."""
        model = copy.deepcopy(self)
        with torch.no_grad():
            for p, part in zip(
                model.parameters(), self.start.split([p.numel() for p in self.parameters()]), strict=True
            ):
                p.copy_(part.view_as(p))
            model.width.copy_(torch.diag(self.prior_widths()))
        return model

    def static(self) -> tuple[Tensor, Tensor, Tensor]:
        """V₀ (Å³/atom), B₀ (eV/Å³) and B₀′ (dimensionless) of the static curve."""
        prior, spread = self.config.prior, self.config.spread
        volume = prior.volume * torch.exp(spread.volume * self.shifts[0])
        modulus = prior.bulk_modulus / EV_PER_A3_IN_GPA * torch.exp(spread.bulk_modulus * self.shifts[1])
        return (
            volume,
            modulus,
            1 + (prior.derivative - 1) * torch.exp(spread.derivative / (prior.derivative - 1) * self.shifts[2]),
        )

    def logs(self, strain: Float[Tensor, " points"]) -> tuple[Tensor, Tensor, Tensor]:
        """ln(ω/THz) of all oscillators at ln(V/V₀) and 0 K, and its derivatives by that; all dimensionless."""
        spread = self.config.spread
        parts = self.of_strain.curvatures(strain[:, None] / STRAIN)
        columns = spread.detail / self.size * self.of_rank(self.ranks).T
        net, by, twice = (part.flatten(0, -2) @ columns for part in parts)
        gamma, slope = spread.gruneisen * self.shifts[4], spread.gruneisen_slope * self.shifts[5]
        softer = gamma * strain + 0.5 * slope * strain**2
        return (
            _polynomial(self.lines, strain, 0) + net + spread.frequencies * self.shifts[3] - softer[:, None],
            _polynomial(self.lines, strain, 1) + by / STRAIN - (gamma + slope * strain)[:, None],
            _polynomial(self.lines, strain, 2) + twice / STRAIN**2 - slope,
        )

    def jet(self, strain: Float[Tensor, " points"], temperature: Float[Tensor, " points"]) -> Jet:
        """F (eV/atom) and its derivatives at ln(V/V₀) (dimensionless) and temperatures (K)."""
        energy, by, twice = vinet(strain, *self.static())
        share, first, second = settling(temperature, self.scale)
        anharmonic = self.config.spread.anharmonic * self.shifts[6]
        logs, by_z, by_zz = self.logs(strain)
        logs = logs + (anharmonic * share)[:, None]
        of = oscillators(logs, by_z, by_zz, anharmonic * first, anharmonic * second, temperature, self.shares)
        value = self.config.prior.energy + energy + of.value
        return Jet(value, by + of.by_z, of.by_t, twice + of.by_zz, of.by_zt, of.by_tt)

    def strain_at(
        self, temperature: Float[Tensor, " points"], pressure: float = 0.0, start: Tensor | None = None
    ) -> Tensor:
        """ln(V/V₀) (dimensionless) where the pressure (GPa) is that, at temperatures (K), by Newton's method.

        Derivatives by weights come out of its last step: from a `start` that is the solution, one is enough.
        """
        pressure = pressure / EV_PER_A3_IN_GPA
        volume, modulus, _ = self.static()
        strain = torch.zeros_like(temperature) if start is None else start
        for _ in range(ITERATIONS if start is None else 1):
            jet, size = self.jet(strain, temperature), volume * torch.exp(strain)
            stiff = (jet.by_zz + pressure * size).maximum(0.05 * modulus * volume)
            strain = strain - ((jet.by_z + pressure * size) / stiff).clamp(-LONGEST, LONGEST)
        return strain

    def values_at(self, points: Float[Tensor, "points 2"]) -> dict[str, Tensor]:
        """Values at volumes (Å³/atom) and temperatures (K), in the units of `outputs`."""
        volume, t = points.T
        jet = self.jet(torch.log(volume / self.static()[0]), t)
        return {
            "free_energy": jet.value,
            "pressure": -jet.by_z / volume * EV_PER_A3_IN_GPA,
            "entropy": -jet.by_t,
            "heat_capacity_v": -t * jet.by_tt,
            "bulk_modulus": (jet.by_zz - jet.by_z) / volume * EV_PER_A3_IN_GPA,
        }

    def values_along(
        self, temperature: Float[Tensor, " points"], pressure: float = 0.0, start: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Values at temperatures (K) and a pressure (GPa): `ALONG`, in the units of `UNITS`; `start` as `strain_at`."""
        strain = self.strain_at(temperature, pressure, start)
        jet, volume = self.jet(strain, temperature), self.static()[0] * torch.exp(strain)
        modulus, capacity = (jet.by_zz - jet.by_z) / volume, -temperature * jet.by_tt
        expansion = -jet.by_zt / (volume * modulus)
        return {
            "volume": volume,
            "expansion": expansion,
            "bulk_modulus": modulus * EV_PER_A3_IN_GPA,
            "heat_capacity_p": capacity + temperature * volume * expansion**2 * modulus,
            "heat_capacity_v": capacity,
            "entropy": -jet.by_t,
            "gibbs_energy": jet.value + pressure / EV_PER_A3_IN_GPA * volume,
        }

    def forward(self, points: Tensor) -> Prediction:
        """Predict at points of volume (Å³/atom) and temperature (K): `outputs`, in their units.

        Raises:
            ValueError: volumes outside the prior's, or temperatures below 0 K.
        """
        self._expect_inside(points)
        return Prediction(self.values_at(points))

    def at(self, graph: Graph | None, points: np.ndarray | list, std: bool = False, **conditions) -> Prediction:
        """Predict as `forward`, as numpy arrays, with bars where asked; F has no atoms, so `graph` is None.

        Raises:
            ValueError: a graph, conditions, volumes outside the prior's, or temperatures below 0 K.
        """
        if graph is not None or conditions:
            raise ValueError("got a graph or conditions for F(V, T), expected none: its points are volumes and K")
        at = torch.from_numpy(np.ascontiguousarray(points, dtype=np.float64))
        self._expect_inside(at)
        return self._asked(lambda model: model.values_at(at), std)

    def along(self, temperatures: np.ndarray | list, pressure: float = 0.0, std: bool = True) -> Prediction:
        """Predict volume, expansion, bulk modulus, heat capacities, entropy and Gibbs energy along temperature.

        Args:
            temperatures: K.
            pressure: GPa.
            std: also the bars.

        Returns:
            Å³/atom, 1/K, GPa, eV/K and eV/atom; bars of the Gibbs energy are without that of the prior's energy.

        Raises:
            ValueError: temperatures below 0 K, or so high that the volume leaves the prior's.
        """
        t = torch.from_numpy(np.ascontiguousarray(temperatures, dtype=np.float64))
        last = self.reached(t.numpy(), pressure)
        if not last.all():
            prior = self.config.prior
            raise ValueError(
                f"got {t[int(np.argmin(last))]:g} K at {pressure:g} GPa, where the volume leaves what the prior holds "
                f"for, {prior.volume * math.exp(prior.low):.5g} to {prior.volume * math.exp(prior.high):.5g} Å³/atom; "
                "expected lower temperatures, or a prior of more volumes"
            )
        with torch.no_grad():
            start = self.strain_at(t, pressure)
        return self._asked(lambda model: model.values_along(t, pressure, start), std)

    def reached(self, temperatures: Float[np.ndarray, " t"], pressure: float = 0.0) -> np.ndarray:
        """Tell at which temperatures (K) there is a stable volume within the prior's, at a pressure (GPa).

        Raises:
            ValueError: temperatures below 0 K, or none.
        """
        t = torch.from_numpy(np.asarray(temperatures, dtype=np.float64))
        if t.ndim != 1 or not len(t) or not bool(((t >= 0) & (t < 1e5)).all()):
            raise ValueError(f"got temperatures {t.tolist()[:5]}, expected numbers from 0 K on")
        with torch.no_grad():
            strain = self.strain_at(t, pressure)
            jet, volume = self.jet(strain, t), self.static()[0] * torch.exp(strain)
            off = (jet.by_z / volume * EV_PER_A3_IN_GPA + pressure).abs()
            good = (off < BALANCED) & (jet.by_zz > jet.by_z) & self._within(strain)
        return good.numpy()

    def _within(self, strain: Tensor) -> Tensor:
        return (strain > self.config.prior.low - 1e-9) & (strain < self.config.prior.high + 1e-9)

    def _expect_inside(self, points: Tensor) -> None:
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"got points of shape {tuple(points.shape)}, expected (points, 2): Å³/atom and K")
        volume, t = points.T
        with torch.no_grad():
            inside = (volume > 0) & self._within(torch.log(volume / self.static()[0])) & (t >= 0) & (t < 1e5)
            ends = [float(self.static()[0]) * math.exp(z) for z in (self.config.prior.low, self.config.prior.high)]
        if not bool(inside.all()):
            k = int(torch.argmin(inside.int()))
            raise ValueError(
                f"got point {k} at {volume[k]:g} Å³/atom and {t[k]:g} K, expected volumes from {ends[0]:.5g} to "
                f"{ends[1]:.5g} Å³/atom, which the prior holds for, and temperatures from 0 K on"
            )

    def _asked(self, values: Callable[["FreeEnergy"], dict[str, Tensor]], std: bool) -> Prediction:
        with torch.no_grad():
            if not std:
                return Prediction({name: value.numpy() for name, value in values(self).items()})
            sizes, names = [p.numel() for p in self.parameters()], [name for name, _ in self.named_parameters()]
            shapes = [p.shape for p in self.parameters()]
            whole = _Asked(self, values)

            def of(flat: Tensor) -> Tensor:
                parts = zip(names, flat.split(sizes), shapes, strict=True)
                return functional_call(whole, {f"model.{n}": part.view(shape) for n, part, shape in parts}, ())

            stacked, flat = whole(), self._flat()
            by = vmap(lambda tangent: jvp(of, (flat,), (tangent,))[1], chunk_size=CHUNK)(self.width.T)
            bars = torch.linalg.vector_norm(by, dim=0)
        return Prediction(
            dict(zip(whole.names, stacked.numpy(), strict=True)), dict(zip(whole.names, bars.numpy(), strict=True))
        )


class _Asked(nn.Module):
    def __init__(self, model: FreeEnergy, values: Callable[[FreeEnergy], dict[str, Tensor]]):
        super().__init__()
        self.model, self.values, self.names = model, values, ()

    def forward(self) -> Tensor:
        values = self.values(self.model)
        self.names = tuple(values)
        return torch.stack(list(values.values()))


def _polynomial(lines: Tensor, strain: Tensor, order: int) -> Tensor:
    """Polynomials whose lowest power is first, or their derivatives of some order."""
    powers = torch.arange(order, lines.shape[1], dtype=torch.float64)
    factors = torch.ones_like(powers)
    for k in range(order):
        factors = factors * (powers - k)
    return (strain[:, None] ** (powers - order)) @ (factors * lines[:, order:]).T
