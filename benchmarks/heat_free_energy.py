"""Free energies F(V, T) from five points: the table free_energy of benchmarks/heat.py.

Truth is `quasi_harmonic` with one potential; the prior is that of another one, or Debye's and Grüneisen's numbers that
are 10 to 15 % wrong. Five noisy points: two volumes and three heat capacities.
"""

import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import quasi_harmonic
from ase_mlx.adapters.phonopy.free_energy import free_energy_prior
from ase_mlx.learn.config import build
from ase_mlx.learn.equations import linearised
from ase_mlx.learn.fit import fit
from ase_mlx.learn.gauss_newton import GaussNewton
from ase_mlx.learn.recipes.free_energy import FreeEnergyRecipe, FreeEnergyTraining
from ase_mlx.models.free_energy import QuasiHarmonicPrior, Spread
from ase_mlx.nn.jets import WaveNetwork
from ase_mlx.units import BOLTZMANN, GAS

NORMAL_90 = 1.644854
MESH = 40.0
STRAINS = (-0.03, -0.01, 0.01, 0.03, 0.05, 0.07, 0.09, 0.11)
KELVIN = np.arange(0.0, 811.0, 10.0)
LOWEST = 50.0
NOISE = {"volume": 0.001, "heat_capacity_p": 0.01}
AT = {"volume": (100.0, 600.0), "heat_capacity_p": (80.0, 250.0, 700.0)}
"""K at which there are points."""
JUDGED = ("heat_capacity_p", "expansion", "bulk_modulus")
GUESS = "Debye–Grüneisen"
WIDE = {"volume": 0.03, "bulk_modulus": 0.35, "frequencies": 0.2, "gruneisen": 0.6, "gruneisen_slope": 2.0}
SPREADS = {False: Spread(**WIDE, detail=0.1), True: Spread(**WIDE, detail=0.2)}
"""How far a prior may be wrong: of another potential, and of a guess, whose spectrum has another shape."""
CRYSTALS = {
    "Si": (bulk("Si", "diamond", a=5.43), "sigesn", "universal", 800.0),
    "Al": (bulk("Al", "fcc", a=4.05), "al", "EMT", 700.0),
    "Ge": (bulk("Ge", "diamond", a=5.66), "sigesn", "universal", 800.0),
}
"""Crystal, potentials of truth and prior, highest K: of `al` the free energy has no minimum from 750 K on.

Spreads, temperatures and shifts were settled with an eye on silicon and aluminium; germanium came after.
"""


def curves(atoms, name: str):
    """Quasi-harmonic curves of a crystal with a potential."""
    calculator = EMT() if name == "EMT" else Calculator(name, dtype="float64")
    return quasi_harmonic(
        atoms, calculator, (3, 3, 3), temperatures=KELVIN, strains=STRAINS, mesh=MESH, error_bars=False
    )


def truth_of(solved, highest: float) -> dict[str, np.ndarray]:
    """Å³/atom, J/(K mol), 1/K and GPa against K, without the ends, where expansions are one-sided differences."""
    inside = (solved.temperatures >= LOWEST) & (solved.temperatures <= min(highest, solved.temperatures[-2]))
    names = ("temperatures", "volume", *JUDGED)
    table = {name: getattr(solved, name)[inside] for name in names}
    return {k: v / solved.natoms if k in ("volume", "heat_capacity_p") else v for k, v in table.items()}


def guessed(exact: QuasiHarmonicPrior, random: np.random.Generator) -> dict[str, float]:
    """Debye's and Grüneisen's numbers of a crystal, each 10 to 15 % off, the volume 1 to 1.5 %."""
    lines = np.array(exact.frequencies)
    weights = exact.shares / 3
    debye = QuasiHarmonicPrior.debye_gruneisen(1.0, 1.0, 2.0, 100.0, 0.0)
    mean = [float(np.exp(np.array(p.frequencies)[:, 0]) @ weights) for p in (exact, debye)]
    numbers = {
        "volume": exact.volume, "bulk_modulus": exact.bulk_modulus, "derivative": exact.derivative,
        "debye_temperature": 100.0 * mean[0] / mean[1], "gruneisen": -float(lines[:, 1] @ weights),
    }  # fmt: skip
    off = {name: random.choice([-1, 1]) * random.uniform(0.10, 0.15) for name in numbers}
    off["volume"] *= 0.1
    return {name: value * (1 + off[name]) for name, value in numbers.items()}


