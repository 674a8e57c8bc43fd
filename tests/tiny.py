"""Potentials with random weights and known members, small enough for a thousand evaluations a second."""

import torch

from ase_mlx.models.potential import Potential, PotentialConfig


def tiny_potential(l_max=1, products=False, layers=2, elements=(14, 32, 50), members=4, seed=0, **config):
    """Make an untrained potential; with members it also has error bars and a distance score."""
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    sizes = {"channels": 6, "latent": 12, "radial_hidden": (12,), "members": max(members, 1), "energy_scale": 0.8}
    sizes["reference_energies"] = tuple(-100.0 - z for z in elements)
    model = Potential(PotentialConfig(elements, l_max=l_max, products=products, layers=layers, **sizes | config))
    if members:
        deviations = 0.3 * torch.randn(members, model.config.latent, dtype=torch.float64)
        model.deviations.copy_(deviations - deviations.mean(0))
        model.std_scale.copy_(torch.tensor([1.2, 0.9, 1.1]))
        model.std_floor.copy_(torch.tensor([1e-3, 1e-2, 1e-4]))
        model.feature_precision += torch.eye(model.config.latent)
    torch.random.set_rng_state(state)
    return model.eval()
