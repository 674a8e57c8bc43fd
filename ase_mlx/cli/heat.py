"""`ase-mlx heat`: temperatures in a body that conducts heat, and what a few thermometers tell of it.

Source: ours.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.output import JsonFile, named_after, print_table, results_folder, write_json
from ase_mlx.cli.run import progress_bar

File = typer.Argument(metavar="PROBLEM.toml", exists=True, dir_okay=False, help="Size, layers, faces: docs/heat.md.")
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="For results; PROBLEM-heat if not given.")
]
Method = Annotated[Literal["network", "fv"], typer.Option("--method", help="A network, or finite volumes.")]
Kappa = Annotated[
    Path | None,
    typer.Option("--kappa", metavar="FILE.hdf5", exists=True, help="A film of this material, in place of a problem."),
]
Length = Annotated[float | None, typer.Option("--length", min=0, metavar="m", help="Thickness of the film.")]
Hot = Annotated[float | None, typer.Option("--hot", min=0, metavar="K", help="Its face at x = 0.")]
Flux = Annotated[float | None, typer.Option("--flux", metavar="W/m²", help="Into that face, in place of --hot.")]
Cold = Annotated[float | None, typer.Option("--cold", min=0, metavar="K", help="Its face at x = length.")]
Volume = Annotated[
    float | None, typer.Option("--volume", metavar="Å³", help="Of the primitive cell, where the file does not say it.")
]
Films = Annotated[
    tuple[float, float] | None,
    typer.Option("--films", metavar="THIN THICK", help="Boltzmann's equation for films between two thicknesses, m."),
]
Temperature = Annotated[float, typer.Option("--temperature", "-t", min=0, metavar="K", help="Of these films.")]
Fit = Annotated[
    Path | None,
    typer.Option("--fit", metavar="SENSORS.csv", exists=True, help="Thermometers: x (y, z, t), temperature, std."),
]
Prior = Annotated[
    float, typer.Option("--prior-spread", min=1e-3, help="Of a film's conductivity, relative: theory is this far off.")
]
SPREAD = 0.5
"""Theory against experiment: PBE's and our conductivities of Si and Ge are 0.8 and 0.4 of those measured."""
BYTES = 4_000_000
FOURIER = 0.95
"""Of the bulk's conductivity, what a film has to keep for Fourier's law to be taken without a word."""
JOBS = {
    "boltzmann": ("films", "films_job", "Films, from contact to contact (m, W/(m K))"),
    "free_energy": ("free_energy", "free_energy_job", "F(V, T): what the data told"),
    "levels": ("levels", "levels_job", "Levels of a soft mode"),
}
"""Of the other equations: module of `jobs`, function, title of the table."""


def heat(
    problem: Annotated[Path | None, File] = None,
    out: Out = None,
    method: Method = "network",
    kappa: Kappa = None,
    length: Length = None,
    hot: Hot = None,
    flux: Flux = None,
    cold: Cold = None,
    films: Films = None,
    temperature: Temperature = 300.0,
    volume: Volume = None,
    fit: Fit = None,
    prior_spread: Prior = SPREAD,
    json: JsonFile = None,
) -> None:
    """Solve heat conduction by a network that obeys the equation, or find a material from a few thermometers.

    Writes temperature.csv, heat.png and, with thermometers, unknowns.csv with a standard deviation each, and says what
    they cannot tell. The network is judged beside finite volumes. A problem of another equation (kind boltzmann,
    free_energy, levels) gets its own table and figure. The same command goes on after a kill.

    Example: `ase-mlx heat film.toml -o film`, or `ase-mlx heat --kappa kappa.hdf5 --length 1e-6 --hot 320 --cold 300`
    """
    from ase_mlx.jobs.heat import FILES, heat_job
    from ase_mlx.learn.recipe import recipe_of

    with exits.reading("PROBLEM.toml" if problem else "options"):
        film = {"--length": length, "--hot or --flux": flux if hot is None else hot, "--cold": cold}
        if films is None:
            training = _training(problem, kappa, film, (hot, flux, volume, prior_spread), fit)
        else:
            idle = {"--length": length, "--hot": hot, "--flux": flux, "--cold": cold, "--fit": fit}
            training = _films(problem, kappa, films, temperature, volume, idle)
        if method == "fv" and (training.kind != "heat" or training.unknowns):
            raise ValueError("got --method fv, expected the network: finite volumes solve heat conduction alone")
        recipe_of(training.kind)(training)
    out = out or named_after(problem or kappa, "heat")
    if training.kind != "heat":
        return _other(training, out, json)
    with results_folder(out, FILES, BYTES) as part, progress_bar(out.name) as tell:
        solved = heat_job(training, part, method, out / "work", tell)
    if kappa is not None:
        solved.notes.extend(_thin(kappa, film, volume))
    if not write_json(_as_json(solved), json):
        _print(solved)
        print(f"written to {out}: {', '.join(solved.files)}")


def _other(training, out: Path, json: Path | None) -> None:
    """Solve another equation than that of heat conduction."""
    from importlib import import_module

    name, function, title = JOBS[training.kind]
    module = import_module(f"ase_mlx.jobs.{name}")
    with results_folder(out, module.FILES, BYTES) as part, progress_bar(out.name) as tell:
        solved = getattr(module, function)(training, part, out / "work", tell)
    if not write_json({"rows": solved.rows, "notes": solved.notes, "files": solved.files}, json):
        print_table(training.title or title, solved.rows)
        for note in solved.notes:
            print(note)
        print(f"written to {out}: {', '.join(solved.files)}")


