"""`ase-mlx train`: a model of any kind, from a TOML file.

Source: ours.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.output import JsonFile, named_after, print_table, write_json
from ase_mlx.cli.run import progress_bar

Engine = Annotated[Literal["local", "spark"], typer.Option("--engine", help="This machine, or Apache Spark.")]
Master = Annotated[str, typer.Option("--master", help="Of Spark: local[1] or spark://host:port.")]


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
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.05, help="End after these; the same command goes on. Needs fit.constant."),
    ] = None,
    engine: Engine = "local",
    master: Master = "local[1]",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Of Spark: processes that share each batch.")] = 2,
) -> None:
    """Train a model of any kind; the same command goes on after a kill.

    The folder gets model.safetensors and card.json, which `am.load` and `Calculator` take by its path.

    Example: `ase-mlx train silicon.toml -o silicon`
    """
    from ase_mlx.learn.files import model_folder
    from ase_mlx.learn.recipe import read_training
    from ase_mlx.learn.run import run
    from ase_mlx.processes import expect_device

    out = out or named_after(config, "model")
    with exits.reading("--device"):
        expect_device(device)
        if engine == "spark" and device != "cpu":
            raise ValueError(f"got {device!r} with --engine spark, expected cpu")
        if engine == "spark" and minutes is not None:
            raise ValueError("got --minutes with --engine spark, expected epochs in the file")
    _say_what_is_counted()
    with exits.reading("CONFIG.toml"):
        recipe_class, settings = read_training(config, _start(config))
        if minutes is not None and not getattr(settings.fit, "constant", 0.0) > 0:
            raise ValueError("got --minutes without fit.constant, expected a share between 0 and 1, such as 0.8")
        recipe = recipe_class(settings)
    with exits.reading("--out"), model_folder(out, recipe.model):
        pass
    if engine == "spark":
        lines = _by_spark(config, out, workers, master)
    else:
        with progress_bar(config.name) as tell:
            _, lines = run(recipe, out, _report(tell), device, minutes=minutes)
    if not write_json(lines, json):
        _print(lines)
        print(f"wrote {out}")


def _by_spark(config: Path, out: Path, workers: int, master: str) -> dict:
    from ase_mlx.adapters.spark import train_distributed
    from ase_mlx.learn.cards import read_card

    train_distributed(config, out, workers, master, start=_start(config))
    return read_card(out)


def _say_what_is_counted() -> None:
    """A line every few seconds while neighbours of all frames are counted, which takes minutes where there are many."""
    import logging

    log = logging.getLogger("ase_mlx.data.shards")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())


def _start(config: Path) -> str:
    """Folder of the shipped model that a file names as its start, empty where it names none."""
    from ase_mlx.learn.config import read_toml
    from ase_mlx.pretrained import find, names

    start = read_toml(config).get("start")
    if not isinstance(start, str) or not start:
        return ""
    return str(find(start if start in names() else config.parent / start))


def _report(tell) -> Callable[[Any], None]:
    """Say after each epoch how far a stage is, and its losses."""

    def report(p) -> None:
        losses = f"loss {p.train_loss:.4f}"
        if p.val_loss is not None:
            losses += f", held out {p.val_loss:.4f} (best {p.best_val_loss:.4f})"
        tell(p.stage or "epochs", p.epoch, p.epochs, losses)

    return report


def _print(lines: dict) -> None:
    taught = lines.get("density", lines)  # a density on a potential has lines of its own in the potential's card
    print_errors(taught["errors"], f"Errors on the part {taught['errors_on']}")
    for note in taught.get("notes", ()):
        print(note)


def print_errors(table: dict, title: str) -> None:
    """Print errors per quantity and their calibration (units in the table).

    Source: ours.
    """
    if "nmae" in table:
        return _print_density_errors(table, title)
    rows = []
    for name, e in table.items():
        if "nmae" in e:
            _print_density_errors(e, f"{title}: {name}")
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


def _print_density_errors(table: dict, title: str) -> None:
    rows = []
    for family, e in [*table.get("families", {}).items(), ("all", table)]:
        row = {"family": family, "frames": e["frames"], "NMAE, %": e["nmae"], "NRMSE, %": e["nrmse"]}
        row |= {"electrons off": f"{e['electrons']:.0e}", "Hartree of the error, meV/atom": 1e3 * e["hartree"]}
        if "inside_68" in e:
            row |= {"inside 68 %": f"{100 * e['inside_68']:.1f} %", "inside 95 %": f"{100 * e['inside_95']:.1f} %"}
        rows.append(row)
    print_table(title, rows)
