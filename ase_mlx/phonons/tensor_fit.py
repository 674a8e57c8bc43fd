"""Fitting compressed force constants to exact elements between phonons.

Source: ours; the weighting by phonons follows Y. Luo et al., arXiv 2503.05913.
"""

import numba
import numpy as np
import torch

from ase_mlx.compiled import compiled
from ase_mlx.phonons.compressed import CompressedTensor, Orbit
from ase_mlx.phonons.orbits import SpaceGroup
from ase_mlx.phonons.triplet_sample import TripletSample


class Kind:
    """Mode functions of one centre and one subgroup: the linear map from their coefficients to elements.

    Source: ours.
    """

    def __init__(self, group: SpaceGroup, centre: np.ndarray, subgroup: list, radius: float, sign: int = 1) -> None:
        self.group = group
        self.sites = group.around(centre, radius)
        self.patterns = group.patterns(self.sites, subgroup, sign)
        self.operations = np.array(group.cosets(subgroup))

    def orbit(self, coefficients: np.ndarray) -> Orbit:
        """Turn coefficients (rank, patterns) into mode functions, both in (eV/Åⁿ)^(1/n).

        Source: ours.
        """
        functions = np.einsum("kp,sap->ksa", coefficients, self.patterns)
        return Orbit(self.sites, functions, self.operations, np.ones(len(coefficients)))

    def waves(self, sample: TripletSample) -> torch.Tensor:
        """Plane waves at the images of the sites, (members, real and imaginary q, sites), dimensionless.

        Source: ours.
        """
        waves = []
        for operation in self.operations:
            sites = self.group.move(int(operation), np.zeros(3, dtype=int), self.sites)
            phase = 2 * np.pi * sample.points @ (sites[:, :3] + self.group.positions[sites[:, 3]]).T
            waves.append(np.concatenate([np.cos(phase), np.sin(phase)]))
        return torch.from_numpy(np.stack(waves).astype(np.float32))

    def turned(self) -> torch.Tensor:
        """Rotated patterns by atom of the primitive cell, (patterns, members, sites, atoms · 3), dimensionless.

        Source: ours.
        """
        atoms = len(self.group.positions)
        rotated = np.zeros((self.patterns.shape[-1], len(self.operations), len(self.sites), atoms, 3), dtype=np.float32)
        for g, operation in enumerate(self.operations):
            landed = self.group.move(int(operation), np.zeros(3, dtype=int), self.sites)[:, 3]
            turned = np.einsum("ab,sbp->psa", self.group.cartesian[operation], self.patterns)
            rotated[:, g, np.arange(len(self.sites)), landed] = turned
        return torch.from_numpy(rotated.reshape(*rotated.shape[:3], -1))


def kinds(group: SpaceGroup, radius: float, order: int = 3) -> list[Kind]:
    """List the kinds of mode functions of a crystal: about each inequivalent atom, each kind of mirror kept.

    Args:
        group: the space group.
        radius: of the mode functions in Å.
        order: of the force constants, dimensionless; for even ones, mirrors may turn functions around.

    Source: ours.
    """
    return [
        Kind(group, group.positions[atom], subgroup, radius, sign)
        for atom in group.classes()
        for subgroup in group.subgroups(group.positions[atom])
        for sign in ((1,) if order % 2 or len(subgroup) == 1 else (1, -1))
    ]


class _Map:
    """From the coefficients of a kind to its tables on a sample, (q, bands, real and imaginary, rank)."""

    def __init__(self, kind: Kind, sample: TripletSample) -> None:
        self.waves, self.turned = kind.waves(sample), kind.turned()
        legs = sample.legs.transpose(0, 2, 1)
        real = np.stack([legs.real, legs.imag], axis=2)
        imaginary = np.stack([-legs.imag, legs.real], axis=2)
        both = np.stack([real, imaginary], axis=3)  # q, bands, part, part of the transform, components
        self.legs = torch.from_numpy(both.reshape(len(legs), 2 * legs.shape[1], -1).astype(np.float32))

    def __call__(self, coefficients: torch.Tensor) -> torch.Tensor:
        rank, members, size = len(coefficients), *self.turned.shape[1:3]
        functions = (coefficients @ self.turned.flatten(1)).view(rank, members, size, -1)
        functions = functions.permute(1, 2, 3, 0).reshape(members, size, -1)
        q = len(self.legs)
        transforms = (self.waves @ functions).view(members, 2, q, -1, rank).permute(2, 1, 3, 4, 0)
        return (self.legs @ transforms.reshape(q, self.legs.shape[2], -1)).view(q, -1, 2, rank * members)


