"""The gate to ASE: `Calculator`, the plugin entry, and the jobs made of ASE's own tools.

Source: ours.
"""

__all__ = ["Calculator", "Elastic", "OnTheFly", "Sum", "Watch", "elastic", "with_dispersion"]


def __getattr__(name: str):
    """Load the calculator or a job, and torch with it, when it is first asked for."""
    if name == "Calculator":
        from .calculator import Calculator

        return Calculator
    if name in ("Sum", "with_dispersion"):
        from . import sum as sums

        return getattr(sums, name)
    if name in ("OnTheFly", "Watch"):
        from . import on_the_fly

        return getattr(on_the_fly, name)
    if name in ("Elastic", "elastic"):
        from . import elastic_constants

        return getattr(elastic_constants, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
