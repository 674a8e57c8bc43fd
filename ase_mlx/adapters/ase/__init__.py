"""The gate to ASE: `Calculator`, the plugin entry, and the jobs made of ASE's own tools.

Source: ours.
"""

__all__ = ["Calculator", "Elastic", "elastic"]


def __getattr__(name: str):
    """Load the calculator or a job, and torch with it, when it is first asked for."""
    if name == "Calculator":
        from .calculator import Calculator

        return Calculator
    if name in ("Elastic", "elastic"):
        from . import elastic_constants

        return getattr(elastic_constants, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
