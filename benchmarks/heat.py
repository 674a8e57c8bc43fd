"""Heat conduction: networks, finite volumes, DeepXDE and closed forms; thermometers; families of problems.

    python benchmarks/heat.py [--tables forward optimisers scarce inverse family films free_energy levels]
        [--cases 3-D ...] [--quick] [--json FILE] [--figure PNG]

Tables: forward (relative L2 errors of what is above 300 K, CPU seconds, heat missing), optimisers (the same rows
and weights by Gauss-Newton, L-BFGS and Adam, as many seconds), scarce (errors from a few noisy thermometers without
physics, with the text-book's soft conditions and one λ, and with ours), inverse (what eight thermometers tell of a film
of silicon, 30 times), family (1,000 problems after one training), films (thinner than mean free paths, beside
discrete ordinates), free_energy (C_p, α, B from five points beside quasi_harmonic) and
levels (of double wells, beside finite differences). Exit code 1 where a figure is missed.
"""

import argparse
import copy
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from heat_cases import CASES, FAMILY, above, judged
from heat_films import films
from heat_free_energy import free_energies
from heat_levels import levels
from heat_measured import inverse, scarce
from peers.driver import ask
from verdict import machine, print_machine, verdict

from ase_mlx.heat import finite_volumes
from ase_mlx.jobs.heat import solve
from ase_mlx.learn.recipes.heat import HeatRecipe, loss
from ase_mlx.models.heat import problem_of
from ase_mlx.nn.terms import counts, value

TABLES = ("forward", "optimisers", "scarce", "inverse", "family", "films", "free_energy", "levels")
PEER = {"1-D transient": "transient", "2-D anisotropic, source": "anisotropic"}


def forward(names: list[str]) -> tuple[list[dict], list[tuple]]:
    """Networks and finite volumes beside closed forms, DeepXDE beside both."""
    print(f"{'':26}{'network':>30}{'finite volumes':>22}{'DeepXDE':>22}")
    print(f"{'':26}{'weights':>9}{'error':>12}{'CPU s':>9}{'error':>13}{'CPU s':>9}{'error':>13}{'CPU s':>9}")
    rows, lines = [], []
    for name in names:
        training, goal = CASES[name].training, CASES[name].goal
        points, exact = judged(name)
        solution = solve(training)
        begin = time.process_time()
        grid = finite_volumes(problem_of(training.problem()))
        seconds = time.process_time() - begin
        row = {
            "case": name, "weights": sum(p.numel() for p in solution.model.networks.parameters()),
            "error": above(solution.temperature(points), exact), "seconds": solution.seconds,
            "volumes": above(grid.at(points), exact), "volumes_seconds": seconds,
            "balance": solution.balance["off"], "residual": solution.residual,
        }  # fmt: skip
        peer = ""
        if name in PEER:
            answer = ask("deepxde", {"task": PEER[name], "points": points.tolist()})
            row |= {"deepxde": above(300 + np.array(answer["values"]), exact), "deepxde_seconds": answer["seconds"]}
            peer = f"{row['deepxde']:13.1e}{row['deepxde_seconds']:9.1f}"
            lines.append((f"{name}: DeepXDE's error into ours", row["deepxde"] / row["error"], "≥", 1.0))
            lines.append((f"{name}: DeepXDE's seconds into ours", row["deepxde_seconds"] / row["seconds"], "≥", 1.0))
        ours = f"{row['weights']:9}{row['error']:12.1e}{row['seconds']:9.1f}"
        print(f"{name:26}{ours}{row['volumes']:13.1e}{row['volumes_seconds']:9.2f}{peer}", flush=True)
        rows.append(row)
        lines.append((f"{name}: error, 1e-6", 1e6 * row["error"], "≤", 1e6 * goal))
        lines.append((f"{name}: heat missing, %", 100 * row["balance"], "≤", 0.1))
        if name == "2-D varying coefficient":
            lines.append((f"{name}: CPU s", row["seconds"], "≤", 60.0))
    return rows, lines


def optimisers(names: list[str]) -> list[dict]:
    """The same weights, points and loss, by three methods, each with the seconds that Gauss-Newton took."""
    print(
        f"{'':26}{'CPU s':>8}{'Gauss-Newton':>15}{'L-BFGS':>11}{'Adam':>11}   root mean square of the rows, then error"
    )
    rows = []
    for name in names:
        training = CASES[name].training
        points, exact = judged(name)
        found = solve(training)
        row = {
            "case": name,
            "seconds": found.seconds,
            "Gauss-Newton": (found.residual, above(found.temperature(points), exact)),
        }
        for method in ("L-BFGS", "Adam"):
            recipe = HeatRecipe(training)
            stage = next(iter(recipe.stages()))
            _descend(recipe.model, stage.train, method, found.seconds)
            recipe.epochs = {}
            recipe.finish()
            error = above(recipe.model.at(None, points)["temperature"], exact)
            row[method] = (float(recipe.model.residual), error)
        rows.append(row)
        for k, what in enumerate((f"{name:26}{row['seconds']:8.1f}", " " * 34)):
            print(f"{what}{row['Gauss-Newton'][k]:15.1e}{row['L-BFGS'][k]:11.1e}{row['Adam'][k]:11.1e}", flush=True)
    return rows


