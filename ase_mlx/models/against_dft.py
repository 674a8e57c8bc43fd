"""Bars against DFT of a model whose labels another model made: σ² = σ²(against its labels) + σ²(labels against DFT).

The second was measured on crystals whose DFT is known, by class of bonding (`descriptors.bond_classes`): w at rest,
and of forces and stress a share s of the structure's root mean square, as displaced and strained cells have it:

    σ²(labels against DFT) = w² + s² rms²,   an energy: (N w)² of N atoms, since errors of atoms alike add up

w and s are widths within which 68 % of the errors lie, no second moments: the errors have long tails. An energy's error
is that of the energy relative to the elements, without what one reference energy an element takes away. Structures
without a volume have no such bar: no molecule, no free atom was measured.

Source: ours; measured by `data/against_dft.py`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ase_mlx.descriptors.bond_classes import CLASSES, bond_class
from ase_mlx.graph import Graph
from ase_mlx.quantities import SYMBOLS

from .mechanics import sum_by_graph
from .prediction import Prediction

LINE = "errors_against_dft"
"""Line of a card that holds the table."""

MEASURED = ("energy", "forces", "stress")


def mean_square(name: str, values: Float[Tensor, "*items components"]) -> Float[Tensor, "*items"]:
    """Mean square of the components of forces or of a stress (units squared), the same however a crystal is turned.

    Args:
        name: "forces", or "stress", whose shears (Voigt) count twice.
        values: eV/Å or eV/Å³.

    Source: ours.
    """
    square = values.square()
    return torch.cat([square, square[..., 3:]], -1).mean(-1)


@dataclass(frozen=True)
class AgainstDFT:
    """Errors of labels against DFT: of each class of bonding widths at rest (eV/atom, eV/Å, eV/Å³), and shares.

    Attributes:
        labels: the model that made the labels.
        sha256: of the file that this model came in.
        classes: by class and quantity: "width", "share" (dimensionless) and "count" of what they were measured on.
        tail: 95 % of the model's own errors lie within so many bars (dimensionless); empty where not measured.
        source: what was measured by which script, and what was not.
        own: whether the model is the one that made the labels, so that there is no other error.

    Source: ours.
    """

    labels: str
    sha256: str
    classes: Mapping[str, Mapping[str, Mapping[str, float]]]
    tail: Mapping[str, float] = field(default_factory=dict)
    source: str = ""
    own: bool = False

    def __post_init__(self):
        """Refuse a table with holes: a bar that is missing would read as none."""
        for name in CLASSES:
            widths = [self.classes.get(name, {}).get(quantity, {}).get("width", 0.0) for quantity in MEASURED]
            if not all(0 < width < 1e3 for width in widths):
                raise ValueError(
                    f"got widths {widths} of {', '.join(MEASURED)} against DFT for {name!r}, expected positive ones of "
                    "every class; measure them anew by data/against_dft.py"
                )

    @classmethod
    def read(cls, card: Mapping[str, Any]) -> "AgainstDFT | None":
        """Read the table from a card; None where there is none.

        Raises:
            ValueError: a class without a positive width.
        """
        if not card.get(LINE):
            return None
        origin = card.get("origin")
        file = origin.get("sha256") if isinstance(origin, dict) else None
        return cls(**card[LINE], own=file == card[LINE]["sha256"])

    def line(self) -> dict[str, Any]:
        """Give the table as it stands in a card, where `own` follows from the other lines."""
        return {key: value for key, value in asdict(self).items() if key != "own"}

    def widths(self, graph: Graph, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Errors of the labels of structures: energy (eV), forces (eV/Å), stress (eV/Å³), of the shape of `values`.

        Args:
            graph: the structures (Å).
            values: predicted, in the same units; what is not there, is left out.
        """
        atoms = graph.numbers.split(graph.n_atoms.tolist())
        rows = [self.classes[bond_class(SYMBOLS[z] for z in torch.unique(numbers).tolist())] for numbers in atoms]
        widths = {}
        for name in (n for n in MEASURED if n in values):
            value = values[name].detach().to(torch.float64)
            width, share = (value.new_tensor([row[name].get(key, 0.0) for row in rows]) for key in ("width", "share"))
            if name == "energy":
                widths[name] = width * graph.n_atoms
                continue
            square = mean_square(name, value)
            square = sum_by_graph(graph, square) / graph.n_atoms if name == "forces" else square
            structure = torch.sqrt(width**2 + share**2 * square)
            widths[name] = (structure[graph.atom_graph] if name == "forces" else structure)[:, None].expand_as(value)
        return widths

    def extended(self, graph: Graph, prediction: Prediction) -> Prediction:
        """Give a prediction with its `std_dft` (units as `std`), where the model's error against its labels is known.

        Crystals alone have it: without a volume nothing was measured.
        """
        if not bool((graph.volume > 1e-6).all()):
            return prediction
        widths, std = self.widths(graph, prediction), prediction.std
        if not self.own:
            widths = {n: torch.hypot(std[n].to(torch.float64), width) for n, width in widths.items() if n in std}
        rest = (prediction.std, prediction.members, prediction.note, prediction.noise)
        return Prediction(prediction, *rest, std_dft=widths)
