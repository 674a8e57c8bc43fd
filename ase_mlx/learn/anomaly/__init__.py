"""Training, splits and calibration of anomaly models.

Source: ours.
"""
