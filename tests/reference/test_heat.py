"""Heat conduction against closed forms: by finite volumes, and by networks, for each kind of condition.

Source: H. S. Carslaw and J. C. Jaeger, Conduction of Heat in Solids (1959); two-dimensional cases are manufactured.
"""

import numpy as np
import pytest
import torch
from scipy.special import erfc

from ase_mlx.heat import Face, Layer, Problem, finite_volumes
from ase_mlx.jobs.heat import solve
from ase_mlx.learn.equations import EquationFit
from ase_mlx.learn.recipes.heat import HeatRecipe, HeatTraining

HELD = {"temperature": 300.0}


def transient(points):
    return 300 + np.sin(np.pi * points[:, 0]) * np.exp(-(np.pi**2) * points[:, 1])


def sudden(points):
    x, root = points[:, 0], np.sqrt(points[:, 1])
    images = (erfc((2 * n + x) / 2 / root) - erfc((2 * n + 2 - x) / 2 / root) for n in range(4))
    return 300 + 100 * sum(images)


def sine_source(points):
    return 300 + np.sin(np.pi * points[:, 0]) * np.sin(np.pi * points[:, 1])


def layered(points):
    flux = 20 / (1e-6 / 148 + 1e-8 + 1e-6 / 1.4)
    x = points[:, 0]
    return np.where(x < 1e-6, 320 - flux * x / 148, 300 + flux * (2e-6 - x) / 1.4)


def cooled(points):
    """Fixed on one side, convection on the other: the flux is that of two resistances in series."""
    return 400 - 100 / (1 / 2.0 + 1 / 5.0) / 2.0 * points[:, 0]


def heated(points):
    """Flux into one face of κ = 100 (300/T): T falls exponentially to the other one."""
    return 300 * np.exp(5e9 * (1e-6 - points[:, 0]) / (100 * 300))


CASES = {
    "transient": (
        {"size": (1.0,), "layers": ({"kappa": 1.0, "capacity": 1.0},), "faces": {"x0": HELD, "x1": HELD},
         "initial": "300 + sin(pi * x)", "duration": 0.1},
        transient, 1e-6,
    ),
    "conductivity falls with temperature": (
        {"size": (1e-6,), "layers": ({"kappa": "148 * 300 / T"},),
         "faces": {"x0": {"temperature": 600.0}, "x1": HELD}},
        lambda points: 600 * 0.5 ** (points[:, 0] / 1e-6), 1e-7,
    ),
    "a sudden begin": (
        {"size": (1.0,), "layers": ({"kappa": 1.0, "capacity": 1.0},),
         "faces": {"x0": {"temperature": 400.0}, "x1": HELD}, "initial": 300.0, "duration": 0.1},
        sudden, 1e-5,
    ),
    "layers with a resistance between": (
        {"size": (2e-6,), "layers": ({"kappa": 148.0, "thickness": 1e-6, "resistance": 1e-8},
                                     {"kappa": 1.4, "thickness": 1e-6}),
         "faces": {"x0": {"temperature": 320.0}, "x1": HELD}},
        layered, 1e-4,
    ),
    "convection": (
        {"size": (1.0,), "layers": ({"kappa": 2.0},),
         "faces": {"x0": {"temperature": 400.0}, "x1": {"transfer": 5.0, "ambient": 300.0}}},
        cooled, 1e-6,
    ),
    "flux": (
        {"size": (1e-6,), "layers": ({"kappa": "100 * 300 / T"},), "faces": {"x0": {"flux": 5e9}, "x1": HELD}},
        heated, 1e-6,
    ),
    "anisotropic with a source": (
        {"size": (1.0, 1.0), "layers": ({"kappa": (2.0, 1.0, 0.0, 0.0, 0.0, 0.8)},),
         "faces": {name: HELD for name in ("x0", "x1", "y0", "y1")},
         "source": "pi**2 * (3 * sin(pi*x) * sin(pi*y) - 1.6 * cos(pi*x) * cos(pi*y))"},
        sine_source, 1e-3,
    ),
}  # fmt: skip


def off(temperature, closed, points):
    """Relative L2 error of what is above 300 K."""
    exact = closed(points)
    return np.linalg.norm(temperature - exact) / np.linalg.norm(exact - 300)


@pytest.fixture(params=CASES)
def case(request):
    table, closed, goal = CASES[request.param]
    training = HeatTraining(**table)
    box = np.array(training.size + ((training.duration,) if training.duration else ()))
    points = np.random.default_rng(0).random((500, len(box))) * box
    return training, closed, goal, points


def test_a_network_meets_the_closed_form(case):
    training, closed, goal, points = case
    solution = solve(training)
    assert solution.converged and not solution.notes
    assert off(solution.temperature(points), closed, points) < goal
    assert solution.balance["off"] < 1e-4


def test_finite_volumes_meet_the_closed_form(case):
    training, closed, _, points = case
    solution = solve(training, "fv")
    assert solution.converged and solution.residual < 1e-9
    first_order = training.initial == 300.0  # after a sudden begin, near the corner that no cell resolves
    assert off(solution.temperature(points), closed, points) < (1e-3 if first_order else 3e-4)


