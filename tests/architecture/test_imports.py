import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# os.environ is what Python and its C libraries see; torch's own import starts no thread that Python counts.
PROBE = """
import json, os, sys, threading
import torch
def state():
    return {"dtype": str(torch.get_default_dtype()), "threads": torch.get_num_threads(),
            "interop": torch.get_num_interop_threads(), "python_threads": threading.active_count(),
            "deterministic": torch.are_deterministic_algorithms_enabled(), "environment": dict(os.environ),
            "folder": os.getcwd(), "seed": torch.initial_seed()}
def imports(name):
    module = __import__(name, fromlist=["*"])
    for public in getattr(module, "__all__", ()):
        getattr(module, public)
before = state()
imports(sys.argv[1])
after = state()
sys.stderr.write(json.dumps([before, after]))
"""


APART = {"ase_mlx.adapters.torch_sim": "torch_sim"}
"""Gates of programs that the tests do not install; tests/gates/test_torch_sim.py tries them without and with."""


def modules():
    for path in sorted((ROOT / "ase_mlx").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name not in APART or find_spec(APART[name]):
            yield name


def fresh(code, *arguments, cwd, home):
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    environment["MPLCONFIGDIR"] = str(home / "matplotlib")
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


def test_importing_has_no_side_effects(tmp_path):
    home, folder = tmp_path / "home", tmp_path / "folder"
    home.mkdir()
    folder.mkdir()
    done = fresh(PROBE, "ase_mlx", cwd=folder, home=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    before, after = json.loads(done.stderr)
    assert after == before
    assert not list(home.rglob("*"))
    assert not list(folder.rglob("*"))


def test_importing_any_module_prints_nothing_and_writes_nothing(tmp_path):
    names = list(modules())
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)"
    folder = tmp_path / "folder"
    folder.mkdir()
    done = fresh(code, *names, cwd=folder, home=tmp_path / "home")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(folder.rglob("*"))


@pytest.mark.parametrize("module", ["ase_mlx", "ase_mlx.cli", "ase_mlx.adapters.ase.plugin"])
def test_what_starts_often_starts_fast(tmp_path, module):
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = fresh(code, cwd=tmp_path, home=tmp_path)
    assert done.returncode == 0, done.stderr
    slow = {"torch", "e3nn", "numba", "matplotlib", "pandas", "phonopy"}
    if module.endswith("plugin"):
        slow -= {"matplotlib"}
    assert not slow & set(done.stdout.split())
