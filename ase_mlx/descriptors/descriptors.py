"""All descriptors of a batch of crystals as one table.

Source: ours; the parts as their modules say.
"""

import numpy as np
from jaxtyping import Float, Int

from ase_mlx.descriptors import bonding, composition, symmetry
from ase_mlx.descriptors.bonding import CUTOFF
from ase_mlx.descriptors.diffraction import describe_patterns, powder_patterns
from ase_mlx.graph import Graph

__all__ = ["CUTOFF", "GROUPS", "NAMES", "STRUCTURE", "VERSION", "anion_classes", "check_periodic", "describe"]

VERSION = 1
"""Changes with every change of a descriptor's meaning: models say which one they were trained on."""

NAMES = (*composition.NAMES, *symmetry.NAMES, *bonding.NAMES)

STRUCTURE = len(composition.NAMES)
"""Descriptors from here on need the structure; those before it, the composition alone."""


def _groups() -> dict[str, tuple[int, ...]]:
    """Places of descriptors that say one kind of thing."""
    starts = {
        "elements": 0,
        "stoichiometry": NAMES.index("0-norm"),
        "valence": NAMES.index("frac s valence electrons"),
        "symmetry": STRUCTURE,
        "cell shape": NAMES.index("log conventional axes ratio"),
        "volume": NAMES.index("log volume per atom"),
        "distances": NAMES.index("min nearest reduced distance"),
        "coordination": NAMES.index("mean coordination"),
        "unlike bonds": NAMES.index("mean bond electronegativity difference"),
        "charges": NAMES.index("mean absolute site charge"),
        "bond valence": NAMES.index("mean bond valence"),
        "radial distribution": NAMES.index("radial distribution 0.65"),
    }
    ends = [*list(starts.values())[1:], len(NAMES)]
    return {name: tuple(range(a, b)) for (name, a), b in zip(starts.items(), ends, strict=True)}


GROUPS = _groups()
"""Places of descriptors by what they tell of a crystal."""


def describe(graph: Graph, diffraction: bool = False) -> Float[np.ndarray, "crystals n"]:
    """Describe crystals by numbers that rotations, permutations and supercells leave alone.

    Args:
        graph: crystals with their neighbours within `CUTOFF` (Å), as `from_atoms(atoms, CUTOFF)` and `batch` give it.
        diffraction: their powder patterns too.

    Returns:
        One row a crystal, in the order of `NAMES` and `diffraction.PATTERN`, in the units that the modules say.

    Raises:
        ValueError: not periodic in three directions, or an element beyond plutonium.

    Source: ours.
    """
    check_periodic(graph)
    parts = [composition.composition_descriptors(_fractions(graph)), symmetry.symmetry_descriptors(graph)]
    parts.append(bonding.bonding_descriptors(graph))
    if diffraction:
        parts.append(describe_patterns(powder_patterns(graph), parts[0]))
    return np.column_stack(parts)


def check_periodic(graph: Graph) -> None:
    """Refuse slabs and molecules (cells in Å with open directions).

    Raises:
        ValueError: not periodic in three directions.

    Source: ours.
    """
    if not bool(graph.pbc.all()):
        raise ValueError(
            f"got pbc={graph.pbc[~graph.pbc.all(1)][0].tolist()}, expected a crystal, periodic in three directions; "
            "give a slab or molecule a cell with vacuum and pbc=True, and expect it to look strange"
        )


def anion_classes(graph: Graph) -> Int[np.ndarray, " crystals"]:
    """Sort crystals by their anion (places in `composition.CLASSES`).

    Source: ours.
    """
    return composition.anion_class(_fractions(graph))


def _fractions(graph: Graph) -> Float[np.ndarray, "crystals elements"]:
    return composition.fractions_of(graph.numbers.numpy(), graph.atom_graph.numpy(), graph.n_graphs)
