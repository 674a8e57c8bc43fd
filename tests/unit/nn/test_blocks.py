import numpy as np
import pytest
import torch
from tiny import rotation_of_features, tiny_potential, turn

from ase_mlx.graph import from_atoms
from ase_mlx.nn.angular import dimension
from ase_mlx.nn.blocks import DegreeLinear, ElementGains, EquivariantNorm, Gate, Product
from ase_mlx.testing import build

SPECIES = torch.tensor([0, 1, 0, 2, 1])


def turned(x, matrix):
    return torch.einsum("ab,nbc->nac", rotation_of_features(round(x.shape[1] ** 0.5) - 1, matrix), x)


@pytest.fixture(params=[False, True], ids=["proper", "improper"])
def matrix(request):
    torch.manual_seed(0)
    return turn(improper=request.param)


BLOCKS = {
    "linear": lambda: DegreeLinear(2, 4, 6),
    "linear by species": lambda: DegreeLinear(2, 4, 6, 3),
    "gains by species": lambda: ElementGains(2, 4, 6, 3),
    "norm": lambda: EquivariantNorm(2, 4),
    "product": lambda: Product(2, 2, 4),
    "product to scalars": lambda: Product(2, 0, 4),
    "product of vectors": lambda: Product(1, 1, 4),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_equivariant(name, matrix):
    module = BLOCKS[name]().to(torch.float64)
    for p in module.parameters():
        torch.nn.init.normal_(p)
    x = torch.randn(5, dimension(1 if "vectors" in name else 2), 4, dtype=torch.float64)
    arguments = (SPECIES,) if "species" in name else ()
    before, after = turned(module(x, *arguments), matrix), module(turned(x, matrix), *arguments)
    assert after.detach().numpy() == pytest.approx(before.detach().numpy(), abs=1e-10)
    assert before.abs().max() > 0.1


@pytest.mark.parametrize("l_max", [0, 1, 2])
def test_gate_is_equivariant_and_of_unit_size(l_max, matrix):
    gate = Gate(l_max, 4)
    scalars = torch.randn(5, gate.scalars, dtype=torch.float64)
    x = torch.randn(5, dimension(l_max), 4, dtype=torch.float64)
    before, after = turned(gate(scalars, x), matrix), gate(scalars, turned(x, matrix))
    assert after.numpy() == pytest.approx(before.numpy(), abs=1e-10)
    many = torch.randn(4000, gate.scalars)
    out = gate(many, torch.randn(4000, dimension(l_max), 4))
    assert out.square().mean((0, 2)).numpy() == pytest.approx(np.ones(dimension(l_max)), abs=0.2)


def test_norm_forgets_the_size_and_keeps_the_direction():
    norm = EquivariantNorm(1, 4)
    x = 10 * torch.randn(3, 4, 4)
    assert norm(5 * x).detach().numpy() == pytest.approx(norm(x).detach().numpy(), rel=1e-3, abs=1e-3)
    assert torch.isfinite(norm(torch.zeros(1, 4, 4))).all()


def test_species_have_matrices_of_their_own():
    linear = DegreeLinear(1, 4, 4, 3)
    x = torch.randn(1, 4, 4).expand(5, 4, 4)
    out = linear(x, SPECIES)
    assert torch.allclose(out[0], out[2]) and torch.allclose(out[1], out[4])
    assert not torch.allclose(out[0], out[1])
    alone = DegreeLinear(1, 4, 4)
    alone.weight.data = linear.weight.data[1]
    assert torch.allclose(out[1], alone(x)[1], atol=1e-6)


def test_product_is_quadratic():
    product = Product(2, 2, 4)
    x = torch.randn(3, 9, 4)
    assert torch.allclose(product(3 * x), 9 * product(x), atol=1e-3)
    assert torch.allclose(product(-x), product(x), atol=1e-5)


@pytest.mark.parametrize("products", [False, True])
def test_tables_of_evaluation_follow_the_networks_of_training(products):
    model = tiny_potential(l_max=2, products=products).to(torch.float64)
    graph = from_atoms(build("triclinic", model)[0], model.cutoff)
    tabulated = model(graph)
    exact = {name: value.detach() for name, value in model.train()(graph).items()}
    size = float(exact["forces"].abs().max())
    assert float((tabulated["energy"] - exact["energy"]).abs()) < 1e-5 * max(1.0, size)
    assert float((tabulated["forces"] - exact["forces"]).abs().max()) < 1e-4 * size
    assert model.eval().trunk.layers[0].knots is not None
    assert model.train().trunk.layers[0].knots is None


def test_tables_follow_new_weights():
    model, other = tiny_potential(), tiny_potential(seed=5)
    graph = from_atoms(build("molecule", model)[0], model.cutoff)
    model.load_state_dict(other.state_dict())
    assert float(model(graph)["energy"]) == float(other(graph)["energy"])


def test_forces_of_training_are_differentiable():
    model = tiny_potential().to(torch.float64).train()
    graph = from_atoms(build("molecule", model)[0], model.cutoff)
    head = model.head.detach().clone()
    loss = model(graph)["forces"].square().sum()
    (slope,) = torch.autograd.grad(loss, model.head)
    step = 1e-6 * torch.randn_like(head)
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            model.head.copy_(head + sign * step)
            with torch.enable_grad():
                values.append(float(model(graph)["forces"].detach().square().sum()))
    assert (values[0] - values[1]) / 2 == pytest.approx(float((slope * step).sum()), rel=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("l_in", "l_out"), [(1, 2), (2, 2), (4, 4)])
def test_fused_product_is_that_of_the_table(l_in, l_out, threads):
    product, before = Product(l_in, l_out, 6).to(torch.float64), torch.get_num_threads()
    x = torch.randn(7, (l_in + 1) ** 2, 6, dtype=torch.float64)
    expected = product(x).detach()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            assert torch.allclose(product(x), expected, atol=1e-12)
            assert product(x[:0]).shape == (0, (l_out + 1) ** 2, 6)
    finally:
        torch.set_num_threads(before)
