"""Electron density on a potential's trunk: superposed atoms plus an equivariant, atom-centred correction.

ρ(r) = Σ_i ρ°_Z(|r − x_i|) + Σ_i Σ_nlm c_i,nlm R_n(|r − x_i|) Y_lm,   c_i,nlm = Σ_k w[Z, l, k, n] h_i,lmk

with features h of one equivariant layer that reads the potential's first layer, and a head w that is linear: its
posterior is a Gaussian in closed form (`learn.density.posterior`). `deviations` are draws from it; with them every
structure is conditioned exactly on its number of electrons.

Source: ours; the difference to superposed atoms as a target after arXiv 2410.08294.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ase_mlx.graph import Graph
from ase_mlx.nn.angular import block, spherical_harmonics
from ase_mlx.nn.blocks import DegreeLinear
from ase_mlx.nn.primitives import INTERVALS, Primitives, integrate, primitives, spline
from ase_mlx.nn.trunk import TABLE_INTERVALS, Layer, Trunk
from ase_mlx.units import NORMAL_95

from .ranges import SIZE, expect_ranges

HATS = 13
"""Radial points of the noise's own profile, one per element."""


@dataclass(frozen=True)
class DensityConfig:
    """Size and range of a density: `electrons` of each element's atom, in the potential's order; `range` in Å.

    Source: ours; defaults are those of `benchmarks/density.py`.
    """

    electrons: tuple[float, ...]
    range: float = 3.0
    l_max: int = 4
    n_radial: int = 10
    channels: int = 16
    n_basis: int = 8
    radial_hidden: tuple[int, ...] = (64,)
    members: int = 16

    def __post_init__(self):
        """Refuse sizes without meaning."""
        if self.members < 2:
            raise ValueError(f"got members={self.members}, expected at least two: the electron count needs a spread")
        expect_ranges(
            self, electrons=(0, 120), l_max=(0, 4), range=(0.1, 20), n_radial=(1, 128), channels=(1, 1024),
            n_basis=(1, 128), radial_hidden=SIZE, members=(2, 65536),
        )  # fmt: skip


@dataclass(frozen=True)
class Pairs:
    """Points within range of each atom: index of the point (n_points where there is none), R_ln and Y_lm there.

    Dimensionless; the second axis is padded to the largest number of points of an atom.

    Source: ours.
    """

    n_points: int
    index: Int[Tensor, "atoms near"]
    radial: Float[Tensor, "atoms near degrees n"]
    angular: Float[Tensor, "atoms near components"]

    def evaluate(self, coefficients: Float[Tensor, "atoms components n"]) -> Float[Tensor, " points"]:
        """Sum atoms' fields with coefficients in e/Å³ at the points, e/Å³."""
        value = 0
        for l in range(self.radial.shape[2]):
            f = torch.bmm(self.radial[:, :, l], coefficients[:, block(l)].transpose(1, 2))
            value = value + (f * self.angular[:, :, block(l)]).sum(-1)
        out = value.new_zeros(self.n_points + 1).index_add(0, self.index.reshape(-1), value.reshape(-1))
        return out[: self.n_points]


