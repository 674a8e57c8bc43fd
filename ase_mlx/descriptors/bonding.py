"""Descriptors of how a crystal's atoms sit: from one list of neighbours, for a whole batch at once.

Bonds are soft: a pair counts by how its length compares with the distance to the nearest neighbour, of that one of its
atoms for which this is longer. Charges are what bonds
between unlike atoms carry, so they add up to zero, and interact by a damped Coulomb sum.

Source: ours; bond valences after I. D. Brown and D. Altermatt, Acta Cryst. B 41, 244 (1985); damped sum after
D. Wolf et al., J. Chem. Phys. 110, 8254 (1999).
"""

import numpy as np
from jaxtyping import Float
from scipy.special import erfc

from ase_mlx.descriptors.elements import element_property
from ase_mlx.graph import Graph

CUTOFF = 6.0
"""Å; neighbours farther away are not seen."""

BOND, SOFTNESS = 1.25, 0.05
"""A pair is a bond where it is shorter than 1.25 nearest distances; 0.05 is the width of that edge."""

VALENCE_LENGTH = 0.37
"""Å; over which a bond's valence falls by e."""

DAMPING = 0.35
"""1/Å; of the Coulomb sum."""

BINS = np.arange(0.65, 1.8, 0.1)
"""Centres of the radial distribution's bins, in units of the cube root of the volume per atom."""

NAMES = (
    "log volume per atom",
    "density",
    "packing fraction",
    "log volume ratio to elements",
    *(f"{s} nearest reduced distance" for s in ("min", "mean", "std", "max")),
    *(f"{s} coordination" for s in ("mean", "std", "min", "max")),
    "mean bond electronegativity difference",
    "std bond electronegativity difference",
    "unlike bonds",
    *(f"{s} site charge" for s in ("mean absolute", "max absolute", "std within elements")),
    "Coulomb energy per atom",
    "max site Coulomb energy",
    *(f"{s} bond valence" for s in ("mean", "std within elements")),
    "closest like charges",
    *(f"radial distribution {x:.2f}" for x in BINS),
)


def bonding_descriptors(graph: Graph) -> Float[np.ndarray, "crystals n"]:
    """Describe volume, packing, bond lengths, coordination, charge transfer and radial distribution.

    Args:
        graph: crystals with their neighbours within `CUTOFF` (Å).

    Returns:
        Numbers in the order of `NAMES`: volumes in log Å³, density in amu/Å³, valences and charges in e, Coulomb
        energies in e²/Å, the rest dimensionless.

    Source: see the module.
    """
    of, count = graph.atom_graph.numpy(), graph.n_graphs
    numbers, atoms = graph.numbers.numpy(), graph.n_atoms.numpy()
    i, j = graph.center.numpy(), graph.neighbor.numpy()
    r = np.linalg.norm(graph.vectors().numpy(), axis=1)
    mean = lambda x: np.bincount(of, x, count) / atoms  # noqa: E731
    volume = graph.volume.numpy() / atoms
    radius = element_property("CovalentRadius")[numbers] / 100
    chi = element_property("Electronegativity")[numbers]
    reduced = r / (radius[i] + radius[j])
    columns = [
        np.log(volume),
        mean(element_property("AtomicWeight")[numbers]) / volume,
        4 / 3 * np.pi * mean(radius**3) / volume,
        np.log(volume / mean(element_property("GSvolume_pa")[numbers])),
    ]
    nearest = _least(reduced, i, len(numbers), 2.5)
    columns += _four(nearest, of, count, ("min", "mean", "std", "max"))
    shortest = _least(r, i, len(numbers), CUTOFF)
    near = r / np.maximum(shortest[i], shortest[j])
    bond = 1 / (1 + np.exp(np.clip((near - BOND) / SOFTNESS, -50, 50)))
    columns += _four(np.bincount(i, bond, len(numbers)), of, count, ("mean", "std", "min", "max"))
    total = np.maximum(np.bincount(of[i], bond, count), 1e-9)
    difference = np.abs(chi[i] - chi[j])
    average = np.bincount(of[i], bond * difference, count) / total
    square = np.bincount(of[i], bond * difference**2, count) / total
    columns += [average, np.sqrt(np.maximum(square - average**2, 0))]
    columns.append(np.bincount(of[i], bond * (numbers[i] != numbers[j]), count) / total)
    valence = np.exp(np.clip((radius[i] + radius[j] - r) / VALENCE_LENGTH, None, 3))
    charge = np.bincount(i, valence * (chi[j] - chi[i]), len(numbers))
    columns += _electrostatics(charge, numbers, of, count, i, j, r, reduced)
    sums = np.bincount(i, valence, len(numbers))
    columns += [mean(sums), _within(sums, numbers, of, count)]
    columns.append(_least(np.where(charge[i] * charge[j] > 0, reduced, 2.5), of[i], count, 2.5))
    columns += _radial(r, of[i], volume, atoms)
    return np.column_stack(columns)


def _electrostatics(charge, numbers, of, count, i, j, r, reduced) -> list[np.ndarray]:
    potential = np.bincount(i, charge[j] * erfc(DAMPING * r) / r, len(numbers))
    energy = charge * potential / 2 - DAMPING / np.sqrt(np.pi) * charge**2
    atoms = np.bincount(of, minlength=count)
    size = np.abs(charge)
    return [
        np.bincount(of, size, count) / atoms,
        -_least(-size, of, count, 0.0),
        _within(charge, numbers, of, count),
        np.bincount(of, energy, count) / atoms,
        -_least(-energy, of, count, np.inf),
    ]


def _within(values: np.ndarray, numbers: np.ndarray, of: np.ndarray, count: int) -> np.ndarray:
    """Standard deviation among atoms of one element in one crystal, root mean square over a crystal's atoms."""
    kind = of * 128 + numbers
    _, kind = np.unique(kind, return_inverse=True)
    average = np.bincount(kind, values) / np.bincount(kind)
    return np.sqrt(np.bincount(of, (values - average[kind]) ** 2, count) / np.bincount(of, minlength=count))


def _least(values: np.ndarray, of: np.ndarray, count: int, start: float) -> np.ndarray:
    least = np.full(count, start)
    np.minimum.at(least, of, values)
    return least


def _four(values: np.ndarray, of: np.ndarray, count: int, order: tuple[str, ...]) -> list[np.ndarray]:
    atoms = np.bincount(of, minlength=count)
    mean = np.bincount(of, values, count) / atoms
    std = np.sqrt(np.bincount(of, (values - mean[of]) ** 2, count) / atoms)
    ends = {"min": _least(values, of, count, np.inf), "max": -_least(-values, of, count, np.inf)}
    return [{"mean": mean, "std": std, **ends}[name] for name in order]


def _radial(r: np.ndarray, of: np.ndarray, volume: np.ndarray, atoms: np.ndarray) -> list[np.ndarray]:
    """Pairs in each bin, Gaussians as wide as a bin, over those of the same number of atoms at random places."""
    x = r / np.cbrt(volume)[of]
    near = x < BINS[-1] + 0.4
    x, of = x[near], of[near]
    columns = []
    for centre in BINS:
        share = np.exp(-0.5 * ((x - centre) / 0.05) ** 2) / (0.05 * np.sqrt(2 * np.pi))
        columns.append(np.bincount(of, share, len(atoms)) / atoms / (4 * np.pi * centre**2))
    return columns
