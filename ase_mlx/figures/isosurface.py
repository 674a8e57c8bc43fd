"""A picture of a density: a surface of one value around the atoms, coloured by the error bar.

Source: ours.
"""

from pathlib import Path

import numpy as np

from ase_mlx.data.element_colours import element_colours
from ase_mlx.figures.style import drawn
from ase_mlx.quantities import SYMBOLS

LIGHT = np.array([0.35, -0.5, 0.8]) / np.linalg.norm([0.35, -0.5, 0.8])
ATOM_RADIUS = 0.28  # Å
OPACITY = 0.65  # of atoms that the surface hides: they shine through it
VIEW = {"elev": 16, "azim": -62}
TOWARDS = np.array([
    np.cos(np.radians(VIEW["elev"])) * np.cos(np.radians(VIEW["azim"])),
    np.cos(np.radians(VIEW["elev"])) * np.sin(np.radians(VIEW["azim"])),
    np.sin(np.radians(VIEW["elev"])),
])  # fmt: skip
BEHIND = 0.4  # Å: a thin shell's inner side, drawn this much farther away, does not show through its outer one


def draw_isosurface(path: Path, surface, formula: str) -> None:
    """Draw a `DensitySurface` (e/Å³, Å) of a chemical formula and the atoms to a PNG file.

    Source: ours.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection

    shades, norm = colormaps["viridis"], None
    base = np.tile([0.36, 0.55, 0.78], (len(surface.triangles), 1))
    if surface.std is not None:
        norm = Normalize(*np.quantile(1e3 * surface.std, [0.02, 0.98]))
        base = shades(norm(1e3 * surface.std))[:, :3]
    ball = _ball()
    balls = (surface.places[:, None, None] + ball).reshape(-1, 3, 3)
    outside = np.tile(ball.mean(1), (len(surface.places), 1))
    shapes = np.concatenate([_apart(surface.vertices[surface.triangles]), balls])
    normals, atoms = (
        _smooth(surface.vertices, surface.triangles),
        np.repeat(element_colours(surface.numbers), len(ball), 0),
    )
    colour = [_lit(normals, base), _lit(outside, atoms)]
    front = outside @ TOWARDS > 0
    with drawn(path, (7.2, 6.0), layout=None) as figure:
        ax = figure.add_axes((0.0, 0.0, 0.82, 0.93), projection="3d", computed_zorder=False)
        style = {"facecolors": np.concatenate(colour), "edgecolors": np.concatenate(colour), "linewidths": 0.3}
        ax.add_collection3d(Line3DCollection(_edges(surface.cell), colors="#8a8f98", linewidths=0.9, zorder=1))
        ax.add_collection3d(Poly3DCollection(shapes, **style, zorder=2))
        seen_through = np.insert(colour[1][front], 3, OPACITY, axis=1)
        ax.add_collection3d(Poly3DCollection(balls[front], facecolors=seen_through, linewidths=0, zorder=3))
        _frame(ax, shapes, surface.cell)
        text = f"{formula}: density of {surface.level:.3g} e/Å³"
        figure.text(0.03, 0.955, text, fontsize=12, fontweight="bold", va="center")
        _legend(figure, np.unique(surface.numbers))
        if norm is not None:
            side = figure.add_axes((0.85, 0.2, 0.022, 0.55))
            bar = figure.colorbar(ScalarMappable(norm, shades), cax=side, extend="both")
            bar.set_label("standard deviation there (10⁻³ e/Å³)")
            bar.outline.set_visible(False)


def _apart(triangles: np.ndarray) -> np.ndarray:
    """Triangles, those that show their inner side moved away from the eye: they are drawn by their middle's depth."""
    a, b, c = triangles.transpose(1, 0, 2)
    inner = np.cross(c - a, b - a) @ TOWARDS < 0
    return triangles - BEHIND * inner[:, None, None] * TOWARDS


def _legend(figure, elements: np.ndarray) -> None:
    """A disc and a symbol for each element."""
    from matplotlib.lines import Line2D

    style = {"ls": "none", "marker": "o", "markersize": 8, "markeredgecolor": "#40454d", "markeredgewidth": 0.6}
    colours = zip(elements, element_colours(elements), strict=True)
    discs = [Line2D([], [], color=colour, label=SYMBOLS[z], **style) for z, colour in colours]
    figure.legend(handles=discs, loc="lower left", ncols=len(discs), bbox_to_anchor=(0.02, 0.015), handletextpad=0.1)


def _smooth(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Outward normals of triangles, averaged over those that share their corners."""
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    at_corner = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(at_corner, triangles[:, k], np.cross(c - a, b - a))
    return at_corner[triangles].sum(1)


def _lit(normal: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Colours of triangles, given their outward normals, under one light."""
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    bright = 0.62 + 0.38 * np.clip(normal @ LIGHT, -1, 1)
    shine = 0.35 * np.clip(normal @ LIGHT, 0, 1) ** 24
    return np.clip(colour * bright[:, None] + shine[:, None], 0, 1)


def _ball() -> np.ndarray:
    """Triangles of a small ball."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, 11), np.linspace(0, 2 * np.pi, 19), indexing="ij")
    ball = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1) * ATOM_RADIUS
    corner = [ball[:-1, :-1], ball[1:, :-1], ball[1:, 1:], ball[:-1, 1:]]
    halves = [np.stack([corner[k] for k in three], -2).reshape(-1, 3, 3) for three in ((0, 1, 2), (0, 2, 3))]
    return np.concatenate(halves)


def _edges(cell: np.ndarray) -> list[np.ndarray]:
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(-1, 3)
    pairs = [(a, b) for k, a in enumerate(corners) for b in corners[k:] if np.abs(a - b).sum() == 1]
    return [np.array(pair) @ cell for pair in pairs]


def _frame(ax, shapes: np.ndarray, cell: np.ndarray) -> None:
    """Equal scales on all axes, nothing but what is drawn."""
    everything = np.concatenate([shapes.reshape(-1, 3), *_edges(cell)])
    low, high = everything.min(0), everything.max(0)
    for name, a, b in zip("xyz", low, high, strict=True):
        getattr(ax, f"set_{name}lim")(a, b)
    ax.set_box_aspect(high - low, zoom=1.12)
    ax.view_init(**VIEW)
    ax.set_axis_off()
