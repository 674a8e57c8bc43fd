"""Node-wise equivariant layers on feature arrays (atoms, (l_max + 1)², channels).

Source: Batzner et al., Nat. Commun. 13, 2453 (2022), for gate and self-interaction; Batatia et al., arXiv 2206.07697,
for the product of messages.
"""

import math
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .angular import block, dimension, paths
from .convolution import run
from .kernels import couple_pairs
from .radial import SILU_GAIN


def _degrees(l_max: int) -> Tensor:
    return torch.repeat_interleave(torch.arange(l_max + 1), 2 * torch.arange(l_max + 1) + 1)


class DegreeLinear(nn.Module):
    """Mix channels, one matrix per degree l; optionally one set of matrices per species.

    Source: ours.
    """

    def __init__(self, l_max: int, channels_in: int, channels_out: int, n_species: int = 0):
        """Set up for features up to `l_max`."""
        super().__init__()
        species = (n_species,) if n_species else ()
        self.per_element = ("weight",) if n_species else ()
        self.weight = nn.Parameter(torch.randn(*species, l_max + 1, channels_in, channels_out))
        self.scale = 1 / math.sqrt(channels_in)
        self.register_buffer("degrees", _degrees(l_max), persistent=False)

    def forward(
        self, x: Float[Tensor, "atoms m c_in"], species: Int[Tensor, " atoms"] | None = None
    ) -> Float[Tensor, "atoms m c_out"]:
        """Apply to dimensionless features; `species` counts from 0."""
        weight = self.weight * self.scale
        if species is None:
            return torch.bmm(x.transpose(0, 1), weight[self.degrees]).transpose(0, 1)
        out = x.new_zeros(*x.shape[:2], weight.shape[-1])
        for s in range(weight.shape[0]):
            of_species = torch.nonzero(species == s).squeeze(-1)
            if len(of_species):
                out = out.index_add(
                    0, of_species, torch.bmm(x[of_species].transpose(0, 1), weight[s][self.degrees]).transpose(0, 1)
                )
        return out


class ElementGains(nn.Module):
    """Mix channels, one matrix per degree l for all elements; then a gain per element, degree and channel.

    Scalars get a bias of their element as well. An element costs rows, not matrices, and no matrix is its own: Muon
    would move one at full speed in each batch without the element.

    Source: ours.
    """

    rows = per_element = ("gain", "bias")

    def __init__(self, l_max: int, channels_in: int, channels_out: int, n_species: int):
        """Set up for features up to `l_max`, all elements alike."""
        super().__init__()
        self.linear = DegreeLinear(l_max, channels_in, channels_out)
        self.gain = nn.Parameter(torch.ones(n_species, l_max + 1, channels_out))
        self.bias = nn.Parameter(torch.zeros(n_species, channels_out))

    def forward(
        self, x: Float[Tensor, "atoms m c_in"], species: Int[Tensor, " atoms"]
    ) -> Float[Tensor, "atoms m c_out"]:
        """Apply to dimensionless features; `species` counts from 0."""
        out = self.linear(x) * self.gain[species][:, self.linear.degrees]
        return torch.cat([out[:, :1] + self.bias[species].unsqueeze(1), out[:, 1:]], dim=1)


class EquivariantNorm(nn.Module):
    """Divide features by their rms over degrees, components and channels; a learned gain per degree and channel.

    Source: Liao et al., arXiv 2306.12059, sec. 4.3, in the form without centring.
    """

    rows = ("gain",)

    def __init__(self, l_max: int, channels: int):
        """Set up for features up to `l_max`."""
        super().__init__()
        self.gain = nn.Parameter(torch.ones(l_max + 1, channels))
        degrees = _degrees(l_max)
        self.register_buffer("degrees", degrees, persistent=False)
        self.register_buffer("balance", 1.0 / ((2 * degrees + 1) * (l_max + 1)), persistent=False)

    def forward(self, x: Float[Tensor, "atoms m c"]) -> Float[Tensor, "atoms m c"]:
        """Normalise dimensionless features."""
        square = (x.square().mean(-1) * self.balance).sum(-1)
        return x * torch.rsqrt(square + 1e-3)[:, None, None] * self.gain[self.degrees]


