import dataclasses
from pathlib import Path

import pytest

from ase_mlx.learn.config import build
from ase_mlx.learn.recipe import read_training
from ase_mlx.learn.recipes.potential import PotentialFit, PotentialTraining
from ase_mlx.models.potential import PotentialConfig

GOOD = """
[data]
file = "frames.extxyz"
[model]
l_max = 1
cutoff = 4
[fit]
epochs = 3
learning_rate = 1
"""


def read(folder: Path, text: str) -> PotentialTraining:
    path = folder / "train.toml"
    path.write_text(text, encoding="utf-8")
    return read_training(path)[1]


def test_a_good_file(tmp_path):
    config = read(tmp_path, GOOD)
    assert config.data.file == str(tmp_path / "frames.extxyz")
    assert config.model == {"l_max": 1, "cutoff": 4}
    assert config.fit == dataclasses.replace(PotentialFit(), epochs=3, learning_rate=1.0)
    assert isinstance(config.fit.learning_rate, float)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.fit.epochs = 4


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("epochs", "epoch", r"unknown key 'epoch' in \[fit\]; did you mean 'epochs'\?"),
        ("[fit]", "[fitt]", "unknown key 'fitt'.*did you mean 'fit'"),
        ("epochs = 3", 'epochs = "3"', r"fit.epochs = '3' \(str\), expected int"),
        ("epochs = 3", "epochs = 3.5", r"fit.epochs = 3.5 \(float\), expected int"),
        ("epochs = 3", "epochs = true", r"fit.epochs = True \(bool\), expected int"),
        ("epochs = 3", "epochs = 0", "fit.epochs = 0, expected a number from 1"),
        ("learning_rate = 1", "learning_rate = -1.0", "fit.learning_rate = -1.0, expected a number from 1e-09"),
        ("learning_rate = 1", "ema_decay = 1.0", "ema_decay = 1.0, expected a number from 0 to 1"),
        ('file = "frames.extxyz"', "", "got no 'file'.*add a line `file"),
        ('[data]\nfile = "frames.extxyz"', "", "got no table .data."),
        ("[model]", "[model", "cannot be read as a valid TOML"),
        ("[data]", 'dtype = "float16"\n[data]', "dtype = 'float16', expected one of 'float32', 'float64'"),
        ("[data]\n", "fit = 3\n[data]\n", "TOML|expected a table"),
    ],
)
def test_a_wrong_file_names_what_is_wrong(tmp_path, old, new, said):
    assert old in GOOD
    with pytest.raises(ValueError, match=said):
        read(tmp_path, GOOD.replace(old, new))


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="an existing file, a valid TOML"):
        read_training(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lmax": 1}, "unknown key 'lmax' in .model.; did you mean 'l_max'"),
        ({"radial_hidden": 64}, "model.radial_hidden = 64, expected a list"),
        ({"radial_hidden": [64.5]}, r"64.5 \(float\), expected int"),
        ({"elements": [14, 14]}, "distinct atomic numbers"),
        ({"cutoff": -1.0}, "cutoff = -1.0, expected a number from 0.5 to 20"),
        ({"products": 1}, r"model.products = 1 \(int\), expected bool"),
        ({"reference_energies": [1.0, 2.0]}, "2 reference energies, expected one an element: 1"),
    ],
)
def test_wrong_settings_of_a_model(settings, said):
    with pytest.raises(ValueError, match=said):
        build(PotentialConfig, {"elements": [14]} | settings, "model")
