import dataclasses
import functools
import itertools

import numpy as np
import pytest
from tiny_anomaly import TARGETS, crystals, table, tiny_anomaly

from ase_mlx.descriptors import NAMES, STRUCTURE
from ase_mlx.descriptors.diffraction import PATTERN, powder_patterns
from ase_mlx.learn.anomaly.crystals import describe_crystals, graph_of
from ase_mlx.learn.config import TableFit
from ase_mlx.learn.files import load_model, parameters_equal, save_model
from ase_mlx.learn.metrics import errors as table_of_errors
from ase_mlx.learn.recipes.crystal_property import property_residuals, reliability, train_property
from ase_mlx.models.crystal_property import VIEWS, CrystalProperty, CrystalPropertyConfig
from ase_mlx.quantities import SYMBOLS

TRAIN, VAL = np.arange(220), np.arange(220, 300)
SMALL = {"members": 2, "width": 16, "hyper_width": 12}


def trained(fit=None, known=None, **config):
    known = known or crystals()
    sizes = CrystalPropertyConfig(("formation_energy",), known.elements, **SMALL | config)
    return train_property(known.take(TRAIN), known.take(VAL), sizes, fit or TableFit(4, batch_size=64))


@pytest.fixture(scope="module")
def model():
    return tiny_anomaly().property


def test_training_lowers_the_error():
    known = crystals()
    long = trained(TableFit(30, batch_size=32))
    energy = known.properties["formation_energy"]
    error = np.abs(long.table(known.rows[VAL])["formation_energy"] - energy[VAL]).mean()
    assert error < 0.6 * np.abs(energy[VAL] - energy[TRAIN].mean()).mean()


def test_the_same_seed_gives_the_same_weights():
    assert parameters_equal(trained(), trained())
    assert not parameters_equal(trained(), trained(TableFit(4, batch_size=64, seed=1)))


@pytest.mark.parametrize(
    "config, fit",
    [({"literal": True}, {}), ({"attention": True}, {}), ({"attenuation": 0.0}, {}), ({}, {"posterior": "laplace"})],
)
def test_every_variant_trains_saves_and_loads(tmp_path, config, fit):
    model = trained(TableFit(3, batch_size=64, **fit), **config)
    found = model.table(crystals().rows[VAL])
    assert np.isfinite(found["formation_energy"]).all() and (found.std["formation_energy"] > 0).all()
    again = load_model(save_model(model, tmp_path, {}))
    np.testing.assert_array_equal(again.table(crystals().rows[VAL])["formation_energy"], found["formation_energy"])


def test_laplace_finds_a_spread_that_shrinks_with_data():
    known = crystals()
    few = dataclasses.replace(known.take(TRAIN[:60]))
    fit = TableFit(3, batch_size=32, posterior="laplace")
    sizes = CrystalPropertyConfig(("formation_energy",), known.elements, **SMALL)
    spreads = []
    for part in (few, known.take(TRAIN)):
        network = train_property(part, known.take(VAL), sizes, fit).networks[0]
        spreads.append(float(network.stacked[network.names.index("hyper.last.spread")].detach().exp().mean()))
    assert 0 < spreads[1] < spreads[0] <= 1


def test_contributions_add_up_to_the_prediction(model):
    rows = crystals().rows[:20]
    terms = model.contributions(rows, "hull_distance")
    rest = model.table(rows)["hull_distance"] - terms.sum(1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-5)  # what is left is the constant


def test_probabilities_and_intervals_belong_together(model):
    found = model.table(crystals().rows[:30])
    name = "formation_energy"
    half = model.half_width(name, 0.9) * found.std[name]
    np.testing.assert_allclose(model.probability_below(found, name, found[name]), 0.5)
    np.testing.assert_allclose(model.probability_below(found, name, found[name] + half), 0.95, atol=1e-9)
    np.testing.assert_allclose(model.probability_below(found, name, found[name] - half), 0.05, atol=1e-9)


def test_calibration_holds_on_the_crystals_that_it_was_made_with(model):
    errors = table_of_errors(property_residuals(model, crystals().take(VAL)))
    assert errors["formation_energy"]["inside_90"] == pytest.approx(0.9, abs=0.06)
    assert len(reliability(model, crystals().take(VAL))["covered"]["formation_energy"]) == 19


@functools.cache
def seen():
    """Crystals with their patterns, and a model of these."""
    known = describe_crystals(table(), TARGETS, diffraction=True)
    return known, trained(known=known, diffraction=True)


def test_what_is_known_says_which_ensemble_is_asked():
    known, model = seen()
    assert model.config.blocks == (STRUCTURE, len(NAMES) - STRUCTURE, len(PATTERN))
    views = [model.without_others(known.rows[VAL], view) for view in VIEWS]
    assert [set(model.views(rows)) for rows in views] == [{0}, {1}, {2}]
    assert set(model.views(known.rows)) == {0}
    found = [model.table(rows) for rows in views]
    for a, b in itertools.combinations(found, 2):
        assert np.abs(a["formation_energy"] - b["formation_energy"]).max() > 1e-3
    mixed = model.table(np.concatenate(views)[::-1])
    expected = np.concatenate([part["formation_energy"] for part in found])[::-1]
    np.testing.assert_array_equal(mixed["formation_energy"], expected)
    expected = np.concatenate([part.std["formation_energy"] for part in found])[::-1]
    np.testing.assert_array_equal(mixed.std["formation_energy"], expected)


