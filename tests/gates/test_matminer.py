import math
import multiprocessing
import pickle

import numpy as np
import pandas as pd
import pytest
import yaml
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.spacegroup import crystal
from ensemble_emt import EnsembleEMT
from matminer.featurizers.base import MultipleFeaturizer
from matminer.featurizers.structure import DensityFeatures
from pymatgen.core import Lattice, Structure
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from ase_mlx.adapters.ase import elastic
from ase_mlx.adapters.matminer import ElasticFeaturizer, ThermalFeaturizer
from ase_mlx.adapters.phonopy import harmonic, members, phonons, quasi_harmonic

CELLS = (2, 2, 2)
FAST = {"supercell": CELLS, "expansion": False}


def copper():
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]]).get_primitive_structure()


def alloy():
    return crystal(["Au", "Cu"], [(0, 0, 0), (0, 0.5, 0.5)], spacegroup=221, cellpar=[3.8] * 3 + [90] * 3)


def slab():
    return fcc111("Al", (1, 1, 3), vacuum=8)


class Counted(EnsembleEMT):
    calls = 0

    def calculate(self, *args, **kwargs):
        Counted.calls += 1
        super().calculate(*args, **kwargs)

    def _members(self, *args):
        Counted.calls += 1
        return super()._members(*args)


def test_columns_have_units_in_their_order_and_the_temperature_in_their_names():
    assert ThermalFeaturizer(EMT()).feature_labels() == [
        *("C_V_300K", "C_V_300K_std", "S_300K", "S_300K_std", "F_300K", "F_300K_std", "theta_D", "theta_D_std"),
        *("alpha_300K", "alpha_300K_std", "gamma_mean", "gamma_mean_std"),
        *("min_frequency_THz", "min_frequency_THz_std", "stable"),
    ]
    cold = ThermalFeaturizer(EMT(), temperature=77.5, expansion=False)
    assert cold.feature_labels()[:2] == ["C_V_77.5K", "C_V_77.5K_std"]
    assert not any(label.startswith(("alpha", "gamma")) for label in cold.feature_labels())
    assert cold.get_feature_names_out().tolist() == cold.feature_labels()


@pytest.mark.slow
def test_values_and_error_bars_are_the_gates_own_per_atom_and_a_second_run_computes_nothing(tmp_path):
    calculator = Counted((0.95, 1.0, 1.05))
    featurizer = ThermalFeaturizer(calculator, supercell=CELLS, folder=tmp_path)
    row = dict(zip(featurizer.feature_labels(), featurizer.featurize(alloy()), strict=True))
    assert Counted.calls > 0
    Counted.calls = 0
    assert clone(featurizer).featurize(alloy()) == list(row.values())
    assert Counted.calls == 0

    ph = phonons(alloy(), calculator, CELLS, folder=tmp_path)
    found = harmonic(ph, members(ph, calculator, tmp_path), temperatures=np.array([300.0]))
    assert found.natoms == 4
    for label, name in (("C_V_300K", "heat_capacity"), ("S_300K", "entropy"), ("F_300K", "free_energy")):
        assert row[label] == pytest.approx(getattr(found, name)[0] / 4)
        assert row[f"{label}_std"] == pytest.approx(found.std[name][0] / 4)
    assert row["theta_D"] == pytest.approx(found.debye_temperature)
    assert row["theta_D_std"] == pytest.approx(float(found.std["debye_temperature"]))
    sound = elastic(alloy(), calculator)
    assert row["theta_D"] == pytest.approx(sound.debye_temperature, rel=1e-3)
    assert row["theta_D_std"] == pytest.approx(sound.debye_temperature_std, rel=1e-3)
    assert row["min_frequency_THz"] == pytest.approx(found.stability.lowest)
    spread = np.std(np.sqrt(calculator.strengths), ddof=1)  # every frequency of a member is √λ times the mean's
    assert row["min_frequency_THz_std"] == pytest.approx(spread * found.stability.lowest, rel=1e-4)
    assert row["stable"] is True

    kelvin = np.array([290.0, 300.0, 310.0])
    curves = quasi_harmonic(alloy(), calculator, CELLS, temperatures=kelvin, folder=tmp_path)
    for label, name in (("alpha_300K", "expansion"), ("gamma_mean", "gruneisen")):
        assert row[label] == pytest.approx(getattr(curves, name)[1], rel=1e-4)
        assert row[f"{label}_std"] == pytest.approx(curves.std[name][1], rel=1e-3)
    assert 3e-5 < row["alpha_300K"] < 9e-5
    assert 1 < row["gamma_mean"] < 4


