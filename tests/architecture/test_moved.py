"""What README, docs, examples and CHANGELOG of commit 5ff25b9 import still works; what moved says where it is now."""

import json
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


IMPORTED = """
import json, sys, warnings
from importlib import import_module
rows = {}
for old, new in json.load(sys.stdin).items():
    with warnings.catch_warnings(record=True) as caught:
        exec(compile(f"import {old}\\nimport {old}", "<string>", "exec"), {})
    module = sys.modules[old]
    places = [(w.category.__name__, str(w.message), w.filename, w.lineno) for w in caught]
    rows[old] = module.__name__, module.__getattr__("__doc__") == import_module(new).__doc__, places
print(json.dumps(rows))
"""


@pytest.fixture(scope="module")
def imported():
    """Name, sameness of docstrings and warnings of each moved module, imported twice in a process without pytest."""
    done = subprocess.run([sys.executable, "-c", IMPORTED], input=json.dumps(MOVED), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_moved_module_warns_once_with_its_place(imported, old, new):
    assert find_spec(new).origin, f"{new} is no file"
    name, same, warned = imported[old]
    assert name == old and same
    ((category, words, file, line),) = warned
    assert (category, file, line) == ("FutureWarning", "<string>", 1)
    assert f"{old} has moved: import {new} instead" in words


def test_a_name_that_never_was_is_an_import_error():
    with pytest.raises(ModuleNotFoundError):
        import_module("ase_mlx.learn.anomaly.astrology")
