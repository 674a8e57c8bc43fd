"""One capability a file: frozen config, final model, its loss."""

from .model import Model, Prediction

__all__ = ["Model", "Prediction"]
