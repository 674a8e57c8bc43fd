"""Writes ase_mlx/nn/couplings.npz: the Wigner 3j tables of e3nn up to l = 4.

Run `python scripts/couplings.py`; a test compares every table with the e3nn that is installed.
"""

from itertools import product
from pathlib import Path

import numpy as np
import torch
from e3nn import o3

HIGHEST = 4
OUT = Path(__file__).resolve().parents[1] / "ase_mlx" / "nn" / "couplings.npz"


def main() -> None:
    """Write all tables one after the other, and the three degrees of each."""
    degrees = [(l1, l2, l3) for l1, l2, l3 in product(range(HIGHEST + 1), repeat=3) if abs(l1 - l2) <= l3 <= l1 + l2]
    tables = [o3.wigner_3j(*three, dtype=torch.float64).numpy().ravel() for three in degrees]
    np.savez_compressed(OUT, degrees=np.array(degrees), values=np.concatenate(tables))


if __name__ == "__main__":
    main()
