"""What every benchmark prints: the machine it ran on, and each figure to reach beside what was measured."""

import os
import platform
import shlex
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("torch", "numpy", "ase", "phonopy", "e3nn")


def machine() -> dict[str, str | int]:
    """Name processor, cores, threads in use and versions."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor() or platform.machine()
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    return {"cpu": cpu, "cores": os.cpu_count() or 1, "threads": torch.get_num_threads(), **gpu, **versions}


def print_machine(about: dict) -> None:
    """Print the call, the day and `machine`, or what was added to it, as scripts/printed_tables.py reads them."""
    call = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    facts = ", ".join(f"{k} {v:.0f}" if isinstance(v, float) else f"{k} {v}" for k, v in about.items())
    print(f"machine: {call}, {date.today()}, {facts}")


def verdict(lines: list[tuple[str, float, str, float]]) -> bool:
    """Print (name, measured, "≤" or "≥", to reach) line by line; True if all are reached."""
    print("\nFigures to reach")
    reached = [got <= want if sign == "≤" else got >= want for _, got, sign, want in lines]
    for (name, got, sign, want), ok in zip(lines, reached, strict=True):
        print(f"  {'reached' if ok else 'MISSED ':8} {name:48} {got:9.3f} {sign} {want:.3f}")
    return all(reached)
