"""Descriptors of what a crystal is made of.

Source: statistics of elements as in L. Ward et al., npj Comput. Mater. 2, 16028 (2016); charge balance and pair
differences are ours.
"""

import functools
import itertools

import numpy as np
from jaxtyping import Float, Int

from ase_mlx.descriptors.elements import LAST, element_property, oxidation_states

STATISTICS = ("mean", "avg_dev", "range", "max")
PROPERTIES = (
    "Number MendeleevNumber AtomicWeight MeltingT Column Row CovalentRadius Electronegativity NsValence NpValence "
    "NdValence NfValence NValence NsUnfilled NpUnfilled NdUnfilled NUnfilled GSvolume_pa"
).split()
FURTHER = ("FirstIonizationEnergy", "Polarizability", "phi", "n_ws^third")
NORMS = (0, 2, 3, 5, 7, 10)
VALENCE = ("NsValence", "NpValence", "NdValence", "NfValence")
MOST_STATES = 20_000
"""Combinations of oxidation states that are tried; more elements than that allows count as balanced."""

NAMES = (
    *(f"{statistic} {name}" for name in PROPERTIES for statistic in STATISTICS),
    *(f"{statistic} {name}" for name in FURTHER for statistic in ("mean", "avg_dev")),
    *(f"{norm}-norm" for norm in NORMS),
    *(f"frac {name[1]} valence electrons" for name in VALENCE),
    "pair difference Electronegativity",
    "charge imbalance",
    "mean oxidation",
)


def composition_descriptors(fractions: Float[np.ndarray, "crystals elements"]) -> Float[np.ndarray, "crystals n"]:
    """Describe compositions by statistics of their elements.

    Args:
        fractions: of atoms, by atomic number, one row a crystal (dimensionless).

    Returns:
        Numbers in the order of `NAMES`, in the units of the element table.

    Source: see the module.
    """
    there = fractions > 0
    columns = []
    for name in PROPERTIES:
        columns += _statistics(fractions, there, element_property(name))
    for name in FURTHER:
        columns += _statistics(fractions, there, element_property(name))[:2]
    columns.append(there.sum(1))
    columns += [(fractions**norm).sum(1) ** (1 / norm) for norm in NORMS[1:]]
    valence = np.stack([fractions[:, 1:] @ element_property(name)[1:] for name in VALENCE], 1)
    columns += list((valence / valence.sum(1, keepdims=True)).T)
    chi = np.nan_to_num(element_property("Electronegativity"))
    columns.append(np.einsum("ci,cj,ij->c", fractions, fractions, np.abs(chi[:, None] - chi)))
    balance = np.array([_balance(*_key(row)) for row in fractions]).reshape(-1, 2)
    return np.column_stack([*columns, *balance.T])


def _statistics(fractions: np.ndarray, there: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    values = np.nan_to_num(values)
    mean = fractions @ values
    deviation = (fractions * np.abs(values - mean[:, None])).sum(1)
    top = np.where(there, values, -np.inf).max(1)
    return [mean, deviation, top - np.where(there, values, np.inf).min(1), top]


def _key(row: np.ndarray) -> tuple[tuple[int, ...], tuple[float, ...]]:
    elements = np.flatnonzero(row)
    return tuple(elements.tolist()), tuple(np.round(row[elements], 9).tolist())


@functools.lru_cache(maxsize=100_000)
def _balance(elements: tuple[int, ...], fractions: tuple[float, ...]) -> tuple[float, float]:
    """Least charge per atom that common oxidation states leave, and the mean size of the states that leave it."""
    states = [oxidation_states(z) for z in elements]
    if np.prod([len(s) for s in states]) > MOST_STATES:
        return 0.0, float(sum(f * max(map(abs, s)) for f, s in zip(fractions, states, strict=True)))
    charges = np.array(list(itertools.product(*states)))
    shares = np.array(fractions)
    left = np.abs(charges @ shares)
    sizes = np.abs(charges) @ shares
    best = np.lexsort((-sizes, np.round(left, 6)))[0]
    return float(left[best]), float(sizes[best])


def fractions_of(
    numbers: Int[np.ndarray, " atoms"], crystal: Int[np.ndarray, " atoms"], count: int
) -> Float[np.ndarray, "crystals elements"]:
    """Count atoms into fractions by element, one row a crystal (dimensionless).

    Raises:
        ValueError: elements beyond plutonium.

    Source: ours.
    """
    if len(numbers) and (numbers.max() > LAST or numbers.min() < 1):
        wrong = sorted(set(numbers[(numbers > LAST) | (numbers < 1)].tolist()))
        raise ValueError(f"got atomic numbers {wrong}, expected 1 to {LAST}; descriptors know hydrogen to plutonium")
    table = np.bincount(crystal * (LAST + 1) + numbers, minlength=count * (LAST + 1)).reshape(count, LAST + 1)
    return table / table.sum(1, keepdims=True)


ANIONS = {"F": (9,), "O": (8,), "Cl": (17,), "N": (7,), "S": (16,), "other anion": (34, 35, 52, 53, 85)}
"""Elements by which a crystal's class goes; the first one that it holds counts."""

CLASSES = (*ANIONS, "intermetallic")


def anion_class(fractions: Float[np.ndarray, "crystals elements"]) -> Int[np.ndarray, " crystals"]:
    """Sort crystals into `CLASSES` by the first anion that they hold (dimensionless numbers of classes).

    Source: ours.
    """
    holds = [fractions[:, list(elements)].sum(1) > 0 for elements in ANIONS.values()]
    return np.argmax(np.column_stack([*holds, np.ones(len(fractions), bool)]), axis=1)
