import numpy as np
import pytest
import torch
from e3nn import o3
from tiny import rotation_of_features, turn

from ase_mlx.nn.angular import _couplings, block, coupling, dimension, paths, spherical_harmonics
from ase_mlx.nn.blocks import DegreeLinear


@pytest.fixture
def directions():
    return torch.nn.functional.normalize(
        torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=1
    )


@pytest.mark.parametrize("l_max", range(5))
def test_harmonics_are_those_of_e3nn(l_max, directions):
    expected = o3.spherical_harmonics(list(range(l_max + 1)), directions, normalize=False, normalization="component")
    assert spherical_harmonics(l_max, directions).numpy() == pytest.approx(expected.numpy(), abs=1e-13)
    assert expected.shape[1] == dimension(l_max)


@pytest.mark.parametrize("l_max", range(4))
def test_each_degree_has_the_norm_of_its_dimension(l_max, directions):
    y = spherical_harmonics(l_max, directions)
    for l in range(l_max + 1):
        assert y[:, block(l)].square().sum(1).numpy() == pytest.approx(np.full(50, 2 * l + 1), abs=1e-12)


@pytest.mark.parametrize("improper", [False, True])
def test_harmonics_turn_by_orthogonal_blocks(directions, improper):
    matrix = turn(improper)
    blocks = rotation_of_features(3, matrix)
    found = spherical_harmonics(3, directions @ matrix.T)
    assert found.numpy() == pytest.approx((spherical_harmonics(3, directions) @ blocks.T).numpy(), abs=1e-12)
    assert (blocks @ blocks.T).numpy() == pytest.approx(np.eye(16), abs=1e-12)
    assert blocks[1:4, 1:4].numpy() == pytest.approx(matrix.numpy(), abs=1e-12)
    assert blocks[:, block(2)][block(1)].abs().max() < 1e-12


def coupled(table, x, y):
    out = torch.zeros(len(table), dimension(table.l_out), dtype=torch.float64)
    for entry, m2, value in zip(table.term_entry, table.term_edge, table.term_value, strict=True):
        p, m3, m1 = table.entry_path[entry], table.entry_out[entry], table.entry_in[entry]
        out[p, m3] += value * x[m1] * y[m2]
    return out


@pytest.mark.parametrize(("l_in", "l_edge", "l_out"), [(0, 2, 2), (1, 1, 1), (2, 2, 2), (2, 2, 0), (3, 3, 3)])
@pytest.mark.parametrize("improper", [False, True])
def test_couplings_are_equivariant_path_by_path(l_in, l_edge, l_out, improper):
    torch.manual_seed(1)
    table = paths(l_in, l_edge, l_out)
    x, y = torch.randn(dimension(l_in), dtype=torch.float64), torch.randn(dimension(l_edge), dtype=torch.float64)
    matrix = turn(improper)
    before = coupled(table, x, y) @ rotation_of_features(l_out, matrix).T
    after = coupled(table, rotation_of_features(l_in, matrix) @ x, rotation_of_features(l_edge, matrix) @ y)
    assert after.numpy() == pytest.approx(before.numpy(), abs=1e-9)
    assert np.all(np.abs(before.numpy()).max(1) > 1e-3)


@pytest.mark.parametrize(
    ("l_in", "l_edge", "l_out", "count"), [(0, 2, 2, 3), (1, 1, 1, 4), (2, 2, 2, 11), (2, 2, 0, 3)]
)
def test_only_paths_of_natural_parity(l_in, l_edge, l_out, count):
    table = paths(l_in, l_edge, l_out)
    assert len(table) == count == len(set(table.triples))
    assert all((a + b + c) % 2 == 0 and abs(a - b) <= c <= a + b for a, b, c in table.triples)


def test_outputs_have_unit_variance():
    torch.manual_seed(2)
    table = paths(2, 2, 2)
    x, y = torch.randn(9, 4000, dtype=torch.float64), torch.randn(9, 4000, dtype=torch.float64)
    total = torch.zeros(9, 4000, dtype=torch.float64)
    for entry, m2, value in zip(table.term_entry, table.term_edge, table.term_value, strict=True):
        total[table.entry_out[entry]] += value * x[table.entry_in[entry]] * y[m2]
    assert total.square().mean(1).numpy() == pytest.approx(np.ones(9), abs=0.2)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (1, 1, 2), (2, 1, 3), (4, 4, 4), (2, 3, 5)])
def test_tables_are_those_of_e3nn(degrees):
    expected = o3.wigner_3j(*degrees, dtype=torch.float64).numpy()
    assert coupling(*degrees) == pytest.approx(expected, abs=1e-14)
    assert np.sum(coupling(*degrees) ** 2) == pytest.approx(1, abs=1e-12)


def test_every_shipped_table_is_that_of_e3nn():
    assert len(_couplings()) == 65
    for name, table in _couplings().items():
        assert table == pytest.approx(o3.wigner_3j(*map(int, name), dtype=torch.float64).numpy(), abs=1e-14)


@pytest.mark.filterwarnings("ignore:The TorchScript type system")  # e3nn 0.5 scripts its layers
def test_an_irreps_tensor_of_e3nn_goes_through_our_linear_layer_as_through_e3nns():
    """Ours keeps channels last, (atoms, components, channels); e3nn one multiplicity block after the other."""
    torch.manual_seed(3)
    degrees, channels, out = 2, 5, 4
    irreps = o3.Irreps([(channels, (l, (-1) ** l)) for l in range(degrees + 1)])
    target = o3.Irreps([(out, (l, (-1) ** l)) for l in range(degrees + 1)])
    x = irreps.randn(7, -1, dtype=torch.float64)
    ours, theirs = DegreeLinear(degrees, channels, out).double(), o3.Linear(irreps, target).double()
    weights = theirs.weight.reshape(degrees + 1, channels, out)
    with torch.no_grad():
        ours.weight.copy_(weights)

    def channels_last(features, kind):
        parts = [features[:, s].unflatten(1, (kind[l].mul, 2 * l + 1)) for l, s in enumerate(kind.slices())]
        return torch.cat([part.transpose(1, 2) for part in parts], dim=1)

    assert ours(channels_last(x, irreps)).detach().numpy() == pytest.approx(
        channels_last(theirs(x), target).detach().numpy(), abs=1e-12
    )
