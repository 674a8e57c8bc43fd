"""Fitting compressed force constants to exact elements between phonons.

Source: ours; the weighting by phonons follows Y. Luo et al., arXiv 2503.05913.
"""

from collections.abc import Callable

import numba
import numpy as np
import torch

from ase_mlx.compiled import compiled
from ase_mlx.phonons.compressed import CompressedTensor, Orbit
from ase_mlx.phonons.orbits import SpaceGroup
from ase_mlx.phonons.triplet_sample import TripletSample

HISTORY = 100
"""Steps that L-BFGS remembers."""

FLOOR = 1e-3
"""Least worth of a pattern, over that of the most telling one of its kind."""


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

    def tables(self, sample: TripletSample) -> np.ndarray:
        """Tables (q, bands, real and imaginary, members, patterns) that patterns make on a sample, in 1/√(amu THz).

        Source: ours.
        """
        atoms, parts = self.group.positions, []
        for operation in self.operations:
            sites = self.group.move(int(operation), np.zeros(3, dtype=int), self.sites)
            waves = np.exp(2j * np.pi * sample.points @ (sites[:, :3] + atoms[sites[:, 3]]).T)
            turned = np.einsum("ab,sbp->sap", self.group.cartesian[operation], self.patterns)
            sums = [np.tensordot(waves[:, sites[:, 3] == k], turned[sites[:, 3] == k], 1) for k in range(len(atoms))]
            table = sample.amplitudes.transpose(0, 2, 1) @ np.concatenate(sums, axis=1)
            parts.append(np.stack([table.real, table.imag], axis=2).astype(np.float32))
        return np.stack(parts, axis=3)


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


class Fit:
    """A compressed tensor being fitted: coefficients of each kind, a training sample, and its loss.

    Coefficients are those of patterns that count alike: whitened by the weighted square of their tables.

    Source: ours.
    """

    def __init__(self, group: SpaceGroup, mode_kinds: list[Kind], sample: TripletSample, rank: int, seed: int) -> None:
        self.group, self.kinds, self.target = group, mode_kinds, _Target(sample)
        tables = [kind.tables(sample) for kind in mode_kinds]
        worth = _worth(sample, sum(np.square(x, dtype=float).sum(axis=(2, 3, 4)) for x in tables))
        self.shape, self.members, self.maps, self.whitenings = tables[0].shape[:3], [], [], []
        for table in tables:
            rows = (np.sqrt(worth)[:, :, None, None, None] * table).reshape(-1, table.shape[-1]).astype(float)
            values, vectors = np.linalg.eigh(rows.T @ rows)
            values = np.maximum(values, FLOOR * values.max())
            self.whitenings.append(vectors * np.sqrt(values.mean() / values))
            self.members.append(table.shape[3])
            self.maps.append(table.reshape(-1, table.shape[-1]) @ self.whitenings[-1].astype(np.float32))
        self.leaves = [torch.from_numpy(x).requires_grad_() for x in self._start(rank, sample, seed)]
        self.optimizer = torch.optim.LBFGS(
            self.leaves, history_size=HISTORY, line_search_fn="strong_wolfe", tolerance_grad=0, tolerance_change=0
        )

    def _start(self, rank: int, sample: TripletSample, seed: int) -> list[np.ndarray]:
        """Random coefficients of about so many products, whose elements are as large as those of the sample."""
        random, one_each = np.random.default_rng(seed), sum(self.members)
        count = max(1, round(rank / one_each))
        elements = np.sqrt(np.mean(np.abs(sample.elements) ** 2))
        goal = (elements / np.sqrt(count * one_each)) ** (1 / 3)
        start = []
        for table in self.maps:
            new = random.standard_normal((count, table.shape[1])).astype(np.float32)
            start.append(new * np.float32(goal / np.sqrt(2 * np.mean(np.square(table @ new.T)))))
        return start

    @property
    def tensor(self) -> CompressedTensor:
        """What has been fitted so far.

        Source: ours.
        """
        parts = zip(self.kinds, self.leaves, self.whitenings, strict=True)
        orbits = tuple(kind.orbit(x.detach().double().numpy() @ back.T) for kind, x, back in parts)
        return CompressedTensor(3, self.group, orbits)

    def run(self, iterations: int, progress: Callable[[int], None] | None = None) -> float:
        """Minimise the loss by L-BFGS; the weighted relative error of the training sample comes back, dimensionless.

        Further runs go on from what the last one learned of the curvature.

        Args:
            iterations: at most so many.
            progress: called with the iterations of all runs so far.

        Source: J. Nocedal and S. Wright, Numerical Optimization (2006), chapter 7.
        """
        settings = self.optimizer.param_groups[0]
        settings["max_iter"], settings["max_eval"] = iterations, 2 * iterations

        def closure() -> torch.Tensor:
            loss, slopes = self._loss()
            for leaf, slope in zip(self.leaves, slopes, strict=True):
                leaf.grad = torch.from_numpy(slope)
            if progress is not None:
                progress(self.optimizer.state[self.leaves[0]].get("n_iter", 0))
            return torch.tensor(loss)

        self.optimizer.step(closure)
        return self._loss()[0] ** 0.5

    def _loss(self) -> tuple[float, list[np.ndarray]]:
        """The loss, and its derivatives by the coefficients of each kind."""
        coefficients = [leaf.detach().numpy() for leaf in self.leaves]
        parts = [(m @ c.T).reshape(*self.shape, -1) for m, c in zip(self.maps, coefficients, strict=True)]
        target = self.target
        losses, slope = _kernel(
            np.concatenate(parts, axis=-1), target.first, target.triplets, target.elements, target.weights
        )
        slopes, edges = [], np.cumsum([part.shape[-1] for part in parts])[:-1]
        for m, c, part in zip(self.maps, coefficients, np.split(slope, edges, axis=-1), strict=True):
            q = len(part)  # one product for each wave vector: BLAS is slow where a long axis is summed at once
            slopes.append((part.reshape(q, -1, len(c)).transpose(0, 2, 1) @ m.reshape(q, -1, m.shape[1])).sum(axis=0))
        return float(losses.sum()), slopes


def _worth(sample: TripletSample, sizes: np.ndarray) -> np.ndarray:
    """What a change of each mode's table counts, (q, bands), the other two phonons at their mean square."""
    sizes, worth = sizes / sizes.mean(), np.zeros(sizes.shape)
    for place, indices in enumerate(("tabc,tb,tc->ta", "tabc,ta,tc->tb", "tabc,ta,tb->tc")):
        others = [sizes[sample.triplets[:, k]] for k in range(3) if k != place]
        np.add.at(worth, sample.triplets[:, place], np.einsum(indices, sample.weights, *others))
    return worth


def error(tensor: CompressedTensor, sample: TripletSample) -> float:
    """Weighted relative error of a tensor on a sample, (Σ w |ΔV|² / Σ w |V|²)^(1/2), dimensionless.

    Source: ours.
    """
    tables = torch.from_numpy(tensor.tables(sample.points, sample.amplitudes))
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


@compiled(fastmath=True, parallel=True)
def _kernel(tables, first, triplets, elements, weights):  # pragma: no cover, compiled
    """Loss and gradient: a (2 bands, 2 rank) matrix of the first phonon times products of the other two.

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
