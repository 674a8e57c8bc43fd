import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from matminer.featurizers.base import MultipleFeaturizer
from pymatgen.core import Lattice, Structure
from sklearn.base import clone
from tiny import tiny_potential

from ase_mlx.adapters.matminer import DensityFeaturizer
from ase_mlx.data.free_atoms import neutral_atom
from ase_mlx.models.extrapolation import ExtrapolationWarning


@pytest.fixture(scope="module")
def frame():
    rocksalt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0, 0]])
    return pd.DataFrame({"structure": [rocksalt, bulk("Si"), bulk("W")], "name": ["NaCl", "Si", "W"]})


def test_superposed_atoms_of_any_element(frame):
    featurizer = DensityFeaturizer()
    out = featurizer.featurize_dataframe(frame.copy(), "structure", pbar=False)
    labels = featurizer.feature_labels()
    assert list(out.columns) == ["structure", "name", *labels]
    assert np.isfinite(out[labels].to_numpy(float)).all()
    assert (out.density_p05 <= out.density_median).all() and (out.density_median <= out.density_p95).all()
    assert out.bond_density_mean[2] > out.bond_density_mean[0]  # a metal's bonds hold more than a salt's
    assert list(featurizer.get_feature_names_out()) == labels
    assert featurizer.citations()[-1].startswith("@software")


def test_features_do_not_know_the_cell():
    featurizer, silicon = DensityFeaturizer(spacing=0.2), bulk("Si")
    silicon.positions[1] += 0.08
    rows = [featurizer.featurize(a) for a in (silicon, silicon.repeat((2, 1, 1)))]
    turned = silicon.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    turned.positions += 0.3
    assert rows[1] == pytest.approx(rows[0], rel=2e-2, abs=1e-3)
    assert featurizer.featurize(turned) == pytest.approx(rows[0], rel=3e-2, abs=3e-3)


def test_neutral_atoms_hold_their_electrons():
    for number, electrons in ((1, 1), (14, 4), (26, 8), (31, 3), (74, 6), (94, 8)):
        radius, density, count = neutral_atom(number)
        assert count == electrons
        assert np.trapezoid(4 * np.pi * radius**2 * density, radius) == pytest.approx(electrons, rel=0.02)
    with pytest.raises(ValueError, match="H to Pu"):
        neutral_atom(95)


def test_learned_densities_have_charges_and_error_bars():
    alloy = bulk("Si", cubic=True)
    alloy.numbers[::2] = 50
    featurizer = DensityFeaturizer("sigesn", spacing=0.3)
    with pytest.warns(ExtrapolationWarning, match="100 %") as caught:  # tin and silicon at silicon's distance
        row = dict(zip(featurizer.feature_labels(), featurizer.featurize(alloy), strict=True))
    assert len(caught) == 1
    assert row["charge_max"] > 0.02 > -0.02 > row["charge_min"]
    assert row["sigma_max"] > row["sigma_mean"] > 0
    perfect = dict(zip(featurizer.feature_labels(), featurizer.featurize(bulk("Si", cubic=True)), strict=True))
    assert perfect["charge_std"] == pytest.approx(0, abs=1e-3)
    assert perfect["dipole_max"] < 5e-3
    assert perfect["bond_density_std"] == pytest.approx(0, abs=1e-4)
    assert perfect["bond_density_mean"] == pytest.approx(0.55, abs=0.1)  # e/Å³, the bond charge of silicon


def test_slab_and_lonely_atom():
    slab = fcc111("Al", (1, 1, 3), vacuum=5)
    with pytest.warns(ExtrapolationWarning):
        assert np.isfinite(DensityFeaturizer("al").featurize(slab)).all()
    lonely = dict(zip(DensityFeaturizer().feature_labels(), DensityFeaturizer().featurize(
        Atoms("Ar", cell=[14, 14, 14], pbc=True)), strict=True))  # fmt: skip
    assert np.isnan(lonely["bond_density_mean"])
    assert lonely["site_electrons_mean"] > 3


def test_rows_that_fail_are_named(frame):
    bad = pd.DataFrame({"structure": [bulk("Si"), bulk("Cu"), "nothing"]})
    featurizer = DensityFeaturizer("sigesn")
    with pytest.warns(UserWarning, match="2 rows of 3 have no numbers and are NaN: row 1: Cu"):
        out = featurizer.featurize_dataframe(bad, "structure", ignore_errors=True, return_errors=True, pbar=False)
    assert np.isfinite(out.density_p05[0]) and np.isnan(out.density_p05[1:].astype(float)).all()
    assert "Cu: structure 0: got Cu" in out["DensityFeaturizer Exceptions"][1]
    assert "str: got str" in out["DensityFeaturizer Exceptions"][2]
    with pytest.raises(ValueError, match="Cu"):
        featurizer.featurize(bulk("Cu"))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="spacing"):
        DensityFeaturizer(spacing=0.0)
    with pytest.raises(ValueError, match="without a density"):
        DensityFeaturizer(tiny_potential(elements=(14,)))
    with pytest.raises(FileNotFoundError):
        DensityFeaturizer("nothing")


def test_works_as_any_featurizer(frame):
    featurizer = clone(DensityFeaturizer(spacing=0.4))
    assert featurizer.get_params() == {"model": "atoms", "spacing": 0.4}
    with pytest.warns(UserWarning, match="DensityFeaturizer stays at one process"):
        featurizer.set_n_jobs(4)
    both = MultipleFeaturizer([featurizer, DensityFeaturizer("sigesn", 0.4)], iterate_over_entries=False)
    both.set_n_jobs(1)
    assert len(both.featurize(bulk("Si"))) == len(both.feature_labels())
