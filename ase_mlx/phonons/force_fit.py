"""Compressed force constants of any order straight from forces of displaced atoms: no array of force constants.

Source: ours; the form of Y. Luo et al., arXiv 2503.05913.
"""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from ase_mlx.phonons.compressed import CompressedTensor, Orbit
from ase_mlx.phonons.compression import Compression
from ase_mlx.phonons.orbits import SpaceGroup
from ase_mlx.phonons.supercell import Supercell
from ase_mlx.phonons.tensor_fit import Kind, kinds

NEAR, FAR = 0.75, 5.0
"""Radius of mode functions: over that of the largest sphere in the supercell, and at most, in Å. Wider ones would meet
their own images, which forces in a supercell cannot tell apart."""

GENERATORS = 2
"""Mode functions of each kind added at a time."""

MOST = 1000
"""Products, all images counted."""

STEPS = 40
"""Of Levenberg and Marquardt between additions."""

FEWEST = 5
"""Displacements: one of them is held out."""

RIDGE = 1e-6
"""Weight of the squared coefficients against the relative squared error of forces."""

STIFF = 1e-4
"""The same against changes of forces: what these hardly tell stays as it is, and the change linear."""

TOLERANCES = {3: 0.05, 4: 0.2}
"""Relative error of held-out forces that is asked for, by order: about 3 % of linewidths."""


@dataclass(frozen=True)
class ForceSample:
    """Forces in eV/Å that terms of some orders of the energy make at displacements in Å of a supercell's atoms.

    What a force along x is worth is the size of x's components along `probes`, displacements in Å: thermal ones weigh
    phonons as scattering does.

    Source: ours.
    """

    displacements: Float[np.ndarray, "k atoms 3"]
    forces: Float[np.ndarray, "k atoms 3"]
    probes: Float[np.ndarray, "m atoms 3"]

    @property
    def works(self) -> Float[np.ndarray, "k m"]:
        """Minus the forces along the probes, in eV.

        Source: ours.
        """
        return -np.einsum("kia,mia->km", self.forces, self.probes)

    def split(self, held_out: int) -> tuple["ForceSample", "ForceSample"]:
        """Set the last displacements aside, so many.

        Source: ours.
        """
        u, f = self.displacements, self.forces
        return (
            ForceSample(u[:-held_out], f[:-held_out], self.probes),
            ForceSample(u[-held_out:], f[-held_out:], self.probes),
        )


def force_error(tensor: CompressedTensor, supercell: Supercell, sample: ForceSample) -> float:
    """Relative error of a tensor's forces on a sample, all along its probes, dimensionless.

    Args:
        tensor: of the one order that made the forces.
        supercell: of the sample.
        sample: forces.

    Source: ours.
    """
    predicted = np.zeros((len(sample.displacements), len(sample.probes)))
    for orbit in tensor.orbits:
        for operation in orbit.operations:
            sites, turned = _image(tensor.group, orbit.sites, orbit.functions.transpose(1, 2, 0), int(operation))
            u, v = (_gathered(x, supercell, sites, turned) for x in (sample.displacements, sample.probes))
            predicted += (orbit.signs * u ** (tensor.order - 1)).reshape(len(u), -1) @ v.reshape(len(v), -1).T
    works = sample.works
    return float(np.linalg.norm(predicted / math.factorial(tensor.order - 1) - works) / np.linalg.norm(works))


