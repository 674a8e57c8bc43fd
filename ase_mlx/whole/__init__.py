"""Files and folders that are written whole or not at all.

What is written goes into a temporary neighbour of its target (a name that nobody can foretell, made anew, so that no
link is followed), is flushed to the disk and takes the target's place in one step. A process that dies leaves its
neighbour behind; the next one that writes the same target removes it. Two processes that write one target at once
leave what one of them wrote, never a mixture. No existing folder is ever deleted unless the caller knows it as its own.
A folder of results holds those of one call: what an earlier call left there goes when new results take its place.

Source: ours.
"""

from ase_mlx.whole.files import (
    check_file,
    check_folder,
    check_replaceable,
    scratch_folder,
    whole_file,
    whole_folder,
    write_bytes,
    write_text,
    write_together,
)
from ase_mlx.whole.results import sole, whole_results

__all__ = [
    "check_file",
    "check_folder",
    "check_replaceable",
    "scratch_folder",
    "sole",
    "whole_file",
    "whole_folder",
    "whole_results",
    "write_bytes",
    "write_text",
    "write_together",
]
