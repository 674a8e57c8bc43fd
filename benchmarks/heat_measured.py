"""Thermometers: the tables scarce and inverse of benchmarks/heat.py."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ase.build import bulk

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phono3py import conductivity, load_third_order
from ase_mlx.heat import Face, Layer, Problem, finite_volumes
from ase_mlx.jobs.heat import solve
from ase_mlx.learn.config import build
from ase_mlx.learn.recipes.heat import HeatRecipe, HeatTraining
from ase_mlx.nn.jets import WaveNetwork

ROOT = Path(__file__).resolve().parents[1]
LENGTH, COLD, RISE = 1e-6, 300.0, 40.0
"""Of the film: m, K, K."""
SILICON = 148.0
"""W/(m K) at 300 K. Source: C. J. Glassbrenner and G. A. Slack, Phys. Rev. 134, A1058 (1964)."""
COUNTS, NOISES = (3, 5, 10, 30, 100), (0.001, 0.01, 0.05)
NORMAL_90 = 1.644854
STEPS = 4000
KELVIN = [200.0, 250.0, 300.0, 350.0, 400.0, 500.0]


def film(kappa: str, flux: float) -> tuple:
    """Temperatures (K) of a film that is heated at x = 0 and held at the other end, at 401 places."""
    problem = Problem((LENGTH,), (Layer(kappa),), {"x0": Face(flux=flux), "x1": Face(temperature=COLD)})
    x = np.linspace(0, LENGTH, 401)
    return x, finite_volumes(problem).at(x[:, None])


def fitted(kappa, flux: float | None, hot: float, unknowns: dict, x, temperature, std: float):
    """Ours: the film with thermometers at x."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "sensors.csv")
        pd.DataFrame({"x": x, "temperature": temperature, "std": std}).to_csv(file, index=False)
        face = {"flux": flux} if flux is not None else {"temperature": hot}
        table = {
            "size": [LENGTH], "layers": [{"kappa": kappa}], "faces": {"x0": face, "x1": {"temperature": COLD}},
            "unknowns": unknowns, "sensors": {"file": str(file)},
        }  # fmt: skip
        return solve(build(HeatTraining, HeatRecipe.located(table, Path())))


def text_book(x, temperature, flux: float, seed: int, weight: float, prior: float) -> np.ndarray:
    """A network of the same size with data, equation and conditions in one loss, Adam; weight 0: data alone.

    The equation is κ(T) T' = -flux, scaled; κ is known but for a factor that is learned along.
    """
    torch.manual_seed(seed)
    network = WaveNetwork(1, 1, 12, 2, 2.5)
    factor = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([*network.parameters(), factor], lr=3e-3)
    s = torch.from_numpy(2 * x[:, None] / LENGTH - 1)
    y = torch.from_numpy((temperature - COLD) / RISE)[:, None]
    inside, cold = torch.linspace(-1, 1, 100, dtype=torch.float64)[:, None], torch.ones(1, 1, dtype=torch.float64)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 3e-3 * 0.5 * (1 + np.cos(np.pi * step / STEPS)) + 1e-6
        loss = (network(s) - y).square().mean()
        if weight:
            u, by = network.jet(inside)
            kappa = prior * torch.exp(factor) * (300 / (COLD + RISE * u)) ** 1.3
            off = kappa * by[:, 0] * 2 / LENGTH * RISE / flux + 1
            loss = loss + weight * (off.square().mean() + network(cold).square().mean())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        grid = torch.linspace(-1, 1, 401, dtype=torch.float64)[:, None]
        return COLD + RISE * network(grid)[:, 0].numpy()


def scarce(seeds: int, figure: Path | None) -> list[dict]:
    """Errors (of the rise) inside and outside the half with thermometers, against their number and noise."""
    truth = f"{SILICON} * (300 / T)**1.3"
    flux = SILICON * RISE / LENGTH
    x, exact = film(truth, flux)
    rise, inside = exact.max() - COLD, x <= LENGTH / 2
    names = ("λ = 0", "soft, λ = 1", "ours")
    print(f"{'error, % of the rise':>22}" + "".join(f"{name + ': inside':>21}{'outside':>9}" for name in names))
    rows = []
    for noise in NOISES:
        for count in COUNTS:
            errors = {name: [] for name in names}
            for seed in range(seeds):
                random = np.random.default_rng([seed, count])
                at = np.sort(random.choice(np.flatnonzero(inside), count, replace=False))
                measured = exact[at] + random.normal(0, noise * rise, count)
                fields = {
                    "λ = 0": text_book(x[at], measured, flux, seed, 0.0, 110.0),
                    "soft, λ = 1": text_book(x[at], measured, flux, seed, 1.0, 110.0),
                }
                unknowns = {"factor": {"value": 1.0, "spread": 0.5}}
                ours = fitted("factor * 110 * (300 / T)**1.3", flux, 0.0, unknowns, x[at], measured, noise * rise)
                fields["ours"] = ours.temperature(x[:, None])
                for name, field in fields.items():
                    off = (field - exact) / rise
                    errors[name].append([np.sqrt(np.mean(off[part] ** 2)) for part in (inside, ~inside)])
            medians = {name: np.median(parts, axis=0) for name, parts in errors.items()}
            rows.append({"noise": noise, "count": count} | {name: m.tolist() for name, m in medians.items()})
            print(
                f"{count:6} at {100 * noise:4.1f} % noise"
                + "".join(f"{100 * medians[n][0]:21.3f}{100 * medians[n][1]:9.3f}" for n in names),
                flush=True,
            )
    if figure is not None:
        draw(rows, names, figure)
    return rows


