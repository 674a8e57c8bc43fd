"""Energies of known crystals by one calculator, for the convex hulls of what is generated.

    python data/hull.py MODEL [-o FILE]

All crystals of mp_crystals.parquet (Materials Project, at rest in PBE), as they are, and the ground states of the
elements relaxed by the model. The lowest energy of each formula is kept. Of these crystals hulls have what the
Materials Project's small table has: fewer than the whole of it, so that a distance above them is a lower bound.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.relaxation import relax
from ase_mlx.data.elements import ground_states
from ase_mlx.descriptors.hull import FILE, hull_of, write_hull
from ase_mlx.descriptors.plausible import counted
from ase_mlx.models.extrapolation import once
from ase_mlx.models.predict import predict

sys.path.insert(0, str(Path(__file__).resolve().parent))
from universal import crystal_of  # noqa: E402

TABLE = Path(__file__).resolve().parent / "mp_crystals.parquet"
BATCH = 500


def main() -> int:
    """Compute and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("-o", "--out", type=Path)
    given = parser.parse_args()
    model = am.load(given.model)
    crystals = [crystal_of(row) for row in pd.read_parquet(TABLE).itertuples()]
    crystals = [atoms for atoms in crystals if set(atoms.numbers) <= set(model.elements)]
    formulas, energies = [], []
    for start in range(0, len(crystals), BATCH):
        batch = crystals[start : start + BATCH]
        with once(speak=False):
            energies += [
                float(p["energy"]) / len(a) for p, a in zip(predict(model, batch, std=False), batch, strict=True)
            ]
        formulas += [counted(atoms) for atoms in batch]
        print(f"{len(energies)} of {len(crystals)} crystals", flush=True)
    elements = [atoms for atoms in ground_states().values() if set(atoms.numbers) <= set(model.elements)]
    for relaxation in relax(elements, Calculator(given.model, dtype="float64"), fmax=0.02, steps=100):
        energy = float(relaxation.energy.value)
        if np.isfinite(energy):
            formulas.append(counted(relaxation.atoms))
            energies.append(energy / len(relaxation.atoms))
    out = given.out or am.pretrained.find(given.model) / FILE
    hull = hull_of(formulas, energies)
    write_hull(out, hull)
    print(f"{out}: {len(hull.formulas)} formulas, {out.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
