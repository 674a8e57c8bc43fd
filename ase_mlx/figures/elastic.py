"""The figure of elastic constants: the tensor, and how stiff the crystal is in each direction.

Source: ours.
"""

import numpy as np

from ase_mlx.figures.style import MODEL
from ase_mlx.phonons.elasticity import young_modulus

PLANES = (("xy", (0, 1)), ("yz", (1, 2)), ("zx", (2, 0)))
COLORS = (MODEL, "#c2410c", "#0f7b4d")
LABELS = ("xx", "yy", "zz", "yz", "xz", "xy")


def draw_elastic(place, elastic) -> None:
    """Elastic constants in GPa as a matrix with their std, and Young's modulus in GPa around three planes.

    Source: ours.
    """
    figure = place.get_gridspec().figure
    grid = place.subgridspec(1, 2, width_ratios=[1.45, 1], wspace=0.08)
    _matrix(figure.add_subplot(grid[0]), elastic)
    if elastic.stable:
        _directions(figure.add_subplot(grid[1], projection="polar"), elastic)


def _matrix(ax, elastic) -> None:
    top = np.abs(elastic.tensor).max()
    ax.imshow(elastic.tensor, cmap="RdBu", vmin=-1.6 * top, vmax=1.6 * top, aspect="auto")
    for (row, column), value in np.ndenumerate(elastic.tensor):
        if abs(value) < 1e-4 * top:
            continue
        std = None if elastic.std is None else elastic.std[row, column]
        text = f"{value:.3g}" if std is None else f"{value:.1f}\n± {std:.1f}"
        ax.text(column, row, text, ha="center", va="center", fontsize=9, linespacing=1.1)
    ax.set_xticks(range(6), LABELS)
    ax.set_yticks(range(6), LABELS)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.grid(False)
    ax.set(title="Elastic constants (GPa)", xlabel="strain", ylabel="stress")


def _directions(ax, elastic) -> None:
    angle = np.linspace(0, 2 * np.pi, 181)
    drawn: list[tuple[list[str], np.ndarray, np.ndarray]] = []
    for name, (first, second) in PLANES:
        directions = np.zeros((len(angle), 3))
        directions[:, first], directions[:, second] = np.cos(angle), np.sin(angle)
        values = young_modulus(elastic.tensor, directions)
        same = [names for names, earlier, _ in drawn if np.abs(earlier - values).max() < 1e-3 * values.max()]
        if same:
            same[0].append(name)
        else:
            drawn.append(([name], values, directions))
    for color, (names, values, directions) in zip(COLORS, drawn, strict=False):
        ax.plot(angle, values, color=color, lw=1.8, label=", ".join(names))
        if elastic.moduli_std is not None:
            std = np.std(young_modulus(elastic.members, directions), axis=0, ddof=1)
            for factor, alpha in ((2, 0.13), (1, 0.22)):
                low, high = np.maximum(values - factor * std, 0), values + factor * std
                ax.fill_between(angle, low, high, color=color, alpha=alpha, lw=0)
    ax.set_ylim(bottom=0)
    ax.set_xticks(np.arange(0, 2 * np.pi, np.pi / 4), ["", "45°", "", "135°", "", "225°", "", "315°"])
    ax.yaxis.get_major_locator().base.set_params(nbins=4)
    ax.set_rlabel_position(90)
    ax.tick_params(labelsize=8.5, pad=1)
    ax.set_title("Young's modulus (GPa)", loc="center", pad=12)
    style = {"ncols": len(drawn), "handlelength": 1.2, "columnspacing": 1.0, "title_fontsize": 9.5}
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.04), title="planes, 0° along the first axis", **style)