def test_rows_fail_alone_and_error_bars_are_nan_without_members():
    frame = pd.DataFrame({"atoms": [alloy(), slab(), bulk("Fe"), bulk("Cu", "bcc", a=2.85)]}, index=[3, 5, 7, 9])
    featurizer = ThermalFeaturizer(EMT(), **FAST)
    with pytest.warns(UserWarning, match="2 rows of 4 have no numbers and are NaN: row 1: Al: Phonons need a crystal"):
        done = featurizer.featurize_dataframe(frame, "atoms", ignore_errors=True, return_errors=True, pbar=False)
    assert done.index.tolist() == [3, 5, 7, 9]
    assert done.columns.tolist() == ["atoms", *featurizer.feature_labels(), "ThermalFeaturizer Exceptions"]
    numbers = [label for label in featurizer.feature_labels() if label != "stable" and not label.endswith("_std")]
    assert done.loc[3, numbers].notna().all()
    assert done.loc[3, [f"{name}_std" for name in numbers]].isna().all()
    assert done.loc[[5, 7], featurizer.feature_labels()].isna().all(axis=None)
    errors = done["ThermalFeaturizer Exceptions"]
    assert errors[[3, 9]].isna().all()
    assert "ValueError: Al: Phonons need a crystal periodic in three directions, got a slab" in errors[5]
    assert "NotImplementedError: Fe: No EMT-potential for Fe" in errors[7]
    assert done["stable"][[3, 9]].tolist() == [True, False]
    assert done.loc[9, "min_frequency_THz"] < -0.5
    assert done.loc[9, numbers[:-1]].isna().all()
    with pytest.raises(NotImplementedError, match="^Fe: No EMT-potential"):
        featurizer.featurize_dataframe(frame.loc[7:], "atoms", pbar=False)


def test_expansion_of_an_unstable_crystal_is_nan_without_being_computed():
    featurizer = ThermalFeaturizer(EMT(), supercell=CELLS)
    row = dict(zip(featurizer.feature_labels(), featurizer.featurize(bulk("Cu", "bcc", a=2.85)), strict=True))
    assert row["stable"] is False
    assert [name for name, value in row.items() if not math.isnan(value)] == ["min_frequency_THz", "stable"]


@pytest.mark.filterwarnings("ignore:Warning. Point group symmetries of supercell and primitivecell are different")
def test_modes_that_only_a_small_supercell_makes_imaginary_bring_a_warning():
    featurizer = ThermalFeaturizer(EMT(), supercell=(3, 2, 1), expansion=False)
    with pytest.warns(UserWarning, match="AuCu: lowest -0.* Only interpolation makes these modes imaginary"):
        assert featurizer.featurize(bulk("CuAu", "cesiumchloride", a=3.1))[-1] is False


def test_where_no_volume_has_the_least_free_energy_the_expansion_is_nan_with_a_warning():
    featurizer = ThermalFeaturizer(EMT(), temperature=5000.0, supercell=CELLS)
    with pytest.warns(UserWarning, match="Cu: no thermal expansion: The free energy has no minimum"):
        row = dict(zip(featurizer.feature_labels(), featurizer.featurize(copper()), strict=True))
    assert math.isnan(row["alpha_5000K"])
    assert math.isnan(row["gamma_mean"])
    assert row["C_V_5000K"] == pytest.approx(3 * 8.3145, rel=0.01)  # the mesh leaves out three modes of Γ
    assert row["stable"] is True


