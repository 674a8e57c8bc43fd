"""What is wanted of crystals that are drawn: elements, space group, numbers of atoms, ranges of properties.

Source: ours.
"""

import difflib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ase_mlx.descriptors.gene_rows import ELEMENTS, GROUPS
from ase_mlx.quantities import SYMBOLS
from ase_mlx.structure import Structure

from .config import PROPERTIES


@dataclass(frozen=True)
class Conditions:
    """What a sampling allows: masks over space groups and elements, elements that must occur, numbers of atoms.

    `ranges` of properties are in the units of `PROPERTIES`.

    Source: ours.
    """

    groups: Bool[Tensor, " groups"]
    elements: Bool[Tensor, " elements"]
    required: Bool[Tensor, " elements"]
    fewest: int
    most: int
    ranges: dict[str, tuple[float, float]]

    @classmethod
    def of(
        cls,
        model: Any,
        elements: Sequence[int | str] = (),
        allowed: Sequence[int | str] = (),
        space_group: int | None = None,
        atoms: int | tuple[int, int] | None = None,
        **properties: Any,
    ) -> "Conditions":
        """Read conditions.

        Raises:
            ValueError: an unknown element or group, or conditions that contradict each other.
        """
        required, among = _numbers(elements, model), _numbers(allowed, model) or list(model.elements)
        if outside := [z for z in required if z not in among]:
            raise ValueError(f"got the required elements {outside}, which are not among those allowed: {among}")
        groups = torch.zeros(GROUPS + 1, dtype=torch.bool)
        if space_group is None:
            groups[1:] = True
        elif isinstance(space_group, int) and 1 <= space_group <= GROUPS:
            groups[space_group] = True
        else:
            raise ValueError(f"got space_group = {space_group!r}, expected a number from 1 to {GROUPS}")
        fewest, most = (atoms, atoms) if isinstance(atoms, int) else atoms or (1, model.config.most_atoms)
        if not 1 <= fewest <= most <= model.config.most_atoms or len(required) > most:
            raise ValueError(
                f"got atoms = {atoms} with {len(required)} required elements, expected a range within 1 to "
                f"{model.config.most_atoms} that has room for them"
            )
        masks = torch.zeros(2, ELEMENTS, dtype=torch.bool)
        masks[0, among], masks[1, required] = True, True
        return cls(groups, masks[0], masks[1], fewest, most, _ranges(properties, model))

    def fulfilled(self, structure: Structure) -> bool:
        """Tell whether a crystal has the elements and the number of atoms that are wanted."""
        there = set(structure.numbers.tolist())
        return (
            self.fewest <= len(structure.numbers) <= self.most and set(self.required.nonzero()[:, 0].tolist()) <= there
        )


def _ranges(properties: dict[str, Any], model: Any) -> dict[str, tuple[float, float]]:
    """Check ranges of properties; told where they reach beyond what the model was taught."""
    known, ranges = model.config.properties, {}
    for name, pair in properties.items():
        if name not in known:
            near = difflib.get_close_matches(name, (*known, "elements", "allowed", "space_group", "atoms"), n=1)
            raise ValueError(
                f"got the condition {name!r}, expected elements, allowed, space_group, atoms"
                + "".join(f", {each}" for each in known)
                + (f"; did you mean {near[0]!r}?" if near else "")
            )
        numbers = isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(x, int | float) for x in pair)
        if not numbers or not pair[0] < pair[1]:
            raise ValueError(f"got {name} = {pair!r}, expected (least, most) in {PROPERTIES[name]}")
        ranges[name] = (float(pair[0]), float(pair[1]))
        k = known.index(name)
        least, most = float(model.property_least[k]), float(model.property_most[k])
        if pair[0] > most or pair[1] < least:
            warnings.warn(
                f"{name} from {pair[0]:g} to {pair[1]:g} {PROPERTIES[name]} lies outside the training data ("
                f"{least:.3g} to {most:.3g}, 1 and 99 %): what is generated extrapolates",
                stacklevel=4,
            )
    return ranges


def _numbers(elements: Sequence[int | str], model: Any) -> list[int]:
    several = [elements] if isinstance(elements, int | str) else list(elements)
    numbers = [SYMBOLS.index(e) if isinstance(e, str) and e in SYMBOLS else e for e in several]
    if unknown := [e for e in numbers if e not in model.elements]:
        missing = [SYMBOLS[e] if isinstance(e, int) and 0 < e < len(SYMBOLS) else e for e in unknown]
        raise ValueError(
            f"got the elements {missing}, expected symbols of those that the model knows, one a word (Ga, N): "
            f"{len(model.elements)} from {SYMBOLS[min(model.elements)]} to {SYMBOLS[max(model.elements)]}"
        )
    return numbers
