import errno
import json
import os
import pickle

import pytest
import torch
from safetensors import safe_open
from tiny import tiny_potential
from tiny_anomaly import tiny_anomaly

from ase_mlx.learn.cards import CARD, SCHEMA, WEIGHTS
from ase_mlx.learn.files import load_model, load_state, parameters_equal, save_model, save_state
from ase_mlx.whole.files import neighbour


@pytest.fixture
def folder(tmp_path):
    return save_model(tiny_potential(), tmp_path / "model", {"title": "tiny", "licence": "MIT"})


def rewrite(path, change):
    card = json.loads(path.read_text(encoding="utf-8"))
    change(card)
    path.write_text(json.dumps(card), encoding="utf-8")


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip(tmp_path, dtype):
    model = tiny_potential(l_max=2, products=True)
    back = load_model(save_model(model.to(dtype), tmp_path / "model", {"title": "tiny"}))
    assert parameters_equal(back, model.to(torch.float32))
    assert back.config == model.config
    assert not back.training
    assert {p.dtype for p in back.parameters()} == {torch.float32}


def test_two_files_without_code(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted([CARD, WEIGHTS])
    with safe_open(folder / WEIGHTS, "pt") as weights:
        assert "head" in weights.keys()  # noqa: SIM118
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    assert card["schema"] == SCHEMA
    assert card["title"] == "tiny"
    assert card["outputs"]["stress"] == "eV/Å³"
    assert "e3nn" in card["e3nn_convention"]


def test_nothing_is_unpickled(folder, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, never)
    monkeypatch.setattr(torch, "load", never)
    load_model(folder)


@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-100]), ValueError, "sha256.*truncated"),
        (lambda f: (f / WEIGHTS).write_bytes(b""), ValueError, "sha256.*truncated"),
        (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-1] + b"x"), ValueError, "sha256.*changed"),
        (lambda f: (f / WEIGHTS).unlink(), FileNotFoundError, f"without {WEIGHTS}"),
        (lambda f: (f / CARD).unlink(), FileNotFoundError, f"expected a model folder with {CARD}"),
        (lambda f: (f / CARD).write_text("{"), ValueError, "cannot be read as a valid model card"),
        (lambda f: (f / CARD).write_bytes(b"\xff\xfe\x00"), ValueError, "cannot be read as a valid model card"),
        (lambda f: (f / CARD).write_text("[]"), ValueError, "cannot be read as a valid model card"),
        (lambda f: rewrite(f / CARD, lambda c: c.pop("schema")), ValueError, "cannot be read as a valid model card"),
        (
            lambda f: rewrite(f / CARD, lambda c: c.update(schema=SCHEMA + 1)),
            ValueError,
            rf"schema {SCHEMA + 1}.*update ase_mlx",
        ),
        (lambda f: rewrite(f / CARD, lambda c: c.update(schema=0)), ValueError, "schema 0.*damaged"),
        (lambda f: rewrite(f / CARD, lambda c: c.update(kind="oracle")), ValueError, "kind 'oracle'.*potential"),
        (lambda f: rewrite(f / CARD, lambda c: c.pop("kind")), ValueError, "kind"),
        (lambda f: rewrite(f / CARD, lambda c: c.pop("sha256")), ValueError, "sha256"),
        (
            lambda f: rewrite(f / CARD, lambda c: c.pop("config")),
            ValueError,
            "cannot be read as the weights that card.json beside it describes",
        ),
        (lambda f: rewrite(f / CARD, lambda c: c["config"].update(cutoff=4.0)), ValueError, "config of the card"),
        (lambda f: rewrite(f / CARD, lambda c: c["config"].update(energy_scale=2.0)), ValueError, "config of the card"),
    ],
)
def test_damage_is_named(folder, damage, error, said):
    damage(folder)
    with pytest.raises(error, match=said):
        load_model(folder)