def test_faces_that_disagree_along_their_edge_are_met_and_the_corner_is_told():
    """One hot side of a square: the series of Carslaw and Jaeger, section 5.2; its flux is infinite in two corners."""
    faces = {"x0": {"temperature": 400.0}, "x1": HELD, "y0": HELD, "y1": HELD}
    solution = solve(HeatTraining((1.0, 1.0), ({"kappa": 1.0},), faces))
    points = np.random.default_rng(0).uniform(0.1, 0.9, (500, 2))
    n = np.arange(1, 60, 2)[:, None]
    decay = np.sinh(n * np.pi * (1 - points[:, 0])) / np.sinh(n * np.pi)
    exact = 300 + 400 / np.pi * (decay * np.sin(n * np.pi * points[:, 1]) / n).sum(0)
    assert np.linalg.norm(solution.temperature(points) - exact) / np.linalg.norm(exact - 300) < 0.03
    edge = solution.temperature([[0.0, 0.5], [1.0, 0.5], [0.5, 0.0], [0.5, 1.0]])
    assert edge == pytest.approx([400, 300, 300, 300], abs=1e-4)
    assert solution.notes


@pytest.mark.parametrize("cells", [20, 40])
def test_finite_volumes_converge_by_the_square_of_the_cell(cells):
    table, closed, _ = CASES["anisotropic with a source"]
    problem = Problem(table["size"], (Layer(**table["layers"][0]),), {k: Face(**HELD) for k in table["faces"]},
                      source=table["source"])  # fmt: skip
    errors = []
    for count in (cells, 2 * cells):
        grid = finite_volumes(problem, count)
        points = np.stack(np.meshgrid(*grid.centres, indexing="ij"), -1).reshape(-1, 2)
        errors.append(off(grid.temperature.ravel(), closed, points))
    assert 3.5 < errors[0] / errors[1] < 4.5


@pytest.mark.slow
def test_long_times_are_solved_in_as_many_windows_as_they_need():
    """An oscillating source over many periods: one network over all of them is a network of nothing."""
    training = HeatTraining(
        (1.0,), ({"kappa": 1.0, "capacity": 1.0},), {"x0": HELD, "x1": HELD}, initial="300 + sin(pi * x)",
        duration=1.0, source="sin(pi * x) * (pi**2 * cos(8 * pi * t) - 8 * pi * sin(8 * pi * t))",
        fit=EquationFit(points=400, epochs=60),
    )  # fmt: skip
    solution = solve(training)
    points = np.random.default_rng(0).random((500, 2))
    exact = np.sin(np.pi * points[:, 0]) * np.cos(8 * np.pi * points[:, 1])
    assert np.linalg.norm(solution.temperature(points) - 300 - exact) / np.linalg.norm(exact) < 1e-2


def test_one_network_answers_for_a_family():
    training = HeatTraining(
        (1.0,), ({"kappa": "k * (300 / T)"},), {"x0": {"temperature": "300 + d"}, "x1": HELD},
        parameters={"d": (50, 300), "k": (50, 200)}, fit=EquationFit(points=800),
    )  # fmt: skip
    solution = solve(training)
    random = np.random.default_rng(1)
    points = np.stack([random.random(500), random.uniform(50, 300, 500), random.uniform(50, 200, 500)], -1)
    exact = 300 * ((300 + points[:, 1]) / 300) ** (1 - points[:, 0])
    assert np.linalg.norm(solution.temperature(points) - exact) / np.linalg.norm(exact - 300) < 1e-3


@pytest.mark.slow
def test_rows_of_second_order_are_the_balance_of_the_flux_that_the_model_gives():
    """κ a full tensor of place and temperature, in time: ρc ∂T/∂t + ∇·q - Q by central differences of the answers."""
    layer = {
        "kappa": ("2 + x * y", "1 + 100 / T", 1.0, 0.0, 0.0, "0.3 + 0.2 * sin(x) * T / 300"),
        "capacity": "1 + T / 600",
    }
    faces = {name: HELD for name in ("x0", "x1", "y0", "y1")}
    training = HeatTraining(
        (1.0, 1.0), (layer,), faces, initial="300 + 100 * x * (1 - x) * y * (1 - y)", duration=0.2, source="50 * x * t",
    )  # fmt: skip
    model = HeatRecipe(training).model  # whatever its weights are
    assert model.second
    points = np.random.default_rng(0).uniform(0.1, 0.9, (20, 3)) * [1, 1, 0.2]

    def slope(name, axis, column=()):
        step = np.eye(3)[axis] * 1e-5
        ends = [model.at(None, points + sign * step)[name][(slice(None), *column)] for sign in (1, -1)]
        return (ends[0] - ends[1]) / 2e-5

    temperature = model.at(None, points)["temperature"]
    balance = (1 + temperature / 600) * slope("temperature", 2) - 50 * points[:, 0] * points[:, 2]
    balance += slope("heat_flux", 0, (0,)) + slope("heat_flux", 1, (1,))
    block = model.conduction(0, 0, torch.from_numpy(points))
    rows = model.rows(block).detach().numpy()[:, 0] * model.sizes.heating
    assert rows == pytest.approx(balance, rel=1e-5, abs=1e-5 * np.abs(balance).max())
