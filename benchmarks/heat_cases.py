"""The problems of benchmarks/heat.py, and what is exact of them: closed forms, or finite volumes on two fine grids."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from ase_mlx.heat import finite_volumes
from ase_mlx.learn.equations import EquationFit
from ase_mlx.learn.recipes.heat import HeatTraining
from ase_mlx.models.heat import problem_of

HELD = {"temperature": 300.0}
BOX = {name: HELD for name in ("x0", "x1", "y0", "y1", "z0", "z1")}


@dataclass(frozen=True)
class Case:
    training: HeatTraining
    goal: float
    closed: Callable[[np.ndarray], np.ndarray] | None = None
    cells: int = 0


def random_field(modes: int = 4, size: float = 0.6, seed: int = 0) -> str:
    """A formula of a smooth random conductivity in the unit square, whose logarithm is a sum of cosines."""
    random, terms = np.random.default_rng(seed), []
    for i in range(modes):
        for j in range(modes):
            if i + j:
                height, a, b = random.normal() * size / (i * i + j * j) ** 0.75, *random.uniform(0, 2 * np.pi, 2)
                terms.append(f"({height:.4f}) * cos({i}*pi*x + {a:.3f}) * cos({j}*pi*y + {b:.3f})")
    return f"exp({' + '.join(terms)})"


def layered(points: np.ndarray) -> np.ndarray:
    flux = 20 / (1e-6 / 148 + 1e-8 + 1e-6 / 1.4)
    x = points[:, 0]
    return np.where(x < 1e-6, 320 - flux * x / 148, 300 + flux * (2e-6 - x) / 1.4)


def sines(points: np.ndarray) -> np.ndarray:
    return 300 + np.prod(np.sin(np.pi * points), axis=1)


SLANTED = "pi**2 * (2.8 * sin(pi*x) * sin(pi*y) - 2 * cos(pi*x) * cos(pi*y))"
CASES = {
    "1-D transient": Case(
        HeatTraining(
            (1.0,), ({"kappa": 1.0, "capacity": 1.0},), {"x0": HELD, "x1": HELD}, initial="300 + sin(pi*x)",
            duration=0.1,
        ),
        1e-6, lambda p: 300 + np.sin(np.pi * p[:, 0]) * np.exp(-(np.pi**2) * p[:, 1]),
    ),
    "1-D steady, κ ∝ 1/T": Case(
        HeatTraining((1e-6,), ({"kappa": "148 * 300 / T"},), {"x0": {"temperature": 600.0}, "x1": HELD}),
        1e-7, lambda p: 600 * 0.5 ** (p[:, 0] / 1e-6),
    ),
    "1-D layers, interface": Case(
        HeatTraining(
            (2e-6,),
            ({"kappa": 148.0, "thickness": 1e-6, "resistance": 1e-8}, {"kappa": 1.4, "thickness": 1e-6}),
            {"x0": {"temperature": 320.0}, "x1": HELD},
        ),
        1e-3, layered,
    ),
    "2-D anisotropic, source": Case(
        HeatTraining(
            (1.0, 1.0), ({"kappa": (2.0, 0.8, 1.0, 0.0, 0.0, 1.0)},), {n: BOX[n] for n in ("x0", "x1", "y0", "y1")},
            source=SLANTED,
        ),
        1e-3, sines,
    ),
    "3-D box": Case(
        HeatTraining(
            (1.0, 1.0, 1.0), ({"kappa": (1.0, 2.0, 3.0)},), BOX,
            source="6 * pi**2 * sin(pi*x) * sin(pi*y) * sin(pi*z)",
        ),
        1e-3, sines,
    ),
    "2-D varying coefficient": Case(
        HeatTraining(
            (1.0, 1.0), ({"kappa": random_field(), "capacity": 1.0},), {n: BOX[n] for n in ("x0", "x1", "y0", "y1")},
            initial=300.0, duration=5.0, source="200 * sin(pi*x) * sin(5*pi*y) * sin(pi*t)",
            model={"steepness": 5.0, "rank": 12, "width": 16, "windows": 1},
            fit=EquationFit(epochs=95, patience=95, points=2200),
        ),
        1e-3, None, 64,
    ),
}  # fmt: skip

FAMILY = HeatTraining(
    (1.0,), ({"kappa": "k * (300 / T)**p"},), {"x0": {"temperature": "300 + d"}, "x1": HELD},
    parameters={"d": (50, 300), "p": (0.5, 1.5), "k": (50, 200)},
)  # fmt: skip


def above(temperature: np.ndarray, exact: np.ndarray) -> float:
    """Relative L2 error of what is above 300 K."""
    return float(np.linalg.norm(temperature - exact) / np.linalg.norm(exact - 300))


JUDGED = 4000


def points_of(training: HeatTraining, count: int = JUDGED, seed: int = 7) -> np.ndarray:
    """Random points of a body and its time, m and s."""
    low, high = np.array(problem_of(training.problem()).box).T
    return low + np.random.default_rng(seed).random((count, len(low))) * (high - low)


@cache
def judged(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Points, m and s, and exact temperatures there, K.

    Without a closed form, points are the centres of random cells of finite volumes at random times, extrapolated to
    cells of no size (Richardson) from cells of a third the size, the middle one of which has the same centre: the mean
    of four of half the size is the mean over a cell, which differs from the value in its centre by second order. Both
    grids take the same steps of time: twice as many change what is judged by 7e-6.
    """
    case = CASES[name]
    if case.closed is not None:
        points = points_of(case.training)
        return points, case.closed(points)
    problem = problem_of(case.training.problem())
    grid, fine = (finite_volumes(problem, n, 300) for n in (case.cells, 3 * case.cells))
    if not np.array_equal(grid.times, fine.times):
        raise ValueError("got grids with other steps of time, expected the same")
    random, times = np.random.default_rng(7), np.flatnonzero(grid.times > 0.02 * problem.duration)
    step = times[random.integers(len(times), size=JUDGED)]
    i, j = random.integers(case.cells, size=(2, JUDGED))
    coarse, finer = grid.temperature[step, i, j], fine.temperature[step, 3 * i + 1, 3 * j + 1]
    exact = finer + (finer - coarse) / 8
    print(f"  (finite volumes on two grids differ by {above(coarse, exact):.1e} and {above(finer, exact):.1e})")
    return np.column_stack([grid.centres[0][i], grid.centres[1][j], grid.times[step]]), exact