def points_of(truth: dict[str, np.ndarray], random: np.random.Generator) -> list[tuple]:
    """Five noisy points: quantity, K, value, std."""
    rows = []
    for name, temperatures in AT.items():
        for t in temperatures:
            value = float(np.interp(t, truth["temperatures"], truth[name]))
            std = NOISE[name] * value
            rows.append((name, t, value + random.normal(0, std), std))
    return rows


def fitted(prior: dict, rows: list[tuple], folder: Path, spread: Spread):
    """Ours: the model after the data."""
    file = folder / "measured.csv"
    pd.DataFrame(rows, columns=["quantity", "temperature", "value", "std"]).to_csv(file, index=False)
    table = {"prior": prior, "data": {"file": str(file)}, "spread": asdict(spread)}
    recipe = FreeEnergyRecipe(build(FreeEnergyTraining, table))
    recipe.epochs = {}
    for stage in recipe.stages():
        recipe.epochs[stage.name] = fit(stage)[-1]["epoch"]
    recipe.finish()
    return recipe.model


def _polyline(network: WaveNetwork, start: torch.Tensor, points: tuple) -> dict[str, torch.Tensor]:
    t, y, std = points
    weights = torch.cat([p.reshape(-1) for p in network.parameters()])
    return {"data": (network(t)[:, 0] - y) / std, "weights": 0.1 * (weights - start)}


