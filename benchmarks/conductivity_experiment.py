"""Lattice thermal conductivity of Si, Ge and Al from the shipped potentials, with error bars, beside measured values.

    python benchmarks/conductivity_experiment.py [--json FILE] [--figure FILE]

Three- and four-phonon scattering, natural isotopes, the linearised Boltzmann equation, Γ-centred meshes of 60 Å (50 Å
for Al); no number is fitted to a conductivity. Error bars are the spread of the potential's members: they know nothing
of the functional behind it. Measured: recommended values of C. Y. Ho, R. W. Powell and P. E. Liley, J. Phys. Chem. Ref.
Data 1, 279 (1972). Aluminium's are those of a metal: electrons carry nearly all of it, and phonons what is computed
here. About 25 minutes on two cores.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from ase.build import bulk
from verdict import machine, print_machine

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phono3py import conductivity

TEMPERATURES = (100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 800.0)
MEASURED = {
    "Si": (884, 264, 148, 98.9, 76.2, 61.9, 42.2),
    "Ge": (232, 96.8, 59.9, 43.2, 33.8, 27.3, 19.8),
    "Al": (302, 237, 237, 240, 236, 231, 218),
}
"""W/(m K)."""


def compute(symbol: str) -> dict:
    calculator = Calculator("al" if symbol == "Al" else "sigesn", dtype="float64")
    begin = time.perf_counter()
    found = conductivity(
        bulk(symbol), calculator, 50.0 if symbol == "Al" else 60.0, TEMPERATURES, solver="iterative", isotopes=True,
        order=4,
    )  # fmt: skip
    std = found.kappa_std
    return {
        "kappa": found.kappa[:, 0],
        "std": std[:, 0] if std is not None else np.full(len(TEMPERATURES), np.nan),
        "rta": found.modes.kappa[:, 0],
        "rta_three": found.modes.three_phonon_kappa[:, 0],
        "notes": found.notes,
        "quartic_held_out": found.quartic.held_out,
        "mesh": found.modes.mesh.numbers,
        "s": time.perf_counter() - begin,
    }


def report(symbol: str, row: dict) -> None:
    mesh = " × ".join(map(str, row["mesh"]))
    print(f"\n{symbol}, mesh {mesh}, {row['s']:.0f} s; W/(m K)")
    print("    T, K  measured   computed            off, %  relaxation times  three phonons")
    for k, temperature in enumerate(TEMPERATURES):
        off = "" if symbol == "Al" else f"{100 * (row['kappa'][k] / MEASURED[symbol][k] - 1):+.0f}"
        print(
            f"{temperature:8.0f}{MEASURED[symbol][k]:10.1f}{row['kappa'][k]:11.1f} ± {row['std'][k]:5.1f}{off:>13s}"
            f"{row['rta'][k]:18.1f}{row['rta_three'][k]:15.1f}"
        )
    for note in row["notes"]:
        print(f"  {note}")


def draw(rows: dict, path: Path) -> None:
    import matplotlib.pyplot as plt

    from ase_mlx.figures.style import EXPERIMENT, MODEL, STYLE

    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(rows), figsize=(4.3 * len(rows), 4), layout="constrained", squeeze=False)
        for ax, (symbol, row) in zip(axes[0], rows.items(), strict=True):
            ax.fill_between(TEMPERATURES, row["kappa"] - row["std"], row["kappa"] + row["std"], color=MODEL, alpha=0.25)
            ax.plot(TEMPERATURES, row["kappa"], color=MODEL, label="three and four phonons ± σ")
            ax.plot(TEMPERATURES, row["rta_three"], "--", color=MODEL, lw=1.2, label="three phonons, relaxation times")
            label = "measured, electrons included" if symbol == "Al" else "measured"
            ax.plot(TEMPERATURES, MEASURED[symbol], "o", color=EXPERIMENT, markersize=5, label=label)
            ax.set(xscale="log", yscale="log", title=symbol, xlabel="temperature (K)", ylabel="κ (W/(m K))")
            ax.set_xticks([100, 200, 300, 500, 800], ["100", "200", "300", "500", "800"])
            low = min((row["kappa"] - row["std"]).min() / (4 if symbol == "Al" else 1.3), min(MEASURED[symbol]) / 1.3)
            high = max(row["rta_three"].max(), max(MEASURED[symbol])) * 1.3
            steps = [m * 10.0**e for e in range(-1, 4) for m in (1, 2, 5) if low < m * 10.0**e < high]
            ax.set_yticks(steps, [f"{s:g}" for s in steps])
            ax.minorticks_off()
            ax.set_ylim(low, high)
            ax.legend(loc="lower left" if symbol == "Al" else "upper right", fontsize=8.5)
        figure.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    about = machine()
    print_machine(about)
    rows = {}
    for symbol in MEASURED:
        rows[symbol] = compute(symbol)
        report(symbol, rows[symbol])
        sys.stdout.flush()
    if options.figure:
        draw(rows, options.figure)
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1, default=np.ndarray.tolist))
    return 0


if __name__ == "__main__":
    sys.exit(main())
