"""Potentials with a density of random weights, and real densities small enough for a test."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from tiny import tiny_potential

from ase_mlx.data.densities import read_densities
from ase_mlx.learn.recipes.density import with_density
from ase_mlx.learn.recipes.point_density import point_density

FILE = "data/density_al.npz"

far = pytest.mark.filterwarnings("ignore::ase_mlx.models.extrapolation.ExtrapolationWarning")
"""Slabs and molecules are far from the training data."""


def rattled_aluminium():
    """Move the four atoms of a cell by 0.08 Å."""
    atoms = bulk("Al", cubic=True)
    atoms.rattle(0.08, seed=1)
    return atoms


def tiny_density(elements=(13, 14), members=4, seed=0, calibrated=True, cutoff=5.0, **sizes):
    """Make an untrained potential with an untrained density, and members and noise of random size."""
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    potential = tiny_potential(elements=elements, members=4, cutoff=cutoff)
    small = {"range": 2.5, "n_radial": 4, "channels": 3, "radial_hidden": (8,), "members": members}
    model = with_density(potential, small | sizes)
    density = model.density
    with torch.no_grad():
        density.head.copy_(0.02 * torch.randn(density.head.shape))
        density.deviations.copy_(0.002 * torch.randn(density.deviations.shape))
        if calibrated:
            density.noise.copy_(1e-6 * torch.rand(density.noise.shape))
            density.std_scale.fill_(1.5)
    torch.random.set_rng_state(state)
    return model.eval()


def tiny_points(elements=(13, 14), seed=0):
    """Make a point density of random weights whose differences are small."""
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    sizes = {"cutoff": 4.0, "near": 3.2, "n_radial": 5, "degree": 3, "hidden": (8, 8), "members": 2}
    model = point_density(elements, sizes)
    model.scale.fill_(1e-4)
    torch.random.set_rng_state(state)
    return model


def aluminium(root, part="train", count=3):
    """Read the first real densities of one part."""
    frames = []
    for frame in read_densities(root / FILE):
        if frame.info["part"] == part and len(frame.atoms) == 4:
            frames.append(frame)
        if len(frames) == count:
            break
    assert all(np.isfinite(f.density).all() for f in frames)
    return frames
