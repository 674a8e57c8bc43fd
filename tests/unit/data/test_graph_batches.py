"""Batches: every frame once an epoch, in an order that seed and epoch fix, from any step on, shared by workers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from tiny import labelled

from ase_mlx.data import shard_writer, shards
from ase_mlx.data.graph_batches import GraphBatches, ShardSamples, size_of
from ase_mlx.data.samples import name_of, sample
from ase_mlx.data.shard_files import record
from ase_mlx.data.shards import Shards

CUTOFF = 4.0


@pytest.fixture(scope="module")
def frames():
    frames = labelled(11)
    for k in (1, 4):
        frames[k] = frames[k].repeat((2, 1, 1))
        forces = np.ones((8, 3))
        frames[k].calc = SinglePointCalculator(frames[k], energy=1.0 * k, forces=forces, stress=np.zeros(6))
        frames[k].info["config_name"] = f"large {k}"
    water = molecule("H2O")
    water.calc = SinglePointCalculator(water, energy=-14.0, forces=np.zeros((3, 3)))
    moved = np.zeros((4, 3))
    moved[0] = 0.02
    frames[2].arrays |= {"displacement": moved, "force_change": -moved}
    return [*frames, water]


@pytest.fixture(scope="module")
def folder(frames, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch, shard_writer.ShardWriter(folder / "s", ["a"], "call") as writer:
        patch.setattr(shard_writer, "SHARD", 2000)
        for k, atoms in enumerate(frames):
            writer.add(record(atoms, name_of(atoms, k)), (0, k))
        writer.finish()
    return folder / "s"


@pytest.fixture(params=["list", "shards"])
def samples(request, frames, folder):
    if request.param == "list":
        return [sample(atoms, CUTOFF, name_of(atoms, k)) for k, atoms in enumerate(frames)]
    return ShardSamples(Shards(folder), np.arange(len(frames)), CUTOFF)


def names(batch):
    return sorted(name for group in batch for name in group.names)


def edges(batch):
    graphs = [graph for group in batch for graph in (group.graph, group.base) if graph is not None]
    return sum(len(graph.center) for graph in graphs)


@pytest.mark.parametrize("limit", [{"size": 3}, {"size": 100}, {"edges": 350}, {"edges": 1}])
def test_every_frame_comes_once_an_epoch(samples, limit):
    made = GraphBatches(samples, **limit, seed=5)
    assert made.items == 12
    orders = []
    for epoch in (0, 1, 0):
        batches = list(made.epoch(epoch))
        assert len(batches) == made.steps(epoch)
        assert sorted(name for batch in batches for name in names(batch)) == sorted(s.names[0] for s in samples)
        orders.append([names(batch) for batch in batches])
        for batch in batches:
            assert all(((group.graph.volume > 1e-6) == (group.graph.volume > 1e-6)[0]).all() for group in batch)
            assert len(names(batch)) <= limit.get("size", 12)
    assert orders[0] == orders[2] and (orders[0] != orders[1] or limit == {"size": 100})


def test_batches_by_edges_are_as_full_as_they_can_be(samples):
    made = list(GraphBatches(samples, edges=120).epoch(1))
    counts = [edges(batch) for batch in made]
    assert all(count <= 120 or len(names(batch)) == 1 for count, batch in zip(counts, made, strict=True))
    ordered = [sample for batch in made for sample in sorted(names(batch))]
    assert len(ordered) == 12 and max(counts) > 120 and max(len(names(batch)) for batch in made) > 1
    order = np.random.default_rng([0, 1]).permutation(12)
    firsts = np.cumsum([0, *(len(names(batch)) for batch in made)])
    for count, first in zip(counts, firsts[1:-1], strict=False):
        assert count + edges([samples[int(order[first])]]) > 120  # the next one would not have fitted in


def test_a_list_and_shards_make_the_same_batches(frames, folder):
    listed = [sample(atoms, CUTOFF, name_of(atoms, k)) for k, atoms in enumerate(frames)]
    stored = ShardSamples(Shards(folder), np.arange(len(frames)), CUTOFF)
    for one, other in zip(
        GraphBatches(listed, edges=500).epoch(3), GraphBatches(stored, edges=500).epoch(3), strict=True
    ):
        for a, b in zip(one, other, strict=True):
            assert a.names == b.names and torch.equal(a.graph.positions, b.graph.positions)
            assert torch.equal(a.graph.center, b.graph.center) and torch.equal(a.graph.shift, b.graph.shift)
            assert all(torch.equal(a.targets[name], b.targets[name]) for name in a.targets)
            assert all(torch.equal(a.weight[name], b.weight[name]) for name in a.weight)


def test_an_epoch_goes_on_in_its_middle_without_reading_what_is_passed(folder, monkeypatch):
    made = GraphBatches(ShardSamples(Shards(folder), np.arange(12), CUTOFF, cache=0), size=2)
    whole = [names(batch) for batch in made.epoch(7)]
    read = []
    monkeypatch.setattr(shards.ShardFile, "frame", lambda *a, frame=shards.ShardFile.frame: read.append(a) or frame(*a))
    assert [names(batch) for batch in made.epoch(7, start=4)] == whole[4:] and len(read) == 4


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_every_batch(samples, workers):
    made = GraphBatches(samples, size=4, seed=1)
    shares = [list(made.epoch(2, 1, rank, workers)) for rank in range(workers)]
    for batch, *parts in zip(made.epoch(2, 1), *shares, strict=True):
        assert names(batch) == sorted(name for part in parts for name in names(part))
        assert max(len(names(part)) for part in parts) <= 2
    alone = GraphBatches(samples, size=1)
    assert [len(batch) for batch in alone.epoch(0, rank=1, workers=2)] == [0] * 12  # in step with the others


def test_what_is_kept_is_bounded(folder):
    one = size_of(ShardSamples(Shards(folder), np.arange(12), CUTOFF)[0])
    stored = ShardSamples(Shards(folder), np.arange(12), CUTOFF, cache=3 * one)
    first = [stored[k] for k in range(12)]
    again = [stored[k] for k in range(12)]
    same = [a is b for a, b in zip(first, again, strict=True)]
    assert 1 <= sum(same) <= 4 and sum(size_of(a) for a, kept in zip(first, same, strict=True) if kept) <= 3 * one


def test_the_digest_is_that_of_data_and_settings(frames, folder, samples):
    known = GraphBatches(samples, size=2).digest
    assert GraphBatches(samples, size=2).digest == known
    others = [GraphBatches(samples, size=3), GraphBatches(samples, edges=2), GraphBatches(samples, size=2, seed=1)]
    stored = Shards(folder)
    others += [GraphBatches(ShardSamples(stored, np.arange(k), c), size=2) for k, c in ((11, CUTOFF), (12, 4.5))]
    moved = frames[0].copy()
    moved.positions[0, 0] += 1e-9
    moved.calc = SinglePointCalculator(moved, **frames[0].calc.results)
    others.append(GraphBatches([sample(moved, CUTOFF, "x"), *list(samples)[1:]], size=2))
    assert len({known, *(other.digest for other in others)}) == len(others) + 1


@pytest.mark.parametrize("limit", [{}, {"size": 2, "edges": 2}, {"size": -1}])
def test_one_kind_of_limit(samples, limit):
    with pytest.raises(ValueError, match="either a number of frames or of edges"):
        GraphBatches(samples, **limit)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_memory_stays_flat_under_a_limit():
    script = Path(__file__).resolve().parents[3] / "benchmarks" / "training.py"
    done = subprocess.run([sys.executable, script, "--shards", "--quick"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
