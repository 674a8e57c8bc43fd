"""Trainings in pieces of time: a constant rate, then its fall; whatever the clock does, one training's weights."""

import dataclasses

import pytest
import torch
from ase.io import write
from tiny import labelled, tiny_potential

from ase_mlx.data.graph_batches import GraphBatches
from ase_mlx.data.samples import sample
from ase_mlx.learn.config import FitConfig
from ase_mlx.learn.files import load_state, parameters_equal
from ase_mlx.learn.fit import CHECKPOINT, Stage, fit, mean_loss
from ase_mlx.learn.methods import learning_rate, network
from ase_mlx.learn.recipes.potential import (
    LabelledData,
    PotentialFit,
    PotentialRecipe,
    PotentialTraining,
    potential_loss,
)
from ase_mlx.learn.run import run

HALF = FitConfig(batch_size=2, learning_rate=0.01, warmup_steps=3, seed=4, constant=0.5)


def fresh(seed=0):
    sizes = {"cutoff": 4.0, "reference_energies": (0.0, 0.0), "by_element": "gains"}
    return tiny_potential(elements=(13, 79), members=0, seed=seed, **sizes)


@pytest.fixture(scope="module")
def samples():
    made = [sample(a, 4.0, f"frame {k}") for k, a in enumerate(labelled(8))]
    return made[:6], made[6:]


def piece(samples, folder, steps, stop=None, config=HALF, seed=0):
    """Train with a clock that counts steps; `stop` raises before that one."""
    folder.mkdir(exist_ok=True)
    train, val = GraphBatches(samples[0], config.batch_size, seed=config.seed), GraphBatches(samples[1], 8)
    one = Stage(fresh(seed), potential_loss, train, network(config), val, settings=dataclasses.asdict(config))
    ticks, rates = [], []

    def pace(optimizers, step, done):
        if len(ticks) == stop:
            raise KeyboardInterrupt
        ticks.append(step)
        one.method.pace(optimizers, step, done)
        rates.append(optimizers[0].param_groups[0]["lr"])

    timed = dataclasses.replace(one, method=dataclasses.replace(one.method, pace=pace))
    history = fit(timed, folder, seconds=0.0, limit=steps, now=lambda: len(ticks))
    return one, history, rates


def test_pieces_are_one_training_at_a_constant_rate(samples, tmp_path):
    _, _, rates = piece(samples, tmp_path / "whole", 22)
    assert len(rates) == 22  # it ends within an epoch of three steps
    assert len(set(rates[2:12])) == 1  # after three steps of warming up
    assert rates[-1] < 0.05 * rates[11]
    piece(samples, tmp_path / "pieces", 10)
    with pytest.raises(KeyboardInterrupt):
        piece(samples, tmp_path / "pieces", 100, stop=3, seed=7)
    piece(samples, tmp_path / "pieces", 6, seed=8)
    whole, pieces = (load_state(tmp_path / name / CHECKPOINT) for name in ("whole", "pieces"))
    assert whole[1]["step"] == 12 and pieces[1]["step"] == 6 + 3 + 4
    _, _, _ = piece(samples, tmp_path / "again", 2 * pieces[1]["step"] - 2)
    again = load_state(tmp_path / "again" / CHECKPOINT)
    assert again[1]["step"] == pieces[1]["step"]
    assert all(torch.equal(again[0][name], tensor) for name, tensor in pieces[0].items())
    assert again[1]["history"] == pieces[1]["history"]


def test_every_piece_ends_in_the_best_model_so_far(samples, tmp_path):
    one, history, _ = piece(samples, tmp_path, 10)
    loss, _ = mean_loss(one.model.train(), one)
    assert loss == pytest.approx(min(line["val_loss"] for line in history), rel=1e-6)
    kept, _ = load_state(tmp_path / CHECKPOINT)
    held = fresh()
    held.load_state_dict({k.removeprefix("average."): v for k, v in kept.items() if k.startswith("average.")})
    assert not parameters_equal(held, one.model)


def test_time_needs_a_share_of_constant_rate(samples, tmp_path):
    with pytest.raises(ValueError, match="fit.constant above 0"):
        piece(samples, tmp_path, 10, config=dataclasses.replace(HALF, constant=0.0))


def test_the_rate_is_constant_and_then_falls():
    rates = [learning_rate(HALF, 100, k / 10) for k in range(11)]
    assert len(set(rates[:6])) == 1
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.01 * rates[0]


def test_a_kill_on_the_way_to_the_model_does_not_lose_the_fall(tmp_path, monkeypatch):
    write(tmp_path / "frames.extxyz", labelled(8))
    data, sizes = LabelledData(str(tmp_path / "frames.extxyz"), 0.3), {"cutoff": 4.0, "channels": 4, "layers": 1}
    config = PotentialTraining(data, sizes, PotentialFit(**dataclasses.asdict(HALF)))
    reports = []

    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(PotentialRecipe, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            run(first := PotentialRecipe(config), tmp_path / "model", minutes=0.01)
    model, _ = run(PotentialRecipe(config), tmp_path / "model", reports.append, minutes=0.01)
    assert reports == [] and not list((tmp_path / "model").glob("ended-*"))
    fitted = dict(first.model.named_parameters())
    assert all(torch.equal(p, fitted[name]) for name, p in model.named_parameters())
    run(PotentialRecipe(config), tmp_path / "model", reports.append, minutes=0.01)
    assert reports  # the next call goes on from the constant rate
