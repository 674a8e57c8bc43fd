"""A folder of finished work, so that a run that was killed goes on where it stood.

Source: ours.
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
from ase import Atoms

IDENTITY = "calculator.json"


class Store:
    """Arrays by kind and structure, one `.npz` file each, whole or not at all; without a folder it keeps nothing.

    A structure is known by its exact cell, positions (Å), elements and masses: other input is other work. Files of
    another calculator are refused.

    Source: ours.
    """

    def __init__(self, folder: str | Path | None, calculator):
        """Open or make the folder.

        Raises:
            ValueError: the folder holds the work of another calculator.
        """
        self.folder = None if folder is None else Path(folder)
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path, mine = self.folder / IDENTITY, identity(calculator)
        if not path.exists():
            _write(path, json.dumps(mine, indent=1).encode())
        elif (theirs := json.loads(path.read_text(encoding="utf-8"))) != mine:
            changed = [key for key in mine if theirs.get(key) != mine[key]]
            raise ValueError(
                f"got the folder {str(self.folder)!r}, which holds work of another calculator ({', '.join(changed)} "
                "differ), expected that of this one; give another folder, or delete it to start anew"
            )

    def fetch(self, kind: str, atoms: Atoms, options: str = "") -> dict[str, np.ndarray] | None:
        """Give the arrays (in the unit they were kept in) of earlier work on these atoms, or None.

        Source: ours.
        """
        path = self._path(kind, atoms, options)
        if path is None or not path.exists():
            return None
        with np.load(path, allow_pickle=False) as file:
            return dict(file)

    def keep(self, kind: str, atoms: Atoms, values: dict[str, np.ndarray], options: str = "") -> None:
        """Keep arrays (any unit) as the work of this kind on these atoms.

        Raises:
            OSError: the folder cannot be written.

        Source: ours.
        """
        path = self._path(kind, atoms, options)
        if path is None:
            return
        part = path.with_suffix(f".part{os.getpid()}")
        with part.open("wb") as file:
            np.savez(file, **values)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def _path(self, kind: str, atoms: Atoms, options: str) -> Path | None:
        if self.folder is None:
            return None
        digest = hashlib.sha256(f"{kind} {options}".encode())
        for array in (atoms.numbers, atoms.cell.array, atoms.positions, atoms.get_masses(), atoms.pbc):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(atoms.get_initial_magnetic_moments().tobytes())
        return self.folder / f"{kind}-{digest.hexdigest()[:20]}.npz"


def identity(calculator) -> dict[str, str]:
    """Describe a calculator: class, parameters, precision, and for a network the digest of its (dimensionless) weights.

    Source: ours.
    """
    found = {
        "class": f"{type(calculator).__module__}.{type(calculator).__qualname__}",
        "parameters": str(dict(sorted((getattr(calculator, "parameters", None) or {}).items()))),
        "dtype": str(getattr(calculator, "dtype", "")),
    }
    weights = getattr(getattr(calculator, "model", None), "state_dict", None)
    if callable(weights):
        digest = hashlib.sha256()
        for name, tensor in sorted(weights().items()):
            digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        found["weights"] = digest.hexdigest()
    return found


def _write(path: Path, data: bytes) -> None:
    part = path.with_suffix(f".part{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)
