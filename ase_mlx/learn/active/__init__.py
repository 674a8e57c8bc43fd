"""Learning from calculations that are chosen: acquisitions, tessellations, what a density's head gains by a frame.

Source: ours.
"""