def test_structures_get_the_numbers_of_a_model_without_diffraction():
    known, model = seen()
    row, alone = table().iloc[7], trained()
    expected = alone.table(known.rows[VAL][:, : len(NAMES)])
    for rows in (known.rows[VAL], model.without_others(known.rows[VAL], "structure")):
        found = model.table(rows)
        np.testing.assert_array_equal(found["formation_energy"], expected["formation_energy"])
        np.testing.assert_array_equal(found.std["formation_energy"], expected.std["formation_energy"])
    assert model.half_width("formation_energy") == alone.half_width("formation_energy")
    graph = graph_of(row.lattice, row.numbers, row.frac_coords)
    assert model(graph)["formation_energy"] == alone(graph)["formation_energy"]


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_missing_contributes_nothing(view):
    known, model = seen()
    rows = model.without_others(known.rows[VAL], view)
    terms = model.contributions(rows, "formation_energy")
    assert terms.shape == rows.shape and len(model.config.names) == rows.shape[1]
    assert not terms[np.isnan(rows)].any()
    rest = model.table(rows)["formation_energy"] - terms.sum(1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-5)


@pytest.mark.parametrize("view", VIEWS)
def test_every_ensemble_is_calibrated(view):
    known, model = seen()
    held = known.take(VAL)
    held = dataclasses.replace(held, rows=model.without_others(held.rows, view))
    assert table_of_errors(property_residuals(model, held))["formation_energy"]["inside_90"] == pytest.approx(
        0.9, abs=0.06
    )


def test_a_sample_is_described_as_the_crystal_is():
    known, model = seen()
    row = table().iloc[7]
    pattern = powder_patterns(graph_of(row.lattice, row.numbers, row.frac_coords))[0]
    found = model.described_sample(np.repeat(row.numbers, 2), pattern)
    np.testing.assert_allclose(found, model.without_others(known.rows[7:8], "pattern"), atol=1e-12)
    found = model.described_sample(row.numbers)
    np.testing.assert_allclose(found, model.without_others(known.rows[7:8], "composition"), atol=1e-12)


def test_samples_that_cannot_be_described_are_named():
    model, unknown = seen()[1], min(set(range(1, 95)) - set(seen()[1].elements))
    with pytest.raises(ValueError, match="got no structure for a model that needs one; train a model with diffraction"):
        trained().described_sample([8, 8])
    for numbers in ([], 8, [8.5, 8.0], ["O"], [[8]]):
        with pytest.raises(ValueError, match=r"expected the atomic numbers of a formula unit; `Atoms"):
            model.described_sample(numbers)
    with pytest.raises(ValueError, match=SYMBOLS[unknown]):
        model.described_sample([unknown, 8, 8])
    with pytest.raises(ValueError, match="expected 128 intensities each; take them from `powder_patterns`"):
        model.described_sample([8, 8], np.ones(17))


@pytest.mark.parametrize("epochs", [1, 2, 10, 11])
def test_few_steps_are_enough_to_train(epochs):
    known = crystals()
    sizes = CrystalPropertyConfig(("formation_energy",), known.elements, **SMALL)
    model = train_property(known.take(TRAIN), known.take(VAL), sizes, TableFit(epochs, batch_size=1000))
    assert np.isfinite(model.table(known.rows[:3])["formation_energy"]).all()


def test_torn_blocks_are_refused():
    known, model = seen()
    for place, value in ((0, np.nan), (STRUCTURE, np.nan), (STRUCTURE, np.inf), (-1, np.nan)):
        rows = known.rows[VAL].copy()
        rows[0, place] = value
        with pytest.raises(ValueError, match="got 1 crystals with descriptors that are no numbers.* a whole block"):
            model.table(rows)


def test_a_torn_table_is_refused_before_training():
    known, _ = seen()
    torn = known.rows.copy()
    torn[0, -1] = np.nan
    broken = dataclasses.replace(known, rows=torn)
    with pytest.raises(ValueError, match="got 1 training crystals with descriptors that are no numbers"):
        trained(known=broken, diffraction=True)
    sizes = CrystalPropertyConfig(TARGETS, known.elements, **SMALL, diffraction=True)
    with pytest.raises(ValueError, match="got 1 validation crystals with descriptors that are no numbers"):
        train_property(known.take(TRAIN), broken, sizes, TableFit(1))
    energies = {name: np.full(len(known), np.nan) for name in TARGETS}
    with pytest.raises(ValueError, match="got 0 validation crystals with a formation_energy.* at least 2; add some"):
        train_property(known.take(TRAIN), dataclasses.replace(known, properties=energies), sizes, TableFit(1))


def test_without_diffraction_nothing_may_be_missing(model):
    rows = crystals().rows[:2].copy()
    rows[1, -1] = np.nan
    with pytest.raises(ValueError, match="no numbers"):
        model.table(rows)
    with pytest.raises(ValueError, match=r"got descriptors of shape \(2, 3\), expected \(crystals, 136\)"):
        model.table(rows[:, :3])


def test_a_model_of_other_descriptors_is_refused():
    with pytest.raises(ValueError, match="version 0, expected"):
        CrystalProperty(CrystalPropertyConfig(("formation_energy",), (14,), descriptors=0))


def test_a_target_without_values_is_refused():
    known = crystals()
    empty = dataclasses.replace(known, properties={"formation_energy": np.full(len(known), np.nan)})
    with pytest.raises(ValueError, match="got 0 training crystals with a formation_energy"):
        trained(known=empty)
