"""The figure of a mode's levels: potential and wave functions, and the heat capacity beside the harmonic one's.

Source: ours.
"""

from pathlib import Path

import numpy as np

from ase_mlx.figures.style import DOUBT, GREY, MODEL, drawn
from ase_mlx.units import BOLTZMANN

SHOWN = 12
"""Levels drawn at most."""
TALL = 0.8
"""Of the mean distance of levels: height of a wave function."""
CLEAR = 0.02
"""Of the largest value: below it a wave function is not drawn."""


def draw_levels(solution, title: str, path: Path) -> None:
    """Draw a `LevelsSolution`.

    Args:
        solution: eV, Å √amu, K.
        title: of the figure.
        path: of the PNG.

    Raises:
        OSError: the file cannot be written.

    Source: ours.
    """
    with drawn(path, (10.6, 4.6)) as figure:
        figure.get_layout_engine().set(wspace=0.06)
        left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
        _levels(left, solution)
        _capacity(right, solution)
        figure.suptitle(title, fontweight="bold")


def _levels(ax, solution) -> None:
    from matplotlib import colormaps

    model, lowest = solution.model, solution.potential.minima[0][1]
    energies = 1e3 * (solution.energies[:SHOWN] - lowest)
    count = len(energies)
    q = model.box.centre + model.box.half * np.linspace(-1, 1, 1601)
    v = 1e3 * (solution.potential(q) - lowest)
    psi = model.at(None, q)["wave_functions"][:, :count]
    room = (energies[-1] - energies[0]) / max(count - 1, 1) if count > 1 else energies[0]
    height = TALL * room / np.abs(psi).max()
    top = energies[-1] + 1.7 * room
    shown = np.flatnonzero((v < top) | (np.abs(psi) > CLEAR * np.abs(psi).max()).any(1))
    ax.fill_between(q, v, np.minimum(v, 0) - top, color="#eef0f3", zorder=0, linewidth=0)
    for k, energy in enumerate(energies):
        colour = colormaps["viridis"](0.08 + 0.76 * k / max(count - 1, 1))
        seen = np.where(np.abs(psi[:, k]) > CLEAR * np.abs(psi[:, k]).max(), energy + height * psi[:, k], np.nan)
        inside = np.flatnonzero(~np.isnan(seen))
        ax.hlines(energy, q[inside[0]], q[inside[-1]], color=colour, linewidth=0.7, alpha=0.6)
        ax.fill_between(q, energy, seen, color=colour, alpha=0.22, linewidth=0)
        ax.plot(q, seen, color=colour, linewidth=1.3)
    ax.plot(q, v, color="#20242b", linewidth=2.0)
    ax.set(
        xlim=(q[shown[0]], q[shown[-1]]), ylim=(-0.04 * top, top), xlabel="displacement Q (Å √amu)",
        ylabel="energy above the minimum (meV)",
        title="Levels and wave functions" if count == len(solution.energies) else f"The lowest {count} levels",
    )  # fmt: skip
    ax.grid(False)


def _capacity(ax, solution) -> None:
    t = solution.thermal.temperatures
    ax.axhline(1, color=GREY, linewidth=0.9, linestyle=":")
    ax.annotate("classical", (t[-1], 1), (0, 4), textcoords="offset points", ha="right", color=GREY, fontsize=9)
    if solution.harmonic is not None:
        label = f"harmonic, {solution.potential.frequency:.3g} THz at the minimum"
        ax.plot(t, solution.harmonic.heat_capacity / BOLTZMANN, "--", color=DOUBT, label=label)
    ax.plot(t, solution.thermal.heat_capacity / BOLTZMANN, color=MODEL, label=f"{len(solution.energies)} levels")
    ax.set(xlabel="temperature (K)", ylabel="heat capacity of the mode (k$_B$)", title="What they do to C$_V$")
    ax.set_ylim(bottom=0)
    ax.set_xlim(t[0], t[-1])
    ax.legend(loc="upper left", bbox_to_anchor=(0.01, 0.92))
