"""Equivariant layers whose higher degrees have fewer channels, and whose paths stay apart until they are mixed.

Features are one array a degree, (atoms, 2 l + 1, channels of l). Channels that the same degrees have form a group,
which the fused kernels couple in one call: of 128 scalars, 64 vectors and 32 of l = 2 and 3 the first 32 channels
couple degrees up to 3, the next 32 up to 1, the last 64 scalars alone.

Source: Batzner et al., Nat. Commun. 13, 2453 (2022), for the layer; the groups are ours.
"""

import copy
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ase_mlx.graph import Graph

from .angular import paths
from .convolution import convolve, convolve_tabulated
from .radial import Radial, tables_serve

TABLE_INTERVALS = {torch.float32: 512, torch.float64: 1024}
"""Forces of tables are off by 1e-5 and 2e-6 eV/Å at 6 Å: the first is float32's rounding, the second serves phonons."""


def channel_groups(channels: tuple[int, ...]) -> tuple[tuple[int, int, int], ...]:
    """Cut the channels of degrees 0, 1, … into groups: first channel, the one after the last, highest degree.

    Raises:
        ValueError: a degree with more channels than a lower one.

    Source: ours.
    """
    if list(channels) != sorted(channels, reverse=True) or channels[-1] < 1:
        raise ValueError(
            f"got channels={channels} of degrees 0, 1, …, expected no more of a degree than of a lower one"
        )
    ends = sorted(set(channels))
    return tuple(
        (first, last, sum(n >= last for n in channels) - 1)
        for first, last in zip([0, *ends], ends, strict=False)
    )  # fmt: skip


