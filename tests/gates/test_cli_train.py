import json
import os

import numpy as np
import pytest
from commands import call, kill, start
from tiny import silicon

from ase_mlx.data.io import write_frames
from ase_mlx.learn.files import load_model, parameters_equal
from ase_mlx.learn.fit import CHECKPOINT

CONFIG = """
[data]
file = "frames.extxyz"
licence = "CC-BY-4.0"
origin = "eight frames"
[model]
l_max = {l_max}
layers = 2
channels = 4
latent = 8
members = 4
radial_hidden = [8]
cutoff = 4.5
[fit]
epochs = {epochs}
batch_size = 2
warmup_steps = 2
"""


@pytest.fixture(scope="module")
def frames():
    return silicon()


def prepared(folder, frames, l_max=0, epochs=2):
    for k, atoms in enumerate(frames):
        atoms.info["part"] = "val" if k in (2, 5) else "test" if k == 7 else "train"
    write_frames(folder / "frames.extxyz", frames)
    (folder / "train.toml").write_text(CONFIG.format(l_max=l_max, epochs=epochs), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, frames):
    folder = prepared(tmp_path_factory.mktemp("train"), frames, l_max=1)
    done = call(folder, "train", "train.toml", "-o", "model", "--json", "train.json")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_training_writes_a_model_with_its_card(trained, frames):
    folder, done = trained
    assert sorted(os.listdir(folder / "model")) == ["card.json", CHECKPOINT, "model.safetensors"]
    card = json.loads((folder / "model" / "card.json").read_text(encoding="utf-8"))
    assert card["elements"] == ["Si"]
    assert card["training_data"]["frames"] == {"train": 5, "val": 2, "test": 1}
    assert card["training_data"]["test_frames"] == [frames[7].info["config_name"]]
    assert "CC-BY-4.0" in json.dumps(card)
    assert card["errors_on"] == "test"
    assert set(card["errors"]) == {"energy", "forces", "stress"}
    assert set(card["calibration"]) == {"energy", "energies", "forces", "stress"}
    assert json.loads((folder / "train.json").read_text(encoding="utf-8"))["errors"] == card["errors"]
    assert load_model(folder / "model").config.l_max == 1
    assert "\x1b" not in done.stdout + done.stderr


def test_the_same_command_again_changes_nothing(trained):
    folder, _ = trained
    before = load_model(folder / "model")
    done = call(folder, "train", "train.toml", "-o", "model")
    assert done.returncode == 0, done.stderr
    assert "Errors on the part test" in done.stdout
    assert parameters_equal(load_model(folder / "model"), before)


def test_evaluation_prints_a_table_and_draws(trained):
    folder, _ = trained
    done = call(folder, "evaluate", "model", "frames.extxyz", "-o", "plots", "--json", "errors.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "errors.json").read_text(encoding="utf-8"))
    assert found["frames"] == 8
    assert found["errors"]["forces"]["count"] == 8 * 8 * 3
    assert set(found["errors"]["forces"]["mae_by_element"]) == {"Si"}
    for name in ("parity.png", "reliability.png"):
        assert (folder / "plots" / name).read_bytes().startswith(b"\x89PNG")
    assert call(folder, "data", "frames.extxyz", "-o", "shards").returncode == 0
    stored = call(folder, "evaluate", "model", "shards", "-o", "plots-of-shards", "--json", "shards.json")
    assert stored.returncode == 0, stored.stderr
    both = [
        json.loads((folder / name).read_text())["errors"]["forces"]["mae"] for name in ("errors.json", "shards.json")
    ]
    assert both[0] == pytest.approx(both[1])
    table = call(folder, "evaluate", "model", "frames.extxyz", "-o", "plots", "--part", "test")
    assert table.returncode == 0, table.stderr
    for word in ("energy", "forces", "stress", "meV/atom", "meV/Å", "MPa", "inside 68 %", "Si"):
        assert word in table.stdout


def test_json_to_standard_output_is_json_alone(trained):
    folder, _ = trained
    with start(folder, "evaluate", "model", "frames.extxyz", "-o", "plots", "--json", "-") as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert json.loads(out)["frames"] == 8


@pytest.mark.slow  # test_plugin.py kills trainings too, test_kinds.py stops one of every kind
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, frames):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        prepared(folder, frames, epochs=8)
    done = call(whole, "train", "train.toml", "-o", "model")
    assert done.returncode == 0, done.stderr
    with start(killed, "train", "train.toml", "-o", "model") as process:
        assert kill(process, (killed / "model" / CHECKPOINT).exists)
    assert (killed / "model" / CHECKPOINT).exists()
    assert not (killed / "model" / "card.json").exists()
    done = call(killed, "train", "train.toml", "-o", "model")
    assert done.returncode == 0, done.stderr
    assert parameters_equal(load_model(killed / "model"), load_model(whole / "model"))