def without_equation(rows: list[tuple], kelvin: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """A network for C_p(T) and one for V(T), each fitted to its points alone: no bulk modulus comes out of them."""
    out, scaled = {}, torch.from_numpy(kelvin[:, None] / 400 - 1)
    for name in AT:
        torch.manual_seed(seed)
        network = WaveNetwork(1, 1, 10, 2, 1.5)
        with torch.no_grad():
            network.weights[-1].zero_()
        start = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
        t, y, std = (torch.tensor([row[k] for row in rows if row[0] == name], dtype=torch.float64) for k in (1, 2, 3))
        size = float(y.mean()) * (0.01 if name == "volume" else 1.0)
        points = (t[:, None] / 400 - 1, (y - y.mean()) / size, std / size)
        step = GaussNewton(list(network.parameters()))
        at = lambda model, content, start=start: _polyline(model, start, content)  # noqa: E731
        for _ in range(60):
            step.step(lambda: linearised(network, points, at, False)[0], lambda: linearised(network, points, at, True))  # noqa: B023
        with torch.no_grad():
            value, slope = network.jet(scaled)
        out[name] = float(y.mean()) + size * value[:, 0].numpy()
        if name == "volume":
            out["expansion"] = size * slope[:, 0, 0].numpy() / 400 / out[name]
    return out


def straight_line(rows: list[tuple], truth: dict[str, np.ndarray]) -> float:
    """Error of α (as `errors_of`) from the line through the two volumes: one number for all temperatures."""
    (cold, small), (hot, large) = ((row[1], row[2]) for row in rows if row[0] == "volume")
    constant = np.full(len(truth["expansion"]), np.log(large / small) / (hot - cold))
    return errors_of({"expansion": constant}, truth)["expansion"]


def errors_of(curve, truth: dict[str, np.ndarray]) -> dict[str, float]:
    """Root mean squares over the temperatures, % of that of the truth."""
    size = lambda x: float(np.sqrt(np.mean(np.square(x))))  # noqa: E731
    return {name: 100 * size(curve[name] - truth[name]) / size(truth[name]) for name in JUDGED if name in curve}


def asked(model, kelvin: np.ndarray) -> tuple[dict, dict]:
    """Curves and bars in the truth's units."""
    along = model.along(kelvin)
    factor = {"heat_capacity_p": GAS / BOLTZMANN}
    return tuple({n: factor.get(n, 1.0) * part[n] for n in JUDGED} for part in (along, along.std))


def free_energies(seeds: int = 10) -> tuple[list[dict], list[tuple]]:
    """Errors of C_p, α and B from 50 to 800 K before and after five points, and how many lie inside their bars."""
    head = "".join(f"{name:>8}" for name in ("C_p", "α", "B"))
    print(
        f"{'errors, %':34}{'prior':>8}{'':16}{'with five points':>24}{'no equation':>16}{'line':>8}"
        "   inside 68 | 90 %    CPU s"
    )
    print(f"{'':34}{head}{head}{'C_p':>8}{'α':>8}{'α':>8}   C_p, α, B")
    rows, lines = [], []
    with tempfile.TemporaryDirectory() as folder:
        for crystal, (atoms, name, other, highest) in CRYSTALS.items():
            solved = curves(atoms, name)
            truth, exact = truth_of(solved, highest), free_energy_prior(solved, MESH)
            free_energy_prior(curves(atoms, other), MESH).write(Path(folder, "prior.json"))
            for kind in (other, GUESS):
                rows.append(_case(f"{crystal} by {name}", kind, truth, exact, seeds, Path(folder)))
                lines += _lines(rows[-1])
    return rows, lines


def _case(what: str, kind: str, truth: dict, exact: QuasiHarmonicPrior, seeds: int, folder: Path) -> dict:
    before, after, plain, inside, seconds, lost = [], [], [], {68: [], 90: []}, [], []
    kelvin = truth["temperatures"]
    for seed in range(seeds):
        random = np.random.default_rng([seed, len(what), len(kind)])
        prior = {"file": str(folder / "prior.json")} if kind != GUESS else guessed(exact, random)
        points = points_of(truth, random)
        begin = time.process_time()
        model = fitted(prior, points, folder, SPREADS[kind == GUESS])
        held = model.reached(kelvin)
        curve, bars = asked(model, kelvin[held])
        seconds.append(time.process_time() - begin)
        prior_model = model.before()
        reach, exact_here = prior_model.reached(kelvin), {name: values[held] for name, values in truth.items()}
        exact_there = {name: values[reach] for name, values in truth.items()}
        lost.append(int(np.sum(~held)))
        before.append(list(errors_of(asked(prior_model, kelvin[reach])[0], exact_there).values()))
        after.append(list(errors_of(curve, exact_here).values()))
        plain.append([*errors_of(without_equation(points, kelvin, seed), truth).values(), straight_line(points, truth)])
        for level, width in ((68, 1.0), (90, NORMAL_90)):
            inside[level].append([np.mean(np.abs(curve[n] - exact_here[n]) < width * bars[n]) for n in JUDGED])
    medians = {"before": before, "after": after, "plain": plain}
    row = {
        "truth": what,
        "prior": kind,
        "highest": float(kelvin[-1]),
        "seconds": float(np.median(seconds)),
        "lost": sum(lost),
    }
    row |= {name: np.median(part, axis=0).tolist() for name, part in medians.items()}
    row |= {f"inside_{level}": (100 * np.mean(part, axis=0)).tolist() for level, part in inside.items()}
    text = f"{what}, {kind}"
    numbers = "".join(f"{x:8.2f}" for x in (*row["before"], *row["after"], *row["plain"]))
    held = " ".join(f"{a:3.0f}|{b:3.0f}" for a, b in zip(row["inside_68"], row["inside_90"], strict=True))
    print(f"{text:34}{numbers}   {held}{row['seconds']:8.1f}   to {row['highest']:.0f} K", flush=True)
    return row


def _lines(row: dict) -> list[tuple]:
    what, names = f"{row['truth']}, {row['prior']}", ("C_p", "α", "B")
    lines = [
        (f"{what}: {name}, error after into before", after / before, "≤", 1.0)
        for name, before, after in zip(names, row["before"], row["after"], strict=True)
    ]
    plain = row["after"][0] / row["plain"][0], row["after"][1] / min(row["plain"][1:])
    lines += [(f"{what}: {n}, error into no equation's", x, "≤", 1.0) for n, x in zip(names, plain, strict=False)]
    lines.append((f"{what}: inside 90 %, mean of three", float(np.mean(row["inside_90"])), "≥", 80.0))
    return lines
