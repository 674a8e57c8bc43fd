"""What is kept by content: work that an earlier call did, found again by all that it depends on, never when damaged.

Source: ours.
"""

from ase_mlx.keep.content import Unstable, contents, digest
from ase_mlx.keep.entries import DamagedWarning, Entries, damaged, seal, unseal

__all__ = ["DamagedWarning", "Entries", "Unstable", "contents", "damaged", "digest", "seal", "unseal"]
