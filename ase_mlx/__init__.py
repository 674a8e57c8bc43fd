"""Learned energies, forces, stresses and densities with error bars, for ASE and phonopy.

Use it as `import ase_mlx as am`.
"""

from importlib import import_module

from ase_mlx.moved import keep_old_names

__all__ = ["available", "grid", "load", "predict"]

_HOMES = {"available": "pretrained", "load": "pretrained", "predict": "pretrained", "grid": "graph"}

keep_old_names()


def __getattr__(name: str):
    """Load a public name, and torch with it, when it is first asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("ase-mlx")
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
