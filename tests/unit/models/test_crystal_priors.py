"""Where latents of crystals are drawn from."""

import pytest
import torch

from ase_mlx.models.crystals import Diffusion, Mixture


def test_the_mixtures_density_is_that_of_its_draws():
    mixture = Mixture(2, 3)
    mixture.mean[:] = torch.tensor([[0.0, 0.0], [3.0, -1.0], [9.0, 9.0]])
    mixture.log_std[:] = torch.tensor([[0.0, -1.0], [-0.5, 0.3], [0.0, 0.0]])
    mixture.weight[:] = torch.tensor([2.0, 1.0, 0.0])
    parts = torch.distributions.Independent(torch.distributions.Normal(mixture.mean, mixture.log_std.exp()), 1)
    reference = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(mixture.weight), parts)
    z = mixture.draw(4000, torch.Generator().manual_seed(0))
    assert torch.allclose(mixture.log_density(z), reference.log_prob(z), atol=1e-4)
    assert (z[:, 0] > 1.5).float().mean() == pytest.approx(1 / 3, abs=0.04)
    assert torch.allclose(z.mean(0), torch.tensor([1.0, -1 / 3]), atol=0.1)


def test_an_untaught_diffusion_knows_the_spread_and_a_taught_one_the_shape():
    """Untaught it draws what is normal; taught, the two places of its latents and nothing between."""
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(1)
    diffusion = Diffusion(2, 32, 2)
    diffusion.std[:] = torch.tensor([1.0, 2.0])
    before = diffusion.draw(2000, random)
    assert torch.allclose(before.std(0), diffusion.std, rtol=0.1)
    side = torch.where(torch.rand(512, generator=random) < 0.5, -1.0, 1.0)
    latents = torch.stack([side, -2 * side], 1) * (1 + 0.05 * torch.randn(512, 2, generator=random))
    mover = torch.optim.Adam(diffusion.parameters(), lr=1e-2)
    for _ in range(250):
        mover.zero_grad()
        diffusion.loss(latents, torch.randn(512, 3, generator=random)).mean().backward()
        mover.step()
    after = diffusion.draw(500, random)
    near = ((after.abs() - torch.tensor([1.0, 2.0])).abs() < torch.tensor([0.3, 0.6])).all(1)
    assert (near & (after.prod(1) < 0)).float().mean() > 0.9
    assert 0.35 < (after[:, 0] > 0).float().mean() < 0.65
