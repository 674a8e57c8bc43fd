"""Potentials taught by classical ones: what they do not know is beyond the edge, and its truth within their bars."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from ase_mlx.data.io import read_frames
from ase_mlx.data.samples import batches, name_of, sample
from ase_mlx.learn.files import load_model

SURROGATES = Path(__file__).parents[2] / "data" / "surrogates"
ORDINARY = ("held-out frames", "large cells, ordinary")
pytestmark = pytest.mark.slow

NOT_SEEN = {"al_emt": set(), "noble_emt": {"vacancy", "other crystal"}, "si_tersoff": set()}
"""Kinds of which some are within the edge; in alloys a missing neighbour is little beside one of another element."""

NAMES = sorted(folder.parent.name for folder in SURROGATES.glob("*/structures.extxyz.xz"))


@pytest.fixture(scope="module", params=NAMES)
def structures(request):
    """Name; by kind the largest distance of each structure, and |error| over bar of its energy."""
    model = load_model(SURROGATES / request.param / "model")
    frames, kinds = read_frames(SURROGATES / request.param / "structures.extxyz.xz"), defaultdict(list)
    for k, atoms in enumerate(frames):
        for s in batches([sample(atoms, model.cutoff, name_of(atoms, k))], 1):
            p = model.with_std(s.graph)
            z = abs(float(p["energy"] - s.targets["energy"])) / float(p.std["energy"])
            kinds[atoms.info["kind"]].append((float(torch.max(p["distance"])), z))
    return request.param, {kind: np.array(rows) for kind, rows in kinds.items()}


def test_ordinary_structures_are_within_the_edge(structures):
    _, kinds = structures
    assert np.mean(kinds["held-out frames"][:, 0] > 1) <= 0.05
    assert np.mean(kinds["large cells, ordinary"][:, 0] > 1) <= 0.10


def test_strange_structures_are_beyond_it(structures):
    name, kinds = structures
    for kind, rows in kinds.items():
        if kind not in {*ORDINARY, *NOT_SEEN[name]} and "stacking" not in kind:  # their first shells are the crystal's
            assert (rows[:, 0] > 1).all(), kind


def test_energies_beyond_it_are_within_their_bars(structures):
    _, kinds = structures
    z = np.concatenate([rows[rows[:, 0] > 1, 1] for kind, rows in kinds.items() if kind not in ORDINARY])
    assert np.mean(z <= 1) >= 0.7 and np.mean(z <= 2) >= 0.95
