"""Whole jobs as functions: a structure and a calculator in, numbers with error bars, tables and figures out.

The commands parse, call one of them, and print. Without a folder nothing is written.

Source: ours.
"""

from importlib import import_module

__all__ = [
    "conductivity_job",
    "distill_job",
    "main_job",
    "phonon_job",
    "report_job",
    "sampling_job",
    "screening_job",
]

_HOMES = dict(
    zip(__all__, ("conductivity", "distill", "main", "phonons", "report", "sampling", "screening"), strict=True)
)


def __getattr__(name: str):
    """Load a job, and what it needs, when it is first asked for."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
