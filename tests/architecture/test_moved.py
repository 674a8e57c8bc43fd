"""What README, docs, examples and CHANGELOG of commit 5ff25b9 import still works; what moved says where it is now."""

import subprocess
import sys
import warnings
from importlib import import_module
from importlib.util import find_spec

import pytest

from ase_mlx.moved import MOVED

PRINTED = {
    "ase_mlx": "available grid load predict",
    "ase_mlx.adapters.ase": "Calculator elastic",
    "ase_mlx.adapters.ase.dynamics": "dynamics",
    "ase_mlx.adapters.ase.job": "equation_of_state relax",
    "ase_mlx.adapters.ase.sampling": "Sampling sample",
    "ase_mlx.adapters.densities": "write_density",
    "ase_mlx.adapters.matminer": "AnomalyFeaturizer DensityFeaturizer ElasticFeaturizer ModelFeaturizer "
    "ThermalFeaturizer",
    "ase_mlx.adapters.phono3py.learned": "",
    "ase_mlx.adapters.phonopy": "conductivity harmonic members phonons quasi_harmonic",
    "ase_mlx.adapters.teachers": "teacher",
    "ase_mlx.data": "",
    "ase_mlx.data.free_atoms": "free_atom",
    "ase_mlx.data.label": "label",
    "ase_mlx.data.powder": "read_powder",
    "ase_mlx.descriptors.diffraction": "bin_pattern",
    "ase_mlx.fields": "bader hirshfeld hirshfeld_moments planar_average",
    "ase_mlx.graph": "from_atoms",
    "ase_mlx.learn.anomaly.screen": "Screening described screen",
    "ase_mlx.learn.anomaly.worker": "",
    "ase_mlx.learn.files": "save_model",
    "ase_mlx.models.extrapolation": "ExtrapolationWarning",
    "ase_mlx.models.large": "conditioned_structure predict_large",
    "ase_mlx.models.point_density": "",
    "ase_mlx.phonons.accumulation": "normal_and_umklapp",
    "ase_mlx.testing": "LAWS TOLERANCES check_model",
    "ase_mlx.testing.crystal_laws": "",
    "ase_mlx.whole": "",
}


@pytest.mark.parametrize(("module", "names"), PRINTED.items())
def test_imports_that_were_printed_work(module, names):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        found = import_module(module)
    assert [name for name in names.split() if not hasattr(found, name)] == []


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_moved_module_warns_once_with_its_place(old, new):
    assert find_spec(new).origin, f"{new} is no file"
    code = f"import {old}\nimport {old}\nprint({old}.__name__, {old}.__getattr__('__doc__') == __import__({new!r}, "
    code += "fromlist=['x']).__doc__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == [old, "True"], done.stderr
    assert done.stderr.count("FutureWarning") == 1
    assert 'File "<string>", line 1' in done.stderr or "<string>:1: FutureWarning" in done.stderr
    assert f"{old} has moved: import {new} instead" in done.stderr


def test_a_name_that_never_was_is_an_import_error():
    with pytest.raises(ModuleNotFoundError):
        import_module("ase_mlx.learn.anomaly.astrology")
