"""`ase-mlx train`: a potential from labelled frames, a density on a potential, or properties of crystals from a table.

Source: ours.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.report import JsonFile, named_after, print_table, write_json


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", exists=True, dir_okay=False, help="[data], [model], [fit].")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="The model folder to make; CONFIG-model if not given."),
    ] = None,
    json: JsonFile = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Train a model; the same command goes on after a kill.

    The folder gets model.safetensors and card.json, which `am.load` and `Calculator` take by its path.

    Example: `ase-mlx train silicon.toml -o silicon`
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ase_mlx.learn.anomaly.job import read_training
    from ase_mlx.learn.config import read_config
    from ase_mlx.learn.density.train import prepare_density, run_density
    from ase_mlx.learn.files import model_folder
    from ase_mlx.learn.train import prepare
    from ase_mlx.learn.train import train as run
    from ase_mlx.pretrained import find, names

    out = out or named_after(config, "model")
    with exits.reading("CONFIG.toml"):
        crystals = read_training(config)
    if crystals is not None:
        return _train_crystals(crystals, config.name, out, json)
    with exits.reading("CONFIG.toml"):
        settings = read_config(config)
        if settings.start:
            known = settings.start in names()
            settings = replace(settings, start=str(find(settings.start if known else config.parent / settings.start)))
        model, *_ = (prepare if settings.kind == "potential" else prepare_density)(settings)
    with exits.reading("--out"), model_folder(out, model):
        pass
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=settings.fit.epochs)

        def show(p) -> None:
            text = f"loss {p.train_loss:.4f}, held out {p.val_loss:.4f} (best {p.best_val_loss:.4f})"
            bar.update(task, completed=p.epoch, description=text)
            if not console.is_terminal and (p.epoch % max(1, p.epochs // 20) == 0):
                console.print(f"epoch {p.epoch}/{p.epochs}: {text}")

        work = partial(run, device=device) if settings.kind == "potential" else run_density
        _, info = work(settings, out, report=show)
    if not write_json(info, json):
        _print(settings.kind, info, out)


def _print(kind: str, info: dict, out: Path) -> None:
    show_errors = print_errors if kind == "potential" else print_density_errors
    show_errors(info["errors"], f"Errors on {info['errors_on']} frames")
    for note in info.get("notes", ()):
        print(note)
    print(f"wrote {out}")


def _train_crystals(settings, name: str, out: Path, json: Path | None) -> None:
    from ase_mlx.cli.run import progress_bar
    from ase_mlx.learn.anomaly.job import run_training
    from ase_mlx.learn.files import model_folder

    with exits.reading("--out"), model_folder(out):
        pass
    with progress_bar(name) as tell:
        _, info = run_training(settings, out, tell)
    if not write_json(info, json):
        print_errors(info["errors"], f"Errors on {info['crystals']['test']} crystals of the part {info['errors_on']}")
        print(f"wrote {out}")


def print_density_errors(table: dict, title: str) -> None:
    """Print errors of a density and their calibration (units in the table).

    Source: ours.
    """
    rows = []
    for family, e in [*table.get("families", {}).items(), ("all", table)]:
        row = {"family": family, "frames": e["frames"], "NMAE, %": e["nmae"], "NRMSE, %": e["nrmse"]}
        row |= {"electrons off": f"{e['electrons']:.0e}", "Hartree of the error, meV/atom": 1e3 * e["hartree"]}
        if "inside_68" in e:
            row |= {"inside 68 %": f"{100 * e['inside_68']:.1f} %", "inside 95 %": f"{100 * e['inside_95']:.1f} %"}
        rows.append(row)
    print_table(title, rows)


def print_errors(table: dict, title: str) -> None:
    """Print errors per quantity and their calibration (units in the table).

    Source: ours.
    """
    rows = []
    for name, e in table.items():
        row = {"quantity": name, "unit": e["unit"], "count": e["count"], "MAE": e["mae"], "RMSE": e["rmse"]}
        if "inside_68" in e:
            row |= {"mean σ": e["mean_std"]}
            row |= {f"inside {n} %": f"{100 * e[f'inside_{n}']:.1f} %" for n in (68, 90, 95) if f"inside_{n}" in e}
            row |= {"rank corr.": e["rank_correlation"]} if "rank_correlation" in e else {}
        rows.append(row)
    print_table(title, rows)
    if "hessian" in table:
        print(f"Columns of the Hessian: MAE {100 * table['hessian']['relative']:.1f} % of their mean absolute size")
    elements = {n: e["mae_by_element"] for n, e in table.items() if "mae_by_element" in e}
    for name, by in elements.items():
        print_table(
            f"MAE of {name} by element, {table[name]['unit']}", [{"element": k, "MAE": v} for k, v in by.items()]
        )
