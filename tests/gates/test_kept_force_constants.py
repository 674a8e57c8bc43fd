"""Force constants of a yaml that are kept: the same to the bit, read anew where anything changed."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from phono3py.file_IO import write_fc2_to_hdf5

from ase_mlx.adapters.phono3py import conductivity, load_third_order, third_order
from ase_mlx.adapters.phono3py import load as module
from ase_mlx.keep import DamagedWarning

CHARGES = {"born": np.array([np.eye(3), -np.eye(3)]), "dielectric": 6 * np.eye(3), "factor": 14.399652}


@pytest.fixture(scope="module")
def alloy():
    """Copper gold in the rock-salt structure, eight atoms, with charges that are made up."""
    return third_order(bulk("CuAu", "rocksalt", a=5.2), EMT(), supercell=(2, 2, 2), born=CHARGES)


@pytest.fixture
def path(alloy, tmp_path):
    alloy.save(tmp_path / "params.yaml", settings={"force_sets": True, "displacements": True})
    return tmp_path / "params.yaml"


@pytest.fixture
def reads(monkeypatch):
    """How often yaml was parsed."""
    read, count = module.read_yaml, []
    monkeypatch.setattr(module, "read_yaml", lambda *a: (count.append(1), read(*a))[1])
    return count


def test_the_second_reading_is_the_first_to_the_bit(path, tmp_path, reads):
    first, again = (load_third_order(path, folder=tmp_path / "work") for _ in range(2))
    assert len(reads) == 1 and again.dataset is None
    for name in ("fc2", "fc3", "supercell_matrix", "primitive_matrix"):
        assert np.array_equal(getattr(again, name), getattr(first, name)), name
    for cell in ("unitcell", "primitive", "supercell"):
        for name in ("cell", "scaled_positions", "masses", "numbers"):
            assert np.array_equal(getattr(getattr(again, cell), name), getattr(getattr(first, cell), name)), name
    assert again.sources == first.sources
    assert all(np.array_equal(again.nac_params[name], first.nac_params[name]) for name in first.nac_params)


def test_conductivities_with_a_folder_start_from_them(path, tmp_path, reads):
    stable = {"mesh": (3, 3, 3), "temperatures": [300.0], "tolerance": 9.0}
    whole = conductivity(path, **stable)
    kept = [conductivity(path, **stable, folder=tmp_path / "work") for _ in range(2)]
    assert len(reads) == 2
    assert all(np.array_equal(one.kappa, whole.kappa) for one in kept)


def test_what_changes_a_result_is_read_anew(path, tmp_path, reads, alloy):
    load_third_order(path, folder=tmp_path / "work")
    load_third_order(path, symmetrize=True, folder=tmp_path / "work")
    charged = load_third_order(path, born=CHARGES | {"dielectric": 3 * np.eye(3)}, folder=tmp_path / "work")
    assert len(reads) == 3 and charged.nac_params["dielectric"][0, 0] == 3
    write_fc2_to_hdf5(2 * alloy.fc2, filename=str(tmp_path / "fc2.hdf5"), p2s_map=alloy.primitive.p2s_map)
    for _ in range(2):
        with pytest.warns(UserWarning, match="fc2.hdf5 beside params.yaml holds other values"):
            load_third_order(path, folder=tmp_path / "work")
    assert len(reads) == 4
    path.write_text(path.read_text().replace("symbol: Cu", "symbol: Ag"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "Ag" in load_third_order(path, folder=tmp_path / "work").unitcell.symbols
    assert len(reads) == 5


def test_a_damaged_entry_is_named_and_read_anew(path, tmp_path, reads):
    first = load_third_order(path, folder=tmp_path / "work")
    (entry,) = Path(tmp_path / "work").glob("*.npz")
    entry.write_bytes(entry.read_bytes()[:-100])
    with pytest.warns(DamagedWarning, match="computed anew"):
        again = load_third_order(path, folder=tmp_path / "work")
    assert len(reads) == 2 and np.array_equal(again.fc3, first.fc3)


def test_a_file_that_is_not_there_leaves_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_third_order(tmp_path / "none.yaml", folder=tmp_path / "work")
    (tmp_path / "broken.yaml").write_text("unit_cell: [")
    with pytest.raises(ValueError, match="broken.yaml"):
        load_third_order(tmp_path / "broken.yaml", folder=tmp_path / "work")
    assert not (tmp_path / "work").exists()
