"""Potentials with random weights and known members, small enough for a thousand evaluations a second."""

from itertools import islice
from pathlib import Path

import numpy as np
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from ase_mlx.data.io import each_frame
from ase_mlx.models.potential import Potential, PotentialConfig
from ase_mlx.nn.angular import spherical_harmonics


def tiny_potential(l_max=1, products=False, layers=2, elements=(14, 32, 50), members=4, fitted=True, seed=0, **config):
    """Make an untrained potential; with members it also has error bars and a distance score."""
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    sizes = {"channels": 6, "latent": 12, "radial_hidden": (12,), "members": members, "energy_scale": 0.8}
    sizes["reference_energies"] = tuple(-100.0 - z for z in elements)
    model = Potential(PotentialConfig(elements, l_max=l_max, products=products, layers=layers, **sizes | config))
    if members and fitted:
        deviations = 0.3 * torch.randn(members, model.config.latent, dtype=torch.float64)
        model.deviations.copy_(deviations - deviations.mean(0))
        model.std_scale.copy_(torch.tensor([1.2, 0.9, 1.1, 1.3, 0.7]))
        model.std_floor.copy_(torch.tensor([1e-3, 1e-2, 1e-4, 0.0, 1e-3]))
        model.distance.factor += torch.eye(model.distance.factor.shape[1])
        model.distance.edge.fill_(250.0)
        model.distance.pairs.fill_(True)
    torch.random.set_rng_state(state)
    return model.eval()


def labelled(count=8, seed=0, strain=0.03, stdev=0.1):
    """Make cells of four aluminium and gold atoms, labelled by ASE's EMT."""
    random = np.random.default_rng(seed)
    frames = []
    for k in range(count):
        atoms = bulk("Al", cubic=True)
        atoms.symbols[k % 4] = "Au"
        atoms.set_cell(atoms.cell @ (np.eye(3) + strain * random.standard_normal((3, 3))), scale_atoms=True)
        atoms.positions += stdev * random.standard_normal((4, 3))
        atoms.calc = EMT()
        results = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["config_name"] = f"alloy {k}"
        frames.append(atoms)
    return frames


def silicon(count=8):
    """Read the first cells of eight silicon atoms of the shipped data."""
    frames = list(islice(each_frame(Path(__file__).resolve().parents[1] / "data" / "sigesn.extxyz.xz"), count))
    assert all(atoms.numbers.tolist() == [14] * 8 for atoms in frames)
    return frames


def turn(improper=False):
    """Draw a rotation matrix, or a rotation with a reflection."""
    q, r = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    q = q * torch.sign(torch.diagonal(r))
    return q * torch.linalg.det(q) * (-1 if improper else 1)


def rotation_of_features(l_max, matrix):
    """Find the blocks by which the harmonics of all degrees turn, from the harmonics alone, to machine precision."""
    d = torch.nn.functional.normalize(torch.randn(100, 3, dtype=torch.float64), dim=1)
    return torch.linalg.lstsq(spherical_harmonics(l_max, d), spherical_harmonics(l_max, d @ matrix.T)).solution.T
