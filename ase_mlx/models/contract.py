"""What a model may answer: numbers of a structure, a field at points, new structures. A model is one or more of these.

Each is an abstract class without weights; a model is also a `torch.nn.Module`.

    class BandGap(Model): ...                        # Model: a torch.nn.Module that Predicts
    class Density(Model, Field): ...                 # numbers of a structure, and a field
    class Crystals(torch.nn.Module, Generates): ...  # new structures, nothing else

Source: ours.
"""

import abc
from typing import Any

from ase_mlx.graph import Graph, Points
from ase_mlx.quantities import Quantity
from ase_mlx.structure import Structure

from .prediction import Prediction


class Predicts(abc.ABC):
    """From a structure's graph to numbers, in the package's units: what (`outputs`), of which `elements`.

    `cutoff` (Å) is how far the edges of the graph reach.

    Source: ours.
    """

    outputs: tuple[Quantity, ...]
    cutoff: float
    elements: tuple[int, ...]

    @abc.abstractmethod
    def forward(self, graph: Graph) -> Prediction:
        """Predict all outputs of a batched graph that are no fields; arrays are torch tensors in the package's units.

        One value a structure: (graphs, *shape); an atom: (atoms, *shape); an edge: (edges, *shape).
        """

    @abc.abstractmethod
    def with_std(self, graph: Graph) -> Prediction:
        """Predict as `forward`, with `std` and `members` where the model knows them, in the package's units."""


class Field(abc.ABC):
    """From one structure's graph and points to a field there, such as a density (e/Å³).

    Source: ours.
    """

    outputs: tuple[Quantity, ...]
    cutoff: float
    elements: tuple[int, ...]

    @abc.abstractmethod
    def at(self, graph: Graph, points: Points, std: bool = False, **conditions: Any) -> Prediction:
        """Predict the outputs that belong to points, in the package's units and the shape of the points.

        Args:
            graph: of one structure, Å.
            points: a grid of the cell or scattered ones.
            std: also the standard deviations, where they are known.
            **conditions: what else the field depends on: a density takes `charge`, in e.
        """


class Generates(abc.ABC):
    """From a seed, and conditions, to new structures of some `elements`.

    It may also have `encode(structures)`, `decode(latents)`, `interpolate(start, end, n)` and `optimize(structures)`:
    on the models that `am.load` gives, these take and give `ase.Atoms` in place of `Structure`, as `sample` does.

    Source: ours.
    """

    outputs: tuple[Quantity, ...] = ()
    elements: tuple[int, ...]

    @abc.abstractmethod
    def sample(self, n: int, seed: int = 0, **conditions: Any) -> list[Structure]:
        """Draw structures (Å).

        Args:
            n: how many.
            seed: equal seeds give equal structures.
            **conditions: what is wanted of them, by the names and units of quantities; a pair is a range.
        """
