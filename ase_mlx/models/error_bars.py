"""From the members' variance to calibrated standard deviations: σ² = (1 + g² d²)(a² s² + b²) + (c D)².

Of an energy s is twice calibrated, and the larger bar counts: as the spread of the members' energies ("energy"), and as
the sum over atoms of what members disagree about each ("energies"). Members disagree at random about atoms that are
alike, so of a large cell the first is small; but a model that is wrong about an atom is wrong about all like it.

Second derivatives, and what follows from them, gain beyond the edge a share of their own size (`widening`).

D is what environments beyond the edge of the training data may hide. Of one atom it is d^1.5 there and nothing well
within; of a force the largest of the atom's and its neighbours', of energies and virials the sum over all atoms: a
model that is wrong about an environment is wrong in the same way about each one like it.

Source: ours.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ase_mlx.graph import Graph

from .mechanics import sum_by_graph

CALIBRATED = ("energy", "forces", "stress", "hessian", "energies")
"""What has a scale of its own, in the order of the buffers that hold it."""

OF_STRUCTURES = ("energy", "energies")

RISE = 0.9
"""Distance score at which bars begin to take in what lies beyond the edge; all of it from 1 on."""


STIFFNESS = 0.1
"""Share of their size that second derivatives may be off by at the edge of the training data; beyond it the share grows
as d^1.5. Twice that of forces, found on surrogates (`benchmarks/distance.py`)."""


def calibrated(
    bars: nn.Module, graph: Graph, variance: Mapping[str, Tensor], distance: Float[Tensor, " atoms"] | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Standard deviations of quantities whose scale is known, and the part of them that is noise (eV, eV/Å, eV/Å³).

    Args:
        bars: a model with the buffers `std_scale` (a), `std_floor` (b), `std_growth` (g) and `std_beyond` (c: eV, eV/Å
            and, of the stress times the volume, eV), one a quantity of `CALIBRATED`.
        graph: the structures.
        variance: s², units squared; of "energy" and "energies" that of whole structures.
        distance: score of each atom (dimensionless), where it is known.

    Source: ours.
    """
    std, noise = {}, {}
    for name, raw in variance.items():
        scale, floor = (x[CALIBRATED.index(name)].to(torch.float64) for x in (bars.std_scale, bars.std_floor))
        if bool(scale > 0):
            size = graph.n_atoms.to(torch.float64) if name in OF_STRUCTURES else 1.0
            within = torch.sqrt(scale**2 * raw + (floor * size) ** 2)
            std[name] = widened(bars, name, graph, within, distance)
            noise[name] = (floor * size).expand_as(within)
    if "energies" in std:
        noise["energy"] = torch.where(std["energies"] > std["energy"], noise.pop("energies"), noise["energy"])
        std["energy"] = torch.maximum(std["energy"], std.pop("energies"))
    return std, noise


def widened(
    bars: nn.Module, name: str, graph: Graph, std: Float[Tensor, "*items"], distance: Float[Tensor, " atoms"] | None
) -> Float[Tensor, "*items"]:
    """Widen a bar (eV, eV/Å, eV/Å³) by the distance from the training data: the factor within, the summand beyond.

    Source: ours.
    """
    grown = std * growth(bars, name, graph, distance)
    return torch.hypot(grown, beyond(bars, name, graph, distance).expand_as(grown))


def growth(
    bars: nn.Module, name: str, graph: Graph, distance: Float[Tensor, " atoms"] | None
) -> Float[Tensor, "*items"] | float:
    """Factor √(1 + g² d²) of a bar (dimensionless): d is the score of the atom, or the mean of a structure's.

    Beyond the edge of the training data it grows no more.

    Source: ours.
    """
    g = bars.std_growth[CALIBRATED.index(name)].to(torch.float64)
    if distance is None or not bool(g > 0):
        return 1.0
    d = distance.to(torch.float64).clamp_max(1)
    d = d if name == "forces" else sum_by_graph(graph, d) / graph.n_atoms
    factor = torch.sqrt(1 + (g * d) ** 2)
    return factor if name in OF_STRUCTURES else factor.unsqueeze(-1)


def beyond(
    bars: nn.Module, name: str, graph: Graph, distance: Float[Tensor, " atoms"] | None
) -> Float[Tensor, "*items"]:
    """What a bar gains from environments beyond the edge of the training data (eV, eV/Å, eV/Å³).

    Source: ours.
    """
    c = bars.std_beyond[CALIBRATED.index(name)].to(torch.float64)
    if distance is None or not bool((distance > RISE).any()) or not bool(c > 0):
        return c.new_zeros(())
    hidden = c * _hidden(distance.to(torch.float64))
    if name == "forces":
        near = hidden.scatter_reduce(0, graph.center, hidden[graph.neighbor], "amax")
        return near.unsqueeze(-1)
    total = sum_by_graph(graph, hidden)
    return total if name in OF_STRUCTURES else (total / graph.volume).unsqueeze(-1)


def _hidden(d: Float[Tensor, " atoms"]) -> Float[Tensor, " atoms"]:
    rise = ((d - RISE) / (1 - RISE)).clamp(0, 1)
    return d.pow(1.5) * rise.square() * (3 - 2 * rise)


def widening(
    distance: Float[np.ndarray, " atoms"] | None,
    values: Float[np.ndarray, "*items"],
    deviations: Float[np.ndarray, "*rows"],
) -> float:
    """Factor of the bars of second derivatives (dimensionless): 1 where no environment is beyond the training data.

    Beyond, the bars' root mean square is at least the share of the values' own that environments as far out as the
    farthest may hide.

    Args:
        distance: score of each atom (dimensionless), None where it is not known.
        values: any unit.
        deviations: whose squares add up to the bars' (same unit).

    Source: ours.
    """
    if distance is None or not np.any(far := np.asarray(distance) > RISE):
        return 1.0
    share = STIFFNESS * float(_hidden(torch.as_tensor(np.asarray(distance)[far], dtype=torch.float64)).max())
    spread = np.linalg.norm(deviations)
    return float(np.hypot(1.0, share * np.linalg.norm(values) / spread)) if spread > 0 else 1.0
