"""Arrays in, arrays out: the physics of lattice vibrations and of compressed solids. No host is imported here.

Source: ours.
"""
