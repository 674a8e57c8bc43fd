"""Parity and reliability plots.

Source: ours.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ase_mlx.figures.style import DOUBT, GREY, MODEL, drawn
from ase_mlx.learn.metrics import Residuals, reliability
from ase_mlx.units import EV_PER_A3_IN_GPA

FILES = ("parity.png", "reliability.png")

LABELS = {
    "forces": "force components",
    "stress": "stress components",
    "hessian": "Hessian columns",
}

MOST_POINTS = 20_000
"""Points that are drawn of a quantity; more are thinned out evenly."""


def write_plots(residuals: Mapping[str, Residuals], table: dict, folder: Path) -> list[str]:
    """Draw `parity.png` and, where there are error bars, `reliability.png`; return the file names.

    Args:
        residuals: by quantity, in its unit.
        table: of `learn.metrics.errors`.
        folder: where the files go.

    Source: ours.
    """
    compared = {name: r for name, r in residuals.items() if name in table}
    files = [_draw(folder / "parity.png", compared, table, _parity)]
    with_bars = {name: r for name, r in compared.items() if r.std is not None}
    if with_bars:
        files.append(_draw(folder / "reliability.png", with_bars, table, _reliability))
    return files


def _draw(path: Path, residuals: Mapping[str, Residuals], table: dict, panel: Callable) -> str:
    columns = min(4, len(residuals))
    rows = math.ceil(len(residuals) / columns)
    with drawn(path, (4.1 * columns, 4.0 * rows)) as figure:
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis in axes.ravel()[len(residuals) :]:
            axis.set_visible(False)
        for axis, (name, r) in zip(axes.ravel(), residuals.items(), strict=False):
            panel(axis, name, r, table[name])
    return path.name


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))


def _parity(axis, name: str, r: Residuals, row: dict) -> None:
    unit, factor = ("GPa", EV_PER_A3_IN_GPA) if r.unit == "eV/Å³" else (r.unit, 1.0)
    every = max(1, len(r.reference) // MOST_POINTS)
    x, y = r.reference[::every] * factor, r.predicted[::every] * factor
    shift = x.mean() if name == "energy" and np.ptp(x) < 0.05 * abs(x.mean()) else 0.0
    x, y = x - shift, y - shift
    axis.plot(x, y, ".", color=MODEL, alpha=0.45, markersize=4, markeredgewidth=0)
    ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
    axis.plot(ends, ends, color=GREY, linewidth=1, zorder=0)
    label = f"{_label(name)} ({unit})" + (", mean removed" if shift else "")
    axis.set(xlabel=f"reference {label}", ylabel="predicted", title=_label(name).capitalize())
    text = f"MAE {row['mae']:.3g} {row['unit']}\nRMSE {row['rmse']:.3g}\n{row['count']} values"
    axis.text(0.04, 0.96, text, transform=axis.transAxes, va="top", fontsize=9.5)


def _reliability(axis, name: str, r: Residuals, row: dict) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    every, factor = max(1, len(r.reference) // MOST_POINTS), r.small_unit[1]
    error, std = np.abs(r.predicted - r.reference)[::every] * factor, r.std[::every] * factor
    axis.loglog(std, np.maximum(error, 1e-3 * std.min()), ".", color=MODEL, alpha=0.18, markersize=4, markeredgewidth=0)
    x, y, _ = reliability(error, std)
    axis.loglog(x, y, "o-", color=DOUBT, markersize=5, linewidth=1.5, label="rms error in bins of σ")
    low = max(0.8 * std.min(), 0.05 * np.median(std))  # what is zero by symmetry lies outside the picture
    ends = np.array([low, 1.3 * std.max()])
    axis.loglog(ends, ends, color=GREY, linewidth=1, label="perfect")
    axis.set(xlabel=f"predicted σ ({row['unit']})", ylabel=f"|error| ({row['unit']})", title=_label(name).capitalize())
    axis.set(xlim=ends, ylim=(1e-2 * ends[0], 6 * max(error.max(), std.max())))
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ends[1] < 30 * ends[0] else (1,)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    shares = [name.removeprefix("inside_") for name in row if name.startswith("inside_")]
    text = "\n".join(f"inside {share} %: {100 * row[f'inside_{share}']:.1f} %" for share in shares)
    axis.text(0.04, 0.96, text, transform=axis.transAxes, va="top", fontsize=9.5)
    axis.legend(loc="lower right")
