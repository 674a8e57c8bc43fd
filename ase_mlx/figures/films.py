"""The figure of films: conductivity against thickness, and temperatures within.

Source: ours.
"""

from pathlib import Path

import numpy as np

from ase_mlx.figures.style import DOUBT, GREY, MODEL, drawn, logarithmic

SHOWN = 4
"""Films whose temperatures are drawn."""


def draw_films(films, title: str, path: Path) -> None:
    """Draw a `FilmConductivity`: the network's curve with discrete ordinates, and profiles from contact to contact.

    Args:
        films: m, W/(m K).
        title: of the figure.
        path: of the PNG.

    Raises:
        OSError: the file cannot be written.

    Source: ours.
    """
    with drawn(path, (9.8, 4.2)) as figure:
        left, right = figure.subplots(1, 2)
        _curve(left, films)
        _profiles(right, films)
        figure.suptitle(title, fontweight="bold")


def _curve(ax, films) -> None:
    model = films.model
    thickness = np.geomspace(*model.config.thickness, 81)
    conductivity, std = model.conductivity(thickness)
    nm = 1e9 * thickness
    ax.fill_between(nm, conductivity - std, conductivity + std, color=MODEL, alpha=0.2, linewidth=0)
    ax.semilogx(nm, conductivity, color=MODEL, label="network, ± σ")
    dots = [film.conductivity for film in films.ordinates]
    ax.semilogx(1e9 * films.thickness, dots, "o", color=DOUBT, markersize=4.5, label="discrete ordinates")
    ax.axhline(model.spectrum.conductivity, color=GREY, linestyle="--", linewidth=1.2, label="bulk")
    logarithmic(ax.xaxis)
    ax.minorticks_off()
    ax.set(xlabel="thickness (nm)", ylabel="conductivity (W/(m K))", title="From contact to contact", ylim=(0, None))
    ax.legend(loc="lower right")


def _profiles(ax, films) -> None:
    from matplotlib import colormaps

    ends = np.linspace(0, len(films.ordinates) - 1, SHOWN).round().astype(int)
    x = np.linspace(0, 1, 201)
    for k, place in enumerate(ends):
        film, colour = films.ordinates[place], colormaps["viridis"](0.05 + 0.8 * k / (SHOWN - 1))
        points = np.column_stack([x * film.thickness, np.full(len(x), film.thickness)])
        ax.plot(x, films.model.at(None, points)["relative_temperature"], color=colour, label=_length(film.thickness))
        few = slice(None, None, 10)
        ax.plot(film.x[few] / film.thickness, film.relative_temperature[few], "o", color=colour, markersize=3.5)
    ax.plot(x, 1 - x, color=GREY, linestyle="--", linewidth=1.2, label="Fourier's law")
    ax.set(
        xlabel="x / thickness", ylabel="temperature (1 hot contact, 0 cold)", title="Within (dots: discrete ordinates)",
        xlim=(0, 1), ylim=(0, 1),
    )  # fmt: skip
    ax.legend(title="thickness")


def _length(metres: float) -> str:
    return f"{1e6 * metres:.3g} µm" if metres >= 1e-6 else f"{1e9 * metres:.3g} nm"
