"""Numbers that describe a crystal: composition, symmetry, bonding. Rotations and supercells do not change them.

Source: see the modules.
"""

from ase_mlx.descriptors.descriptors import (
    CUTOFF,
    GROUPS,
    NAMES,
    STRUCTURE,
    VERSION,
    anion_classes,
    check_periodic,
    describe,
)

__all__ = ["CUTOFF", "GROUPS", "NAMES", "STRUCTURE", "VERSION", "anion_classes", "check_periodic", "describe"]
