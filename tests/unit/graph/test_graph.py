import dataclasses
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111
from ase.neighborlist import neighbor_list
from crystals import recelled, unwrapped

from ase_mlx.graph import batch, from_atoms, neighbor_pairs, neighbors


def outside(atoms):
    atoms.positions += [0.3, -0.2, 11.0]
    return atoms


CLUSTER = [[0, 0, 0], [2.4, 0, 0], [1.0, 2.3, 0], [0.7, 0.5, 2.4]]
AWKWARD = {
    "slab": lambda: fcc111("Al", (2, 2, 3), vacuum=5.0),
    "slab outside its cell": lambda: outside(fcc111("Al", (2, 2, 3), vacuum=5.0)),
    "molecule without a cell": lambda: Atoms("Si4", CLUSTER),
    "molecule in a cell": lambda: Atoms("Si4", CLUSTER, cell=[3.0, 3.0, 3.0]),
    "left-handed": lambda: recelled([[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    "one-atom primitive": lambda: bulk("Al"),
    "strongly skewed": lambda: recelled([[1, 0, 0], [4, 1, 0], [-3, 5, 1]]),
    "unwrapped": unwrapped,
    "wire with zero vectors": lambda: Atoms("Si2", [[0, 0, 0], [1.2, 0.7, 1.9]], cell=[0, 0, 3.8], pbc=[0, 0, 1]),
    "single atom": lambda: Atoms("Si"),
}


@pytest.mark.parametrize("cutoff", [3.1, 6.03])
@pytest.mark.parametrize("name", AWKWARD)
def test_pairs_are_those_of_ase(name, cutoff):
    atoms = AWKWARD[name]()
    if len(atoms) > 1:
        atoms.rattle(0.05, seed=2)
    i, j, shift = neighbor_pairs(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    expected = sorted(zip(*(x.tolist() for x in neighbor_list("ijS", atoms, cutoff)), strict=True))
    assert sorted(zip(i.tolist(), j.tolist(), shift.tolist(), strict=True)) == expected
    graph = from_atoms(atoms, cutoff)
    distances = np.sort(graph.vectors().norm(dim=1).numpy())
    assert distances == pytest.approx(np.sort(neighbor_list("d", atoms, cutoff)), abs=1e-12)
    assert graph.center.dtype == graph.neighbor.dtype == torch.int64


@pytest.mark.parametrize("name", AWKWARD)
def test_first_edge_counts_the_edges_of_each_atom(name):
    graph = from_atoms(AWKWARD[name](), 5.0)
    assert torch.all(graph.center[1:] >= graph.center[:-1])
    for i in range(len(graph.numbers)):
        assert torch.all(graph.center[graph.first_edge[i] : graph.first_edge[i + 1]] == i)
    assert int(graph.first_edge[-1]) == len(graph.center)


def test_every_edge_has_its_reverse():
    graph = from_atoms(AWKWARD["strongly skewed"](), 5.0)
    there = {
        (i, j, *s) for i, j, s in zip(graph.center.tolist(), graph.neighbor.tolist(), graph.shift.tolist(), strict=True)
    }
    assert there == {(j, i, -a, -b, -c) for i, j, a, b, c in there}


def test_a_batch_holds_its_graphs_side_by_side():
    graphs = [from_atoms(build(), 4.0) for build in AWKWARD.values()]
    joined = batch(graphs)
    assert joined.n_graphs == len(graphs)
    assert joined.n_atoms.tolist() == [len(g.numbers) for g in graphs]
    assert joined.volume.tolist() == pytest.approx([float(g.volume[0]) for g in graphs])
    assert torch.allclose(joined.vectors(), torch.cat([g.vectors() for g in graphs]))
    assert torch.equal(joined.atom_graph[joined.center], joined.atom_graph[joined.neighbor])
    degree = joined.first_edge[1:] - joined.first_edge[:-1]
    assert torch.equal(degree, torch.cat([g.first_edge[1:] - g.first_edge[:-1] for g in graphs]))
    again = batch([batch(graphs[:4]), batch(graphs[4:])])
    for name in joined.__dataclass_fields__:
        assert torch.equal(getattr(again, name), getattr(joined, name)), name


def test_a_batch_of_one_and_of_none():
    graph = from_atoms(bulk("Al"), 4.0)
    assert batch([graph]) is graph
    with pytest.raises(ValueError, match="no graphs to batch.*not empty"):
        batch([])


@pytest.mark.parametrize("name", AWKWARD)
def test_within_equals_a_shorter_search_to_the_bit(name):
    atoms = AWKWARD[name]()
    if len(atoms) > 1:
        atoms.rattle(0.05, seed=2)
    cut, direct = from_atoms(atoms, 5.0).within(4.0), from_atoms(atoms, 4.0)
    for field in dataclasses.fields(direct):
        assert torch.equal(getattr(cut, field.name), getattr(direct, field.name)), field.name


def test_moved_atoms_keep_their_edges():
    atoms = bulk("Si", cubic=True)
    graph = from_atoms(atoms, 4.0)
    moved = graph.at(graph.positions + 0.1, 1.1 * graph.cell)
    assert torch.equal(moved.center, graph.center)
    assert torch.allclose(moved.vectors() - graph.vectors(), 0.1 * (graph.shift @ graph.cell[0]))
    assert torch.equal(graph.at(graph.positions).cell, graph.cell)


def test_casting_leaves_indices_alone():
    graph = from_atoms(bulk("Si"), 4.0).to(dtype=torch.float32)
    assert graph.positions.dtype == graph.cell.dtype == graph.shift.dtype == torch.float32
    assert graph.center.dtype == graph.numbers.dtype == torch.int64
    assert graph.pbc.dtype == torch.bool


def test_a_graph_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        from_atoms(bulk("Si"), 4.0).positions = torch.zeros(2, 3)


def spoiled(**changes):
    atoms = bulk("Si", cubic=True)
    for name, value in changes.items():
        setattr(atoms, name, value)
    return atoms


@pytest.mark.parametrize(
    ("atoms", "said"),
    [
        (Atoms(), "without atoms.*at least one"),
        (spoiled(positions=np.full((8, 3), np.nan)), r"NaN or infinite positions of atoms \[0, 1, 2, 3, 4\] …"),
        (spoiled(positions=np.where(np.arange(24).reshape(8, 3) == 7, np.inf, 0.1)), r"positions of atoms \[2\]"),
        (spoiled(cell=np.full((3, 3), np.nan)), "cell with NaN or infinite"),
        (spoiled(cell=np.zeros((3, 3))), "zero or parallel.*pbc=False"),
        (spoiled(cell=np.array([[5, 0, 0], [5, 0, 0], [0, 0, 5]])), "zero or parallel"),
        (spoiled(cell=np.array([[5, 0, 0], [0, 5, 0], [5, 5, 0]])), "zero or parallel"),
        (Atoms("Si", cell=[5, 0, 0], pbc=[1, 1, 0]), "zero or parallel"),
    ],
)
def test_structures_without_meaning_are_refused(atoms, said):
    with pytest.raises(ValueError, match=said):
        from_atoms(atoms, 4.0)


def test_two_atoms_in_one_place_are_refused():
    with pytest.raises(ValueError, match="atoms 0 and 1.*same place"):
        from_atoms(Atoms("Si2", [[1, 1, 1], [1, 1, 1]]), 4.0)


def far(x, y=0.0, z=0.0, pbc=False, cell=None):
    return Atoms("Si3", [[0, 0, 0], [2.3, 0, 0], [x, y, z]], cell=cell, pbc=pbc)


@pytest.mark.parametrize(
    "atoms",
    [
        far(7e5),
        far(1e4, 1e4),
        far(5e6, 1.0, 3e6),
        far(2, 2, 1e6, pbc=[1, 1, 0], cell=[5.4, 5.4, 20]),
        far(2, 2, 2, pbc=True, cell=[1e6, 5.4, 5.4]),
        far(2, 2, 2, pbc=True, cell=[1e6, 1e6, 5.4]),
        far(1e5, 2, 2, pbc=[0, 1, 0], cell=[1, 48, 1e4]),
    ],
    ids=["line", "plane", "far plane", "above a slab", "long cell", "wide cell", "beside a wire"],
)
def test_wide_and_sparse_structures_are_served(atoms):
    # right pairs by another route: the far atom is farther than the cutoff from the pair, images as ASE counts them
    short = np.minimum(atoms.cell.array, 1e3)  # ASE's own search would fill the long cells with empty boxes
    beside = np.abs(atoms.positions).max() < 1e3
    parts = [slice(0, 3)] if beside else [slice(0, 2), slice(2, 3)]
    count = sum(len(neighbor_list("i", Atoms(f"Si{len(x)}", x, cell=short, pbc=atoms.pbc), 4.0))
                for x in (atoms.positions[part] for part in parts))  # fmt: skip
    graph = from_atoms(atoms, 4.0)
    assert len(graph.center) == count and graph.vectors().norm(dim=1).max() < 4.0


def test_trees_find_the_pairs_of_cells_to_the_last_shift():
    rng = np.random.default_rng(0)
    for _ in range(60):
        pbc = rng.integers(0, 2, 3).astype(bool)
        cell = np.diag(rng.uniform(3, 9, 3)) + rng.uniform(-2, 2, (3, 3))
        positions = rng.uniform(-10, 10, (6, 3))
        center, neighbor, shift = neighbors.neighbor_pairs(positions, cell, pbc, 5.0)
        frame = neighbors.completed(cell, pbc)
        heights = 1 / np.linalg.norm(np.linalg.inv(frame), axis=0)
        found = neighbors._by_trees(positions, pbc, frame, heights, 5.0)
        theirs = sorted(zip(center.tolist(), neighbor.tolist(), map(tuple, shift.tolist()), strict=True))
        assert theirs == sorted(zip(found[0].tolist(), found[1].tolist(), map(tuple, found[2].tolist()), strict=True))


FLAT = np.array([[5.4, 0, 0], [0, 5.4, 0], [2.7, 2.7, 0.001]])


@pytest.mark.parametrize(
    ("atoms", "said"),
    [
        (spoiled(cell=FLAT, pbc=True), "neighbours of an atom"),
        (spoiled(cell=FLAT * [1, 1, 3], pbc=True), "neighbours of an atom"),
        (Atoms("Si", cell=[5.0, 5.0, 1e-3], pbc=True), "none shorter than 0.1 Å"),
        (Atoms("Si", cell=[0, 0, 2e-3], pbc=[0, 0, 1]), "none shorter than 0.1 Å"),
        (Atoms("Si", cell=[[5, 0, 0], [3e4, 5, 0], [0, 3e4, 5]], pbc=True), "nearly parallel.*niggli"),
        (Atoms("H12000", np.random.default_rng(0).uniform(0, 4, (12000, 3))), "neighbours of an atom"),
        (spoiled(positions=np.full((8, 3), 1e30)), "within 1e.07 Å of the origin"),
        (spoiled(cell=np.eye(3) * 1e200), "within 1e.07 Å of the origin"),
        (SimpleNamespace(positions=np.eye(3), numbers=[1, 1, 200], cell=np.eye(3), pbc=False), "atomic numbers"),
        (SimpleNamespace(positions=np.eye(3), numbers=[1, 1, 1.5], cell=np.eye(3), pbc=False), "atomic numbers"),
        (SimpleNamespace(positions=np.eye(3), numbers=[1, 1], cell=np.eye(3), pbc=False), "one number an atom"),
        (SimpleNamespace(positions=[["a", 0, 0]], numbers=[1], cell=np.eye(3), pbc=False), "no numbers"),
    ],
)
def test_crowds_and_nonsense_are_refused_at_once(atoms, said):
    start = time.process_time()
    with pytest.raises(ValueError, match=said):
        from_atoms(atoms, 5.0)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("pbc", [True, [1, 1, 0]])
def test_the_same_numbers_in_any_kind_of_array_are_the_same_graph(pbc):
    atoms = bulk("Si", cubic=True)
    atoms.pbc = pbc
    usual = from_atoms(atoms, 4.0)
    half = lambda x: np.asarray(x, dtype=np.float32).astype(np.float64)  # noqa: E731
    kinds = {
        "reversed": lambda x: np.ascontiguousarray(np.asarray(x)[::-1])[::-1],
        "other byte order": lambda x: np.asarray(x).astype(np.asarray(x).dtype.newbyteorder(">")),
        "columns first": np.asfortranarray,
        "strided": lambda x: np.repeat(np.asarray(x), 2, axis=0)[::2],
        "single precision": lambda x: np.asarray(x, dtype=np.float32 if np.asarray(x).dtype.kind == "f" else np.int32),
        "lists": lambda x: np.asarray(x).tolist(),
    }
    for name, change in kinds.items():
        given = SimpleNamespace(
            positions=change(atoms.positions), numbers=change(atoms.numbers), cell=change(atoms.cell.array),
            pbc=change(atoms.pbc),
        )  # fmt: skip
        graph = from_atoms(given, 4.0)
        expected = usual.positions if name != "single precision" else torch.tensor(half(atoms.positions))
        assert torch.equal(graph.positions, expected) and torch.equal(graph.neighbor, usual.neighbor), name
        assert torch.equal(graph.shift, usual.shift) and torch.equal(graph.numbers, usual.numbers), name
