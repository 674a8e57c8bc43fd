"""Open checkpoints of other codes, read without those codes into models of ours that are kept as ordinary folders.

Source: ours.
"""

__all__ = ["fetched", "import_checkpoint", "listed", "load_named", "read_checkpoint"]


def __getattr__(name: str):
    """Load the readers, and torch with them, when they are first asked for."""
    if name == "listed":
        from .published import listed

        return listed
    if name == "fetched":
        from .fetch import fetched

        return fetched
    if name in __all__:
        from . import folders

        return getattr(folders, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