def fit_forces(
    group: SpaceGroup,
    supercell: Supercell,
    sample: ForceSample,
    reach: float,
    order: int,
    tolerance: float | None = None,
    seed: int = 0,
) -> Compression:
    """Learn a compressed tensor from the forces that it makes: mode functions are added until held-out ones are met.

    Args:
        group: the space group of the primitive cell.
        supercell: whose atoms were displaced.
        sample: displacements in Å and forces in eV/Å of this order; a fifth of them are held out.
        reach: radius in Å of the largest sphere in the supercell.
        order: of the force constants, dimensionless.
        tolerance: relative error of held-out forces, dimensionless; as in `TOLERANCES` by default.
        seed: of the start.

    Returns:
        The tensor with its errors.

    Raises:
        ValueError: fewer than five displacements, or no forces at all.

    Source: ours.
    """
    if len(sample.displacements) < FEWEST or not np.any(sample.forces):
        raise ValueError(
            f"got {len(sample.displacements)} displacements with forces of order {order} up to "
            f"{np.abs(sample.forces).max(initial=0):.1e} eV/Å, expected at least {FEWEST}, and forces other than zero."
        )
    begin = time.perf_counter()
    tolerance = TOLERANCES[order] if tolerance is None else tolerance
    training, held_out = sample.split(max(1, len(sample.displacements) // 5))
    mode_kinds = kinds(group, min(NEAR * reach, FAR), order)
    fit = ForceFit(order, group, supercell, mode_kinds, training, seed)
    one_each = sum(len(kind.operations) for kind in mode_kinds)
    while True:
        fit.grow(GENERATORS)
        trained = fit.run(STEPS)
        tested = force_error(fit.tensor, supercell, held_out)
        if tested <= tolerance or fit.tensor.rank + GENERATORS * one_each > MOST:
            break
    atoms = len(supercell.sites)
    full, compact = (3 * atoms) ** order, 3**order * len(group.positions) * atoms ** (order - 1)
    return Compression(fit.tensor, trained, tested, tolerance, time.perf_counter() - begin, full, compact)


def force_responses(
    tensor: CompressedTensor,
    supercell: Supercell,
    sample: ForceSample,
    reach: float,
    changes: Float[np.ndarray, "m k atoms 3"],
    step: float,
) -> list[CompressedTensor]:
    """What a fitted tensor becomes as the forces that it was fitted to are changed a little, to first order.

    Args:
        tensor: of the one order that makes the forces.
        supercell: of the sample.
        sample: displacements in Å.
        reach: radius in Å of the largest sphere in the supercell, as in the fit.
        changes: several, of the forces of the sample in eV/Å.
        step: what changes are multiplied by, dimensionless.

    Source: ours.
    """
    mode_kinds = kinds(tensor.group, min(NEAR * reach, FAR), tensor.order)
    fit = ForceFit(tensor.order, tensor.group, supercell, mode_kinds, sample, 0)
    return fit.responses(tensor, [step * ForceSample(sample.displacements, f, sample.probes).works for f in changes])


class ForceFit:
    """A compressed tensor being fitted to forces: coefficients and signs of each kind of mode functions.

    Source: ours.
    """

    def __init__(
        self,
        order: int,
        group: SpaceGroup,
        supercell: Supercell,
        mode_kinds: list[Kind],
        sample: ForceSample,
        seed: int,
    ) -> None:
        self.order, self.group, self.kinds = order, group, mode_kinds
        self.random = torch.Generator().manual_seed(seed)
        self.maps = [
            tuple(_projected(group, supercell, kind, x) for x in (sample.displacements, sample.probes))
            for kind in mode_kinds
        ]
        works = sample.works * math.factorial(order - 1)
        self.scale = float(np.linalg.norm(works))
        self.works = torch.from_numpy((works / self.scale).astype(np.float32))
        self.coefficients = [torch.zeros(0, kind.patterns.shape[-1]) for kind in mode_kinds]
        self.signs = [torch.zeros(0) for _ in mode_kinds]

    @property
    def tensor(self) -> CompressedTensor:
        """What has been fitted so far.

        Source: ours.
        """
        size = self.scale ** (1 / self.order)
        orbits = []
        for kind, part, signs in zip(self.kinds, self.coefficients, self.signs, strict=True):
            orbit = kind.orbit(size * part.double().numpy())
            orbits.append(Orbit(orbit.sites, orbit.functions, orbit.operations, signs.double().numpy()))
        return CompressedTensor(self.order, self.group, tuple(orbits))

    def grow(self, count: int) -> None:
        """Add so many random mode functions to each kind, small beside those that are there.

        Source: ours.
        """
        for k, (u, v) in enumerate(self.maps):
            old = self.coefficients[k]
            new = torch.randn((count, old.shape[1]), generator=self.random)
            raw = ((u @ new.T) ** (self.order - 1)).flatten(1) @ (v @ new.T).flatten(1).T
            size = (self.works.norm() / raw.norm()) ** (1 / self.order)
            self.coefficients[k] = torch.cat([old, (0.3 if len(old) else 0.5) * size * new])
            signs = torch.ones(count)
            if self.order % 2 == 0:
                signs[1::2] = -1
            self.signs[k] = torch.cat([self.signs[k], signs])

    def run(self, steps: int) -> float:
        """Take at most so many steps of Levenberg and Marquardt; give the relative error of forces, dimensionless.

        Source: J. Nocedal and S. Wright, Numerical Optimization (2006), chapter 10.
        """
        damping, loss = 1e-2, self._loss(self.coefficients)
        for step in range(steps):
            jacobian, off = self._linearised()
            flat = torch.cat([c.flatten() for c in self.coefficients]).double()
            normal = (jacobian.T @ jacobian).double()
            normal.diagonal().add_(RIDGE)
            slope = (jacobian.T @ off).double() + RIDGE * flat
            for _ in range(8):
                change = torch.linalg.solve(normal + damping * normal.diagonal().diag(), -slope)
                moved = self._unpacked((flat + change).float())
                lower = self._loss(moved)
                if lower < loss:
                    break
                damping *= 4
            else:
                break
            gain, loss, self.coefficients = (loss - lower) / loss, lower, moved
            damping = max(damping / 3, 1e-9)
            if gain < 1e-3 and step > 10:
                break
        return float((self._works(self.coefficients) - self.works).norm())

    def responses(self, tensor: CompressedTensor, changes: list[np.ndarray]) -> list[CompressedTensor]:
        """Fit changes of the works (eV) by the derivative at a tensor of the same kinds.

        Source: ours.
        """
        self.scale, self.signs = 1.0, [torch.from_numpy(orbit.signs).float() for orbit in tensor.orbits]
        flat = []
        for kind, orbit in zip(self.kinds, tensor.orbits, strict=True):
            patterns = kind.patterns.reshape(-1, kind.patterns.shape[-1])
            flat.append(np.linalg.lstsq(patterns, orbit.functions.reshape(len(orbit.signs), -1).T, rcond=None)[0].T)
        self.coefficients = [torch.from_numpy(c).float() for c in flat]
        self.scale = float(self._works(self.coefficients).norm())
        size = self.scale ** (1 / self.order)
        self.coefficients = [part / size for part in self.coefficients]
        jacobian = self._linearised()[0].double()
        normal = jacobian.T @ jacobian
        normal.diagonal().add_(STIFF)
        works = np.stack([x.ravel() for x in changes], axis=1) * math.factorial(self.order - 1) / self.scale
        moves = torch.linalg.solve(normal, jacobian.T @ torch.from_numpy(works))
        start, changed = self.coefficients, []
        for move in moves.T:
            self.coefficients = [a.double() + b for a, b in zip(start, self._unpacked(move), strict=True)]
            changed.append(self.tensor)
        return changed

    def _works(self, coefficients: list[torch.Tensor]) -> torch.Tensor:
        predicted = torch.zeros_like(self.works)
        for (u, v), part, signs in zip(self.maps, coefficients, self.signs, strict=True):
            predicted += (signs * (u @ part.T) ** (self.order - 1)).flatten(1) @ (v @ part.T).flatten(1).T
        return predicted

    def _loss(self, coefficients: list[torch.Tensor]) -> float:
        size = sum(float(part.square().sum()) for part in coefficients)
        return float((self._works(coefficients) - self.works).square().sum()) + RIDGE * size

    def _linearised(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The derivative of the works by the coefficients, and how far they are off."""
        n, columns, off = self.order, [], -self.works.clone()
        for (u, v), part, signs in zip(self.maps, self.coefficients, self.signs, strict=True):
            (k, images, patterns), m = u.shape, len(v)
            flat = v.permute(1, 2, 0).reshape(images, -1)
            for function, sign in zip(part, signs, strict=True):
                along, probe = u @ function, v @ function
                power = sign * along ** (n - 2)
                early = ((n - 1) * power[:, :, None] * u).permute(0, 2, 1).reshape(-1, images) @ probe.T
                late = (power * along) @ flat
                columns.append((early + late.view(-1, m)).view(k, patterns, m).permute(0, 2, 1).reshape(k * m, -1))
                off += (power * along) @ probe.T
        return torch.cat(columns, dim=1), off.flatten()

    def _unpacked(self, flat: torch.Tensor) -> list[torch.Tensor]:
        parts = flat.split([part.numel() for part in self.coefficients])
        return [new.view_as(old) for new, old in zip(parts, self.coefficients, strict=True)]


def _image(group: SpaceGroup, sites: np.ndarray, patterns: np.ndarray, operation: int) -> tuple[np.ndarray, np.ndarray]:
    """Sites and patterns (sites, 3, any) moved by an operation."""
    turned = np.einsum("ab,sbp->sap", group.cartesian[operation], patterns)
    return group.move(operation, np.zeros(3, dtype=int), sites), turned


def _gathered(moves: np.ndarray, supercell: Supercell, sites: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    """Displacements (k, atoms, 3) along patterns (sites, 3, p) at all lattice points: (k, cells, p)."""
    cells = supercell.translations
    shifted = np.repeat(sites[None], len(cells), axis=0)
    shifted[:, :, :3] += cells[:, None]
    near = moves[:, supercell.index(shifted)]
    return near.reshape(len(moves), len(cells), -1) @ patterns.reshape(-1, patterns.shape[-1])


def _projected(group: SpaceGroup, supercell: Supercell, kind: Kind, moves: np.ndarray) -> torch.Tensor:
    """Displacements along the patterns of a kind and all their images: (k, images, patterns)."""
    parts = [
        _gathered(moves, supercell, *_image(group, kind.sites, kind.patterns, int(operation))).astype(np.float32)
        for operation in kind.operations
    ]
    return torch.from_numpy(np.concatenate(parts, axis=1))
