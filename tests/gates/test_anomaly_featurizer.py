import multiprocessing
import pickle
import warnings
from pathlib import Path

import bibtexparser
import numpy as np
import pandas as pd
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from bibtexparser.bparser import BibTexParser
from matminer.featurizers.base import MultipleFeaturizer
from matminer.featurizers.structure import DensityFeatures
from pymatgen.core import Lattice, Structure
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from tiny import tiny_potential

from ase_mlx.adapters.matminer import AnomalyFeaturizer, DensityFeaturizer, ModelFeaturizer
from ase_mlx.adapters.matminer.model import loaded
from ase_mlx.descriptors import NAMES
from ase_mlx.learn.anomaly.crystals import describe_crystals
from ase_mlx.learn.config import TableFit
from ase_mlx.learn.files import save_model
from ase_mlx.learn.recipes.anomaly import train_anomaly
from ase_mlx.models.anomaly import AnomalyConfig, AnomalyModel
from ase_mlx.models.crystal_property import CrystalPropertyConfig
from ase_mlx.models.predict import predict
from ase_mlx.pretrained import load
from ase_mlx.screen.scores import Screening, screen

TABLE = Path(__file__).resolve().parents[2] / "data" / "mp_crystals.parquet"
TARGETS = ("formation_energy", "hull_distance")
SCORES = ["anomaly_score", "anomaly_score_std", "anomaly_probability", "anomaly"]
FIT = TableFit(epochs=2, batch_size=32)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads of small networks only wait for each other where other tests run beside these."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def table():
    names = {"formation_energy_per_atom": "formation_energy", "e_above_hull": "hull_distance"}
    whole = pd.read_parquet(TABLE).rename(columns=names)
    return whole[whole.nsites <= 12].sample(200, random_state=0).reset_index(drop=True)


@pytest.fixture(scope="module")
def folder(table, tmp_path_factory):
    """A model that learned next to nothing, of every kind of number that a real one has."""
    crystals = describe_crystals(table, TARGETS)
    elements = tuple(sorted({*crystals.elements, 8, 11, 12, 14, 17, 22, 29, 79}))
    config = AnomalyConfig(CrystalPropertyConfig(TARGETS, elements, members=2, width=16, hyper_width=16), 2, 16)
    state = torch.random.get_rng_state()
    model = train_anomaly(crystals.take(np.arange(140)), crystals.take(np.arange(140, 200)), config, FIT)
    torch.random.set_rng_state(state)
    home = tmp_path_factory.mktemp("models")
    save_model(model.property, home / "property", {"title": "test"})
    return save_model(model, home / "anomaly", {"title": "test"})


@pytest.fixture(scope="module")
def structures(table):
    cells = (np.asarray(cell).reshape(3, 3) for cell in table.lattice)
    places = (np.asarray(place).reshape(-1, 3) for place in table.frac_coords)
    made = [Structure(*parts) for parts in zip(cells, table.numbers, places, strict=True)]
    perovskite = Structure(
        Lattice.cubic(3.9),
        ["Mg", "Ti", "O", "O", "O"],
        [[0] * 3, [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0, 0]])
    return [*made[:40], perovskite, salt, bulk("Si"), bulk("CuAu", "cesiumchloride", a=3.1)]


