"""One virtual environment a peer, with pinned versions: `python benchmarks/peers/environments.py [PEER ...]`."""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ROOT = REPOSITORY / ".venvs"
TORCH = "torch==2.13.0"
PEERS = {
    "nequip": ["nequip==0.19.1", "e3nn==0.6.0"],
    "chgnet": ["chgnet==0.4.2"],
    "sevenn": ["sevenn==0.13.0", "e3nn==0.6.0"],
    "pyscf": ["pyscf==2.14.0"],
    "phono3py": ["phono3py==4.10.0", "ase"],
    "deepxde": ["deepxde==1.15.0"],
    "nequix": [
        "jax==0.10.2",
        "equinox==0.13.8",
        "e3nn-jax==0.21.0",
        "jraph==0.0.6.dev0",
        "ase",
        "matscipy==1.3.1",
        "h5py",
        "cloudpickle",
    ],
    "matcalc": ["matcalc==0.7.0", "chgnet==0.4.2", "matminer==0.10.1"],
}
WITH_OURS = ("matcalc",)
"""Peers whose environment also holds this package, with what constraints.txt says: both run on one calculator."""


ALONE = {"nequix": ["nequix==0.4.5"]}
"""Installed last and without what they ask for: nequix wants CUDA's jax."""

WITHOUT_TORCH = ("nequix", "phono3py")


def python_of(peer: str) -> Path:
    """Path of the interpreter of one peer's environment, whether it exists yet or not."""
    return ROOT / peer / "bin" / "python"


def create(peer: str, log=sys.stderr) -> Path:
    """Builds one peer's environment where it is missing or its pins have changed, and returns its interpreter.

    torch is installed first and then held by a constraint, so that no peer moves it.

    Raises:
        ValueError: the peer is unknown.
        RuntimeError: pip failed; its last lines are in the message.
    """
    if peer == "ase_mlx":
        return Path(sys.executable)
    if peer not in PEERS:
        raise ValueError(f"peer {peer!r} is unknown: expected one of {', '.join(PEERS)}")
    python, stamp = python_of(peer), ROOT / peer / "pins.sha256"
    torch = [] if peer in WITHOUT_TORCH else [TORCH]
    pins = torch + ((REPOSITORY / "constraints.txt").read_text().splitlines() if peer in WITH_OURS else [])
    ours = ["--editable", str(REPOSITORY)] if peer in WITH_OURS else []
    last = ["--no-deps", *ALONE[peer]] if peer in ALONE else []
    digest = hashlib.sha256("\n".join([*pins, *PEERS[peer], *ours, *last]).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return python
    print(f"building the environment of {peer} in {ROOT / peer}", file=log, flush=True)
    venv.create(ROOT / peer, with_pip=True, clear=True)
    constraint = ROOT / peer / "constraint.txt"
    constraint.write_text("\n".join(pins) + "\n")
    for requirements in filter(None, (torch, [*PEERS[peer], *ours], last)):
        _pip(python, "install", "--constraint", str(constraint), *requirements)
    stamp.write_text(digest)
    return python


def _pip(python: Path, *arguments: str) -> None:
    run = subprocess.run(
        [python, "-m", "pip", *arguments], capture_output=True, text=True, env={**os.environ, "PIP_NO_INPUT": "1"}
    )
    if run.returncode:
        raise RuntimeError(f"pip {' '.join(arguments)} failed in {python}:\n{(run.stdout + run.stderr)[-2000:]}")


if __name__ == "__main__":
    for name in sys.argv[1:] or PEERS:
        print(name, create(name))
