"""Ternary diagrams: quantities over the compositions of three elements, each with its error bar.

Source: ours.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from ase_mlx.figures.style import DFT, GREY, drawn, logarithmic

HEIGHT = 3**0.5 / 2
"""Of a triangle of side 1."""
PANELS = (
    ("energy", "Energy", "eV/atom", 1e3, "meV/atom"),
    ("mixing_energy", "Mixing energy", "meV/atom", 1.0, "meV/atom"),
    ("lattice_constant", "Lattice constant", "Å", 1e3, "mÅ"),
    ("bulk_modulus", "Bulk modulus", "GPa", 1.0, "GPa"),
)
"""Name, title, unit; and how many of the bar's unit make one."""
VALUES, BARS = "viridis", "magma_r"
CORNERS = np.array([(0.0, 0.0), (1.0, 0.0), (0.5, HEIGHT)])
OUTWARD = np.array([(0.0, -1.0), (HEIGHT, 0.5), (-HEIGHT, 0.5)])
"""Normals of the edges that begin at each corner."""
TICKS = (0.25, 0.5, 0.75)
EDGE, SMALL = "#40454d", "#5a606a"
DECADES = 30.0
"""Ratio of largest and smallest bar from which colours go by logarithms."""


def draw_composition_map(path: Path, chart) -> None:
    """Draw a `CompositionMap`: a cell a vertex, quantities above (eV/atom, meV/atom, Å, GPa, %), their std below.

    Filled dots are compositions that the model learned from, open ones have DFT labels that it did not see; hatched
    are those with atoms beyond its training data.

    Args:
        path: of the PNG.
        chart: as `ase_mlx.jobs.composition_map` makes it (eV/atom, meV/atom, Å, GPa, %).

    Raises:
        OSError: the file cannot be written.

    Source: ours.
    """
    with_density = "density_std" in chart.values
    columns = len(PANELS) + with_density
    with drawn(path, (2.9 * columns, 7.0)) as figure:
        axes = figure.subplots(2, columns)
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.02, hspace=0.02)
        for k, (name, title, unit, factor, small) in enumerate(PANELS):
            _panel(figure, axes[0, k], chart, chart.values[name], title, f"{unit}", VALUES)
            _panel(figure, axes[1, k], chart, factor * chart.std[name], "", f"σ ({small})", BARS)
        if with_density:
            _density_errors(figure, axes[0, -1], chart)
            label = "∫σ dV / N (%)"
            _panel(figure, axes[1, -1], chart, chart.values["density_std"], "", label, BARS)
        _legend(figure, chart)


def _panel(figure, ax, chart, values: np.ndarray, title: str, label: str, colours: str) -> None:
    """One triangle, its cells coloured by a quantity."""
    from matplotlib.collections import PolyCollection

    _frame(ax, chart.elements)
    ax.set_title(title, loc="center", pad=15)
    places, finite = chart.shares @ CORNERS, np.isfinite(values)
    if not finite.any():
        _nothing(ax, "no error bars" if colours == BARS else "not known")
        return
    norm = _scale(values[finite]) if colours == BARS else None
    style = {"array": values[finite], "cmap": colours, "norm": norm, "edgecolors": "face", "lw": 0.3}
    cells = PolyCollection(_hexagons(places[finite], chart), **style)
    style = {"facecolors": "none", "edgecolors": "#ffffff", "hatch": "////", "lw": 0.0}
    far = PolyCollection(_hexagons(places[chart.distance > 1], chart), **style)
    for artist in (cells, far):
        ax.add_collection(artist)
        artist.set_clip_path(_triangle(ax))
    _dots(ax, chart)
    _bar(figure, ax, cells, label)


def _scale(values: np.ndarray):
    """Logarithmic colours for bars that differ by orders of magnitude; zero, a corner's by definition, is the least."""
    from matplotlib.colors import LogNorm, Normalize

    positive = values[values > 0]
    if not len(positive) or positive.max() < DECADES * positive.min():
        return Normalize()
    return LogNorm(positive.min(), positive.max(), clip=True)