class Fit:
    """A compressed tensor being fitted: coefficients of each kind, a training sample, and its loss.

    Source: ours.
    """

    def __init__(self, group: SpaceGroup, mode_kinds: list[Kind], sample: TripletSample, seed: int) -> None:
        self.group, self.kinds, self.sample = group, mode_kinds, sample
        self.random = torch.Generator().manual_seed(seed)
        self.maps = [_Map(kind, sample) for kind in mode_kinds]
        self.target = _Target(sample)
        self.coefficients = [torch.zeros(0, kind.patterns.shape[-1]) for kind in mode_kinds]

    @property
    def tensor(self) -> CompressedTensor:
        """What has been fitted so far.

        Source: ours.
        """
        parts = [k.orbit(c.detach().double().numpy()) for k, c in zip(self.kinds, self.coefficients, strict=True)]
        return CompressedTensor(3, self.group, tuple(o for o in parts if len(o.functions)))

    def grow(self, counts: list[int]) -> None:
        """Add random mode functions to each kind, small beside those that are there.

        Source: ours.
        """
        elements = np.sqrt(np.mean(np.abs(self.sample.elements) ** 2))
        rank = sum(
            (len(c) + n) * len(k.operations) for c, n, k in zip(self.coefficients, counts, self.kinds, strict=True)
        )
        goal = (elements / np.sqrt(rank)) ** (1 / 3)
        for k, (part, count, table) in enumerate(zip(self.coefficients, counts, self.maps, strict=True)):
            new = torch.randn((count, part.shape[1]), generator=self.random)
            size = goal / float(2 * table(new).square().mean()) ** 0.5
            self.coefficients[k] = torch.cat([part.detach(), size * (0.5 if len(part) else 1.0) * new])

    def run(self, iterations: int) -> float:
        """Minimise the loss by L-BFGS; the weighted relative error of the training sample comes back, dimensionless.

        Args:
            iterations: at most so many.

        Source: J. Nocedal and S. Wright, Numerical Optimization (2006), chapter 7.
        """
        leaves = [c.detach().clone().requires_grad_() for c in self.coefficients]
        optimizer = torch.optim.LBFGS(
            leaves, max_iter=iterations, history_size=40, line_search_fn="strong_wolfe", tolerance_grad=0,
            tolerance_change=0,
        )  # fmt: skip

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = self._loss(leaves)
            loss.backward()
            return loss

        optimizer.step(closure)
        self.coefficients = [leaf.detach() for leaf in leaves]
        with torch.no_grad():
            return float(self._loss(self.coefficients)) ** 0.5

    def _loss(self, coefficients: list[torch.Tensor]) -> torch.Tensor:
        parts = [table(c) for table, c in zip(self.maps, coefficients, strict=True) if len(c)]
        return _Weighted.apply(torch.cat(parts, dim=-1), self.target)


def error(tensor: CompressedTensor, sample: TripletSample) -> float:
    """Weighted relative error of a tensor on a sample, (Σ w |ΔV|² / Σ w |V|²)^(1/2), dimensionless.

    Source: ours.
    """
    tables = torch.from_numpy(tensor.tables(sample.points, sample.legs))
    a, b, c = (tables[torch.from_numpy(sample.triplets[:, k])] for k in range(3))
    pairs = (b[:, :, None] * c[:, None]).flatten(1, 2)
    predicted = (a * torch.from_numpy(tensor.signs) @ pairs.mT).numpy().reshape(sample.elements.shape)
    return float(np.sum(sample.weights * np.abs(predicted - sample.elements) ** 2) ** 0.5)


