"""Films thinner than mean free paths: the table films of benchmarks/heat.py."""

import time
from pathlib import Path

import numpy as np

from ase_mlx.adapters.phono3py import conductivity, load_third_order
from ase_mlx.figures.films import draw_films
from ase_mlx.heat import Spectrum, discrete_ordinates
from ase_mlx.jobs.films import film_conductivity
from ase_mlx.learn.config import build
from ase_mlx.learn.recipes.boltzmann import BoltzmannTraining
from ase_mlx.models.boltzmann import BoltzmannFilm

ROOT = Path(__file__).resolve().parents[1]
SI = ROOT / "tests" / "reference" / "data" / "phono3py-si" / "phono3py_params.yaml.xz"
FILMS = 60
SILICON = (5e-8, 1e-5)
"""Thicknesses, m."""
KNUDSEN = (0.05, 10.0)


def training(spectrum: Spectrum, thickness: tuple[float, float], title: str) -> BoltzmannTraining:
    modes = {name: getattr(spectrum, name).tolist() for name in ("capacity", "speed", "mean_free_path")}
    return build(BoltzmannTraining, {"title": title, "thickness": list(thickness), "modes": modes})


def compared(name: str, spectrum: Spectrum, ends: tuple[float, float], goal: float) -> tuple[dict, list[tuple]]:
    """A network for all films beside discrete ordinates for each."""
    solution = film_conductivity(training(spectrum, ends, name))
    model: BoltzmannFilm = solution.model
    thickness = np.geomspace(*ends, FILMS)
    begin = time.process_time()
    ours, std = model.conductivity(thickness)
    each = (time.process_time() - begin) / FILMS
    begin = time.process_time()
    exact = np.array([discrete_ordinates(spectrum, length).conductivity for length in thickness])
    oracle = (time.process_time() - begin) / FILMS
    fine = np.array([discrete_ordinates(spectrum, length, 240, 48).conductivity for length in thickness[::10]])
    off = np.abs(ours / exact - 1)
    row = {
        "case": name, "weights": sum(p.numel() for p in model.parameters()), "seconds": solution.seconds,
        "largest": float(off.max()), "mean": float(off.mean()), "inside": float((off < 2 * std / ours).mean()),
        "network_ms": 1e3 * each, "ordinates_ms": 1e3 * oracle,
        "ordinates_off": float(np.abs(exact[::10] / fine - 1).max()),
    }  # fmt: skip
    print(
        f"{name:22}{row['weights']:9}{row['seconds']:8.1f}{100 * row['largest']:11.2f}{100 * row['mean']:8.2f}"
        f"{100 * row['inside']:14.0f}{row['network_ms']:10.2f}{row['ordinates_ms']:16.1f}", flush=True,
    )  # fmt: skip
    return row | {"films": [[float(v) for v in line] for line in zip(thickness, ours, exact, strict=True)]}, [
        (f"films, {name}: largest error, %", 100 * row["largest"], "≤", goal)
    ]


def films(figure: Path | None = None) -> tuple[list[dict], list[tuple]]:
    """Gray films, and silicon's modes (phono3py's forces, 11³, 300 K) in groups beside all of them."""
    print(f"{'':22}{'':9}{'':8}{'off discrete ordinates, %':>28}")
    print(
        f"{'':22}{'weights':>9}{'CPU s':>8}{'at most':>11}{'mean':>8}{'within 2 σ, %':>14}"
        f"{'ms/film':>10}{'ordinates, ms':>16}"
    )
    table = conductivity(load_third_order(SI), None, (11,) * 3, [200.0, 300.0], error_bars=False).table
    few, every = Spectrum.of(table), Spectrum.of(table, groups=5000)
    gray = Spectrum.gray(100.0, 1e-7, 6000.0)
    cases = [
        ("gray, Kn 0.05 to 10", gray, (1e-7 / KNUDSEN[1], 1e-7 / KNUDSEN[0]), 2.0),
        ("Si, 50 nm to 10 µm", few, SILICON, 5.0),
    ]
    rows, lines = [], []
    for case in cases:
        row, more = compared(*case)
        rows.append(row)
        lines += more
    off = [
        discrete_ordinates(few, length).conductivity / discrete_ordinates(every, length).conductivity - 1
        for length in np.geomspace(*SILICON, 5)
    ]
    print(
        f"  {len(few.flow)} groups for {len(every.flow)} of other mean free paths: at most "
        f"{100 * np.abs(off).max():.2f} % apart"
    )
    if figure is not None:
        draw_films(film_conductivity(training(few, SILICON, "Si")), "Silicon at 300 K", figure)
    return rows, lines
