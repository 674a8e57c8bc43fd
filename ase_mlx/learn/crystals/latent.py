"""What a trained latent holds: encodings, reconstructions, the prior, scales of its properties.

Source: as each function says.
"""

import numpy as np
import torch
from jaxtyping import Float

from ase_mlx.descriptors.gene_rows import GeneRows
from ase_mlx.models.crystals import Crystals, Latent


def standardise(model: Crystals, targets: Float[torch.Tensor, "crystals properties"]) -> None:
    """Set centre, scale and range of a model's properties (units of `PROPERTIES`), in place.

    Source: ours.
    """
    for k in range(targets.shape[1]):
        known = targets[:, k][torch.isfinite(targets[:, k])].double()
        if len(known) < 2:
            name = model.config.properties[k]
            raise ValueError(f"got {len(known)} training crystals with a {name}, expected at least 2")
        model.property_mean[k], model.property_scale[k] = known.mean(), known.std().clamp(min=1e-6)
        model.property_least[k], model.property_most[k] = torch.quantile(known, torch.tensor([0.01, 0.99]).double())


@torch.no_grad()
def encoded(model: Crystals, rows: GeneRows, size: int = 1024) -> Latent:
    """Encode genes in batches.

    Source: ours.
    """
    pieces = [model.encoder(rows.take(torch.arange(len(rows))[k : k + size])) for k in range(0, len(rows), size)]
    return Latent(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


@torch.no_grad()
def decoded_again(model: Crystals, rows: GeneRows) -> GeneRows:
    """Decode the latent means of genes to the likeliest ones.

    Source: ours.
    """
    return model.decoded(encoded(model, rows).mean, None)


def reconstruction(model: Crystals, rows: GeneRows) -> dict[str, float]:
    """Count the share (dimensionless) of genes whose group, formula and both, and whose sites, come back.

    Source: ours.
    """
    again = decoded_again(model, rows)
    group = again.groups == rows.groups
    formula = (rows.composition - again.composition).abs().amax(1) < 1e-6
    same = np.array(rows.keys) == np.array(again.keys)
    shares = {"space_group": group, "formula": formula, "both": group & formula}
    return {name: round(float(share.float().mean()), 4) for name, share in shares.items()} | {
        "all_positions": round(float(same.mean()), 4)
    }


@torch.no_grad()
def set_mixture(model: Crystals, latent: Latent, seed: int = 0) -> None:
    """Set the mixture of normal distributions to what fits the encodings of crystals, in place.

    Source: A. Dempster et al., J. R. Stat. Soc. B 39, 1 (1977).
    """
    random = torch.Generator().manual_seed(seed)
    z = latent.mean + latent.log_std.exp() * torch.randn(latent.mean.shape, generator=random)
    count = min(model.config.mixture, max(1, len(z) // 50))
    weight, means, variances = _mixture(z, count, random)
    model.mixture.weight.zero_()[:count] = weight
    model.mixture.mean[:count], model.mixture.log_std[:count] = means, variances.log() / 2


@torch.no_grad()
def standardise_diffusion(model: Crystals, latent: Latent) -> None:
    """Set the units in which a model's diffusion sees latents, in place.

    Source: ours.
    """
    model.diffusion.mean[:] = latent.mean.mean(0)
    model.diffusion.std[:] = (latent.mean.var(0) + (2 * latent.log_std).exp().mean(0)).sqrt()


def _mixture(z: torch.Tensor, count: int, random: torch.Generator, steps: int = 60) -> tuple[torch.Tensor, ...]:
    """Fit weights, means and variances of normal distributions by expectation maximisation."""
    means = z[torch.randperm(len(z), generator=random)[:count]]
    variances, weight = z.var(0).expand(count, -1).clone(), torch.full((count,), 1 / count)
    for _ in range(steps):
        square = (z.square() @ (1 / variances).T) - 2 * z @ (means / variances).T + (means.square() / variances).sum(1)
        share = (weight.log() - 0.5 * (square + variances.log().sum(1))).softmax(-1)
        held = share.sum(0).clamp(min=1e-6)
        means = share.T @ z / held[:, None]
        variances = (share.T @ z.square() / held[:, None] - means.square()).clamp(min=1e-3)
        weight = held / held.sum()
    return weight, means, variances