class Density(nn.Module):
    """Coefficients of the density of each atom, their members, and the noise that no member explains.

    Source: see the module.
    """

    rows = ("head",)

    def __init__(self, config: DensityConfig, trunk: Trunk):
        """Set up on a trunk (cutoff in Å); random weights from torch's generator, a head of zeros (e/Å³)."""
        super().__init__()
        self.config = config
        sizes = SimpleNamespace(
            channels=trunk.channels, n_species=trunk.n_species, l_max=config.l_max, neighbors=trunk.neighbors,
            cutoff=trunk.cutoff, by_element=trunk.by_element,
        )  # fmt: skip
        self.layer = Layer(sizes, 0, config.l_max, config.n_basis, config.radial_hidden, True)
        self.mix = DegreeLinear(config.l_max, trunk.channels, config.channels)
        shape = (trunk.n_species, config.l_max + 1, config.channels + 1, config.n_radial)
        self.head = nn.Parameter(torch.zeros(shape))
        self.register_buffer("deviations", torch.zeros(config.members, *shape))
        self.register_buffer("atoms", torch.zeros(trunk.n_species, INTERVALS, 4, dtype=torch.float64))
        self.register_buffer("noise", torch.zeros(trunk.n_species, HATS))
        self.register_buffer("std_scale", torch.zeros(()))
        self.register_buffer("std_tail", torch.tensor(NORMAL_95))
        degrees = torch.repeat_interleave(torch.arange(config.l_max + 1), 2 * torch.arange(config.l_max + 1) + 1)
        self.register_buffer("degrees", degrees, persistent=False)
        self.register_load_state_dict_post_hook(_tabulate_anew)

    def _apply(self, fn, recurse=True):
        """Keep the atoms in float64: their electrons are counted to 1e-10."""
        super()._apply(fn, recurse)
        self.atoms = self.atoms.to(torch.float64)
        self.refresh()
        return self

    def train(self, mode: bool = True) -> "Density":
        """Switch between the exact radial network (train) and its table (eval on a CPU)."""
        super().train(mode)
        self.refresh()
        return self

    def refresh(self) -> None:
        """Tabulate the layer's radial functions, or drop the table, as mode and device ask (knots even in Å)."""
        tabulated = not self.training and self.head.device.type == "cpu"
        self.layer.knots = self.layer.radial.table(TABLE_INTERVALS) if tabulated else None

    @property
    def primitives(self) -> Primitives:
        """Radial functions up to the range in Å."""
        return primitives(self.config.n_radial, self.config.l_max, self.config.range)

    def features(
        self, graph: Graph, vectors: Float[Tensor, "edges 3"], first: Float[Tensor, "atoms m c"], species: Tensor
    ) -> Float[Tensor, "core components features"]:
        """Evaluate the layer at edge vectors (Å): what the head is linear in (dimensionless), the last one constant."""
        distance = torch.linalg.vector_norm(vectors, dim=-1)
        y = spherical_harmonics(self.config.l_max, vectors / distance.unsqueeze(-1))
        h = self.mix(self.layer(first[:, :1], y, distance, species, graph))
        constant = h.new_zeros(*h.shape[:2], 1)
        constant[:, 0] = 1
        return torch.cat([h, constant], dim=-1)

    def coefficients(
        self, features: Float[Tensor, "atoms components features"], species: Int[Tensor, " atoms"], head: Tensor
    ) -> Float[Tensor, "atoms components n"]:
        """Apply a head of the shape of `self.head` (e/Å³)."""
        return torch.einsum("amk,amkn->amn", features, head[species][:, self.degrees])

    def moments(
        self,
        features: Float[Tensor, "atoms components features"],
        species: Int[Tensor, " atoms"],
        positions: Float[Tensor, "atoms 3"],
        axes: Float[Tensor, "axes 3"],
    ) -> Float[Tensor, "heads moments"]:
        """What head and members add to free atoms: electrons (a number) and their first moments along axes (e Å).

        Sums over atoms add up; positions (Å) are best from the structure's middle, `axes` are unit vectors.
        """
        heads = torch.cat([self.head[None], self.deviations]).to(torch.float64)[:, :, :2]
        q = heads[:, :, 0] @ torch.as_tensor(self.primitives.charges, device=heads.device)
        f = features[:, :4].to(torch.float64)
        electrons = torch.einsum("af,kaf->ka", f[:, 0], q[:, species])
        moments = [electrons.sum(1, keepdim=True), electrons @ (positions @ axes.T)]
        if len(axes) and self.config.l_max > 0:
            p = heads[:, :, 1] @ torch.as_tensor(self.primitives.moments, device=heads.device)
            along = torch.einsum("axf,cx->acf", f[:, 1:4], axes)
            moments[1] = moments[1] + torch.einsum("acf,kaf->kc", along, p[:, species])
        return torch.cat(moments, dim=1)

    def conditioned(
        self, moments: Float[Tensor, "heads moments"], electrons: float, fixed: Float[Tensor, " moments"]
    ) -> Float[Tensor, "heads species degrees features n"]:
        """Condition head and members' deviations on a structure's electrons and dipole: its own head, e/Å³.

        The Gaussian posterior is conditioned on linear functions: the correction goes where the members disagree about
        them. A structure on whose electrons they agree gets it in proportion to its atoms' electrons.

        Args:
            moments: of `moments`, over the whole structure (dimensionless, e Å).
            electrons: of its free atoms, dimensionless.
            fixed: what the first of these moments shall be (dimensionless, e Å).

        Returns:
            The head and, after it, the members' deviations, e/Å³, in float64.

        Raises:
            ValueError: a dipole that no member's deviation changes.

        Source: ours; conditioning of a Gaussian on linear functions.
        """
        head, deviations = self.head.to(torch.float64), self.deviations.to(torch.float64)
        missing, spread = fixed - moments[0, : len(fixed)], moments[1:, : len(fixed)]
        square = spread.T @ spread
        size = square.diagonal().clamp(min=1e-300).sqrt()
        apart = float(torch.linalg.det(square / torch.outer(size, size)))
        if float(size.min()) > 1e-8 * electrons and apart > 1e-9:
            pattern = torch.linalg.solve(square, spread.T @ deviations.flatten(1)).unflatten(1, head.shape)
            deviations = deviations - torch.einsum("kc,csdfn->ksdfn", spread, pattern)
        elif len(fixed) > 1:
            raise ValueError(
                "got a dipole for a structure on whose dipole all members of the model agree (an inversion or mirror "
                "fixes it, or it has no atoms to differ in); leave the dipole out"
            )
        else:
            pattern = torch.zeros_like(head)[None]
            free = torch.as_tensor(self.config.electrons, dtype=torch.float64, device=head.device)
            pattern[0, :, 0, -1, 0] = free / electrons / self.primitives.charges[0]
        return torch.cat([(head + torch.einsum("c,csdfn->sdfn", missing, pattern))[None], deviations])

    def tables(
        self,
        features: Float[Tensor, "atoms components features"],
        species: Int[Tensor, " atoms"],
        heads: Float[Tensor, "heads species degrees features n"],
        free: bool,
    ) -> Float[Tensor, "atoms components heads intervals 4"]:
        """Turn features into splines (e/Å³, dtype of the features) by heads; with `free`, on top of the free atoms."""
        pieces = torch.tensor(self.primitives.pieces, device=heads.device).flatten(2)
        weights = torch.einsum("hsdfn,dnx->sdfhx", heads, pieces).to(features).flatten(3)
        out = features.new_empty(*features.shape[:2], len(heads) * INTERVALS * 4)
        kinds = torch.unique(species).tolist()
        for s in kinds:
            own = torch.nonzero(species == s).squeeze(1)
            some = features if len(kinds) == 1 else features[own]
            part = out if len(kinds) == 1 else torch.empty_like(out[: len(own)])
            for l in range(self.config.l_max + 1):  # plain products of matrices: batched ones are ten times slower
                rows = some[:, block(l)].reshape(-1, some.shape[2])
                part[:, block(l)] = (rows @ weights[s, l]).unflatten(0, (len(some), 2 * l + 1))
            if len(kinds) > 1:
                out.index_copy_(0, own, part)
        out = out.unflatten(-1, (len(heads), INTERVALS, 4))
        if free:
            out[:, 0] += self.atoms[species, None].to(out)
        return out


def _tabulate_anew(density: Density, _: object) -> None:
    density.refresh()


def reference_atom(
    radius: Float[np.ndarray, " points"], density: Float[np.ndarray, " points"], electrons: float, length: float
) -> Float[np.ndarray, "intervals 4"]:
    """Turn a free atom's density (e/Å³ at radii in Å) into splines that end at `length` (Å) and hold its electrons.

    Source: ours.
    """
    r = np.linspace(0, length, INTERVALS + 1)
    fall = np.where(r < length, 1 - (r / length) ** 6 * (10 - 15 * (r / length) ** 2 + 6 * (r / length) ** 4), 0.0)
    pieces = spline(np.interp(r, radius, density) * fall, 0.0, length)
    return pieces * (electrons / float(integrate(pieces[None], length)[0]))


__all__ = ["Density", "DensityConfig", "Pairs", "reference_atom"]
