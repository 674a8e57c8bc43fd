"""Frames of many elements as shards: no formula in two parts, the same after a stop, labelled by a small teacher."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ase.build import bulk
from tiny import tiny_potential

from ase_mlx.data.shards import Shards
from ase_mlx.learn.files import save_model

DATA = Path(__file__).resolve().parents[3] / "data"
ELEMENTS = (11, 12, 14, 17, 19, 20, 35)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(DATA)
    import universal

    monkeypatch.setattr(universal, "JUDGED", 2)
    monkeypatch.setattr(universal, "VALIDATION", 2)
    monkeypatch.setattr(universal, "CHUNK", 4)
    monkeypatch.setattr(universal.make, "HEATED", 2)
    monkeypatch.setattr(universal.make, "KEPT", 1)
    monkeypatch.setattr(universal.make, "QUENCHED", 1)
    monkeypatch.setattr(universal.make, "PAIRED", 4)
    monkeypatch.setattr(universal.make, "LATTICES", ("fcc", "hcp"))
    return universal


@pytest.fixture
def sources(tmp_path):
    save_model(tiny_potential(elements=ELEMENTS, members=0, cutoff=4.0), tmp_path / "teacher", {})
    salts = [("NaCl", "train"), ("MgCl", "train"), ("Si2", "train"), ("KBr", "val"), ("KCl", "val")]
    salts += [("NaBr", "test"), ("CaBr", "test"), ("CaCl", "train"), ("KSi", "train"), ("ULi", "train")]
    rows = []
    for k, (formula, part) in enumerate(salts):
        atoms = bulk("Si") if formula == "Si2" else bulk(formula, "rocksalt", a=5.6 + 0.1 * k)
        places = list(atoms.get_scaled_positions())
        row = {"material_id": f"mp-{k}", "part": part, "lattice": atoms.cell.array.ravel().tolist()}
        rows.append(row | {"numbers": atoms.numbers.tolist(), "frac_coords": np.ravel(places).tolist()})
    pd.DataFrame(rows).to_parquet(tmp_path / "table.parquet")
    return tmp_path


def call(script, sources, out, monkeypatch, *more):
    arguments = [str(sources / "teacher"), "-o", str(sources / out), "--table", str(sources / "table.parquet"), *more]
    monkeypatch.setattr(sys, "argv", ["universal.py", *arguments])
    assert script.main() == 0
    return sources / out / "frames"


def test_parts_and_kinds(script, sources, monkeypatch, capsys):
    shards = Shards(call(script, sources, "a", monkeypatch, "--contents"))
    assert "vacancy" in capsys.readouterr().out or len(shards) > 20
    formulas, kinds = {}, {}
    for atoms in shards:
        part = atoms.info["part"]
        kinds.setdefault(part, set()).add(atoms.info["taught"])
        if atoms.pbc.all():
            formulas.setdefault(part, set()).add(script.formula_of(atoms.numbers))
        assert np.linalg.norm(atoms.get_forces(), axis=1).max() <= script.LARGEST
        assert 92 not in atoms.numbers  # the teacher does not know uranium
    train, val, test = (formulas[part] for part in ("train", "val", "test"))
    assert len(val) == len(test) == 2 and len(train) > 5  # substituted ones among them
    assert not train & val and not train & test and not val & test
    assert kinds["test"] == {"rest", "rattled", "strained", "hot"}
    assert {"free atom", "dimer", "prototype"} <= kinds["train"]
    free = shards.free_atoms(shards.places("train"))
    assert set(free) == set(ELEMENTS)
    alone = {a.numbers[0] for a in shards if a.pbc.all() and len(set(a.numbers)) == 1 and a.info["taught"] == "rest"}
    assert alone == set(ELEMENTS)


def test_simple_lattices_have_neighbours_at_the_covalent_distance(script):
    from ase.neighborlist import neighbor_list

    for crystal in script.make.simple_lattices((11, 17), np.random.default_rng(0)):
        expected = 2 * np.mean([script.make.RADII[z - 1] for z in crystal.numbers])
        assert neighbor_list("d", crystal, 1.001 * expected).min() == pytest.approx(expected)


def test_a_call_that_was_stopped_goes_on(script, sources, monkeypatch):
    whole = call(script, sources, "a", monkeypatch)
    call(script, sources, "b", monkeypatch, "--minutes", "-1")
    assert not (sources / "b" / "frames").exists()
    late = iter([0.0, 0.0, 0.0, 1e9])
    with monkeypatch.context() as clock:
        clock.setattr(script, "monotonic", lambda: next(late))
        call(script, sources, "b", monkeypatch, "--minutes", "1")
    assert not (sources / "b" / "frames").exists()
    assert len(list((sources / "b" / "chunks").iterdir())) == 2
    assert Shards(call(script, sources, "b", monkeypatch)).digest == Shards(whole).digest
