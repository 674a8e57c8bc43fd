"""Spherical harmonics and the Clebsch–Gordan tables of the convolution, in e3nn's convention.

Features are arrays (nodes, (l_max + 1)², channels), components of l = 0, 1, … in turn, in e3nn's order inside each l.
Our models keep natural parity, (−1)^l, alone: a path (l1, l2, l3) needs an even l1 + l2 + l3, which makes them exact
under mirrors. Some of others take all paths.

Source: Batzner et al., Nat. Commun. 13, 2453 (2022), for the paths; the tables are those of `e3nn.o3.wigner_3j`,
written by `scripts/couplings.py`.
"""

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

# e3nn.o3 is imported for l > 4 alone: it loads torch._dynamo, which takes two seconds and writes to os.environ.
CONVENTION = "e3nn>=0.5 (wigner_3j phases of 0.4.4 differ)"


def dimension(l_max: int) -> int:
    """Count the components of all l up to `l_max`.

    Source: ours.
    """
    return (l_max + 1) ** 2


def block(l: int) -> slice:
    """Locate the components of one l in a feature array.

    Source: ours.
    """
    return slice(l * l, (l + 1) * (l + 1))


def spherical_harmonics(l_max: int, directions: Float[Tensor, "edges 3"]) -> Float[Tensor, "edges components"]:
    """Evaluate real spherical harmonics, normalised so that each l has a squared norm of 2 l + 1.

    Args:
        l_max: highest l; up to 4 by closed forms, beyond by e3nn.
        directions: unit vectors, dimensionless.

    Returns:
        Dimensionless values in e3nn's component order, which for l = 1 is x, y, z.

    Source: e3nn's `component` normalisation; closed forms ours, tested against e3nn.
    """
    if l_max > 4:
        from e3nn import o3

        return o3.spherical_harmonics(list(range(l_max + 1)), directions, normalize=False, normalization="component")
    x, y, z = directions.unbind(-1)
    parts = [torch.ones_like(x)]
    for l in range(1, l_max + 1):
        parts += _HARMONICS[l](x, y, z)
    return torch.stack(parts, dim=-1)


