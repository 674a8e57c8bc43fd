"""The gate to ASE: `Calculator`, the plugin entry, and the jobs made of ASE's own tools.

Source: ours.
"""

__all__ = ["Calculator"]


def __getattr__(name: str):
    """Load the calculator, and torch with it, when it is first asked for."""
    if name == "Calculator":
        from .calculator import Calculator

        return Calculator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