class _Target:
    """A sample in the layout of the kernel: real and imaginary parts stacked, single precision."""

    def __init__(self, sample: TripletSample) -> None:
        size, bands = sample.elements.shape[:2]
        v = sample.elements.reshape(size, bands, -1)
        self.elements = np.concatenate([v.real, v.imag], axis=1).astype(np.float32)
        w = sample.weights.reshape(size, bands, -1)
        self.weights = np.concatenate([w, w], axis=1).astype(np.float32)
        self.triplets = sample.triplets
        self.first = np.append(np.flatnonzero(np.diff(self.triplets[:, 0], prepend=-1)), size)


class _Weighted(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tables: torch.Tensor, target: _Target) -> torch.Tensor:
        table = tables.detach().contiguous().numpy()
        losses, gradient = _kernel(table, target.first, target.triplets, target.elements, target.weights)
        ctx.gradient = torch.from_numpy(gradient)
        return torch.tensor(losses.sum())

    @staticmethod
    def backward(ctx, upstream):
        return ctx.gradient * upstream.float(), None


@compiled(fastmath=True, parallel=True)
def _kernel(tables, first, triplets, elements, weights):  # pragma: no cover, compiled
    """Loss and gradient: a (2 bands, 2 rank) matrix of the first leg times products of the other two.

    Triplets of one first point stand together (from `first[k]` on) and share no other point with the rest, so that
    each thread writes to gradients of its own.
    """
    bands, rank = tables.shape[1], tables.shape[3]
    losses = np.zeros(len(first) - 1)
    gradients = np.zeros_like(tables)
    for group in numba.prange(len(first) - 1):
        left = np.empty((2 * bands, 2 * rank), np.float32)
        pairs = np.empty((bands * bands, 2 * rank), np.float32)
        for t in range(first[group], first[group + 1]):
            a, b, c = tables[triplets[t, 0]], tables[triplets[t, 1]], tables[triplets[t, 2]]
            left[:bands, :rank] = a[:, 0]
            left[:bands, rank:] = -a[:, 1]
            left[bands:, :rank] = a[:, 1]
            left[bands:, rank:] = a[:, 0]
            for j in range(bands):
                for k in range(bands):
                    row = pairs[j * bands + k]
                    for r in range(rank):
                        row[r] = b[j, 0, r] * c[k, 0, r] - b[j, 1, r] * c[k, 1, r]
                    for r in range(rank):
                        row[rank + r] = b[j, 0, r] * c[k, 1, r] + b[j, 1, r] * c[k, 0, r]
            off = np.dot(left, pairs.T) - elements[t]
            loss = 0.0
            for i in range(2 * bands):
                for j in range(bands * bands):
                    x = weights[t, i, j] * off[i, j]
                    loss += x * off[i, j]
                    off[i, j] = 2 * x
            losses[group] += loss
            back = np.dot(off, pairs)
            own = gradients[triplets[t, 0]]
            own[:, 0] += back[:bands, :rank] + back[bands:, rank:]
            own[:, 1] += back[bands:, :rank] - back[:bands, rank:]
            back = np.dot(off.T.copy(), left)
            second, third = gradients[triplets[t, 1]], gradients[triplets[t, 2]]
            for j in range(bands):
                for k in range(bands):
                    row = back[j * bands + k]
                    for r in range(rank):
                        x, y = row[r], row[rank + r]
                        second[j, 0, r] += x * c[k, 0, r] + y * c[k, 1, r]
                        second[j, 1, r] += y * c[k, 0, r] - x * c[k, 1, r]
                        third[k, 0, r] += x * b[j, 0, r] + y * b[j, 1, r]
                        third[k, 1, r] += y * b[j, 0, r] - x * b[j, 1, r]
    return losses, gradients