def draw(rows: list[dict], names: tuple[str, ...], path: Path) -> None:
    from ase_mlx.figures.style import DOUBT, GREY, MODEL, drawn, logarithmic

    with drawn(path, (11, 4.2)) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for k, (ax, where) in enumerate(zip(axes, ("where thermometers are", "in the other half"), strict=True)):
            for name, colour in zip(names, (GREY, DOUBT, MODEL), strict=True):
                for noise, style in zip(NOISES, (":", "--", "-"), strict=True):
                    line = [(row["count"], 100 * row[name][k]) for row in rows if row["noise"] == noise]
                    label = f"{name}, noise {100 * noise:g} %" if k == 0 else None
                    ax.plot(*zip(*line, strict=True), style, color=colour, marker="o", markersize=4, label=label)
            ax.set(xscale="log", yscale="log", xlabel="thermometers", title=f"Error {where}")
            logarithmic(ax.xaxis)
            logarithmic(ax.yaxis)
        axes[0].set_ylabel("error (% of the rise)")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")


def materials() -> dict[str, dict]:
    """κ(T) of silicon, W/(m K): phono3py's forces and our potential, both 9³."""
    out = {}
    reference = load_third_order(ROOT / "tests" / "reference" / "data" / "phono3py-si" / "phono3py_params.yaml.xz")
    potential = Calculator("sigesn", dtype="float64")
    for name, source, calculator in (
        ("reference", reference, None),
        ("sigesn", bulk("Si", "diamond", a=5.43), potential),
    ):
        solved = conductivity(source, calculator, (11,) * 3, KELVIN, error_bars=False)
        out[name] = {"temperature": KELVIN, "values": solved.kappa[:, 0].tolist(), "factor": "factor"}
    return out


def inverse(repeats: int) -> tuple[list[dict], list[tuple]]:
    """κ(300 K) of a film from eight thermometers, flux known, noise 1 % of the rise, for two priors and two truths."""
    print(f"{'':44}{'prior':>8}{'error, %':>10}{'inside 90 %':>13}{'identified':>14}{'field inside 90 %':>20}")
    rows, lines = [], []
    spread = 0.5
    for name, table in materials().items():
        at_room = float(np.interp(300.0, table["temperature"], table["values"]))
        for truth in ("drawn from the prior", "measured (148)", "no flux known"):
            off, inside, identified, field = [], [], [], []
            for seed in range(repeats):
                random = np.random.default_rng([seed, len(rows)])
                factor = float(np.exp(spread * random.normal())) if truth != "measured (148)" else SILICON / at_room
                flux = at_room * factor * RISE / LENGTH
                problem = Problem(
                    (LENGTH,), (Layer({**table, "factor": factor}),),
                    {"x0": Face(flux=flux), "x1": Face(temperature=COLD)},
                )  # fmt: skip
                grid = finite_volumes(problem)
                x = np.linspace(0.05, 0.95, 8) * LENGTH
                std = 0.01 * float(grid.temperature.max() - COLD)
                measured = grid.at(x[:, None]) + random.normal(0, std, len(x))
                known = None if truth == "no flux known" else flux
                hot = float(grid.at(np.zeros((1, 1)))[0])
                solution = fitted(table, known, hot, {"factor": {"value": 1.0, "spread": spread}}, x, measured, std)
                unknown = solution.unknowns["factor"]
                off.append(abs(unknown["value"] / factor - 1))
                relative = unknown["std"] / unknown["value"]
                inside.append(abs(np.log(unknown["value"] / factor)) < NORMAL_90 * relative)
                identified.append(unknown["identified"])
                bars = NORMAL_90 * solution.temperature_std(x[:, None])
                field.append(np.mean(np.abs(solution.temperature(x[:, None]) - grid.at(x[:, None])) < bars))
            row = {
                "material": name, "truth": truth, "kappa": at_room, "error": 100 * float(np.median(off)),
                "inside": 100 * float(np.mean(inside)), "identified": int(np.sum(identified)),
                "field": 100 * float(np.mean(field)),
            }  # fmt: skip
            rows.append(row)
            print(
                f"{name:12}{truth:32}{at_room:8.1f}{row['error']:10.2f}{row['inside']:11.0f} %"
                f"{row['identified']:8} of {repeats}{row['field']:16.0f} %",
                flush=True,
            )
            what = f"{name}, {truth}"
            if truth == "no flux known":
                lines.append((f"{what}: wrongly identified", row["identified"], "≤", 0))
            else:
                lines.append((f"{what}: median error, %", row["error"], "≤", 3.0))
                lines.append((f"{what}: inside 90 %", row["inside"], "≥", 80.0))
                lines.append((f"{what}: inside 90 %", row["inside"], "≤", 97.0))
    return rows, lines
