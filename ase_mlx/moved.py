"""Modules that have another place now: the old import works, and warns once with the new one.

Source: ours.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import CodeType, ModuleType

MOVED = {
    "ase_mlx.adapters.charges": "ase_mlx.fields.density_charges",
    "ase_mlx.adapters.densities": "ase_mlx.fields.density_files",
    "ase_mlx.adapters.density_slice": "ase_mlx.fields.density_slice",
    "ase_mlx.adapters.density_surface": "ase_mlx.fields.density_surface",
    "ase_mlx.learn.anomaly.screen": "ase_mlx.screen.scores",
    "ase_mlx.learn.anomaly.screen_job": "ase_mlx.screen.ranges",
    "ase_mlx.learn.anomaly.suggest": "ase_mlx.screen.suggestions",
    "ase_mlx.learn.anomaly.worker": "ase_mlx.learn.worker",
    "ase_mlx.learn.anomaly.workers": "ase_mlx.processes",
}
"""Old module → new one, which has all of its public names."""


class _Finder:
    """What Python asks last, when no file has the name of a module: finder and loader of the old names."""

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None):
        folder = any(old.startswith(f"{name}.") for old in MOVED)
        return ModuleSpec(name, cls, is_package=folder) if folder or name in MOVED else None

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """Let Python make an empty module; a folder that is gone stays empty."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        if module.__name__ in MOVED:
            _warn(module.__name__)
            place = import_module(MOVED[module.__name__])  # now: torch looks at attributes of all modules at its import
            module.__getattr__ = lambda name: getattr(place, name)

    @staticmethod
    def get_code(name: str) -> CodeType:
        """For `python -m`."""
        _warn(name)
        return find_spec(MOVED[name]).loader.get_code(MOVED[name])


def _warn(old: str) -> None:
    # FutureWarning: Python shows the others to nobody but the authors of scripts; frames of the import are not counted
    warnings.warn(f"{old} has moved: import {MOVED[old]} instead", FutureWarning, stacklevel=3)


def keep_old_names() -> None:
    """Let old names of modules be imported.

    Source: ours.
    """
    if _Finder not in sys.meta_path:
        sys.meta_path.append(_Finder)