def _films(
    problem: Path | None, kappa: Path | None, films: tuple, temperature: float, volume: float | None, idle: dict
):
    from ase_mlx.learn.config import build
    from ase_mlx.learn.recipes.boltzmann import BoltzmannRecipe, BoltzmannTraining

    if problem is not None or kappa is None:
        raise ValueError("got --films without --kappa, or with a problem, expected --kappa FILE.hdf5 alone")
    idle = [name for name, value in idle.items() if value is not None]
    if idle:
        raise ValueError(f"got --films with {', '.join(idle)}, expected --kappa and perhaps --temperature, --volume")
    modes = {"file": str(kappa.resolve()), "temperature": temperature} | ({"volume": volume} if volume else {})
    table = {"kind": "boltzmann", "title": f"{kappa.stem}, {temperature:g} K", "thickness": list(films), "modes": modes}
    return build(BoltzmannTraining, BoltzmannRecipe.located(table, Path()))


def _thin(kappa: Path, film: dict[str, Any], volume: float | None) -> list[str]:
    """Say where a film is so thin that Fourier's law does not hold."""
    from ase_mlx.heat import Spectrum
    from ase_mlx.heat.kappa_files import KappaTable

    table = KappaTable.read(kappa, volume)
    if table.speed is None or table.lifetime is None:
        return []
    temperature = min(table.temperature.tolist(), key=lambda t: abs(t - film["--cold"]))
    kept = Spectrum.of(table, temperature).suppressed(film["--length"])
    if kept > FOURIER:
        return []
    return [
        "Fourier's law is assumed, but mean free paths are as long as the film: from contact to contact it keeps about "
        f"{100 * kept:.0f} % of the bulk's conductivity at {temperature:g} K; see --films"
    ]


def _training(problem: Path | None, kappa: Path | None, film: dict, more: tuple, fit: Path | None):
    from ase_mlx.learn.config import build
    from ase_mlx.learn.recipe import read_training
    from ase_mlx.learn.recipes.heat import HeatRecipe, HeatTraining

    hot, flux, volume, spread = more
    if (problem is None) == (kappa is None):
        raise ValueError("got a problem and --kappa, or none of them, expected one of the two")
    if problem is not None:
        _, training = read_training(problem)
        if training.kind not in ("heat", *JOBS) or (fit and training.kind != "heat"):
            kinds = "'heat'" if fit else f"'heat', {', '.join(map(repr, JOBS))}"
            raise ValueError(f"got {problem.name} of kind {training.kind!r}, expected kind = {kinds}")
        table = vars(training) | ({"sensors": {"file": str(fit)}} if fit else {})
        return build(HeatTraining, {k: v if k != "fit" else vars(v) for k, v in table.items()}) if fit else training
    missing = [name for name, value in film.items() if value is None]
    if missing or (hot is not None and flux is not None):
        raise ValueError(f"got --kappa without {', '.join(missing) or 'a choice of --hot and --flux'}, expected them")
    layer: dict[str, Any] = {"kappa": {"file": str(kappa.resolve()), "factor": "factor" if fit else 1.0}}
    if volume is not None:
        layer["kappa"]["volume"] = volume
    table = {
        "kind": "heat",
        "title": f"{kappa.stem}, {film['--length']:g} m",
        "size": [film["--length"]],
        "layers": [layer],
        "faces": {
            "x0": {"temperature": hot} if flux is None else {"flux": flux},
            "x1": {"temperature": film["--cold"]},
        },
    }
    if fit:
        table |= {"sensors": {"file": str(fit.resolve())}, "unknowns": {"factor": {"value": 1.0, "spread": spread}}}
    return build(HeatTraining, HeatRecipe.located(table, Path()))


def _as_json(solved) -> dict[str, Any]:
    names = ("method", "residual", "converged", "seconds", "balance", "notes", "files")
    return {name: getattr(solved, name) for name in names} | {"unknowns": solved.unknowns}


def _print(solved) -> None:
    low, high = solved.problem.held
    row: dict[str, Any] = {"method": solved.method, "converged": "yes" if solved.converged else "NO"}
    row |= {"residual": f"{solved.residual:.1e}"}
    if solved.balance:
        row["heat missing"] = f"{100 * solved.balance['off']:.1g} %"
    if solved.card:
        row["off finite volumes, K"] = float(solved.card["finite_volumes"]["temperature"]["rmse"])
    row |= {"CPU s": round(solved.seconds, 1)}
    print_table(f"Heat conduction, held between {low:g} and {high:g} K", [row])
    if solved.unknowns:
        rows = [
            {
                "unknown": name, "value": told["value"], "std": told["std"],
                "of the prior's std": f"{100 * told['of_prior']:.0f} %",
                "identified": "yes" if told["identified"] else "NO",
            }
            for name, told in solved.unknowns.items()
        ]  # fmt: skip
        print_table("What the thermometers tell", rows)
    for note in solved.notes:
        print(note)