def test_a_checkpoint_of_other_settings_stops_the_work(tmp_path, frames):
    prepared(tmp_path, frames)
    assert call(tmp_path, "train", "train.toml", "-o", "model").returncode == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "model").iterdir()}
    (tmp_path / "train.toml").write_text(CONFIG.format(l_max=0, epochs=3), encoding="utf-8")
    done = call(tmp_path, "train", "train.toml", "-o", "model")
    assert done.returncode in (1, 2)
    assert "other settings of epochs" in " ".join(done.stderr.split())
    assert {p.name: p.read_bytes() for p in (tmp_path / "model").iterdir()} == before


def spoiled(atoms, what):
    atoms = atoms.copy() if what == "unlabelled" else atoms
    if what == "Rydberg":
        atoms.calc.results = {k: v / 13.6057 if "energy" in k else v for k, v in atoms.calc.results.items()}
    if what == "no forces":
        atoms.calc.results = {k: v for k, v in atoms.calc.results.items() if k != "forces"}
    if what == "NaN":
        atoms.calc.results = atoms.calc.results | {"forces": np.full((8, 3), np.nan)}
    return atoms


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("unlabelled", "without energy and forces"),
        ("no forces", "without forces"),
        ("Rydberg", "far from one reference energy"),
        ("NaN", "NaN or infinite labels"),
    ],
)
def test_wrong_data_are_a_wrong_call_and_nothing_is_written(tmp_path, what, said):
    fresh = silicon()
    fresh[3] = spoiled(fresh[3], what)
    done = call(prepared(tmp_path, fresh), "train", "train.toml", "-o", "model")
    assert done.returncode == 2, done.stderr
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "nowhere.toml"], "does not exist"),
        (["train", "wrong.toml"], "did you mean 'l_max'"),
        (["train"], "CONFIG.toml"),
        (["evaluate", "sigesm", "frames.extxyz"], "sigesm"),
        (["evaluate", "model", "nowhere.extxyz"], "does not exist"),
        (["evaluate", "model", "frames.extxyz", "--part", "none"], "no frame of part 'none'"),
        (["evaluate", "model", "train.toml"], "cannot be read as extxyz"),
    ],
)
def test_wrong_calls(trained, arguments, said):
    folder, _ = trained
    (folder / "wrong.toml").write_text(CONFIG.format(l_max=0, epochs=1).replace("l_max", "lmax"), encoding="utf-8")
    done = call(folder, *arguments, *([] if len(arguments) < 2 else ["-o", "out"]))
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert not (folder / "out").exists()


def test_a_damaged_model_is_a_wrong_call(trained, tmp_path):
    folder, _ = trained
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for name in ("card.json", "model.safetensors"):
        content = (folder / "model" / name).read_bytes()
        (damaged / name).write_bytes(content[:-5] if name != "card.json" else content)
    done = call(folder, "evaluate", damaged, "frames.extxyz", "-o", "out")
    assert done.returncode == 2
    assert "truncated" in " ".join(done.stderr.replace("│", " ").split())


def test_a_rate_that_can_train_nothing_is_a_wrong_call(tmp_path, frames):
    prepared(tmp_path, frames)
    (tmp_path / "train.toml").write_text(
        CONFIG.format(l_max=0, epochs=3).replace("warmup_steps = 2", "learning_rate = 1e30\nclip = 1e30"),
        encoding="utf-8",
    )
    done = call(tmp_path, "train", "train.toml", "-o", "model")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "expected a number from 1e-09 to 10" in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "model" / "card.json").exists()


def test_fine_tuning_a_shipped_model(tmp_path, frames):
    folder = prepared(tmp_path, frames)
    text = 'start = "sigesn"\n[data]\nfile = "frames.extxyz"\n[fit]\nepochs = 1\nlearning_rate = 1e-4\n'
    (folder / "train.toml").write_text(text, encoding="utf-8")
    done = call(folder, "train", "train.toml", "-o", "model")
    assert done.returncode == 0, done.stderr
    card = json.loads((folder / "model" / "card.json").read_text(encoding="utf-8"))
    assert card["elements"] == ["Si"]
    assert card["errors"]["forces"]["mae"] < 30
    (folder / "train.toml").write_text(text.replace("sigesn", "sigsen"), encoding="utf-8")
    wrong = call(folder, "train", "train.toml")
    assert wrong.returncode == 2
    assert "sigsen" in wrong.stderr
