import numpy as np
import pytest
import torch
from ase import Atoms
from tiny import tiny_potential

from ase_mlx.graph import batch, from_atoms
from ase_mlx.models.hessian import hessian_columns, hessian_products
from ase_mlx.nn.repulsion import zbl
from ase_mlx.testing.geometries import build

SIZES = [{"l_max": 2, "layers": 3}, {"l_max": 1, "products": True}, {"l_max": 3}]
STEP = 2e-3


@pytest.fixture(scope="module")
def model():
    return tiny_potential(l_max=2).double()


def graph_of(name, model):
    return from_atoms(build(name, model)[0], model.cutoff)


def differences(model, graph, atom, axis, forces):
    """Differentiate forces of the radial networks themselves by four points, to fourth order in the step."""
    model.train()
    direction = torch.zeros_like(graph.positions)
    direction[atom, axis] = STEP
    found = [forces(model, graph.at(graph.positions + k * direction)) for k in (1, -1, 2, -2)]
    model.eval()
    return -(8 * (found[0] - found[1]) - (found[2] - found[3])) / (12 * STEP)


def mean_forces(model, graph):
    return model(graph)["forces"].detach().numpy()


def member_forces(model, graph):
    return model.with_members(graph).members["forces"].detach().numpy()


@pytest.mark.parametrize("geometry", ["triclinic", "slab", "molecule", "primitive cell smaller than the cutoff"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_columns_are_finite_differences_of_forces(sizes, geometry):
    model = tiny_potential(**sizes).double()
    graph = graph_of(geometry, model)
    columns = hessian_columns(model, graph, np.array([1]))
    assert columns.dtype == np.float64
    assert columns.shape == (1, 3, len(graph.numbers), 3)
    for axis in range(3):
        expected = differences(model, graph, 1, axis, mean_forces)
        np.testing.assert_allclose(columns[0, axis], expected, atol=1e-7 * np.abs(expected).max())


def test_repulsion_is_differentiated_too(model):
    graph = from_atoms(Atoms("SiGeSn", [[0, 0, 0], [1.6, 0.3, 0.2], [-0.5, 1.9, 0.4]]), model.cutoff)
    distance = torch.linalg.vector_norm(graph.vectors(), dim=-1)
    assert float(zbl(distance, graph.numbers[graph.center], graph.numbers[graph.neighbor]).max()) > 0.1
    columns = hessian_columns(model, graph, np.array([0]))
    expected = differences(model, graph, 0, 0, mean_forces)
    np.testing.assert_allclose(columns[0, 0], expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("geometry", ["triclinic", "slab", "wire", "molecule", "strongly skewed cell"])
def test_hessian_is_symmetric_and_does_not_feel_translations(model, geometry):
    graph = graph_of(geometry, model)
    n = len(graph.numbers)
    hessian = hessian_columns(model, graph, np.arange(n))
    size = np.abs(hessian).max()
    assert size > 0.01
    assert np.abs(hessian.sum(axis=2)).max() < 1e-13 * size
    np.testing.assert_allclose(hessian, hessian.transpose(2, 3, 0, 1), atol=1e-13 * size)


def test_columns_of_members_are_those_of_their_forces(model):
    graph = graph_of("triclinic", model)
    mean, members = hessian_columns(model, graph, np.array([2, 0]), members=True)
    assert members.shape == (4, *mean.shape)
    np.testing.assert_array_equal(mean, hessian_columns(model, graph, np.array([2, 0])))
    np.testing.assert_allclose(members.mean(axis=0), mean, atol=1e-7)
    for axis in range(3):
        expected = differences(model, graph, 2, axis, member_forces)
        assert np.ptp(expected, axis=0).max() > 0.01
        np.testing.assert_allclose(members[:, 0, axis], expected, atol=1e-7 * np.abs(expected).max())


def test_products_add_up_columns(model):
    graph = graph_of("triclinic", model)
    n = len(graph.numbers)
    directions = np.random.default_rng(0).standard_normal((2, n, 3))
    mean, members = hessian_products(model, graph, directions, members=True)
    columns, columns_of_members = hessian_columns(model, graph, np.arange(n), members=True)
    np.testing.assert_allclose(mean, np.einsum("kia,iajb->kjb", directions, columns), atol=1e-12)
    np.testing.assert_allclose(members, np.einsum("kia,miajb->mkjb", directions, columns_of_members), atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_model_is_left_as_it_was(training):
    model = tiny_potential().double().train(training)
    tables = [layer.knots for layer in model.trunk.layers]
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        hessian_columns(model, graph_of("molecule", model), np.array([0]), members=True)
    assert model.training == model.trunk.training == training
    assert all(layer.knots is table for layer, table in zip(model.trunk.layers, tables, strict=True))
    assert all(p.requires_grad and bool((p.grad == 7.0).all()) for p in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_both_modes_give_the_same(model):
    graph = graph_of("slab", model)
    evaluated = hessian_columns(model, graph, np.array([1]))
    np.testing.assert_array_equal(hessian_columns(model.train(), graph, np.array([1])), evaluated)
    model.eval()


def test_a_lone_atom_has_no_hessian(model):
    assert not hessian_columns(model, graph_of("one atom", model), np.array([0])).any()


def test_a_model_without_deviations_has_no_members():
    model = tiny_potential(fitted=False).double()
    mean, members = hessian_columns(model, graph_of("molecule", model), np.array([0]), members=True)
    assert members.shape == (0, *mean.shape)


def test_single_precision_is_refused():
    model = tiny_potential()
    with pytest.raises(ValueError, match=r"float32, expected torch.float64.*model.double\(\)"):
        hessian_columns(model, graph_of("molecule", model), np.array([0]))


def test_several_structures_and_unknown_elements_are_refused(model):
    graph = graph_of("molecule", model)
    with pytest.raises(ValueError, match="batch of 2 structures"):
        hessian_columns(model, batch([graph, graph]), np.array([0]))
    with pytest.raises(ValueError, match="got C, but this model knows Si, Ge, Sn only"):
        hessian_columns(model, from_atoms(Atoms("SiC", [[0, 0, 0], [0, 0, 2]]), model.cutoff), np.array([0]))
