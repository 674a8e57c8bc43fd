import pytest
import torch

from ase_mlx.nn.grouped import GroupedNorm, channel_groups


@pytest.mark.parametrize(
    ("channels", "groups"),
    [
        ((128, 64, 32, 32), ((0, 32, 3), (32, 64, 1), (64, 128, 0))),
        ((8,), ((0, 8, 0),)),
        ((4, 4, 4), ((0, 4, 2),)),
        ((5, 3, 2), ((0, 2, 2), (2, 3, 1), (3, 5, 0))),
    ],
)
def test_channels_are_grouped_by_the_degrees_that_have_them(channels, groups):
    assert channel_groups(channels) == groups


@pytest.mark.parametrize("channels", [(4, 8), (8, 4, 6), (4, 0)])
def test_more_channels_of_a_higher_degree_are_refused(channels):
    with pytest.raises(ValueError, match="no more of a degree than of a lower one"):
        channel_groups(channels)


def test_the_norm_does_not_see_the_size_of_features():
    x = [torch.randn(5, 1, 8, dtype=torch.float64), torch.randn(5, 3, 4, dtype=torch.float64)]
    norm = GroupedNorm((8, 4)).double()
    for one, thrice in zip(norm(x), norm([3 * part for part in x]), strict=True):
        assert one.detach().numpy() == pytest.approx(thrice.detach().numpy(), rel=1e-9)