def _bar(figure, ax, shown, label: str) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    bar = figure.colorbar(shown, ax=ax, orientation="horizontal", pad=0.01, aspect=22, shrink=0.82)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9, length=2)
    if isinstance(shown.norm, LogNorm):
        logarithmic(bar.ax.xaxis)
    else:
        bar.locator = MaxNLocator(4)
        bar.update_ticks()
    bar.set_label(label, fontsize=10)


def _triangle(ax):
    from matplotlib.patches import Polygon

    return ax.add_patch(Polygon(CORNERS, closed=True, fill=False, lw=0))


def _hexagons(places: Float[np.ndarray, "cells 2"], chart) -> Float[np.ndarray, "cells 6 2"]:
    """Cells of the triangular lattice around its vertices."""
    step = np.min(np.ptp(np.sort(np.unique(chart.shares[:, 0]))[:2]), initial=1.0)
    angle = np.pi / 6 + np.pi / 3 * np.arange(6)
    return places[:, None] + step / 3**0.5 * np.stack([np.cos(angle), np.sin(angle)], 1)


def _frame(ax, elements: tuple[str, ...]) -> None:
    """The edges, with the share of an element in % along each, and the names of the corners."""
    ax.set(xlim=(-0.22, 1.22), ylim=(-0.22, HEIGHT + 0.11), aspect="equal")
    ax.axis("off")
    ax.plot(*np.append(CORNERS, CORNERS[:1], 0).T, color=EDGE, lw=0.9, solid_joinstyle="miter", zorder=4)
    for k, (normal, turn) in enumerate(zip(OUTWARD, (0, -60, 60), strict=True)):
        start, end, text = CORNERS[k], CORNERS[(k + 1) % 3], {"color": SMALL, "ha": "center", "va": "center"}
        for share in TICKS:
            at = start + share * (end - start)
            ax.plot(*np.stack([at, at + 0.02 * normal]).T, color=EDGE, lw=0.8, zorder=4)
            ax.text(*(at + 0.07 * normal), f"{100 * share:.0f}", fontsize=7.5, **text)
        middle = (start + end) / 2 + 0.175 * normal
        ax.text(*middle, f"{elements[(k + 1) % 3]} (at. %)", fontsize=8, rotation=turn, **text)
    for corner, symbol in zip(CORNERS, elements, strict=True):
        away = corner - CORNERS.mean(axis=0)
        ax.text(*(corner + 0.2 * away), symbol, fontweight="bold", fontsize=11, ha="center", va="center")


def _dots(ax, chart) -> None:
    """Compositions with DFT labels: filled where the model learned from them."""
    for shares, face in ((chart.labelled, "#ffffff"), (chart.trained, DFT)):
        ax.scatter(*(shares @ CORNERS).T, s=15, c=face, edgecolors=DFT if face != DFT else "#ffffff", lw=0.7, zorder=5)


def _density_errors(figure, ax, chart) -> None:
    """Errors of the density where there is DFT's; elsewhere nothing is known."""
    _frame(ax, chart.elements)
    ax.set_title("Density", loc="center", pad=15)
    if not len(chart.density_error):
        _nothing(ax, "no DFT\ndensities")
        return
    style = {"c": chart.density_error, "cmap": VALUES, "s": 50, "edgecolors": DFT, "lw": 0.5, "zorder": 5}
    shown = ax.scatter(*(chart.labelled_densities @ CORNERS).T, **style)
    _bar(figure, ax, shown, "∫|Δρ| dV / N against DFT (%)")


def _nothing(ax, text: str) -> None:
    ax.text(*CORNERS.mean(axis=0), text, ha="center", va="center", color=GREY)


def _legend(figure, chart) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dot = lambda face, edge: Line2D([], [], ls="", marker="o", ms=5, mfc=face, mec=edge, mew=0.8)  # noqa: E731
    marks = [
        (len(chart.trained), dot(DFT, DFT), "trained composition"),
        (len(chart.labelled), dot("#ffffff", DFT), "DFT labels that the model has not seen, elsewhere"),
        (np.any(chart.distance > 1), Patch(fc="#c9cdd4", ec="#ffffff", hatch="////", lw=0), "beyond the training data"),
    ]
    shown = [(mark, text) for there, mark, text in marks if there]
    if shown:
        figure.legend(*zip(*shown, strict=True), loc="outside lower center", ncols=3, fontsize=10)
