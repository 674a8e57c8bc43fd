"""One capability a file: frozen config, final model, its loss."""

__all__ = ["Model", "Prediction"]


def __getattr__(name: str):
    """Load what every model is, and torch with it, when it is first asked for."""
    if name in __all__:
        from . import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
