"""The figure of a lattice conductivity: against temperature, accumulated, and the linewidths.

Source: ours.
"""

from pathlib import Path

import numpy as np

from ase_mlx.figures.style import DOUBT, GREY, MODEL, drawn, logarithmic
from ase_mlx.phonons.accumulation import accumulated


def draw_conductivity(solved, title: str, path: Path) -> None:
    """Draw conductivity, accumulation by mean free path and by frequency, and linewidths of a `Conductivity`.

    Args:
        solved: W/(m K), K and THz.
        title: of the figure.
        path: of the PNG.

    Raises:
        OSError: the file cannot be written.

    Source: ours.
    """
    modes, at = solved.modes, solved.modes.middle
    temperature = float(solved.temperatures[at])
    with drawn(path, (10, 7.4)) as figure:
        axes = figure.subplots(2, 2)
        _temperatures(axes[0, 0], solved)
        for ax, by, label, scale in (
            (axes[0, 1], "mean free path", "mean free path (nm)", 0.1),
            (axes[1, 0], "frequency", "frequency (THz)", 1.0),
        ):
            x, kappa = accumulated(modes, temperature, by)
            ax.plot(scale * x, kappa, color=MODEL)
            ax.set(xlabel=label, ylabel="κ (W/(m K))", title=f"Accumulated by {by}, {temperature:g} K", ylim=(0, None))
            if by == "mean free path":
                carried = scale * x[kappa > 1e-3 * kappa[-1]]
                ax.set(xscale="log", xlim=(carried.min() / 1.5, carried.max() * 1.5))
                logarithmic(ax.xaxis)
        _linewidths(axes[1, 1], modes, at)
        figure.suptitle(title, fontweight="bold")


def _temperatures(ax, solved) -> None:
    trace = solved.kappa[:, :3]
    split = np.ptp(trace, axis=1).max() > 1e-3 * trace.max()
    for k, (name, color) in enumerate(zip(("xx", "yy", "zz"), (MODEL, DOUBT, GREY), strict=True)):
        if split or k == 0:
            ax.plot(solved.temperatures, trace[:, k], "o-", color=color, markersize=4, label=f"κ {name}")
            if solved.kappa_std is not None:
                low, high = (trace[:, k] + sign * solved.kappa_std[:, k] for sign in (-1, 1))
                ax.fill_between(solved.temperatures, np.maximum(low, 1e-3 * trace[:, k]), high, color=color, alpha=0.2)
    if split:
        ax.legend()
    ax.set(xlabel="temperature (K)", ylabel="κ (W/(m K))", title="Lattice thermal conductivity")
    if len(solved.temperatures) > 1:
        ax.set(xscale="log", yscale="log")
        ticks = [
            t for t in (50, 100, 200, 300, 500, 1000, 2000) if solved.temperatures[0] <= t <= solved.temperatures[-1]
        ]
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
        logarithmic(ax.yaxis)


def _linewidths(ax, modes, at: int) -> None:
    counted, f = modes.gamma[at] > 0, modes.modes.frequencies
    style = {"s": 7, "alpha": 0.5, "linewidths": 0}
    ax.scatter(f[counted], modes.gamma[at][counted], color=MODEL, label="all scattering", **style)
    if modes.four is not None:
        part = modes.four.gamma[at]
        ax.scatter(f[part > 0], part[part > 0], color=DOUBT, label="four phonons", **style)
        ax.legend(markerscale=2)
    ax.set(xlabel="frequency (THz)", ylabel="half linewidth Γ (THz)", yscale="log")
    logarithmic(ax.yaxis)
    ax.set(title=f"Linewidths, {modes.temperatures[at]:g} K")
