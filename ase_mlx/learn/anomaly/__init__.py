"""Training, splits, calibration and screening of anomaly models.

Source: ours.
"""
