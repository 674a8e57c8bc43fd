"""Sites that several atoms share, or that are empty at times: one message for every road that takes a structure.

Source: ours.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

WHOLE = 1e-3
"""Dimensionless: a site is whole where one element is there but for less."""

PER_ATOM = ("occupancy", "occupancies", "occupation")
"""Names of arrays with a number an atom, as readers of PDB and multislice files leave them."""


def check_occupancy(atoms: Any) -> None:
    """Refuse a structure (Å) whose reader left partial occupancies on it: `info["occupancy"]`, or an array of one.

    Raises:
        ValueError: naming the sites and what to do.

    Source: ours.
    """
    shared = partial_sites(atoms)
    if shared:
        raise ValueError(refusal(shared.values()))


def partial_sites(atoms: Any) -> dict[str, dict[str, float]]:
    """Give the shares (dimensionless) of the elements on each kind of site that no single atom fills, by the kind.

    Source: ours.
    """
    sites = (getattr(atoms, "info", None) or {}).get("occupancy")
    shares = {}
    if isinstance(sites, Mapping):
        shares = {str(kind): _shares(elements) for kind, elements in sites.items() if isinstance(elements, Mapping)}
    arrays = getattr(atoms, "arrays", None) or {}
    for name in PER_ATOM:
        values = np.asarray(arrays.get(name, 1.0))
        if values.dtype.kind in "iuf" and values.size and (values < 1 - WHOLE).any():
            shares |= {f"atom {k}": {"": float(values[k])} for k in np.flatnonzero(values < 1 - WHOLE)}
    return {kind: elements for kind, elements in shares.items() if not _is_whole(elements)}


def refusal(sites: Iterable[Mapping[str, float]]) -> str:
    """Say why shared sites are refused, and what to do; shares are dimensionless.

    Source: ours.
    """
    kinds: dict[frozenset, Mapping[str, float]] = {}
    for site in sites:
        kinds.setdefault(frozenset(site.items()), site)  # in whatever order a reader has the elements
    sites = list(kinds.values())
    texts = [" ".join(f"{element} {share:g}".strip() for element, share in site.items()) for site in sites]
    mixed = [text for text, site in zip(texts, sites, strict=True) if len(site) > 1]
    option = f'--alloy "{mixed[0]}"' if mixed else "--vacancies N"
    return (
        f"got sites with partial occupancy ({', '.join(texts[:9])}), expected one whole atom a site; "
        f"draw ordered structures (`ase-mlx sample STRUCTURE {option}`), or choose the atoms yourself and take the "
        "occupancy off (del atoms.info['occupancy'])"
    )


def _shares(elements: Mapping[str, Any]) -> dict[str, float]:
    shares = {str(element): _number(share) for element, share in elements.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _number(share: Any) -> float:
    """A share as files write it: 0.8, "0.8(2)"; what they leave open, "?" and ".", is one."""
    text = re.sub(r"\(.*\)$", "", str(share).strip())
    try:
        number = float(text)
    except ValueError:
        return 1.0
    return number if np.isfinite(number) else 1.0


def _is_whole(elements: Mapping[str, float]) -> bool:
    present = [share for share in elements.values() if share > WHOLE]
    return len(present) == 1 and present[0] > 1 - WHOLE
