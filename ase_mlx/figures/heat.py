"""The figure of a field of temperature: profiles, a map, and where the equation is off.

Source: ours.
"""

from pathlib import Path

import numpy as np

from ase_mlx.figures.style import DOUBT, GREY, MODEL, drawn

UNITS = ((1e-9, "nm"), (1e-6, "µm"), (1e-3, "mm"), (1.0, "m"))
TIMES = ((1e-12, "ps"), (1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))
FINE = 81
"""Points along each axis of a map."""
MANY = 5
"""Profiles at as many times."""


def draw_heat(solution, title: str, path: Path, sensors=None) -> None:
    """Draw a `HeatSolution`: profiles along x, and, where there is a second coordinate, maps in x and it.

    Of a family of problems: profiles for five values of its first parameter, or times, the others at their middle.

    Args:
        solution: m, s, K.
        title: of the figure.
        path: of the PNG.
        sensors: temperatures that were measured (K), with their standard deviations, drawn where they are all there is.

    Raises:
        OSError: the file cannot be written.

    Source: ours.
    """
    problem = solution.problem
    maps = len(problem.box) > 1
    shown = (2 if maps else 1) + (1 if solution.model is not None else 0)
    with drawn(path, (4.9 * shown, 4.1)) as figure:
        axes = np.atleast_1d(figure.subplots(1, shown))
        _profiles(axes[0], solution)
        if sensors is not None and not maps:
            _measured(axes[0], problem, sensors)
        if maps:
            _map(figure, axes[1], solution, False)
        if solution.model is not None:
            if maps:
                _map(figure, axes[-1], solution, True)
            else:
                _off(axes[-1], solution)
        figure.suptitle(title, fontweight="bold")


def _unit(size: float, units=UNITS) -> tuple[float, str]:
    return next(((u, name) for u, name in reversed(units) if size >= u), units[0])


def _middle(problem, count: int) -> np.ndarray:
    """Points at the middle of all coordinates, at the end of time."""
    points = np.repeat([[0.5 * (a + b) for a, b in problem.box]], count, 0)
    if problem.duration is not None:
        points[:, -1] = problem.duration
    return points


def _lines(problem) -> list[np.ndarray]:
    """Positions along x within each layer, m."""
    return [np.linspace(a, b, 101) for a, b in zip(problem.edges[:-1], problem.edges[1:], strict=True)]


def _inside(problem, x: np.ndarray) -> np.ndarray:
    """Positions of a layer's ends, m, moved into it: there the next one begins."""
    return x + (x == x[0]) * 1e-9 * problem.size[0] - (x == x[-1]) * 1e-9 * problem.size[0]


def _profiles(ax, solution) -> None:
    problem = solution.problem
    scale, unit = _unit(problem.size[0])
    which = _varied(problem)
    values = [None] if which is None else np.linspace(*problem.box[which], MANY)
    one, name, title = (1.0, "", "") if which is None else _axis(problem, which)
    colours = [MODEL] if which is None else _shades(MANY)
    for value, colour in zip(values, colours, strict=True):
        for k, x in enumerate(_lines(problem)):
            points = _middle(problem, len(x))
            points[:, 0] = _inside(problem, x)
            if which is not None:
                points[:, which] = value
            label = None if k or which is None else f"{value / one:.3g} {name}"
            temperature, std = solution.temperature(points), solution.temperature_std(points)
            ax.plot(x / scale, temperature, color=colour, label=label)
            if std is not None:
                ax.fill_between(x / scale, temperature - std, temperature + std, color=colour, alpha=0.25, linewidth=0)
    for edge in problem.edges[1:-1]:
        ax.axvline(edge / scale, color=GREY, linewidth=0.8, linestyle=":")
    where = "" if len(problem.size) == 1 else ", along the middle"
    ax.set(xlabel=f"x ({unit})", ylabel="temperature (K)", title=f"Temperature{where}")
    if which is not None:
        ax.legend(title=title)


def _varied(problem) -> int | None:
    """Coordinate that profiles are drawn for some values of: time, or the first parameter; None: neither is there."""
    if problem.duration is not None:
        return len(problem.box) - 1
    return len(problem.size) if problem.parameters else None


def _axis(problem, which: int) -> tuple[float, str, str]:
    """Unit of a coordinate in SI units, its name, and what the coordinate is called."""
    name, reach = problem.coordinates[which], np.ptp(problem.box[which])
    if name == "t":
        return *_unit(reach, TIMES), "time"
    return (1.0, "", name) if name in problem.parameters else (*_unit(reach), name)


def _measured(ax, problem, sensors) -> None:
    scale, _ = _unit(problem.size[0])
    style = {"fmt": "o", "color": DOUBT, "markersize": 4, "capsize": 2, "label": "thermometers, ± σ"}
    ax.errorbar(sensors.points[:, 0] / scale, sensors.temperature, sensors.std, **style)
    ax.legend()


def _shades(count: int) -> list:
    from matplotlib import colormaps

    return [colormaps["viridis"](x) for x in np.linspace(0.05, 0.85, count)]


def _map(figure, ax, solution, off: bool) -> None:
    problem = solution.problem
    other = 1  # y, or the first parameter, or time
    scale, unit = _unit(problem.size[0])
    scale_2, unit_2, called = _axis(problem, other)
    lines = [np.linspace(*problem.box[k], FINE) for k in (0, other)]
    mesh = np.meshgrid(*lines, indexing="ij")
    points = _middle(problem, mesh[0].size)
    points[:, 0], points[:, other] = mesh[0].ravel(), mesh[1].ravel()
    if off:
        values = np.log10(np.maximum(_residual(solution, points), 1e-16))
        label, colours, what = "log₁₀ of the equation's rows", "magma", "Where the equation is off"
    else:
        values, label, colours, what = solution.temperature(points), "temperature (K)", "inferno", "Temperature"
    grid = (lines[0] / scale, lines[1] / scale_2, values.reshape(FINE, FINE).T)
    drawn_map = ax.pcolormesh(*grid, cmap=colours, shading="gouraud", rasterized=True)
    figure.colorbar(drawn_map, ax=ax, label=label)
    end = "" if called == "time" or problem.duration is None else ", at the end"
    ax.set(xlabel=f"x ({unit})", ylabel=f"{called} ({unit_2})" if unit_2 else called, title=f"{what}{end}")
    ax.grid(False)


def _residual(solution, points: np.ndarray) -> np.ndarray:
    """Root mean square of the equation's rows at points, dimensionless."""
    import torch

    return solution.model.off(torch.from_numpy(points)).numpy()


def _off(ax, solution) -> None:
    problem = solution.problem
    scale, unit = _unit(problem.size[0])
    for x in _lines(problem):
        points = _middle(problem, len(x))
        points[:, 0] = _inside(problem, x)
        ax.semilogy(x / scale, np.maximum(_residual(solution, points), 1e-16), color=DOUBT)
    ax.set(xlabel=f"x ({unit})", ylabel="size of the equation's rows", title="Where the equation is off")
