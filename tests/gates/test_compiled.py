"""Where neither the package nor a home folder can be written, functions are compiled without being kept."""

import os
import subprocess
import sys
from pathlib import Path

import ase_mlx
from ase_mlx.threads import after_fork, is_fork

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


PARALLEL = """
import multiprocessing
import numba, torch
import numpy as np
from ase_mlx.nn.frames import descriptors

def work(_):
    vectors = np.random.default_rng(0).normal(size=(40, 3)) * 2
    return float(descriptors(np.arange(0, 41, 4), vectors, np.ones((40, 1)), 4.0, 4, 2, 0.5, 3.0).sum())

torch.set_num_threads(1)  # numba starts a thread for each core through the OpenMP that torch uses too
work(0)
assert (torch.get_num_threads(), numba.get_num_threads()) == (1, 1)
torch.set_num_threads(2)
expected = work(0)
assert (torch.get_num_threads(), numba.get_num_threads()) == (2, 2)
with multiprocessing.get_context("fork").Pool(1) as pool:
    (found,) = pool.map_async(work, range(1)).get(timeout=100)
assert abs(found - expected) < 1e-9 * abs(expected), (found, expected)
"""


def test_parallel_functions_take_the_threads_of_torch_and_compute_in_a_fork():
    """OpenMP ends a fork that asks for several threads, and a pool would wait for it for ever."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", PARALLEL], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_this_process_is_no_fork():
    assert not is_fork() and not after_fork()
