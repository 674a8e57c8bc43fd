"""Learning an electron density: samples, the closed-form posterior of the head, error bars, the whole run.

Source: ours.
"""
