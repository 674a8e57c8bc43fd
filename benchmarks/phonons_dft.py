"""Silicon's phonons by the shipped model beside DFT, from the same displaced 64-atom cell.

    python benchmarks/phonons_dft.py [--model sigesn] [--json FILE] [--plot FILE.png]

The DFT forces (Quantum ESPRESSO, PBE, 24 Ry, 2×2×2 shifted k-points, a = 5.470 Å) were made by `ase-mlx label` and lie
in data/phonon_references.extxyz.xz; no model was trained on them. Both sets of forces go through the same phonopy
calls.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from ase.build import bulk
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms
from verdict import machine, print_machine, verdict

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import harmonic, members, spectrum
from ase_mlx.adapters.phonopy.symmetry import produce
from ase_mlx.data.io import read_frames

ROOT = Path(__file__).resolve().parents[1]
LATTICE = 5.470
TARGETS = {"mean absolute frequency error, THz": 0.15, "C_V(300 K) error, %": 1.0}


def reference() -> Phonopy:
    """DFT force constants of silicon from the labelled cell."""
    frames = read_frames(ROOT / "data" / "phonon_references.extxyz.xz")
    labelled = next(atoms for atoms in frames if atoms.info["config_name"] == "si64ph_0")
    ph = empty()
    ph.generate_displacements(distance=0.01)
    (cell,) = ph.supercells_with_displacements
    offset = cell.positions - labelled.positions
    images = np.round(offset @ np.linalg.inv(labelled.cell.array))
    worst = np.abs(offset - images @ labelled.cell.array).max()
    if worst > 1e-5 or list(cell.symbols) != list(labelled.symbols):
        raise ValueError(f"the labelled cell is not phonopy's displaced supercell: positions differ by {worst:.2e} Å")
    ph.forces = [labelled.get_forces()]
    produce(ph)
    return ph


def empty() -> Phonopy:
    """Silicon's 64-atom supercell without forces."""
    si = bulk("Si", "diamond", a=LATTICE, cubic=True)
    cell = PhonopyAtoms(symbols=list(si.symbols), cell=si.cell.array, positions=si.positions)
    return Phonopy(cell, supercell_matrix=2 * np.eye(3, dtype=int), primitive_matrix="F")


def from_model(calculator: Calculator) -> Phonopy:
    """The model's force constants from the same displaced cell."""
    from ase import Atoms

    ph = empty()
    ph.generate_displacements(distance=0.01)
    cells = [ph.supercell, *ph.supercells_with_displacements]
    forces = [
        calculator.get_property("forces", Atoms(list(c.symbols), positions=c.positions, cell=c.cell, pbc=True))
        for c in cells
    ]
    ph.forces = [f - forces[0] for f in forces[1:]]
    produce(ph)
    return ph


def plot(path: str, ours, dft, mae: float) -> None:
    """Bands of both, with the members' error bars."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from ase_mlx.figures.style import DFT, MODEL, STYLE

    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
        std = ours.std.get("bands")
        for k in range(ours.bands.shape[1]):
            if std is not None:
                low, high = ours.bands[:, k] - 2 * std[:, k], ours.bands[:, k] + 2 * std[:, k]
                axis.fill_between(ours.distances, low, high, color=MODEL, alpha=0.15, linewidth=0)
            axis.plot(ours.distances, ours.bands[:, k], color=MODEL, label="ase_mlx sigesn, ±2 σ" if k == 0 else None)
            axis.plot(
                dft.distances, dft.bands[:, k], "--", color=DFT, linewidth=1.2, label="DFT (PBE)" if k == 0 else None
            )
        axis.set_xticks([x for x, _ in ours.ticks], [name.replace("G", "Γ") for _, name in ours.ticks])
        axis.set(xlim=(ours.distances[0], ours.distances[-1]), ylim=(0, None), ylabel="frequency (THz)")
        axis.set_title(f"Silicon phonons: mean error {mae:.3f} THz")
        axis.legend(loc="lower right", ncols=2)
        figure.savefig(path)


def main() -> int:
    """Run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sigesn")
    parser.add_argument("--quick", action="store_true", help="a coarser mesh")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plot", metavar="FILE.png")
    options = parser.parse_args()
    mesh = (7, 7, 7) if options.quick else (15, 15, 15)
    calculator = Calculator(options.model, dtype="float64")
    temperatures = np.array([100.0, 300.0, 1000.0])
    dft = harmonic(reference(), temperatures=temperatures, mesh=mesh)
    model = from_model(calculator)
    ours = harmonic(model, members(model, calculator), temperatures=temperatures, mesh=mesh)
    error = ours.frequencies - dft.frequencies
    weights = dft.weights[:, None] / dft.weights.sum() / error.shape[1]
    mae = float((np.abs(error) * weights).sum())
    heat = [100 * (ours.heat_capacity[k] / dft.heat_capacity[k] - 1) for k in range(len(temperatures))]
    print_machine(machine())
    print(f"model {options.model}, a = {LATTICE} Å, 64 atoms, displacement 0.01 Å, mesh {mesh}")
    print(f"{'':28}{'model':>10}{'± std':>9}{'DFT':>10}")
    gamma_std = ours.std.get("gamma")
    rows = [("optical mode at Γ, THz", ours.gamma[-1], None if gamma_std is None else gamma_std[-1], dft.gamma[-1])]
    for name, unit in (("heat_capacity", "C_V, J/(K mol)"), ("free_energy", "F, kJ/mol"), ("entropy", "S, J/(K mol)")):
        std = ours.std.get(name)
        for k, t in enumerate(temperatures):
            one = None if std is None else std[k]
            rows.append((f"{unit} at {t:.0f} K", getattr(ours, name)[k], one, getattr(dft, name)[k]))
    for name, value, std, ref in rows:
        print(f"{name:28}{value:10.4f}{'' if std is None else format(std, '9.4f'):>9}{ref:10.4f}")
    std = ours.std.get("frequencies")
    inside = None
    if std is not None:
        moving = dft.frequencies > 0.1
        inside = [float((np.abs(error) <= z * std)[moving].mean()) for z in (1.0, 1.96)]
        print(f"frequencies inside ±1 σ: {100 * inside[0]:.0f} %, inside ±1.96 σ: {100 * inside[1]:.0f} %")
    got = {"mean absolute frequency error, THz": mae, "C_V(300 K) error, %": abs(float(heat[1]))}
    print(f"largest error {np.abs(error).max():.3f} THz, rms {np.sqrt((error**2 * weights).sum()):.3f} THz")
    good = verdict([(name, got[name], "≤", want) for name, want in TARGETS.items()])
    if options.plot:
        plot(options.plot, spectrum(model, members(model, calculator)), spectrum(reference()), mae)
    if options.json:
        Path(options.json).write_text(json.dumps(got | {"inside": inside, "reached": good}, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
