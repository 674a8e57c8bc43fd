import dataclasses
import os

import pytest
import torch
from tiny import labelled, tiny_potential

from ase_mlx.data.graph_batches import GraphBatches
from ase_mlx.data.samples import sample
from ase_mlx.learn.config import FitConfig
from ase_mlx.learn.files import load_state, parameters_equal, save_state
from ase_mlx.learn.fit import CHECKPOINT, Stage, fit, mean_loss
from ase_mlx.learn.methods import learning_rate, network
from ase_mlx.learn.recipes.potential import potential_loss
from ase_mlx.nn.terms import Term

CONFIG = FitConfig(epochs=5, batch_size=2, learning_rate=0.01, warmup_steps=3, seed=4)


@pytest.fixture(scope="module")
def samples():
    frames = labelled(8)
    made = [sample(a, 4.0, f"frame {k}") for k, a in enumerate(frames)]
    return made[:6], made[6:]


def fresh(**changes):
    return tiny_potential(l_max=1, elements=(13, 79), members=0, cutoff=4.0, reference_energies=(0.0, 0.0), **changes)


def stage(model, loss, train, val, config=CONFIG, start=""):
    batches = GraphBatches(train, config.batch_size, seed=config.seed), GraphBatches(val, 4 * config.batch_size)
    settings = dataclasses.asdict(config) | {f"model.{k}": v for k, v in dataclasses.asdict(model.config).items()}
    return Stage(model, loss, batches[0], network(config), batches[1], start=start, settings=settings)


def fitted(model, loss, train, val, config=CONFIG, folder=None, report=None, start=""):
    return model, fit(stage(model, loss, train, val, config, start), folder, report)


class Killed(Exception):
    pass


def not_a_number(terms):
    return {name: dataclasses.replace(term, total=term.total * float("nan")) for name, term in terms.items()}


def killed_after(epoch):
    def report(progress):
        if progress.epoch == epoch:
            raise Killed

    return report


@pytest.fixture(scope="module")
def uninterrupted(samples):
    return fitted(fresh(), potential_loss, *samples, CONFIG)


def test_training_lowers_the_loss(samples, uninterrupted):
    model, history = uninterrupted
    train, val = samples
    assert [h["epoch"] for h in history] == [1, 2, 3, 4, 5]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert {"energy", "forces", "stress"} <= set(history[0])
    best = min(h["val_loss"] for h in history)
    assert mean_loss(model.train(), stage(model, potential_loss, train, val))[0] == pytest.approx(best, rel=1e-6)


def test_one_seed_gives_one_model(samples, uninterrupted):
    again, history = fitted(fresh(), potential_loss, *samples, CONFIG)
    assert parameters_equal(again, uninterrupted[0])
    assert history == uninterrupted[1]
    other, _ = fitted(fresh(), potential_loss, *samples, dataclasses.replace(CONFIG, seed=5))
    assert not parameters_equal(other, uninterrupted[0])


@pytest.mark.parametrize("epoch", [1, 3, 5])
def test_resuming_gives_the_same_weights_to_the_bit(samples, uninterrupted, tmp_path, epoch):
    with pytest.raises(Killed):
        fitted(fresh(), potential_loss, *samples, CONFIG, tmp_path, killed_after(epoch))
    resumed, history = fitted(fresh(seed=9), potential_loss, *samples, CONFIG, tmp_path)
    assert parameters_equal(resumed, uninterrupted[0])
    assert history == uninterrupted[1]


def test_a_checkpoint_without_what_is_set_after_the_fit_goes_on(samples, uninterrupted, tmp_path):
    """One of a version whose potentials had no directions of error bars, and another distance score."""
    with pytest.raises(Killed):
        fitted(fresh(), potential_loss, *samples, CONFIG, tmp_path, killed_after(1))
    tensors, meta = load_state(tmp_path / CHECKPOINT)
    assert any(name.endswith(".directions") for name in tensors)
    added = (".directions", ".std_growth", ".std_beyond")
    older = {name: x for name, x in tensors.items() if not name.endswith(added) and ".distance." not in name}
    for module in {name.split(".")[0] for name in older} - {"optimizer"}:
        gone = ("feature_mean", "feature_precision", "distance_scale")
        older |= {f"{module}.{name}": torch.ones(12) for name in gone}
    save_state(tmp_path / CHECKPOINT, older, meta)
    model = fresh()
    fitted(model, potential_loss, *samples, CONFIG, tmp_path)
    assert parameters_equal(model, uninterrupted[0])


def test_killed_while_writing_a_checkpoint(samples, uninterrupted, tmp_path, monkeypatch):
    saves = []

    def refuse(*args):
        saves.append(args)
        if len(saves) == 4:
            raise Killed
        os.rename(*args)

    monkeypatch.setattr("ase_mlx.learn.fit.SHORT", 0.0)
    monkeypatch.setattr("ase_mlx.whole.files.os.replace", refuse)
    with pytest.raises(Killed):
        fitted(fresh(), potential_loss, *samples, CONFIG, tmp_path)
    assert load_state(tmp_path / CHECKPOINT)[1]["epoch"] == 3
    resumed, _ = fitted(fresh(), potential_loss, *samples, CONFIG, tmp_path)
    assert parameters_equal(resumed, uninterrupted[0])


