"""One capability a file: frozen config, final model, its loss; what a model may answer stands in `contract`."""

from importlib import import_module

__all__ = ["Field", "Generates", "Model", "Predicts", "Prediction"]

_HOMES = {"Model": "model", "Prediction": "prediction"}


def __getattr__(name: str):
    """Load what models are, and torch with it, when it is first asked for."""
    if name in __all__:
        return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'contract')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
