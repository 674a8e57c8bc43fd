"""The distance score: what it must not depend on, what it must see, and what bars make of it."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, diamond111, fcc111
from tiny import labelled, tiny_potential

import ase_mlx as am
from ase_mlx.data.samples import sample
from ase_mlx.graph import batch, from_atoms
from ase_mlx.learn.uncertainty import _undisplaced, set_distance
from ase_mlx.models.distance import UNSEEN_PAIR, WEIGHT, moments
from ase_mlx.models.error_bars import RISE, beyond
from ase_mlx.models.large import distances


def crystal(name):
    symbol, structure, a = ("Si", "diamond", 5.47) if name == "sigesn" else ("Al", "fcc", 4.045)
    return bulk(symbol, structure, a=a, cubic=True) * (3, 3, 3)


def strange(name):
    perfect = crystal(name)
    vacancy = perfect.copy()
    del vacancy[0]
    symbol = perfect.symbols[0]
    slab = (fcc111 if name == "al" else diamond111)(symbol, (2, 2, 7), a=perfect.cell[0, 0] / 3, vacuum=7.0)
    slab.pbc = True
    return {
        "vacancy": vacancy,
        "surface": slab,
        "free atom": Atoms(symbol),
        "free atom in a box": Atoms(symbol, cell=[15, 15, 15], pbc=True),
        "dimer": Atoms([symbol] * 2, [[0, 0, 0], [2.4, 0, 0]]),
    }


@pytest.mark.parametrize("name", ["sigesn", "al"])
def test_missing_neighbours_are_seen_and_a_shaken_crystal_is_not(name):
    model = am.load(name)
    shaken = crystal(name)
    shaken.rattle(0.05, seed=0)
    for atoms in (crystal(name), shaken):
        assert float(model.distances(from_atoms(atoms, model.cutoff)).max()) < 0.9
    for kind, atoms in strange(name).items():
        assert float(model.distances(from_atoms(atoms, model.cutoff)).max()) > 1, kind


@pytest.mark.parametrize("name", ["sigesn", "al"])
def test_the_atoms_at_fault_are_named(name):
    model, perfect = am.load(name), crystal(name)
    gaps = perfect.get_distances(0, range(1, len(perfect)), mic=True)
    vacancy = perfect[1:]
    beyond_edge = model.distances(from_atoms(vacancy, model.cutoff)).numpy() > 1
    assert set(np.flatnonzero(beyond_edge)) == set(np.flatnonzero(gaps < 1.05 * gaps.min()))


def test_a_bar_takes_in_what_lies_beyond_the_edge():
    model = am.load("sigesn")
    reference = float(model(from_atoms(crystal("sigesn"), model.cutoff))["energies"].mean())
    # PBE, eV above the crystal: a vacancy 3.6 (relaxed; more without), a free atom 4.6
    for kind, truth in {"vacancy": 3.6, "free atom": 4.6}.items():
        atoms = strange("sigesn")[kind]
        p = model.with_std(from_atoms(atoms, model.cutoff))
        assert abs(float(p["energy"]) - len(atoms) * reference - truth) < 2 * float(p.std["energy"]), kind


def test_scores_do_not_turn_move_or_depend_on_order_or_company():
    rng = np.random.default_rng(0)
    model = tiny_potential(elements=(13, 79), cutoff=4.0, l_max=2)
    atoms = labelled(1)[0]
    graph = from_atoms(atoms, 4.0)
    scores = model.distances(graph)
    q = np.linalg.qr(rng.standard_normal((3, 3)))[0]  # a mirror, too, in half of the cases
    turned = Atoms(atoms.numbers, atoms.positions @ q.T + 1.0, cell=atoms.cell @ q.T, pbc=True)
    assert torch.allclose(model.distances(from_atoms(turned, 4.0)), scores, rtol=2e-3)
    order = rng.permutation(len(atoms))
    assert torch.allclose(model.distances(from_atoms(atoms[order], 4.0)), scores[order], rtol=2e-3)
    together = model.distances(batch([from_atoms(Atoms("Al"), 4.0), graph]))
    assert torch.allclose(together[1:], scores, rtol=2e-3)
    assert distances(model, atoms) == pytest.approx(scores.numpy(), rel=2e-3)


def test_moments_count_neighbours():
    atoms = bulk("Al", a=4.05)
    graph = from_atoms(atoms, 5.0)
    count, vector, tensor = moments(graph, graph.vectors())
    assert count[0, -1] / WEIGHT == pytest.approx(42, abs=1e-6)  # 12 + 6 + 24 within 5 Å
    assert vector.abs().max() < 1e-5 and tensor.abs().max() < 1e-5  # a cubic site has no direction


def test_a_pair_of_elements_never_seen_is_beyond():
    frames = labelled(8)
    for atoms in frames:
        atoms.numbers[:] = 13
    frames += [a.copy() for a in labelled(2, seed=3)]
    for k, atoms in enumerate(frames[8:]):
        atoms.numbers[:] = 79
        atoms.calc = labelled(2, seed=3)[k].calc
    model = tiny_potential(elements=(13, 79), cutoff=4.0)
    set_distance(model, [sample(a, 4.0, f"{k}") for k, a in enumerate(frames)])
    assert model.distance.pairs.tolist() == [[True, False], [False, True]]
    alloy = labelled(1)[0]
    assert float(model.distances(from_atoms(alloy, 4.0)).min()) >= UNSEEN_PAIR


def test_a_structure_and_its_displaced_twin_are_left_out_together():
    atoms = labelled(1)[0]
    twin = atoms.copy()
    moved = 0.02 * np.random.default_rng(0).standard_normal((4, 3))
    twin.positions += moved
    twin.arrays["displacement"], twin.arrays["force_change"] = moved, np.ones((4, 3))
    twin.calc = atoms.calc
    pair = [_undisplaced(sample(a, 4.0, "x")) for a in (atoms, twin)]
    assert pair[0] == pair[1] != _undisplaced(sample(labelled(1, seed=1)[0], 4.0, "y"))


def test_bars_rise_without_a_step():
    model = tiny_potential(elements=(13, 79), cutoff=4.0)
    model.std_beyond.copy_(torch.tensor([0.1, 0.03, 0.1, 0.0, 0.1]))
    graph = from_atoms(labelled(1)[0], 4.0)
    d = torch.linspace(0.5, 3.0, 2001, dtype=torch.float64)
    added = torch.stack([beyond(model, "energy", graph, x.expand(4)).sum() for x in d])
    assert added[d <= RISE].abs().max() == 0
    assert bool((added.diff(dim=0) >= 0).all()) and float(added.diff(dim=0).max()) < 0.03
    assert float(added[-1]) == pytest.approx(4 * 0.1 * 3**1.5)
    one = torch.tensor([3.0, 0.1, 0.1, 0.1], dtype=torch.float64)
    assert float(beyond(model, "energy", graph, one)) == pytest.approx(0.1 * 3**1.5)
    assert beyond(model, "forces", graph, one).min() == pytest.approx(0.03 * 3**1.5)  # all are neighbours of the first
