"""What all figures share: colours, sizes, labels of axes, and how they become files.

Source: ours.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ase_mlx.whole import whole_file

MODEL, DOUBT, DFT, EXPERIMENT, GREY = "#1b4f8f", "#c2410c", "#111111", "#0f7b4d", "#8a8f98"

STYLE = {
    "font.size": 10.5,
    "axes.labelsize": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.9,
    "axes.edgecolor": "#40454d",
    "axes.grid": True,
    "grid.color": "#e6e8ec",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.8,
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "mathtext.default": "regular",
}


@contextmanager
def drawn(path: Path, size: tuple[float, float], layout: Any = "constrained") -> Iterator:
    """Lend an empty figure, and write it as PNG at the end of the block.

    It is no figure of pyplot, so that no backend is chosen and no notebook shows it.

    Args:
        path: of the file.
        size: width and height, in units of 25.4 mm as matplotlib has them.
        layout: matplotlib's name of an engine, the engine itself, or None.

    Raises:
        OSError: the file cannot be written.

    Source: ours.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout=layout)
        FigureCanvasAgg(figure)
        yield figure
        with whole_file(path) as part:
            figure.savefig(part)


def logarithmic(axis) -> None:
    """Label a logarithmic axis (any unit) with plain numbers: 1, 2, 5 in each decade, or whole decades of many.

    Source: ours.
    """
    low, high = np.log10(axis.get_view_interval())
    steps = (1, 2, 5) if high - low < 2 else (1, 3) if high - low < 3 else (1,)
    ticks = [m * 10.0**e for e in range(int(np.floor(low)), int(np.ceil(high)) + 1) for m in steps]
    ticks = [tick for tick in ticks if low - 1e-9 <= np.log10(tick) <= high + 1e-9]
    skip = 1 + len(ticks) // 8
    axis.set_ticks(ticks[::skip], labels=[f"{tick:g}" for tick in ticks[::skip]])
    axis.set_ticks([], minor=True)
