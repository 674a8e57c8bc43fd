import dataclasses

import numpy as np
import pandas as pd
import pytest
from tiny_anomaly import TARGETS, crystals, table

from ase_mlx.learn.anomaly.calibration import best_threshold, fit_errors, fit_student, tail_quantiles
from ase_mlx.learn.anomaly.crystals import describe_crystals, join, reduced_formula, split
from ase_mlx.learn.config import TableFit
from ase_mlx.learn.recipe import read_training
from ase_mlx.learn.recipes.crystal_property import (
    CrystalData,
    CrystalPropertyRecipe,
    CrystalPropertyTraining,
    read_crystals,
)
from ase_mlx.learn.run import run
from ase_mlx.screen.suggestions import suggest


def test_formulas_are_reduced_whatever_the_cell():
    assert reduced_formula(np.array([8, 26, 8, 26, 8])) == reduced_formula(np.array([26, 8] * 4 + [8] * 2)) == "O3Fe2"


@pytest.mark.parametrize("by", ["formula", "system"])
def test_no_group_straddles_parts(by):
    formulas = np.array([f for f in ("Fe2O3", "FeO", "NaCl", "Al", "CuZn", "Cu5Zn8", "SiO2") for _ in range(5)])
    parts = split(formulas, by)
    for formula in set(formulas):
        assert len(set(parts[formulas == formula])) == 1
    if by == "system":
        assert split(np.array(["Fe2O3"]), by)[0] == split(np.array(["O3Fe2"]), by)[0] == split(np.array(["FeO"]), by)[0]


def test_shares_are_70_15_15_and_depend_on_the_seed():
    formulas = [f"X{k}" for k in range(4000)]
    parts = split(formulas)
    assert np.mean(parts == "train") == pytest.approx(0.7, abs=0.03)
    assert np.mean(parts == "test") == pytest.approx(0.15, abs=0.03)
    assert (split(formulas, seed=1) != parts).any()


def test_a_split_by_time_does_not_look_ahead():
    years = np.repeat(np.arange(1990, 2020), 10)
    parts = split(["A"] * 300, "time", years)
    assert years[parts == "train"].max() < years[parts == "val"].min() < years[parts == "test"].min()
    with pytest.raises(ValueError, match="years"):
        split(["A"], "time")


def test_tables_without_columns_and_rows_without_sense_are_named():
    with pytest.raises(ValueError, match="without frac_coords.*its columns are"):
        describe_crystals(table().drop(columns="frac_coords"))
    bad = table().iloc[:3].copy()
    bad.at[1, "lattice"] = np.ones(8)
    with pytest.raises(ValueError, match="row 1: got 8 numbers for the lattice"):
        describe_crystals(bad)


@pytest.mark.parametrize(
    ("kind", "properties", "fine"),
    [
        ("anomaly", 'formation_energy = "e"', False),
        ("anomaly", 'formation_energy = "e", hull_distance = "h"', True),
        ("crystal_property", 'formation_energy = "e"', True),
        ("crystal_property", 'volume = "v"', False),
    ],
)
def test_models_learn_what_screenings_report(tmp_path, kind, properties, fine):
    path = tmp_path / "train.toml"
    path.write_text(f'kind = "{kind}"\n[data]\nfile = "x.parquet"\nproperties = {{ {properties} }}\n')
    if fine:
        assert read_training(path)[1].kind == kind
    else:
        with pytest.raises(ValueError, match="expected formation_energy (and|or) hull_distance, each with its column"):
            read_training(path)


def test_parts_join_to_the_whole():
    whole = crystals()
    parts = [whole.take(np.arange(100)), whole.take(np.arange(100, 300))]
    assert np.array_equal(join(parts).rows, whole.rows) and set(whole.properties) == set(TARGETS)


def test_tails_are_a_tenth_of_each_class():
    low = tail_quantiles(crystals())
    energy, anions = crystals().properties["formation_energy"], crystals().anions
    for k in set(anions.tolist()):
        if (anions == k).sum() >= 20:
            assert np.mean(energy[anions == k] <= low[k]) == pytest.approx(0.1, abs=0.05)


