"""Settings and cards out of bounds end in a sentence, and at once: no hang, no memory, no library's words."""

import hashlib
import json
import math
import time

import pytest
from tiny import tiny_potential

from ase_mlx.learn.files import CARD, WEIGHTS, load_model, read_card, save_model
from ase_mlx.learn.recipe import read_training
from ase_mlx.models.anomaly import AnomalyConfig
from ase_mlx.models.crystal_property import CrystalPropertyConfig
from ase_mlx.models.density import DensityConfig
from ase_mlx.models.point_density import PointDensityConfig
from ase_mlx.models.potential import PotentialConfig

FIT = [
    "learning_rate = nan", "learning_rate = 1e9", "clip = nan", "clip = inf", "clip = 0.0", "epochs = -1",
    "ema_decay = nan",
    f"batch_size = {2**70}", "seed = -1", "energy_weight = nan", "forces_weight = -1.0", "stress_weight = inf",
]  # fmt: skip


@pytest.mark.parametrize("line", FIT)
def test_fits_have_bounds(tmp_path, line):
    path = tmp_path / "a.toml"
    path.write_text(f'[data]\nfile = "x"\n[fit]\n{line}\n')
    with pytest.raises(ValueError, match=f"a.toml.*fit.{line.split()[0]}.*expected a number from"):
        read_training(path)
    path.write_text(f'kind = "anomaly"\n[data]\nfile = "x"\n[fit]\n{line}\n')
    with pytest.raises(ValueError, match=r"a.toml.*(expected a number from|unknown key)"):
        read_training(path)


@pytest.mark.parametrize(
    ("cls", "change"),
    [
        (PotentialConfig, {"cutoff": 1e9}),
        (PotentialConfig, {"cutoff": -99999.0}),
        (PotentialConfig, {"cutoff": math.nan}),
        (PotentialConfig, {"l_max": 2**63}),
        (PotentialConfig, {"neighbors": 0.0}),
        (PotentialConfig, {"latent": 10**30}),
        (PotentialConfig, {"radial_hidden": (64, 0)}),
        (PotentialConfig, {"energy_scale": math.inf}),
        (PotentialConfig, {"elements": (14, 0)}),
        (DensityConfig, {"range": math.nan}),
        (DensityConfig, {"l_max": 9}),
        (PointDensityConfig, {"cutoff": math.inf}),
        (PointDensityConfig, {"hidden": (10**12,)}),
        (CrystalPropertyConfig, {"members": 0}),
        (CrystalPropertyConfig, {"width": 10**9}),
        (CrystalPropertyConfig, {"attenuation": math.nan}),
        (AnomalyConfig, {"novelty_width": -1}),
    ],
)
def test_models_have_bounds(cls, change):
    least = {
        PotentialConfig: {"elements": (14,)},
        DensityConfig: {"electrons": (4.0,)},
        PointDensityConfig: {"elements": (14,), "electrons": (4.0,), "radii": (1.0,)},
        CrystalPropertyConfig: {"targets": ("formation_energy",), "elements": (14,)},
        AnomalyConfig: {"property": CrystalPropertyConfig(("formation_energy",), (14,))},
    }
    with pytest.raises(ValueError, match="expected"):
        cls(**least[cls] | change)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"x = \x8d", b"", b"[data", b"\x00" * 30, b"[data]\nfile = 3"])
def test_toml_of_another_encoding_or_none_is_named(tmp_path, data):
    (tmp_path / "a.toml").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.toml"):
        read_training(tmp_path / "a.toml")


def test_toml_is_utf8_with_or_without_a_mark(tmp_path):
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "a.toml").write_text('[data]\nfile = "x"\ntitle = "größer"\n', encoding=encoding)
        assert read_training(tmp_path / "a.toml")[1].data.title == "größer"


def model_folder(tmp_path):
    return save_model(tiny_potential(), tmp_path / "m", {"title": "tiny"})


@pytest.mark.parametrize(
    "text",
    ['{"schema": Infinity}', '{"schema": NaN}', '{"schema": 1e400}', "[" * 100_000, '{"schema": true}', "3", "null",
     '\ufeff{"schema": 1}', '{"schema": 1, "errors": -Infinity}'],
)  # fmt: skip
def test_cards_that_are_none(tmp_path, text):
    folder = model_folder(tmp_path)
    (folder / CARD).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"card\.json.*copy the model folder again"):
        read_card(folder)


def with_weights(folder, data, **card):
    (folder / WEIGHTS).write_bytes(data)
    found = json.loads((folder / CARD).read_text()) | {"sha256": hashlib.sha256(data).hexdigest()} | card
    (folder / CARD).write_text(json.dumps(found))


@pytest.mark.parametrize("metadata", [None, 3, [], {"model": 3}, {"model": "[]"}, {"model": "null"}, {"model": "{"}])
def test_headers_of_another_type_with_a_right_checksum(tmp_path, metadata):
    folder = model_folder(tmp_path)
    data = (folder / WEIGHTS).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size]) | {"__metadata__": metadata}
    text = json.dumps(header).encode()
    with_weights(folder, len(text).to_bytes(8, "little") + text + data[8 + size :])
    if metadata is None:  # as files without what they were made with
        return
    with pytest.raises(ValueError, match=r"model\.safetensors.*copy the model folder again"):
        load_model(folder)


@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38, -1e20])
def test_weights_that_are_no_numbers_are_refused_at_load(tmp_path, value):
    model = tiny_potential()
    next(model.parameters()).data.view(-1)[0] = value
    with pytest.raises(ValueError, match="NaN or above"):
        load_model(save_model(model, tmp_path / "m", {"title": "tiny"}))


@pytest.mark.parametrize("change", [{"l_max": 2**63}, {"neighbors": 0}, {"latent": 10**30}, {"channels": 10**6}])
def test_cards_out_of_bounds_are_refused_before_a_model_is_made(tmp_path, change):
    folder = model_folder(tmp_path)
    data = (folder / WEIGHTS).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    made = json.loads(header["__metadata__"]["model"])
    made["config"] |= change
    header["__metadata__"]["model"] = json.dumps(made)
    text = json.dumps(header).encode()
    with_weights(folder, len(text).to_bytes(8, "little") + text + data[8 + size :], config=made["config"])
    start = time.process_time()
    with pytest.raises(ValueError, match=f"{next(iter(change))} = .*expected a number from"):
        load_model(folder)
    assert time.process_time() - start < 2