def bad():
    """Rows that cannot be featurized, each with the beginning of the reason."""
    mixed = Structure(Lattice.cubic(3.8), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    twice = Structure(Lattice.cubic(4), ["Si", "Si"], [[0, 0, 0], [1, 0, 0]])
    close = Structure(Lattice.cubic(4), ["Si", "Si"], [[0, 0, 0], [0.05, 0, 0]])
    return [
        (mixed, "Cu0.5Au0.5: got sites with partial occupancy"),
        (bulk("Am", "fcc", a=4.9), "Am: got Am, but this model knows"),
        (twice, "Si: got atoms 0 and 1 in the same place"),
        (close, "Si: got two atoms 0.2 Å apart, expected at least 0.5 Å"),
        (None, "NoneType: got NoneType, expected a pymatgen Structure or ASE Atoms"),
        (molecule("H2O"), "H2O: got pbc=[False, False, False], expected a crystal"),
        (bulk("Si", a=0.543), "Si: got 2 atoms in a cell of 0.384, 0.384, 0.384 Å and about"),
    ]


def test_dataframes_get_columns_in_every_way_matminer_has(folder, structures):
    featurizer = AnomalyFeaturizer(folder, top=2)
    labels = [*SCORES, "top_descriptor_1", "top_contribution_1", "top_descriptor_2", "top_contribution_2"]
    assert featurizer.feature_labels() == featurizer.get_feature_names_out().tolist() == labels
    frame = pd.DataFrame({"structure": structures}, index=range(5, 5 + len(structures)))
    done = featurizer.featurize_dataframe(frame, "structure")
    assert done.columns.tolist() == ["structure", *labels]
    assert done.index.equals(frame.index)
    assert np.isfinite(done[SCORES].to_numpy(float)).all()
    assert done.anomaly.dtype == bool and 0 < done.anomaly.sum() < len(done)
    assert done.anomaly_probability.between(0, 1).all()
    assert (done.top_contribution_1 >= done.top_contribution_2).all()
    assert {*done.top_descriptor_1, *done.top_descriptor_2} <= set(NAMES)
    nested = featurizer.featurize_dataframe(frame.copy(), "structure", multiindex=True, pbar=False)
    pd.testing.assert_frame_equal(nested["AnomalyFeaturizer"], done[labels])
    told = featurizer.featurize_dataframe(frame, "structure", ignore_errors=True, return_errors=True, pbar={"leave": 0})
    pd.testing.assert_frame_equal(told[labels], done[labels])
    assert told["AnomalyFeaturizer Exceptions"].isna().all()
    assert featurizer.featurize_dataframe(frame, "structure", inplace=True, pbar=False) is None
    pd.testing.assert_frame_equal(frame, done)
    with pytest.raises(ValueError, match='"anomaly_score" exists in input dataframe'):
        featurizer.featurize_dataframe(frame, "structure")
    assert featurizer.featurize_many([]) == []


@pytest.mark.parametrize("mode", ["novelty", "supervised_tail", "residual"])
def test_no_row_depends_on_the_others_and_screening_says_the_same(folder, table, structures, mode):
    featurizer = AnomalyFeaturizer(folder, mode, top=3)
    residual = mode == "residual"
    entries = [(s, e) if residual else (s,) for s, e in zip(structures, table.formation_energy, strict=False)]
    together = featurizer.featurize_many(entries, pbar=False)
    assert [featurizer.featurize(*entry) for entry in entries[::7]] == together[::7]
    assert featurizer.featurize_many(entries[::-1], pbar=False) == together[::-1]
    wanted = Screening(mode, "formation_energy" if residual else None)
    (screened,) = screen([table[:40]], load(folder).double(), wanted)
    assert [row[4::2] for row in together[:40]] == [names[:3] for names in screened.top_descriptors]
    rows = np.array([row[:3] for row in together[:40]])
    np.testing.assert_allclose(rows, screened[SCORES[:3]].to_numpy(float), atol=2e-6)
    assert [row[3] for row in together[:40]] == screened.anomaly.tolist()


def test_a_reported_energy_that_is_wrong_stands_out(folder, structures):
    featurizer = AnomalyFeaturizer(folder, "residual")
    predicted, std = ModelFeaturizer(folder).featurize(structures[0])[:2]
    frame = pd.DataFrame({"structure": structures[:1] * 3, "energy": [predicted, predicted + 9 * std, "none"]})
    told = {"ignore_errors": True, "return_errors": True, "pbar": False}
    with pytest.warns(UserWarning, match="1 row of 3 has no numbers and is NaN: row 2: .* got 'none', expected a form"):
        done = featurizer.featurize_dataframe(frame, ["structure", "energy"], **told)
    assert done.anomaly_score[:2].tolist() == pytest.approx([0, 9], abs=1e-3)
    assert done.anomaly_probability[1] > done.anomaly_probability[0]
    assert "expected a formation energy in eV/atom" in done["AnomalyFeaturizer Exceptions"][2]
    with pytest.raises(ValueError, match="got 1 inputs in row 0, expected 2: structure, formation_energy"):
        featurizer.featurize_dataframe(frame, "structure", ignore_errors=True)
    with pytest.raises(ValueError, match="got 2 inputs in row 0, expected 1: structure"):
        AnomalyFeaturizer(folder).featurize_dataframe(frame, ["structure", "energy"], ignore_errors=True)


def test_cell_and_host_of_a_structure_do_not_matter(folder, structures):
    for featurizer in (AnomalyFeaturizer(folder), ModelFeaturizer(folder)):
        for structure in (structures[3], structures[40], structures[41]):
            row = featurizer.featurize(structure)
            atoms = structure.to_ase_atoms(msonable=False)
            assert featurizer.featurize(atoms) == pytest.approx(row, abs=2e-6)
            assert featurizer.featurize(atoms.repeat(2)) == pytest.approx(row, abs=2e-6)


@pytest.mark.parametrize("kind", [AnomalyFeaturizer, ModelFeaturizer])
def test_bad_rows_cost_themselves_alone_and_are_reported(folder, structures, kind):
    featurizer, rows = kind(folder), bad()
    mixed = [structures[0], *(row for row, _ in rows), structures[1]]
    frame = pd.DataFrame({"structure": pd.Series(mixed, dtype=object)})
    match = rf"{kind.__name__}: 7 rows of 9 have no numbers and are NaN: row 1: Cu0.5Au0.5: .*; row 3: .*; and 4 more"
    with pytest.warns(UserWarning, match=match) as caught:
        done = featurizer.featurize_dataframe(frame, "structure", ignore_errors=True, return_errors=True, pbar=False)
    assert len(caught) == 1
    numbers = done[featurizer.feature_labels()]
    assert numbers.iloc[1:-1].isna().all(axis=None) and numbers.iloc[[0, -1]].notna().all(axis=None)
    assert numbers.iloc[[0, -1]].to_numpy().tolist() == featurizer.featurize_many(structures[:2], pbar=False)
    for place, (structure, reason) in enumerate(rows, 1):
        assert f"Error: {reason}" in done[f"{kind.__name__} Exceptions"][place]
        with pytest.raises((ValueError, TypeError), match=f"^{reason.split(': got')[0]}: got") as raised:
            featurizer.featurize_many([structures[0], structure], pbar=False)
        assert raised.value.__notes__ == ["in row 1 of 2, counted from 0; ignore_errors=True skips such rows"]
        assert not featurizer.precheck(structure)
    assert featurizer.precheck(structures[0])
    with pytest.warns(UserWarning, match="a row has no numbers and is NaN: NoneType: .* with return_errors=True"):
        assert np.isnan(featurizer.transform([None])[0]).all()
    with pytest.raises(ValueError, match="got return_errors without ignore_errors"):
        featurizer.featurize_many(mixed, return_errors=True)
    with pytest.raises(TypeError, match="got Structure, expected a list"):
        featurizer.featurize_many(structures[0])


def test_a_row_that_only_fails_in_the_model_is_found_among_the_others(folder, structures, monkeypatch):
    featurizer, calls = AnomalyFeaturizer(folder), []
    whole, judged = featurizer.featurize_many(structures, pbar=False), AnomalyModel.judged

    def refusing(model, graph, reported=None):
        calls.append(graph.n_graphs)
        if bool(((graph.numbers == 14) & (graph.n_atoms[graph.atom_graph] == 2)).any()):
            raise RuntimeError("silicon")
        return judged(model, graph, reported)

    monkeypatch.setattr(AnomalyModel, "judged", refusing)
    with pytest.warns(UserWarning, match="1 row of 44 has no numbers and is NaN: row 42: Si: silicon"):
        rows = featurizer.featurize_many(structures, ignore_errors=True, pbar=False)
    assert calls[0] == 44 and len(calls) < 16
    assert np.isnan(rows.pop(42)).all()
    assert rows == whole[:42] + whole[43:]
    with pytest.raises(RuntimeError, match="^Si: silicon"):
        featurizer.featurize_many(structures, pbar=False)


def test_groups_are_limited(folder, structures, monkeypatch):
    sizes, judged = [], AnomalyModel.judged
    monkeypatch.setattr(AnomalyModel, "judged", lambda m, g, r=None: sizes.append(g.n_graphs) or judged(m, g, r))
    AnomalyFeaturizer(folder).featurize_many([bulk("Si")] * 300, pbar=False)
    assert sizes == [256, 44]
    sizes.clear()
    monkeypatch.setattr(AnomalyFeaturizer, "most_atoms", 10)
    AnomalyFeaturizer(folder).featurize_many([bulk("Si") * (2, 2, 2), *[bulk("Si")] * 6], pbar=False)
    assert sizes == [1, 5, 1]


def test_every_model_gives_its_numbers(folder, structures):
    energies = ["formation_energy", "formation_energy_std", "hull_distance", "hull_distance_std"]
    only, every = ModelFeaturizer(folder.parent / "property"), ModelFeaturizer(str(folder))
    assert only.feature_labels() == energies
    further = ["tail_margin", "tail_margin_std", "tail_probability", "novelty", "novelty_std", "novelty_probability"]
    assert every.feature_labels() == energies + further
    rows = every.featurize_many(structures, pbar=False)
    assert [row[:4] for row in rows] == only.featurize_many(structures, pbar=False)
    assert np.isfinite([row[:4] for row in rows]).all()
    assert [every.featurize(s) for s in structures[:4]] == rows[:4]
    novel = AnomalyFeaturizer(folder).featurize_many(structures, pbar=False)
    assert [row[7:] for row in rows] == [row[:3] for row in novel]


def test_potentials_give_energies_distances_and_pooled_features():
    model = tiny_potential(elements=(14, 32), members=4)
    featurizer = ModelFeaturizer(model, pooled=True)
    labels = featurizer.feature_labels()
    assert labels[:4] == ["energy_per_atom", "energy_per_atom_std", "distance_max", "feature_mean_0"]
    assert len(labels) == 3 + 2 * 12 and labels[-1] == "feature_std_11"
    alloy = bulk("Si", cubic=True)
    alloy.numbers[:3] = 32
    alloy.rattle(0.05, seed=1)
    many = [alloy, bulk("Si"), molecule("Si2H6")[:2], alloy.repeat((2, 1, 1)), Structure.from_ase_atoms(alloy)]
    rows = np.array(featurizer.featurize_many(many, pbar=False))
    assert rows == pytest.approx(np.array([featurizer.featurize(atoms) for atoms in many]), abs=1e-9)
    assert rows[[3, 4], :1] == pytest.approx(rows[[0, 0], :1], abs=2e-6)
    assert rows[3, 2:] == pytest.approx(rows[0, 2:], abs=2e-6)
    assert {p.dtype for p in model.parameters()} == {torch.float32}  # the user's own is left as it was
    found = predict(tiny_potential(elements=(14, 32), members=4).double(), alloy)
    assert rows[0, 0] == pytest.approx(found["energy"] / 8, abs=1e-6)
    assert rows[0, 1] == pytest.approx(found.std["energy"] / 8, abs=1e-6)
    assert rows[0, 2] == pytest.approx(found["distance"].max(), abs=1e-6)
    assert rows[0, 3:15] == pytest.approx(found["features"].mean(0), abs=1e-6)
    assert rows[0, 15:] == pytest.approx(found["features"].std(0), abs=1e-6)
    assert rows[1, 15:] == pytest.approx(0, abs=1e-6)  # atoms of a perfect crystal are alike
    bare = ModelFeaturizer(tiny_potential(members=0))
    assert np.isnan(bare.featurize(bulk("Si"))).tolist() == [False, True, True]
    assert "batzner2022" in featurizer.citations()[0] and len(featurizer.citations()) == 3


def test_a_model_is_loaded_once_and_again_when_its_folder_changes(folder, structures, tmp_path):
    model = load(folder)
    save_model(model, tmp_path / "m", {"title": "one"})
    featurizer = AnomalyFeaturizer(tmp_path / "m", "supervised_tail")
    before = featurizer.featurize(structures[0])
    assert loaded(tmp_path / "m") is loaded(str(tmp_path / "m"))
    assert AnomalyFeaturizer(model, "supervised_tail").featurize(structures[0]) == before
    model.tail += 1.0
    save_model(model, tmp_path / "m", {"title": "another"})
    assert featurizer.featurize(structures[0])[0] == pytest.approx(before[0] + 1, abs=2e-6)


def test_it_works_beside_other_featurizers(folder, structures):
    frame = pd.DataFrame({"structure": pd.Series([*structures[:3], bulk("Am", "fcc", a=4.9)])})
    frame["structure"] = [s if isinstance(s, Structure) else Structure.from_ase_atoms(s) for s in frame.structure]
    ours = [AnomalyFeaturizer(folder, top=1), ModelFeaturizer(folder)]
    alone = [f.featurize_dataframe(frame[:3], "structure", pbar=False).drop(columns="structure") for f in ours]
    told = {"ignore_errors": True, "return_errors": True, "pbar": False}
    for by_entries in (True, False):
        several = MultipleFeaturizer([DensityFeatures(desired_features=["density"]), *ours], by_entries)
        if by_entries:
            several.set_n_jobs(1)
        else:
            several.featurizers[0].set_n_jobs(1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            done = several.featurize_dataframe(frame, "structure", **told)
        where = (
            "a row has no numbers and is NaN: Am" if by_entries else "1 row of 4 has no numbers and is NaN: row 3: Am"
        )
        assert len(caught) == 2
        for featurizer, warning in zip(ours, caught, strict=True):
            assert f"{type(featurizer).__name__}: {where}" in str(warning.message)
        assert done["density"].notna().all()
        for featurizer, wanted in zip(ours, alone, strict=True):
            found = done[wanted.columns][:3]
            assert found.to_numpy().tolist() == wanted.to_numpy().tolist()
            assert "Am: got Am" in done[f"{type(featurizer).__name__} Exceptions"][3]
    with pytest.raises(ValueError, match="^Am: got Am"):
        several.featurize_dataframe(frame, "structure", pbar=False)


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="pools do not fork here")
def test_one_process(folder, structures):
    for featurizer in (AnomalyFeaturizer(folder), ModelFeaturizer(folder)):
        with pytest.warns(UserWarning, match="stays at one process, got n_jobs=2"):
            featurizer.set_n_jobs(2)
        assert featurizer.n_jobs == 1
        several = MultipleFeaturizer([featurizer])
        with pytest.warns(UserWarning, match="stays at one process"):
            several.set_n_jobs(2)
        with pytest.raises(RuntimeError, match=r"call set_n_jobs\(1\) on the MultipleFeaturizer"):
            several.featurize_many(structures[:2], pbar=False)


def test_scikit_learn_clones_it_and_takes_it_into_a_pipeline(folder, structures, table):
    featurizer = AnomalyFeaturizer(folder, mode="supervised_tail")
    assert featurizer.get_params() == {"model": folder, "mode": "supervised_tail", "top": 0}
    row = featurizer.featurize(structures[0])
    model = loaded(folder)
    for copy in (clone(featurizer), pickle.loads(pickle.dumps(featurizer)), clone(AnomalyFeaturizer(model, "novelty"))):
        assert copy.set_params(mode="supervised_tail").featurize(structures[0]) == row
    columns = make_pipeline(clone(ModelFeaturizer(folder))).set_output(transform="pandas").fit_transform(structures[:5])
    assert columns.columns.tolist() == ModelFeaturizer(folder).feature_labels()
    fitted = make_pipeline(ModelFeaturizer(folder), Ridge()).fit(structures[:40], table.formation_energy[:40])
    assert np.isfinite(fitted.predict(structures)).all()
    assert fitted.predict(structures[:2]) == pytest.approx(fitted.predict(structures)[:2])


def test_wrong_settings_fail_at_once(folder):
    with pytest.raises(FileNotFoundError, match="expected a shipped model"):
        AnomalyFeaturizer("nothing")
    with pytest.raises(ValueError, match="top: got 1000, expected a whole number from 0"):
        AnomalyFeaturizer(folder, top=1000)
    changed = AnomalyFeaturizer(folder).set_params(mode="strange")
    with pytest.raises(ValueError, match="mode: got 'strange', expected one of supervised_tail, residual, novelty"):
        changed.featurize_many([None], ignore_errors=True)
    with pytest.raises(ValueError, match="got a CrystalProperty, expected a model of anomalies"):
        AnomalyFeaturizer(folder.parent / "property")
    with pytest.raises(ValueError, match="got pooled=True for a AnomalyModel, which has no features"):
        ModelFeaturizer(folder, pooled=True)


def test_a_model_of_fields_alone_is_sent_elsewhere():
    potential = tiny_potential()
    potential.outputs = ()
    with pytest.raises(ValueError, match="expected a model with a number per structure; for a density take Density"):
        ModelFeaturizer(potential)
    assert DensityFeaturizer().citations()


def test_citations_are_bibtex(folder, request):
    for featurizer in (AnomalyFeaturizer(folder), ModelFeaturizer(folder), ModelFeaturizer(tiny_potential())):
        keys = []
        for text in featurizer.citations():
            (entry,) = bibtexparser.loads(text, BibTexParser(ignore_nonstandard_types=False)).entries
            assert {"author", "title"} <= entry.keys()
            keys.append(entry["ID"])
        expected = [["ward2016", "jain2013", "spglib2024"], ["batzner2022", "kellner2024"]]
        assert keys[:-1] in expected and keys[-1] == "ase_mlx"
        assert featurizer.implementors() == ["ase_mlx developers"]


def test_an_interrupt_stops_a_run_that_ignores_errors(folder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(AnomalyModel, "judged", interrupted)
    with pytest.raises(KeyboardInterrupt):
        AnomalyFeaturizer(folder).featurize_many([Atoms(bulk("Si"))], ignore_errors=True, pbar=False)
