"""What is kept by content: work that an earlier call did, found again by all that it depends on, never when damaged.

Source: ours.
"""

from ase_mlx.keep.content import Unstable, contents, digest
from ase_mlx.keep.entries import DamagedWarning, Entries, cache_folder, damaged, seal, unseal
from ase_mlx.keep.rows import check_rows, write_rows
from ase_mlx.keep.tensors import check_tensors, pack_tensors, seal_tensors

__all__ = [
    "DamagedWarning",
    "Entries",
    "Unstable",
    "cache_folder",
    "check_rows",
    "check_tensors",
    "contents",
    "damaged",
    "digest",
    "pack_tensors",
    "seal",
    "seal_tensors",
    "unseal",
    "write_rows",
]