def test_early_stopping_and_no_step_more_after_it(samples, tmp_path):
    train, val = samples
    worse = {"calls": 0}

    def loss(model, joined, random):
        terms = potential_loss(model, joined)
        if len(joined.names) == len(val) and set(joined.names) == {n for s in val for n in s.names}:
            worse["calls"] += 1
            return {"worse": Term(torch.tensor(float(abs(worse["calls"] - 2))), 1)}
        return terms

    config = dataclasses.replace(CONFIG, epochs=40, patience=3)
    model, history = fitted(fresh(), loss, train, val, config, tmp_path)
    assert len(history) == 5
    assert min(history, key=lambda h: h["val_loss"])["epoch"] == 2
    again, longer = fitted(fresh(), loss, train, val, config, tmp_path)
    assert longer == history
    assert parameters_equal(again, model)


def test_a_loss_that_is_no_number_names_its_frames(samples, tmp_path):
    train, val = samples

    def loss(model, joined, random):
        terms = potential_loss(model, joined)
        return not_a_number(terms) if "frame 3" in joined.names else terms

    with pytest.raises(FloatingPointError, match="loss of nan in epoch 1 on .*frame 3.*learning_rate"):
        fitted(fresh(), loss, train, val, CONFIG, tmp_path)


def test_a_checkpoint_of_other_frames_is_refused(samples, tmp_path):
    train, val = samples
    fitted(fresh(), potential_loss, train, val, dataclasses.replace(CONFIG, epochs=1), tmp_path)
    with pytest.raises(ValueError, match="other data"):
        fitted(fresh(), potential_loss, train[1:], val, dataclasses.replace(CONFIG, epochs=1), tmp_path)


def test_a_checkpoint_of_other_settings_is_refused(samples, tmp_path):
    with pytest.raises(Killed):
        fitted(fresh(), potential_loss, *samples, CONFIG, tmp_path, killed_after(1))
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(ValueError, match="other settings of learning_rate.*delete the checkpoint"):
        fitted(fresh(), potential_loss, *samples, dataclasses.replace(CONFIG, learning_rate=1e-3), tmp_path)
    with pytest.raises(ValueError, match="checkpoint of another model"):
        fitted(fresh(layers=3), potential_loss, *samples, CONFIG, tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def moved(samples, **changes):
    """The first sample's graph with another cell or other boundaries."""
    first, *rest = samples
    return [dataclasses.replace(first, graph=dataclasses.replace(first.graph, **changes)), *rest]


def test_another_model_dtype_cell_or_boundary_is_refused_by_name(samples, tmp_path):
    train, val = samples
    with pytest.raises(Killed):
        fitted(fresh(), potential_loss, train, val, CONFIG, tmp_path, killed_after(1))
    before = (tmp_path / CHECKPOINT).read_bytes()
    graph = train[0].graph
    for model, said in (
        (tiny_potential(l_max=1, elements=(13, 79), members=0, cutoff=3.5, reference_energies=(0.0, 0.0)), "cutoff"),
        (fresh(energy_scale=50.0), "model.energy_scale .*now 50"),
        (fresh(neighbors=3.0), "model.neighbors"),
        (fresh().double(), "dtype"),
    ):
        with pytest.raises(ValueError, match=f"differ: .*{said}.*delete the checkpoint"):
            fitted(model, potential_loss, train, val, CONFIG, tmp_path)
    for change in ({"cell": graph.cell * 1.01}, {"pbc": ~graph.pbc}, {"shift": graph.shift + 1}):
        with pytest.raises(ValueError, match=r"other data.*differ: data \("):
            fitted(fresh(), potential_loss, moved(train, **change), val, CONFIG, tmp_path)
    with pytest.raises(ValueError, match=r"another start.*differ: start \("):
        fitted(fresh(), potential_loss, train, val, CONFIG, tmp_path, start="another")
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_damage_anywhere_in_a_checkpoint_is_seen(samples, tmp_path):
    with pytest.raises(Killed):
        fitted(fresh(), potential_loss, *samples, CONFIG, tmp_path, killed_after(1))
    path = tmp_path / CHECKPOINT
    whole = path.read_bytes()
    rng = torch.Generator().manual_seed(0)
    for at in torch.randint(len(whole), (100,), generator=rng).tolist():
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
            load_state(path)


def test_learning_rate_warms_up_and_falls():
    rates = [learning_rate(CONFIG, step, step / 100) for step in range(100)]
    assert rates[0] < rates[1] < rates[2]
    assert all(a > b for a, b in zip(rates[3:], rates[4:], strict=False))
    assert max(rates) == pytest.approx(CONFIG.learning_rate, rel=0.01)
    assert 0 < rates[-1] < 0.01 * CONFIG.learning_rate


def test_global_random_state_is_not_used(samples, uninterrupted):
    torch.manual_seed(123)
    model, _ = fitted(fresh(), potential_loss, *samples, CONFIG)
    assert parameters_equal(model, uninterrupted[0])


def test_a_loss_that_is_no_number_ends_the_fit(samples):
    def broken(model, batch, random):
        return not_a_number(potential_loss(model, batch))

    with pytest.raises(FloatingPointError, match="got a loss of nan in epoch 1 on .*frame.*, expected a finite number"):
        fitted(fresh(), broken, *samples, CONFIG)
