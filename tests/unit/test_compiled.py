"""Where neither the package nor a home folder can be written, functions are compiled without being kept."""

import os
import subprocess
import sys
from pathlib import Path

import ase_mlx
from ase_mlx.threads import after_fork

MODULE = """
from ase_mlx.compiled import compiled


@compiled
def plain(x):
    return x + 1


@compiled(fastmath=True)
def fast(x):
    return x * 2
"""


def test_no_place_for_machine_code(tmp_path):
    """Numba keeps code beside the module or in the home folder; here files stand in the way of both, also for root."""
    (tmp_path / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    (tmp_path / "own.py").write_text(MODULE)
    root = str(Path(ase_mlx.__file__).parents[1])
    environment = {"PYTHONPATH": root, "HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    code = "import own; assert (own.plain(1), own.fast(2)) == (2, 4); print(own.plain._cache.__class__.__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "NullCache"


def test_this_process_is_no_fork():
    assert not after_fork()