def _first(x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
    root3 = math.sqrt(3.0)
    return [root3 * x, root3 * y, root3 * z]


def _second(x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
    root15, root5 = math.sqrt(15.0), math.sqrt(5.0)
    return [
        root15 * x * z,
        root15 * x * y,
        root5 * (y * y - 0.5 * (x * x + z * z)),
        root15 * y * z,
        0.5 * root15 * (z * z - x * x),
    ]


def _third(x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
    a, b, c = math.sqrt(35 / 8), math.sqrt(105.0), math.sqrt(21 / 8)
    xx, yy, zz = x * x, y * y, z * z
    return [
        a * x * (3 * zz - xx),
        b * x * y * z,
        c * x * (5 * yy - 1),
        math.sqrt(7) / 2 * y * (5 * yy - 3),
        c * z * (5 * yy - 1),
        b / 2 * y * (zz - xx),
        a * z * (zz - 3 * xx),
    ]


def _fourth(x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
    a, b, c, d = 1.5 * math.sqrt(35), 0.75 * math.sqrt(70), 1.5 * math.sqrt(5), 0.75 * math.sqrt(10)
    xx, yy, zz = x * x, y * y, z * z
    return [
        a * x * z * (zz - xx),
        b * x * y * (3 * zz - xx),
        c * x * z * (7 * yy - 1),
        d * x * y * (7 * yy - 3),
        0.375 * (35 * yy * yy - 30 * yy + 3),
        d * y * z * (7 * yy - 3),
        c / 2 * (zz - xx) * (7 * yy - 1),
        b * y * z * (zz - 3 * xx),
        a / 4 * (zz * (zz - 3 * xx) - xx * (3 * zz - xx)),
    ]


_HARMONICS = {1: _first, 2: _second, 3: _third, 4: _fourth}


@dataclass(frozen=True)
class Paths:
    """The couplings (l1, l2, l3) of a convolution and their sparse tables.

    `terms` are the non-zero coefficients: entry, m2, value; an entry is one (path, m3, m1) product. All dimensionless.
    The paths into one degree share its rows, or each has rows of its own where they are `apart`.

    Source: ours.
    """

    l_in: int
    l_edge: int
    l_out: int
    apart: bool
    natural: bool
    triples: tuple[tuple[int, int, int], ...]
    entry_path: np.ndarray
    entry_out: np.ndarray
    entry_in: np.ndarray
    term_entry: np.ndarray
    term_edge: np.ndarray
    term_value: np.ndarray

    def __len__(self) -> int:
        """Count the paths."""
        return len(self.triples)

    def into(self, l: int) -> int:
        """Count the paths into one degree."""
        return sum(triple[2] == l for triple in self.triples)

    def rows(self, l: int) -> slice:
        """Locate the rows of one degree in the convolution's result; where paths are apart, components × paths."""
        sizes = [(2 * k + 1) * (self.into(k) if self.apart else 1) for k in range(l + 1)]
        return slice(sum(sizes[:-1]), sum(sizes))

    @property
    def n_rows(self) -> int:
        """Count the rows of the convolution's result."""
        return self.rows(self.l_out).stop


def coupling(l1: int, l2: int, l3: int) -> Float[np.ndarray, "m1 m2 m3"]:
    """Tabulate the invariant of three angular momenta (dimensionless), of unit norm: up to l = 4 as shipped.

    Source: `e3nn.o3.wigner_3j` of e3nn 0.5 and later.
    """
    name = f"{l1}{l2}{l3}"
    if name in _couplings():
        return _couplings()[name]
    from e3nn import o3

    return o3.wigner_3j(l1, l2, l3, dtype=torch.float64).numpy()


@functools.cache
def _couplings() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_name("couplings.npz"), allow_pickle=False) as tables:
        flat, degrees = tables["values"], tables["degrees"]
    couplings, start = {}, 0
    for l1, l2, l3 in degrees.tolist():
        shape = (2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1)
        couplings[f"{l1}{l2}{l3}"] = flat[start : start + math.prod(shape)].reshape(shape)
        start += math.prod(shape)
    return couplings


@functools.cache
def paths(l_in: int, l_edge: int, l_out: int, apart: bool = False, natural: bool = True) -> Paths:
    """Tabulate every natural-parity coupling of node features with edge harmonics, or every coupling at all.

    Each output component has unit variance when inputs have and all paths into it are weighted by 1; with paths that
    are kept apart, each path by itself.

    Source: Batzner et al., Nat. Commun. 13, 2453 (2022), eq. 6; coefficients from `e3nn.o3.wigner_3j`.
    """
    triples = tuple(
        (l1, l2, l3)
        for l3 in range(l_out + 1)
        for l1 in range(l_in + 1)
        for l2 in range(l_edge + 1)
        if abs(l1 - l2) <= l3 <= l1 + l2 and not (natural and (l1 + l2 + l3) % 2)
    )
    into = {l: sum(t[2] == l for t in triples) for l in range(l_out + 1)}
    start = {l: sum((2 * k + 1) * (into[k] if apart else 1) for k in range(l)) for l in range(l_out + 1)}
    entries: list[tuple[int, int, int]] = []
    terms: list[tuple[int, int, float]] = []
    for p, (l1, l2, l3) in enumerate(triples):
        table = coupling(l1, l2, l3) * math.sqrt((2 * l3 + 1) / (1 if apart else into[l3]))
        before = sum(into[l] for l in range(l3))
        for m3 in range(2 * l3 + 1):
            row = start[l3] + (m3 * into[l3] + p - before if apart else m3)
            for m1 in range(2 * l1 + 1):
                nonzero = np.flatnonzero(np.abs(table[m1, :, m3]) > 1e-10)
                if nonzero.size == 0:
                    continue
                terms += [(len(entries), l2 * l2 + int(m2), float(table[m1, m2, m3])) for m2 in nonzero]
                entries.append((p, row, l1 * l1 + m1))
    entry = np.array(entries, dtype=np.int64)
    return Paths(
        l_in, l_edge, l_out, apart, natural, triples,
        np.ascontiguousarray(entry[:, 0]), np.ascontiguousarray(entry[:, 1]), np.ascontiguousarray(entry[:, 2]),
        np.array([t[0] for t in terms], dtype=np.int64),
        np.array([t[1] for t in terms], dtype=np.int64),
        np.array([t[2] for t in terms], dtype=np.float64),
    )  # fmt: skip
