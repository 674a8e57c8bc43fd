"""Both ends of the range of phonopy and phono3py that pyproject.toml allows, each in a folder of its own."""

import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

GATES = ("test_phonopy_files.py", "test_phono3py_files.py", "test_phonopy.py", "test_conductivity.py")
ENDS = {
    "lowest": ("phonopy==4.8.0", "phono3py==4.8.0"),
    "newest": ("phonopy>=4.8,<5", "phono3py>=4.8,<5", "symfc", "phonors"),
}
"""What belongs together at each end; all else is what is installed."""


def _versions(*folder):
    """Versions of what the ends name, in a folder or as installed."""
    there = {dist.name: dist.version for dist in distributions(path=list(map(str, folder)) or sys.path)}
    return {name: there.get(name) for name in ("phonopy", "phono3py", "symfc", "phonors")}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("end", list(ENDS))
def test_the_gates_hold_at_both_ends_of_the_range(end, tmp_path):
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "site")]
    done = subprocess.run([*install, *ENDS[end]], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no registry has them: {done.stderr.strip().splitlines()[-1:]}")
    if _versions(tmp_path / "site") == _versions():
        return  # this end is what is installed: the gates of this very run tried it
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    version = [sys.executable, "-c", "import phonopy, phono3py; print(phonopy.__file__, phono3py.__version__)"]
    told = subprocess.run(version, capture_output=True, text=True, check=True, env=environment).stdout
    assert str(tmp_path / "site") in told
    gates = [str(Path(__file__).with_name(name)) for name in GATES]
    root = Path(__file__).parents[2]
    run = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "not slow",
        "--timeout",
        "1800",
        "-p",
        "no:cacheprovider",
        *gates,
    ]
    tested = subprocess.run(run, capture_output=True, text=True, check=False, env=environment, cwd=root)
    assert tested.returncode == 0, f"{told}\n{tested.stdout[-3000:]}\n{tested.stderr[-1000:]}"
