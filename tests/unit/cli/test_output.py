import json

import numpy as np
import pytest

from ase_mlx.cli.output import print_table, write_json


def test_json_is_written_whole(tmp_path):
    path = tmp_path / "result.json"
    taken = write_json({"kappa": np.array([1.5, 2.0]), "n": np.int64(3), "where": tmp_path}, path)
    assert not taken
    assert json.loads(path.read_text("utf-8")) == {"kappa": [1.5, 2.0], "n": 3, "where": str(tmp_path)}
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_what_is_unknown_is_null(tmp_path):
    unknown = {"bar": float("nan"), "limit": np.array([1.0, np.inf]), "inside": [{"std": np.float64("nan")}], "n": True}
    write_json(unknown, tmp_path / "result.json")
    text = (tmp_path / "result.json").read_text("utf-8")
    assert json.loads(text) == {"bar": None, "limit": [1.0, None], "inside": [{"std": None}], "n": True}


@pytest.mark.parametrize("bad", [object(), {1, 2}])
def test_bad_json_leaves_the_old_file(tmp_path, bad):
    path = tmp_path / "result.json"
    write_json({"old": 1}, path)
    with pytest.raises((ValueError, TypeError)):
        write_json({"new": bad}, path)
    assert json.loads(path.read_text("utf-8")) == {"old": 1}


def test_failed_write_leaves_no_part_behind(tmp_path):
    (tmp_path / "result.json").mkdir()
    with pytest.raises(OSError):
        write_json({"new": 1}, tmp_path / "result.json")
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_dash_takes_standard_output(capsys):
    from pathlib import Path

    assert write_json([1], Path("-"))
    assert json.loads(capsys.readouterr().out) == [1]


def test_table_shows_keys_and_rounded_numbers(capsys):
    print_table("Errors", [{"quantity": "forces", "mae": 12.34567}])
    out = capsys.readouterr().out
    assert "quantity" in out
    assert "12.35" in out