def test_sha256_repaired_by_hand_does_not_help_a_foreign_config(folder, tmp_path):
    other = save_model(tiny_potential(l_max=2), tmp_path / "other", {})
    content = (other / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content)
    digest = json.loads((other / CARD).read_text(encoding="utf-8"))["sha256"]
    rewrite(folder / CARD, lambda card: card.update(sha256=digest))
    with pytest.raises(ValueError, match="cannot be read as the weights that card.json beside it describes"):
        load_model(folder)


def test_a_missing_folder():
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_model("nowhere")


def full_disk(monkeypatch, how, on_call):
    """Let the `on_call`-th write fail as a full disk does."""
    calls = []

    def fail(original):
        def refuse(*args, **kwargs):
            calls.append(args)
            if len(calls) >= on_call:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*args, **kwargs)

        return refuse

    monkeypatch.setattr(os, how, fail(getattr(os, how)))


@pytest.mark.parametrize(("how", "on_call"), [("fsync", 1), ("fsync", 2), ("open", 1), ("open", 2), ("replace", 1)])
def test_a_full_disk_leaves_the_old_model(folder, monkeypatch, how, on_call):
    before = snapshot(folder)
    full_disk(monkeypatch, how, on_call)
    with pytest.raises(OSError, match="No space left.*free some space.*untouched") as caught:
        save_model(tiny_potential(seed=1), folder, {"title": "new"})
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert snapshot(folder) == before
    assert parameters_equal(load_model(folder), tiny_potential())


@pytest.mark.parametrize("how", ["fsync", "open", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch, how):
    path = tmp_path / "checkpoint.safetensors"
    save_state(path, {"a": torch.arange(3.0)}, {"epoch": 1})
    full_disk(monkeypatch, how, 1)
    with pytest.raises(OSError, match="No space left"):
        save_state(path, {"a": torch.zeros(3)}, {"epoch": 2})
    monkeypatch.undo()
    tensors, meta = load_state(path)
    assert meta == {"epoch": 1}
    assert torch.equal(tensors["a"], torch.arange(3.0))
    assert os.listdir(tmp_path) == [path.name]


def test_a_leftover_of_a_killed_write_harms_nothing(folder, monkeypatch):
    with monkeypatch.context() as dead:
        dead.setattr(os, "getpid", lambda: 2**22 + 7)
        for name in (WEIGHTS, CARD):
            neighbour(folder / name).write_bytes(b"half")
    load_model(folder)
    save_model(tiny_potential(seed=1), folder, {})
    assert parameters_equal(load_model(folder), tiny_potential(seed=1))
    assert sorted(os.listdir(folder)) == sorted([CARD, WEIGHTS])


@pytest.mark.parametrize("content", [b"", b"\0" * 4, b"\x10\0\0\0\0\0\0\0{}", bytes(range(7, 71))])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as a checkpoint.*delete it to start anew"):
        load_state(path)


def test_a_part_of_another_model_has_its_weights(tmp_path):
    whole = tiny_anomaly()
    save_model(whole, tmp_path / "whole", {"title": "whole"})
    part = save_model(whole.property, tmp_path / "part", {"title": "part"})
    card = json.loads((part / CARD).read_text()) | {"part_of": {"model": "whole", "prefix": "property."}}
    (part / WEIGHTS).unlink()
    write = lambda changed: (part / CARD).write_text(json.dumps(card | changed))  # noqa: E731
    write({})
    with pytest.raises(ValueError, match="sha256"):  # that of the whole file is asked for
        load_model(part)
    digest = json.loads((tmp_path / "whole" / CARD).read_text())["sha256"]
    write({"sha256": digest})
    assert parameters_equal(load_model(part), whole.property)
    write({"sha256": digest, "part_of": {"model": "../whole", "prefix": "property."}})
    with pytest.raises(ValueError, match="beside it"):
        load_model(part)
    write({"sha256": digest, "part_of": {"model": "nowhere", "prefix": "property."}})
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_model(part)
