"""One road for every model: configuration, fit, calibration, metrics, model files."""