@pytest.mark.slow
def test_structures_and_atoms_give_the_same_columns():
    featurizer = ThermalFeaturizer(EMT(), **FAST)
    structure = copper()
    frame = pd.DataFrame({"structure": [structure, structure], "atoms": [structure.to_ase_atoms(msonable=False)] * 2})
    one = featurizer.featurize_dataframe(frame, "structure")
    other = featurizer.featurize_dataframe(frame, "atoms")
    assert one["stable"].dtype == bool
    numbers = [label for label in featurizer.feature_labels() if label != "stable"]
    np.testing.assert_allclose(one[numbers].to_numpy(float), other[numbers].to_numpy(float), rtol=1e-9)
    nested = featurizer.featurize_dataframe(frame.copy(), "atoms", multiindex=True)
    np.testing.assert_array_equal(nested["ThermalFeaturizer"][numbers], other[numbers])
    assert featurizer.featurize_dataframe(frame, "atoms", inplace=True) is None
    np.testing.assert_array_equal(frame[numbers], other[numbers])


def test_atoms_that_a_structure_fixes_are_free():
    fixed = copper()
    fixed.add_site_property("selective_dynamics", [[False] * 3])
    featurizer = ThermalFeaturizer(EMT(), **FAST)
    np.testing.assert_array_equal(featurizer.featurize(fixed), featurizer.featurize(copper()))


def test_what_is_no_ordered_structure_is_refused():
    featurizer = ThermalFeaturizer(EMT())
    mixed = Structure(Lattice.cubic(3.8), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    with pytest.raises(ValueError, match="^Cu0.5Au0.5: got sites with partial occupancy"):
        featurizer.featurize(mixed)
    with pytest.raises(TypeError, match="got Composition, expected a pymatgen Structure or ASE Atoms"):
        featurizer.featurize(copper().composition)


def test_it_works_beside_other_featurizers(tmp_path):
    thermal = ThermalFeaturizer(EMT(), folder=tmp_path, **FAST)
    frame = pd.DataFrame({"structure": [copper(), Structure.from_ase_atoms(slab())]})
    several = MultipleFeaturizer([DensityFeatures(desired_features=["density"]), thermal])
    several.set_n_jobs(1)
    with pytest.warns(UserWarning, match="a row has no numbers and is NaN: Al: "):
        done = several.featurize_dataframe(frame, "structure", ignore_errors=True, return_errors=True)
    assert done["density"].notna().all()
    assert done["C_V_300K"].notna().tolist() == [True, False]
    assert "got a slab" in done["ThermalFeaturizer Exceptions"][1]
    assert set(thermal.citations()) <= set(several.citations())
    in_turn = MultipleFeaturizer([thermal], iterate_over_entries=False)  # asks each featurizer for its own n_jobs
    np.testing.assert_array_equal(in_turn.featurize_many([copper()], pbar=False), [thermal.featurize(copper())])


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="pools do not fork here")
def test_no_fork_takes_it_along():
    thermal = ThermalFeaturizer(EMT(), **FAST)
    with pytest.warns(UserWarning, match="stays at one process, got n_jobs=4"):
        thermal.set_n_jobs(4)
    assert thermal.n_jobs == 1
    several = MultipleFeaturizer([thermal])
    with pytest.warns(UserWarning, match="stays at one process"):
        several.set_n_jobs(2)
    with pytest.raises(RuntimeError, match=r"call set_n_jobs\(1\) on the MultipleFeaturizer"):
        several.featurize_many([copper()] * 2, ignore_errors=True, pbar=False)
    assert isinstance(pickle.loads(pickle.dumps(thermal)), ThermalFeaturizer)


def test_wrong_settings_fail_at_once_and_not_row_by_row(tmp_path):
    single = EMT()
    single.dtype = "float32"
    with pytest.raises(ValueError, match='make it with dtype="float64"'):
        ThermalFeaturizer(single)
    with pytest.raises(ValueError, match="temperature: got 0, expected a finite number above zero"):
        ThermalFeaturizer(EMT(), temperature=0)
    ThermalFeaturizer(EMT(), folder=tmp_path)
    with pytest.raises(ValueError, match="holds work of another calculator"):
        ThermalFeaturizer(EnsembleEMT(), folder=tmp_path)
    changed = ThermalFeaturizer(EMT()).set_params(displacement=-1.0)
    with pytest.raises(ValueError, match="displacement: got -1.0"):
        changed.featurize_many([copper()], ignore_errors=True, pbar=False)