class Gate(nn.Module):
    """SiLU on scalars, every higher degree times a sigmoid-like gate made of scalars.

    Source: Weiler et al., arXiv 1807.02547, sec. 4.3.
    """

    def __init__(self, l_max: int, channels: int):
        """Set up for features up to `l_max`."""
        super().__init__()
        self.l_max, self.channels = l_max, channels
        self.scalars = channels * (l_max + 1)

    def forward(self, scalars: Float[Tensor, "atoms s"], x: Float[Tensor, "atoms m c"]) -> Float[Tensor, "atoms m c"]:
        """Gate dimensionless features x (degrees ≥ 1 are used) by `scalars`, the first of which are the new scalars."""
        new = nn.functional.silu(scalars[:, : self.channels]) * SILU_GAIN
        if self.l_max == 0:
            return new[:, None]
        gates = torch.sigmoid(scalars[:, self.channels :]).reshape(len(x), self.l_max, self.channels) * 1.8467
        return torch.cat([new[:, None], x[:, 1:] * gates[:, _degrees(self.l_max)[1:].to(x.device) - 1]], dim=1)


class Product(nn.Module):
    """Couple features with themselves, channel by channel: one body order more for a node-wise product.

    Source: Batatia et al., arXiv 2206.07697, eq. 10 at correlation order two.
    """

    def __init__(self, l_in: int, l_out: int, channels: int):
        """Set up for features up to `l_in` and results up to `l_out`."""
        super().__init__()
        coupling = paths(l_in, l_in, l_out)
        keep = [p for p, (l1, l2, _) in enumerate(coupling.triples) if l1 <= l2]
        rows = sum(2 * coupling.triples[p][2] + 1 for p in keep)
        first, second = np.tril_indices(dimension(l_in))
        pair = {(int(a), int(b)): k for k, (a, b) in enumerate(zip(first, second, strict=True))}
        table = torch.zeros(rows, len(first), dtype=torch.float64)
        offset = dict(zip(keep, np.cumsum([0] + [2 * coupling.triples[p][2] + 1 for p in keep]), strict=False))
        for entry, m2, value in zip(coupling.term_entry, coupling.term_edge, coupling.term_value, strict=True):
            p, m3, m1 = coupling.entry_path[entry], int(coupling.entry_out[entry]), int(coupling.entry_in[entry])
            if p in offset:
                l3 = coupling.triples[p][2]
                table[offset[p] + m3 - l3 * l3, pair[max(m1, int(m2)), min(m1, int(m2))]] += value
        self.exact = table
        self.register_buffer("table", table.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("first", torch.as_tensor(first), persistent=False)
        self.register_buffer("second", torch.as_tensor(second), persistent=False)
        self.rows = {
            l3: [(int(offset[p]), int(offset[p]) + 2 * l3 + 1) for p in keep if coupling.triples[p][2] == l3]
            for l3 in range(l_out + 1)
        }
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(len(self.rows[l3]) * channels, channels)) for l3 in range(l_out + 1)
        )

    def _apply(self, fn, recurse=True):
        """Round the coefficients anew from float64: what float32 has lost would break rotations in float64."""
        super()._apply(fn, recurse)
        self.table = self.exact.to(self.weights[0])
        return self

    def forward(self, x: Float[Tensor, "atoms m c"]) -> Float[Tensor, "atoms m_out c"]:
        """Square dimensionless features and mix the couplings of each degree into one.

        Where no derivative is wanted, a fused loop over the couplings takes the place of a product with their table.
        """
        if x.device.type == "cpu" and not torch.is_grad_enabled():
            coupled = self._fused(x.contiguous())
        else:
            coupled = torch.einsum("rk,nkc->nrc", self.table.to(x.dtype), x[:, self.first] * x[:, self.second])
        out = []
        for l3, weight in enumerate(self.weights):
            parts = torch.cat([coupled[:, a:b] for a, b in self.rows[l3]], dim=-1)
            out.append(parts @ weight / math.sqrt(weight.shape[0]))
        return torch.cat(out, dim=1)

    def _fused(self, x: Tensor) -> Tensor:
        row, pair = np.nonzero(self.exact.numpy())
        values = self.exact.numpy()[row, pair].astype(x.numpy().dtype)
        one, two = (a.numpy()[pair] for a in (self.first, self.second))
        out = np.zeros((x.shape[0], self.exact.shape[0], x.shape[2]), dtype=x.numpy().dtype)
        cuts = np.linspace(0, len(x), torch.get_num_threads() + 1).astype(int)
        run([lambda a=a, b=b: couple_pairs(a, b, row, one, two, values, x.numpy(), out) for a, b in pairwise(cuts)])
        return torch.from_numpy(out)


__all__ = ["DegreeLinear", "ElementGains", "EquivariantNorm", "Gate", "Product", "block"]