def _descend(model, sample, method: str, seconds: float) -> None:
    weights = [p for p in model.parameters() if p.requires_grad and p.numel()]
    begin, random = time.process_time(), torch.Generator().manual_seed(0)

    def objective() -> torch.Tensor:
        terms = loss(model, sample, random)
        return value([terms], counts([terms]))[0]

    if method == "Adam":
        optimizer = torch.optim.Adam(weights, lr=3e-3)
        while (share := (time.process_time() - begin) / seconds) < 1:
            optimizer.param_groups[0]["lr"] = 3e-3 * 0.5 * (1 + np.cos(np.pi * share)) + 1e-6
            optimizer.zero_grad()
            objective().backward()
            optimizer.step()
        return
    optimizer = torch.optim.LBFGS(
        weights, max_iter=20, history_size=100, line_search_fn="strong_wolfe", tolerance_grad=0, tolerance_change=0
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        out = objective()
        out.backward()
        return out

    while time.process_time() - begin < seconds:
        optimizer.step(closure)


def family(count: int) -> tuple[dict, list[tuple]]:
    """One network over hot side, conductivity and exponent; then random problems, and the oracle's answers."""
    training = FAMILY
    solution = solve(training)
    problem = problem_of(training.problem())
    random, x = np.random.default_rng(3), np.linspace(0.01, 0.99, 50)
    names, lists = list(problem.parameters), []
    for _ in range(count):
        lists.append([random.uniform(*problem.parameters[name]) for name in names])
    points = np.array([[place, *values] for values in lists for place in x])
    begin = time.process_time()
    ours = solution.temperature(points).reshape(count, -1)
    seconds = (time.process_time() - begin) / count
    oracle, begin = [], time.process_time()
    for values in lists:
        settled = copy.copy(problem).settled(dict(zip(names, values, strict=True)))
        oracle.append(finite_volumes(settled, 400).at(x[:, None]))
    each = (time.process_time() - begin) / count
    error = float(np.linalg.norm(ours - np.array(oracle)) / np.linalg.norm(np.array(oracle) - 300))
    row = {
        "problems": count, "training": solution.seconds, "network_ms": 1e3 * seconds, "volumes_ms": 1e3 * each,
        "error": error, "largest_K": float(np.abs(ours - np.array(oracle)).max()),
    }  # fmt: skip
    print(
        f"{count} problems after {row['training']:.1f} s: {row['network_ms']:.3f} ms each, finite volumes "
        f"{row['volumes_ms']:.1f} ms; error {error:.1e}, at most {row['largest_K']:.4f} K"
    )
    return row, [("family: error, 1e-6", 1e6 * error, "≤", 1000.0)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--cases", nargs="+", default=[""], help="of the table forward: begins of their names")
    parser.add_argument("--quick", action="store_true", help="two cases, two repeats, ten problems")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path, help="of the table scarce or films, PNG")
    options = parser.parse_args()
    torch.set_num_threads(1)
    about = machine()
    print_machine(about)
    made, lines = {}, []
    quick = options.quick
    for table in options.tables:
        print(f"\n{table}")
        if table == "forward":
            made[table], more = forward(
                [n for n in CASES if n.startswith(tuple(options.cases))][: 2 if quick else None]
            )
        elif table == "optimisers":
            names = ["1-D transient", "2-D anisotropic, source", "2-D varying coefficient"]
            made[table], more = optimisers(names[: 1 if quick else None]), []
        elif table == "scarce":
            made[table], more = scarce(1 if quick else 3, options.figure), []
        elif table == "inverse":
            made[table], more = inverse(3 if quick else 100)
        elif table == "levels":
            made[table], more = levels()
        elif table == "free_energy":
            made[table], more = free_energies(2 if quick else 10)
        elif table == "films":
            made[table], more = films(options.figure)
        else:
            made[table], more = family(10 if quick else 1000)
        lines += more
    reached = verdict(lines)
    if options.json:
        options.json.write_text(json.dumps({"machine": about, **made, "reached": reached}, indent=1, default=float))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
