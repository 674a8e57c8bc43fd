"""A root of Debian 13 in a folder, with its own Python 3.13 and torch, where the package is installed and tested."""

import os
import re
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = "ca-certificates,gcc,libc6-dev,python3-dev,python3-pip,python3-torch,python3-venv"
INSTALL = """
python3 -m venv --system-site-packages /venv
/venv/bin/pip install -q -c /held.txt '/src[test]'
"""
TEST = """
cd /src
/venv/bin/python -m pytest -q -p no:cacheprovider tests/unit | tail -40
/venv/bin/python examples/01_calculator.py > /dev/null && echo example passed
/venv/bin/python -c "
import sys; from importlib.metadata import version
print('versions', sys.version.split()[0], version('torch'), version('numpy'))"
"""


def debian_13(root: Path) -> dict:
    """Build the root with debootstrap, install the package there, run tests/unit and the first example."""
    row = {
        "program": "Debian 13", "tried": "installation, tests/unit, an example", "result": "not tried", "versions": {},
    }  # fmt: skip
    if os.geteuid() or not shutil.which("debootstrap"):
        return {**row, "notes": ["needs root and debootstrap"]}
    build = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "trixie", str(root)]
    done = subprocess.run(build, capture_output=True, text=True)
    if done.returncode:
        return {**row, "notes": ["debootstrap: " + done.stdout.strip().splitlines()[-1]]}
    _fill(root)
    if _inside(root, INSTALL).returncode:
        return {**row, "result": "failed", "notes": ["pip could not install the package"]}
    done = _inside(root, TEST)
    shown = done.stdout.splitlines()
    summary = next((line for line in shown if re.search(r"\d+ passed", line)), "no test ran")
    failed = "failed" in summary or "error" in summary or "passed" not in summary or "example passed" not in shown
    words = next((line.split()[1:] for line in shown if line.startswith("versions ")), [])
    row["versions"] = dict(zip(("python", "torch", "numpy"), words, strict=False))
    return {**row, "result": "failed" if failed else "passed", "notes": [summary.strip("= ")]}


def _fill(root: Path) -> None:
    """Put the files of the repository, certificates and the addresses of name servers into a root."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout
    for name in filter(None, tracked.decode().split("\0")):
        target = root / "src" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, target)
    for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
        shutil.copy(Path("/") / name, root / name)
    owned = subprocess.run(
        ["chroot", root, "python3", "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    ).stdout.lower()  # what Debian brings stays as it is
    names = {line.split("==")[0] for line in owned.splitlines()}
    held = [
        line
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if line.split("==")[0].lower().replace("_", "-") not in names
    ]
    (root / "held.txt").write_text("\n".join(held) + "\n")


def _inside(root: Path, script: str) -> subprocess.CompletedProcess:
    """Run a script in the root, with its own /proc and /dev, as this process may reach the network."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") and "FIND" not in name}
    words = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount -t proc none "$0/proc"; mount --rbind /dev "$0/dev"; chroot "$0" sh -ec "$1"',
    ]
    environment = {**kept, "HOME": "/root", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "OMP_NUM_THREADS": "1"}
    return subprocess.run([*words, str(root), script], capture_output=True, text=True, env=environment)
