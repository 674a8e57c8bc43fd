"""Free energies as a user meets them: settings files, data that is wrong or too little, what notes say."""

import pandas as pd
import pytest
from ase.build import bulk
from commands import call

from ase_mlx.jobs.free_energy import free_energy_job
from ase_mlx.learn.recipe import read_training
from ase_mlx.learn.recipes.free_energy import FreeEnergyRecipe

SETTINGS = """
kind = "free_energy"
temperatures = [0, 800]
[prior]
volume = 16.5
bulk_modulus = 76
derivative = 4.5
debye_temperature = 390
gruneisen = 2.2
[data]
file = "measured.csv"
"""
GOOD = [("volume", 100, 16.6, 0.02), ("volume", 500, 16.85, 0.02), ("heat_capacity_p", 300, 24.2, 0.3)]


def training_of(folder, rows, settings=SETTINGS):
    table = pd.DataFrame(rows, columns=["quantity", "temperature", "value", "std"])
    table.to_csv(folder / "measured.csv", index=False)
    (folder / "a.toml").write_text(settings, encoding="utf-8")
    return read_training(folder / "a.toml")[1]


def test_one_point_tells_little_and_says_so(tmp_path):
    result = free_energy_job(training_of(tmp_path, GOOD[:1]))
    assert {row["quantity"]: row["identified"] for row in result.rows} == {
        "heat_capacity_p": False, "expansion": False, "bulk_modulus": False, "volume": True,
    }  # fmt: skip
    assert sum("is not identified" in note for note in result.notes) == 3
    assert result.files == []


def test_data_far_from_the_prior_and_from_one_another_are_told(tmp_path):
    rows = [*GOOD, ("volume", 300, 17.6, 0.02), ("volume", 301, 17.5, 0.02)]
    notes = free_energy_job(training_of(tmp_path, rows)).notes
    assert any("17.6 Å³/atom at 300 K is" in note and "from the prior" in note for note in notes)
    assert any("data contradict one another" in note for note in notes)


def test_curves_end_where_the_volume_leaves_the_prior(tmp_path):
    narrow = SETTINGS.replace("gruneisen = 2.2", "gruneisen = 2.2\nreach = 0.03")
    result = free_energy_job(training_of(tmp_path, GOOD, narrow))
    assert result.temperatures[-1] < 800
    assert any("cut above" in note for note in result.notes)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("volume", 300, "nan", 0.1), "expected K from 0 on, a value, and a std above 0"),
        (("volume", 300, 16.6, -0.1), "expected K from 0 on, a value, and a std above 0"),
        (("volume", 300, 16.6, 0), "expected K from 0 on, a value, and a std above 0"),
        (("volume", -3, 16.6, 0.1), "expected K from 0 on, a value, and a std above 0"),
        (("volum", 300, 16.6, 0.1), "got quantity 'volum'"),
        (("volume", 900, 16.6, 0.1), "expected temperatures from 0 to 800 K"),
    ],
)
def test_wrong_data_are_refused(tmp_path, row, words):
    with pytest.raises(ValueError, match="got") as error:
        FreeEnergyRecipe(training_of(tmp_path, [*GOOD, row]))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("gruneisen = 2.2", "", "expected file ="),
        ("volume = 16.5", "volume = 'a'", "expected file ="),
        ("bulk_modulus = 76", "bulk_modulus = -76", "prior.bulk_modulus = -76"),
        ("[data]", "[spread]\nvolume = -1\n[data]", "spread.volume = -1"),
        ("[data]", "[fit]\npoints = 5\n[data]", "expected none: all rows are data and prior"),
        ("[0, 800]", "[800, 0]", "expected the lowest and the highest"),
        ("[data]", "[model]\nwidht = 3\n[data]", "did you mean 'width'"),
    ],
)
def test_wrong_settings_are_wrong_calls(tmp_path, before, after, words):
    training_of(tmp_path, GOOD)
    (tmp_path / "a.toml").write_text(SETTINGS.replace(before, after), encoding="utf-8")
    done = call(tmp_path, "train", "a.toml", "-o", "model")
    assert done.returncode == 2
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "model").exists()


def test_a_table_without_its_columns_and_one_without_rows(tmp_path):
    training = training_of(tmp_path, [])
    with pytest.raises(ValueError, match="no rows"):
        FreeEnergyRecipe(training)
    (tmp_path / "measured.csv").write_text("quantity,T,value\n")
    with pytest.raises(ValueError, match="expected also temperature, std"):
        FreeEnergyRecipe(training)


def test_data_that_no_stable_crystal_has_are_an_error(tmp_path):
    rows = [*GOOD, ("volume", 300, 18.5, 0.01), ("volume", 301, 18.4, 0.01)]
    with pytest.raises(ValueError, match="no stable volume at 500 K after the fit"):
        free_energy_job(training_of(tmp_path, rows))


@pytest.mark.slow
def test_phonons_write_the_prior_that_a_settings_file_names(tmp_path):
    bulk("Cu").write(tmp_path / "cu.cif")
    done = call(tmp_path, "phonons", "cu.cif", "-c", "emt", "--qha", "--supercell", "6", "-o", "cu")
    assert done.returncode == 0, done.stderr
    settings = SETTINGS[: SETTINGS.index("volume")] + 'file = "cu/free_energy.json"\n[data]\nfile = "measured.csv"\n'
    rows = [("volume", 300, 11.9, 0.02), ("heat_capacity_p", 300, 24.4, 0.2)]
    recipe = FreeEnergyRecipe(training_of(tmp_path, rows, settings))
    prior = recipe.model.config.prior
    assert prior.volume == pytest.approx(11.565, abs=2e-3) and prior.bulk_modulus == pytest.approx(134.5, abs=0.5)
    with (tmp_path / "cu" / "thermal.csv").open() as stream:
        table = pd.read_csv(stream).set_index("temperature_K").loc[300]
    curves = recipe.model.along([300.0])
    assert curves["volume"][0] == pytest.approx(table["V_A3/atom"], rel=1e-4)
    assert curves["expansion"][0] == pytest.approx(table["alpha_V_1/K"], rel=0.01)
    assert curves["bulk_modulus"][0] == pytest.approx(table["B_GPa"], rel=0.01)
