"""A folder of finished work, so that a run that was killed goes on where it stood.

Source: ours.
"""

import warnings
from pathlib import Path

import numpy as np
from ase import Atoms

from ase_mlx.adapters.identity import identity, worked
from ase_mlx.keep import Entries, damaged, digest, seal, unseal
from ase_mlx.whole import write_text

IDENTITY = "calculator.json"


class Store:
    """Arrays by kind and structure, kept by content; without a folder it keeps nothing.

    A structure is known by all that is on it: cell and positions (Å), elements, boundaries, masses, charges, magnetic
    moments, tags, constraints, own arrays and info; a calculator by all that it holds. Other input is other work; work
    of a calculator of another class, with other parameters or weights, or from another factory, is refused.

    Source: ours.
    """

    def __init__(self, folder: str | Path | None, calculator):
        """Open or make the folder.

        Raises:
            ValueError: the folder holds the work of another calculator.
            OSError: the folder cannot be made or written.
        """
        self.entries, self.calculator = Entries(folder), calculator
        self.folder = self.entries.folder
        if self.folder is None:
            return
        self.identity = identity(calculator)
        path = self.folder / IDENTITY
        before = _read(path)
        changed = [key for key, value in self.identity.settings.items() if before.get(key, value) != value]
        if changed:
            raise ValueError(
                f"got the folder {str(self.folder)!r}, which holds work of another calculator ({', '.join(changed)} "
                "differ), expected that of this one; give another folder, or delete it to start anew"
            )
        if before.keys() != self.identity.settings.keys():
            write_text(path, seal(self.identity.settings))
        if before and self.identity.unstable and any(self.folder.glob("*.npz")):
            warnings.warn(
                f"The work in {str(self.folder)!r} is computed anew: of the calculator, "
                f"{', '.join(self.identity.unstable[:3])} cannot be compared with that of an earlier process.",
                stacklevel=4,
            )

    def fetch(self, kind: str, atoms: Atoms, options: str = "") -> dict[str, np.ndarray] | None:
        """Give the arrays (in the unit they were kept in) of earlier work on these atoms, or None.

        Source: ours.
        """
        return None if self.folder is None else self.entries.fetch(kind, self._key(atoms, options))

    def keep(self, kind: str, atoms: Atoms, values: dict[str, np.ndarray], options: str = "") -> None:
        """Keep arrays (any unit) as the work of this kind on these atoms.

        Raises:
            OSError: the folder cannot be written.

        Source: ours.
        """
        if self.folder is not None:
            worked(self.calculator)
            self.entries.keep(kind, self._key(atoms, options), values)

    def _key(self, atoms: Atoms, options: str) -> str:
        arrays = {**atoms.arrays, "masses": atoms.get_masses()}
        constraints = [constraint.todict() for constraint in atoms.constraints]
        return digest(self.identity.key, options, arrays, atoms.cell.array, atoms.pbc, atoms.info, constraints)


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        return unseal(path.read_bytes())
    except ValueError as error:
        damaged(path, str(error))
        return {}