class GroupedConvolution(nn.Module):
    """Couple neighbours' features with edge harmonics, group by group, and mix the paths into each degree.

    `weights` of a group and degree are (paths · channels of the group, channels of the result). In a tabulated
    convolution the radial functions are cubic Hermite splines on the CPU's fused road.

    Source: Batzner et al., Nat. Commun. 13, 2453 (2022), eq. 6.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        l_edge: int,
        channels_out: tuple[int, ...],
        radial: Callable[[int], Radial],
        natural: bool = True,
    ):
        """Set up for these channels a degree; `radial` makes as many radial functions as it is asked for."""
        super().__init__()
        l_out = len(channels_out) - 1
        self.groups = channel_groups(channels)
        self.paths = [paths(l, l_edge, l_out, True, natural) for _, _, l in self.groups]
        self.l_edge, self.natural = l_edge, natural
        self.shapes = [(len(p), b - a) for p, (a, b, _) in zip(self.paths, self.groups, strict=True)]
        self.radial = radial(sum(p * c for p, c in self.shapes))
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(p.into(l) * (b - a), channels_out[l]))
            for p, (a, b, _) in zip(self.paths, self.groups, strict=True)
            for l in range(l_out + 1)
        )
        self.l_out = l_out
        self.knots: list[Tensor] | None = None

    def forward(
        self, x: list[Float[Tensor, "atoms _ _"]], y: Float[Tensor, "edges m2"], distance: Float[Tensor, " edges"],
        graph: Graph,
    ) -> list[Float[Tensor, "core _ _"]]:  # fmt: skip
        """Sum over neighbours at `distance` (Å), with dimensionless features and harmonics y."""
        if self.knots is None:
            radial = self._split(self.radial(distance).squeeze(-1), 1)
        else:
            position = distance * ((len(self.knots[0]) - 1) / self.radial.cutoff)
        mixed: list[Tensor | float] = [0.0] * (self.l_out + 1)
        weights = iter(self.weights)
        for k, (first, last, l_in) in enumerate(self.groups):
            features = torch.cat([part[:, :, first:last] for part in x[: l_in + 1]], dim=1)
            if self.knots is None:
                coupled = convolve(y, radial[k], features, graph, self.paths[k])
            else:
                coupled = convolve_tabulated(y, position, features, self.knots[k], graph, self.paths[k])
            for l in range(self.l_out + 1):
                rows = coupled[:, self.paths[k].rows(l)].reshape(len(coupled), 2 * l + 1, -1)
                mixed[l] = mixed[l] + rows @ next(weights)
        return mixed

    def _split(self, values: Tensor, axis: int) -> list[Tensor]:
        parts = torch.split(values, [p * c for p, c in self.shapes], dim=axis)
        return [part.unflatten(axis, shape).contiguous() for part, shape in zip(parts, self.shapes, strict=True)]

    def refresh(self) -> None:
        """Tabulate, or drop the tables, as the mode and the device ask (knots at even distances in Å)."""
        self.knots, dtype = None, self.weights[0].dtype
        if tables_serve(self, self.weights[0]):
            exact = copy.deepcopy(self.radial).double()  # in float32 sums of the network cost forces 2e-4 eV/Å
            table = exact.table(TABLE_INTERVALS[dtype]).to(dtype)
            self.knots = self._split(table.squeeze(-1), 2)

    def train(self, mode: bool = True) -> "GroupedConvolution":
        """Switch between exact radial networks (train) and tables (eval)."""
        super().train(mode)
        self.refresh()
        return self

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        self.refresh()
        return self


class GroupedNorm(nn.Module):
    """Divide features by the root of N = Σ_l |x_l|² / ((2 l + 1)² L), L degrees; a gain per degree and channel.

    Sums over channels and a second division by 2 l + 1, where Liao et al. have means, are those of nequix 0.4.5.

    Source: Liao et al., arXiv 2306.12059, sec. 4.3, in the form without centring.
    """

    def __init__(self, channels: tuple[int, ...], floor: float = 1e-12):
        """Set up for features of these channels a degree; `floor` is added to the mean square (dimensionless)."""
        super().__init__()
        self.floor = floor
        self.gains = nn.ParameterList(nn.Parameter(torch.ones(n)) for n in channels)

    def forward(self, x: list[Float[Tensor, "atoms _ _"]]) -> list[Float[Tensor, "atoms _ _"]]:
        """Normalise dimensionless features."""
        square = sum(part.square().sum(dim=(1, 2)) / part.shape[1] ** 2 for part in x) / len(x)
        inverse = torch.rsqrt(square + self.floor)[:, None, None]
        return [part * (inverse * gain) for part, gain in zip(x, self.gains, strict=True)]


class GroupedLayer(nn.Module):
    """Mix channels, convolve, mix, add the atoms' own features, normalise if it is asked for, gate.

    Every channel of a higher degree is gated by a scalar of its own.

    Source: Batzner et al., Nat. Commun. 13, 2453 (2022), fig. 1.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        channels_out: tuple[int, ...],
        l_edge: int,
        radial: Callable[[int], Radial],
        norm: bool,
        gain: float,
        n_species: int = 0,
        natural: bool = True,
    ):
        """Set up for these channels a degree; with `n_species` own features are kept by matrices of each element."""
        super().__init__()
        self.channels, self.gain = channels_out, gain
        mixed = (sum(channels_out), *channels_out[1:])
        self.convolution = GroupedConvolution(channels, l_edge, mixed, radial, natural)
        self.up = nn.ParameterList(nn.Parameter(torch.randn(c, c)) for c in channels)
        species = (n_species,) if n_species else ()
        self.keep = nn.ParameterList(
            nn.Parameter(torch.randn(*species, a, b)) for a, b in zip(channels, mixed, strict=False)
        )
        self.norm = GroupedNorm(mixed) if norm else None

    def forward(
        self,
        h: list[Float[Tensor, "atoms _ _"]],
        y: Float[Tensor, "edges m2"],
        distance: Float[Tensor, " edges"],
        species: Int[Tensor, " atoms"],
        graph: Graph,
    ) -> list[Float[Tensor, "atoms _ _"]]:
        """Update dimensionless features from neighbours at `distance` (Å) and dimensionless harmonics y."""
        x = [part @ weight for part, weight in zip(h, self.up, strict=True)]
        out = self.convolution(x, y, distance, graph)
        for l, (part, weight) in enumerate(zip(h, self.keep, strict=False)):
            out[l] = out[l] + part @ (weight if weight.ndim == 2 else weight[species])
        return self._gated(out if self.norm is None else self.norm(out))

    def _gated(self, x: list[Tensor]) -> list[Tensor]:
        active = nn.functional.silu(x[0]) * self.gain
        scalars, *gates = torch.split(active, list(self.channels), dim=-1)
        return [scalars, *(part * gate for part, gate in zip(x[1:], gates, strict=True))]


def refresh_tables(model: nn.Module, _: object = None) -> None:
    """Tabulate the radial functions of all grouped convolutions of a model anew, after its weights.

    Source: ours.
    """
    for module in model.modules():
        if isinstance(module, GroupedConvolution):
            module.refresh()