def test_an_interrupt_stops_a_run_that_ignores_errors():
    class Interrupted(EMT):
        def calculate(self, *args, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ThermalFeaturizer(Interrupted()).featurize_many([copper()], ignore_errors=True, pbar=False)


def test_scikit_learn_clones_it_and_takes_it_into_a_pipeline(tmp_path):
    featurizer = ThermalFeaturizer(EMT(), temperature=100.0, folder=tmp_path, **FAST)
    copy = clone(featurizer)
    assert copy.get_params().keys() == featurizer.get_params().keys()
    assert copy.feature_labels() == featurizer.feature_labels()
    with pytest.warns(UserWarning, match="1 row of 2 has no numbers"):
        table = make_pipeline(copy).set_output(transform="pandas").fit_transform([copper(), slab()])
    assert table.columns.tolist() == featurizer.feature_labels()
    assert table["C_V_100K"].notna().tolist() == [True, False]


def test_citations_are_phonopys_and_this_packages(request):
    ours = yaml.safe_load((request.config.rootpath / "CITATION.cff").read_text(encoding="utf-8"))
    featurizer = ThermalFeaturizer(EMT())
    assert "J. Phys. Soc. Jpn.}, volume = {92}, pages = {012001}" in featurizer.citations()[0]
    assert all(entry.count("{") == entry.count("}") for entry in featurizer.citations())
    assert all(ours[key] in featurizer.citations()[-1] for key in ("title", "version"))
    assert featurizer.implementors() == [author["name"] for author in ours["authors"]]
    assert len(ThermalFeaturizer(EMT(), expansion=False).citations()) == 2


@pytest.mark.slow
def test_elastic_columns_do_not_depend_on_how_the_crystal_lies():
    calculator = EnsembleEMT((0.95, 1.0, 1.05))
    featurizer = ElasticFeaturizer(calculator)
    labels = featurizer.feature_labels()
    assert labels[:4] == ["C_11", "C_11_std", "C_12", "C_12_std"]
    assert len(labels) == 2 * (21 + 9 + 2) + 1
    cubic = crystal("Cu", [(0, 0, 0)], spacegroup=225, cellpar=[3.6] * 3 + [90] * 3)
    known = elastic(cubic, calculator)
    rows = [
        dict(zip(labels, featurizer.featurize(one), strict=True)) for one in (cubic, copper())
    ]  # conventional, and primitive in pymatgen's axes
    for row in rows:
        assert row["C_11"] == pytest.approx(known.tensor[0, 0], rel=2e-3)
        assert row["C_44"] == pytest.approx(known.tensor[3, 3], rel=2e-3)
        assert row["C_44_std"] == pytest.approx(0.05 * known.tensor[3, 3], rel=5e-3)
        assert row["C_15"] == pytest.approx(0, abs=0.05)
        assert row["K_VRH"] == pytest.approx(known.moduli.bulk, rel=1e-3)
        assert row["theta_D"] == pytest.approx(known.debye_temperature, rel=1e-3)
        assert row["min_stiffness"] == pytest.approx(known.tensor[0, 0] - known.tensor[0, 1], rel=5e-3)
        assert row["stable"] is True


def test_elastic_rows_fail_alone_and_unstable_crystals_have_no_moduli():
    featurizer = ElasticFeaturizer(EMT())
    with pytest.warns(UserWarning, match="Cu: Elastically unstable"):
        row = dict(zip(featurizer.feature_labels(), featurizer.featurize(bulk("Cu", "bcc", a=2.9)), strict=True))
    assert row["stable"] is False
    assert row["min_stiffness"] < 0
    assert math.isnan(row["K_VRH"])
    assert math.isnan(row["C_11_std"])
    with pytest.warns(UserWarning, match="1 row of 2 has no numbers and is NaN: row 0: Al: Elastic constants need"):
        rows = featurizer.featurize_many([slab(), copper()], ignore_errors=True, pbar=False)
    assert math.isnan(rows[0][0])
    assert rows[1][-1] is True
    with pytest.raises(ValueError, match="Al: Elastic constants need a crystal"):
        featurizer.featurize(slab())
