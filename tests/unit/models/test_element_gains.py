"""Gains and biases of elements in place of matrices: what they are equal to, and how they move."""

import dataclasses

import pytest
import torch
from ase.build import bulk
from tiny import labelled, tiny_potential

from ase_mlx.data.samples import sample
from ase_mlx.graph import from_atoms
from ase_mlx.learn.config import FitConfig
from ase_mlx.learn.files import load_model, parameters_equal, save_model
from ase_mlx.learn.methods import network
from ase_mlx.learn.recipes.potential import potential_loss
from ase_mlx.nn.parameters import declared
from ase_mlx.nn.terms import value

ELEMENTS = (13, 29, 47, 79)


def with_gains(**config):
    model = tiny_potential(l_max=2, elements=ELEMENTS, members=0, cutoff=4.0, by_element="gains", **config)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(".gain") and "keep" in name:
                p.copy_(torch.randn_like(p))
    return model


def rattled():
    atoms = bulk("Al", cubic=True)
    atoms.symbols[1:3] = ["Cu", "Au"]
    atoms.rattle(0.1, seed=1)
    return atoms


def test_gains_are_matrices_that_share_all_but_a_factor_a_column():
    gains = with_gains().double()
    matrices = tiny_potential(l_max=2, elements=ELEMENTS, members=0, cutoff=4.0).double()
    shared = dict(gains.named_parameters())
    with torch.no_grad():
        for name, p in matrices.named_parameters():
            if ".keep" in name:
                block = name.removesuffix(".weight")
                p.copy_(shared[f"{block}.linear.weight"] * shared[f"{block}.gain"].unsqueeze(2))
            else:
                p.copy_(shared[name])
    graph = from_atoms(rattled(), 4.0)
    a, b = (model.train()(graph) for model in (gains, matrices))
    for name in ("energy", "forces", "stress"):
        torch.testing.assert_close(a[name], b[name], rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        shared["trunk.layers.0.keep_scalars.bias"].normal_()
    assert abs((gains(graph)["energy"] - b["energy"]).item()) > 1e-3


def test_no_matrix_of_an_element_is_left_for_muon():
    model = with_gains()
    own, rows = declared(model, "per_element"), declared(model, "rows")
    assert own and own <= rows
    assert not [name for name, p in model.named_parameters() if p.shape[0] == len(ELEMENTS) and name not in own]
    matrices = tiny_potential(elements=ELEMENTS, members=0)
    assert not declared(matrices, "per_element") <= declared(matrices, "rows")


@pytest.mark.parametrize("seen_once", [False, True])
def test_an_element_that_is_absent_stays_where_it_is(seen_once):
    """Never seen, not at all; seen once, by what AdamW's momentum holds: less than ten steps, however many follow."""
    model, config = with_gains().train(), FitConfig(learning_rate=0.01, warmup_steps=0)
    method, copper = network(config), 1
    optimizers = method.optimizers(model)
    frames = [sample(a, 4.0, "alloy") for a in labelled(3)]
    own = {name: p for name, p in model.named_parameters() if name in declared(model, "per_element")}

    def step(one):
        terms = potential_loss(model, one)
        loss, _ = value([terms], {name: term.count for name, term in terms.items()})
        model.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()

    if seen_once:
        atoms = rattled()
        atoms.calc = labelled(1)[0].calc
        atoms.calc.atoms = atoms.copy()
        step(sample(atoms, 4.0, "with copper"))
    method.pace(optimizers, 0, 0.0)
    before = {name: p[copper].detach().clone() for name, p in own.items()}
    others = {name: p[0].detach().clone() for name, p in own.items()}
    for k in range(60):
        step(frames[k % 3])
    moved = max(float((p[copper].detach() - before[name]).abs().max()) for name, p in own.items())
    assert moved <= (10.5 * config.learning_rate if seen_once else 0.0)
    assert max(float((p[0].detach() - others[name]).abs().max()) for name, p in own.items()) > 0.1


def test_the_distance_has_one_covariance_for_all_elements():
    torch.manual_seed(0)
    model = with_gains()
    distance, count = model.distance, 400
    species = torch.randint(0, 3, (count,))
    x = torch.randn(count, distance.mean.shape[1]) + 5.0 * species.unsqueeze(1)
    distance.fit(x, species)
    assert distance.factor.shape[0] == 1 and tuple(distance.mean.shape)[0] == len(ELEMENTS)
    centred = x - torch.stack([x[species == s].mean(0) for s in range(3)])[species]
    covariance = (centred.T @ centred / count).double()
    covariance += 1e-3 * covariance.diagonal().mean() * torch.eye(len(covariance))
    expected = (centred.double() @ torch.linalg.inv(covariance) * centred).sum(1).sqrt()
    torch.testing.assert_close(distance.raw(x, species).double(), expected, rtol=1e-3, atol=1e-3)
    other = distance.raw(x, (species + 1) % 3)
    assert float(other.min()) > float(expected.max())


def test_gains_and_repulsion_are_saved_and_adopted(tmp_path):
    model = with_gains(repulsion=0.5)
    again = load_model(save_model(model, tmp_path / "model", {}))
    assert parameters_equal(again, model)
    assert again.config.by_element == "gains" and again.config.repulsion == 0.5
    fewer = type(model)(dataclasses.replace(model.config, elements=(79, 13), reference_energies=()))
    fewer.adopt(model)
    gain = "trunk.layers.1.keep.gain"
    assert torch.equal(fewer.state_dict()[gain], model.state_dict()[gain][[3, 0]])


def test_repulsion_ends_where_the_config_says():
    near = bulk("Al")
    near.set_cell(near.cell.array * 0.8, scale_atoms=True)  # 2.29 Å, below the sum of the radii of 2.42 Å
    energies = [float(with_gains(repulsion=r)(from_atoms(near, 4.0))["energy"]) for r in (0.5, 0.9, 1.0)]
    assert energies[0] == energies[1] != energies[2]