def test_threshold_has_the_best_correlation_and_sits_in_the_middle():
    truth = np.array([True] * 10 + [False] * 90)
    assert 0.3 < best_threshold(truth, np.r_[np.linspace(0.7, 1, 10), np.linspace(0, 0.3, 90)]) < 0.7


def test_students_t_is_found():
    z = 1.7 * np.random.default_rng(0).standard_t(4, 20_000) / np.sqrt(2)
    scale, freedom = fit_student(z)
    assert scale == pytest.approx(1.7, rel=0.05) and freedom == pytest.approx(4, rel=0.15)


def test_the_scale_is_found_where_the_freedom_is_known():
    z = 0.6 * np.random.default_rng(1).standard_t(5, 20_000) / np.sqrt(5 / 3)
    scale, freedom = fit_student(z, 5.0)
    assert scale == pytest.approx(0.6, rel=0.03) and freedom == 5.0


def test_a_card_tells_what_a_missing_block_costs(tmp_path, monkeypatch):
    data = CrystalData("none.parquet", {"formation_energy": "formation_energy"})
    sizes = {"members": 2, "width": 8, "hyper_width": 8, "diffraction": True}
    config = CrystalPropertyTraining(data, sizes, TableFit(3, batch_size=32))
    known = describe_crystals(table().iloc[:120], ("formation_energy",), diffraction=True)
    described = known, np.repeat(["train", "val", "test"], 40)
    monkeypatch.setattr("ase_mlx.learn.recipes.crystal_property.read_crystals", lambda *_: described)
    model, info = run(CrystalPropertyRecipe(config), tmp_path / "model")
    name, test = "formation_energy", known.take(np.arange(80, 120))
    assert list(info["errors"]) == [name, f"{name} from pattern", f"{name} from composition"]
    off = test.properties[name] - model.table(model.without_others(test.rows, "pattern"))[name]
    assert info["errors"][f"{name} from pattern"]["mae"] == pytest.approx(1e3 * np.abs(off).mean())


def test_wrong_reports_are_counted_and_measured():
    random = np.random.default_rng(0)
    std = random.uniform(0.03, 0.1, 5000)
    off = std * random.normal(size=5000) * 0.8
    wrong = random.random(5000) < 0.08
    off[wrong] += random.normal(0, 0.6, wrong.sum())
    width, share, size = fit_errors(off, std)
    assert (width, share, size) == pytest.approx((0.8, 0.08, 0.6), rel=0.15)


def test_suggestions_do_not_ask_one_thing_twice():
    random = np.random.default_rng(0)
    twins = np.repeat(random.normal(size=(20, 10)), 2, axis=1)  # every crystal has a twin that says the same
    picked = suggest(np.full(20, 0.9), twins, 1.03 * twins.std(0, ddof=1), 5)
    assert len(set(picked // 2)) == 5
    assert len(suggest(np.full(3, 0.5), random.normal(size=(4, 3)), np.ones(3), 10)) == 3


def test_suggestions_leave_alone_what_is_no_candidate():
    members = np.random.default_rng(0).normal(size=(5, 50))
    chance = np.where(np.arange(50) < 10, 0.8, 1e-6)
    assert set(suggest(chance, members, np.ones(50), 8).tolist()) <= set(range(10))


def test_columns_of_pandas_are_enough():
    frame = pd.DataFrame({name: list(table()[name][:4]) for name in ("lattice", "numbers", "frac_coords")})
    assert np.array_equal(describe_crystals(frame).rows, crystals().rows[:4])


def test_elements_join_the_training_part_at_zero(tmp_path):
    table().iloc[:20].to_parquet(file := tmp_path / "crystals.parquet")
    data = CrystalData(str(file), {"formation_energy": "formation_energy"})
    crystals, parts = read_crystals(data, False)
    joined, all_parts = read_crystals(dataclasses.replace(data, elements=True), False)
    np.testing.assert_array_equal(joined.rows[:20], crystals.rows)
    assert (all_parts[:20] == parts).all() and (all_parts[20:] == "train").all()
    added = joined.take(np.arange(20, len(joined)))
    assert len(added) == len(set(added.formulas)) == 87
    assert "Si" in added.formulas and (added.properties["formation_energy"] == 0).all()
    assert np.isfinite(added.rows).all()
