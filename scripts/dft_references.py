"""Put the DFT values of the shipped data into `ase_mlx/weights/reference.json`; those of experiment stay as they are.

    python scripts/dft_references.py

Phonons are those of `benchmarks/thermal.py`: perfect 2×2×2 cubic cells with phonopy's displacements of 0.01 Å.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import thermal  # noqa: E402

from ase_mlx.adapters.phonopy import harmonic  # noqa: E402
from ase_mlx.phonons.equation_of_state import fit_birch_murnaghan  # noqa: E402
from ase_mlx.units import EV_PER_A3_IN_GPA  # noqa: E402

FILE = ROOT / "ase_mlx" / "weights" / "reference.json"
SPACEGROUPS = {"Si": 227, "Ge": 227, "SiGe": 216, "Al": 225}
FORMULAS = {"SiGe": "GeSi"}
AL = dataclasses.replace(thermal.CRYSTALS[-1], phonons=thermal.DENSER[0].phonons)
"""With the denser k points: the better number to stand beside."""

POINTS = {"G": (0, 0, 0), "X": (0.5, 0, 0.5), "W": (0.5, 0.25, 0.75), "L": (0.5, 0.5, 0.5)}


def entry_of(crystal: thermal.Crystal, known: dict) -> dict:
    """The crystal's entry with fresh DFT values; experiment's are kept, and taken from the benchmark where missing."""
    quantities = {name: dict(value) for name, value in known.get("quantities", {}).items()}
    phs, frames = thermal.reference_phonons(crystal), thermal.static_energies(crystal)
    sizes = np.array([len(a) for a in frames])
    volumes = np.array([a.get_volume() for a in frames]) / sizes
    energies = np.array([a.get_potential_energy() for a in frames]) / sizes
    curve, cubic = fit_birch_murnaghan(volumes, energies), 4 if crystal.name == "Al" else 8
    a = crystal.centre
    ph = phs[a][0]
    modes = harmonic(ph, (), thermal.TEMPERATURES, thermal.MESH)
    n, at = modes.natoms, thermal.AT
    eos = f"Quantum ESPRESSO, PBE, {crystal.energies} of this project's data"
    minimum, curvature = (
        f"Quantum ESPRESSO, PBE, {what} of {crystal.energies} in this project's data"
        for what in (
            "minimum of the energies (not zero of the stress)",
            "curvature of the energies (not of the stress)",
        )
    )
    cells = f"Quantum ESPRESSO, PBE, displaced cells of {len(ph.supercell)} atoms"
    here = f"{cells} at {a:.3f} Å (data/phonon_references.extxyz.xz)"
    expansion = thermal.expansion([pair[0] for pair in phs.values()], frames, energies)
    many = f"{cells} at {len(phs)} volumes and {crystal.energies}, quasi-harmonic"
    found = {
        "lattice constant": ("Å", (cubic * curve.volume) ** (1 / 3), 4, minimum),
        "bulk modulus": ("GPa", curve.bulk_modulus * EV_PER_A3_IN_GPA, 3, curvature),
        "highest frequency": ("THz", modes.frequencies.max(), 4, here),
        "heat capacity C_V (300 K)": ("J/(K mol atom)", modes.heat_capacity[at] / n, 4, here),
        "entropy (300 K)": ("J/(K mol atom)", modes.entropy[at] / n, 4, here),
        "vibrational free energy (300 K)": ("kJ/(mol atom)", modes.free_energy[at] / n, 4, here),
        "zero-point energy": ("kJ/(mol atom)", modes.zero_point_energy / n, 4, here),
        "volumetric expansion (300 K)": ("1e-6/K", expansion, 3, many),
    }
    if n > 1:
        found["highest frequency at Γ"] = ("THz", modes.gamma[-1], 4, here)
    for name, (unit, value, digits, source) in found.items():
        quantities[name] = quantities.get(name, {}) | {"unit": unit, "dft": float(f"{value:.{digits}g}")}
        quantities[name]["dft_source"] = source
    experiments = {
        "heat capacity C_p (300 K)": ("J/(K mol atom)", "C_p"),
        "entropy (300 K)": ("J/(K mol atom)", "S"),
        "volumetric expansion (300 K)": ("1e-6/K", "α_V"),
        "Debye temperature (T → 0)": ("K", "θ_D"),
    }
    for name, (unit, short) in experiments.items():
        if "experiment" not in quantities.get(name, {}) and short in crystal.experiment:
            value, source = crystal.experiment[short]
            quantities[name] = quantities.get(name, {"unit": unit}) | {"experiment": value, "experiment_source": source}
    lines = {name: ph.run_qpoints([q]).frequencies[0].round(3).tolist() for name, q in POINTS.items()}
    return {
        "formula": FORMULAS.get(crystal.name, crystal.name),
        "spacegroup": SPACEGROUPS[crystal.name],
        "structure": {
            "symbols": list(ph.primitive.symbols),
            "cell": ph.primitive.cell.round(6).tolist(),
            "scaled_positions": ph.primitive.scaled_positions.round(6).tolist(),
        },
        "quantities": quantities,
        "equation_of_state": {
            "label": "DFT (PBE)",
            "source": eos,
            "volume": volumes.round(4).tolist(),
            "energy": (energies - curve.energy).round(5).tolist(),
        },
        "phonons": {"label": "DFT (PBE)", "source": here, "unit": "THz", "points": lines},
    }


def main() -> None:
    """Write the file."""
    text = json.loads(FILE.read_text(encoding="utf-8"))
    known = {(e["formula"], e["spacegroup"]): e for e in text["crystals"]}
    text["crystals"] = [
        entry_of(c, known.get((FORMULAS.get(c.name, c.name), SPACEGROUPS[c.name]), {}))
        for c in (*thermal.CRYSTALS[:-1], AL)
    ]
    FILE.write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
