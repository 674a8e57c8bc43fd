"""Parity and reliability plots.

Source: ours.
"""

from pathlib import Path

import numpy as np

from ase_mlx.cli.figures import DOUBT, GREY, MODEL, STYLE
from ase_mlx.whole import whole_file

FILES = ("parity.png", "reliability.png")

LABELS = {
    "energy": "energy",
    "forces": "force components",
    "stress": "stress components",
    "hessian": "Hessian columns",
}


def write_plots(rows: dict, table: dict, folder: Path) -> list[str]:
    """Draw `parity.png` and, where there are error bars, `reliability.png`; return the file names.

    Args:
        rows: of `learn.metrics.collect` (eV/atom, eV/Å, eV/Å³, eV/Å²).
        table: of `learn.metrics.errors`.
        folder: where the files go.

    Source: ours.
    """
    files = [_draw(folder / "parity.png", rows, table, _parity)]
    if any("std" in r for r in rows.values()):
        files.append(
            _draw(folder / "reliability.png", {n: r for n, r in rows.items() if "std" in r}, table, _reliability)
        )
    return files


def _draw(path: Path, rows: dict, table: dict, panel) -> str:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [n for n in rows if n in table]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(names), figsize=(4.1 * len(names), 4.0), squeeze=False, layout="constrained")
        for axis, name in zip(axes[0], names, strict=True):
            panel(axis, name, rows[name], table[name])
        with whole_file(path) as part:
            figure.savefig(part)
        plt.close(figure)
    return path.name


def _parity(axis, name: str, r: dict, row: dict) -> None:
    factor = 160.21766208 if name == "stress" else 1.0
    unit = {"energy": "eV/atom", "forces": "eV/Å", "stress": "GPa", "hessian": "eV/Å²"}[name]
    x, y = r["reference"] * factor, r["predicted"] * factor
    shift = x.mean() if name == "energy" and np.ptp(x) < 0.05 * abs(x.mean()) else 0.0
    x, y = x - shift, y - shift
    axis.plot(x, y, ".", color=MODEL, alpha=0.45, markersize=4, markeredgewidth=0)
    ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
    axis.plot(ends, ends, color=GREY, linewidth=1, zorder=0)
    label = f"{LABELS[name]} ({unit})" + (", mean removed" if shift else "")
    axis.set(xlabel=f"reference {label}", ylabel="predicted", title=LABELS[name].capitalize())
    text = f"MAE {row['mae']:.3g} {row['unit']}\nRMSE {row['rmse']:.3g}\n{row['count']} values"
    axis.text(0.04, 0.96, text, transform=axis.transAxes, va="top", fontsize=9.5)


def _reliability(axis, name: str, r: dict, row: dict) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    from ase_mlx.learn.metrics import FACTORS, reliability

    error = np.abs(r["predicted"] - r["reference"]) * FACTORS[name]
    std = r["std"] * FACTORS[name]
    axis.loglog(std, np.maximum(error, 1e-3 * std.min()), ".", color=MODEL, alpha=0.18, markersize=4, markeredgewidth=0)
    x, y, _ = reliability(error, std)
    axis.loglog(x, y, "o-", color=DOUBT, markersize=5, linewidth=1.5, label="rms error in bins of σ")
    low = max(0.8 * std.min(), 0.05 * np.median(std))  # what is zero by symmetry lies outside the picture
    ends = np.array([low, 1.3 * std.max()])
    axis.loglog(ends, ends, color=GREY, linewidth=1, label="perfect")
    axis.set(xlabel=f"predicted σ ({row['unit']})", ylabel=f"|error| ({row['unit']})", title=LABELS[name].capitalize())
    axis.set(xlim=ends, ylim=(1e-2 * ends[0], 6 * max(error.max(), std.max())))
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    text = f"inside 68 %: {100 * row['inside_68']:.1f} %\ninside 95 %: {100 * row['inside_95']:.1f} %"
    axis.text(0.04, 0.96, text, transform=axis.transAxes, va="top", fontsize=9.5)
    axis.legend(loc="lower right")
