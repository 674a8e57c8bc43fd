"""A table of crystals in, scores, reasons and suggestions out; on this machine, or on Spark (`adapters.spark`).

Source: ours.
"""

from ase_mlx.screen.ranges import Job, open_job, run_local, write_results
from ase_mlx.screen.scores import Screening, described, screen
from ase_mlx.screen.suggestions import suggest

__all__ = ["Job", "Screening", "described", "open_job", "run_local", "screen", "suggest", "write_results"]
