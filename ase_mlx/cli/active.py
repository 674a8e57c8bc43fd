"""`ase-mlx active`: a potential taught by the structures that it asks for, and its map over compositions.

Source: ours.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.calculators import check_potential
from ase_mlx.cli.output import JsonFile, named_after, print_table, results_folder, write_json
from ase_mlx.cli.run import progress_bar

Config = Annotated[
    Path, typer.Argument(metavar="CONFIG.toml", exists=True, dir_okay=False, help="Pool, teacher, training, ends.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FOLDER",
        help="Of the model; a second call goes on. CONFIG-active if not given, CONFIG-map of a map.",
    ),
]
Ask = Annotated[
    int | None,
    typer.Option(
        "--ask", min=1, metavar="N", help="Learn, write the next N structures to FOLDER/asked.extxyz, and end."
    ),
]
Tell = Annotated[
    Path | None, typer.Option("--tell", metavar="FILE", exists=True, help="Take labels of asked structures, and end.")
]
Map = Annotated[
    str | None,
    typer.Option(
        "--map",
        metavar="MODEL",
        help="Map a model (a shipped name or a folder) over the compositions of [map], and end.",
    ),
]
Retry = Annotated[bool, typer.Option("--retry", help="Try again what failed in earlier calls.")]


def active(
    config: Config,
    output: Output = None,
    ask: Ask = None,
    tell: Tell = None,
    retry: Retry = False,
    over_compositions: Map = None,
    json: JsonFile = None,
) -> None:
    """Teach a potential by structures that it chooses itself from a pool, labelled by DFT or another teacher.

    Round by round: choose by error bars, distance, latent space or cost; label; train; recalibrate. Ends by budget,
    predicted error or pool. Killed at any moment, the same call goes on. Where DFT runs elsewhere: --ask, then --tell.
    report.html in the folder is a page to look at.

    With --map nothing is taught: ternary diagrams of energy, mixing energy, lattice constant, bulk modulus and density,
    each with its bar, and a table of errors against DFT by distance from the nearest trained composition.

    Example: `ase-mlx active al.toml -o al-active`, or `ase-mlx active al.toml -o al-active --ask 8`, or `ase-mlx active
    map.toml --map sigesn -o sigesn-map`
    """
    asked = {"--ask": ask, "--tell": tell, "--map": over_compositions}
    if len(both := [name for name, value in asked.items() if value is not None]) > 1:
        raise typer.BadParameter(
            f"got {' and '.join(both)} together, expected one at a time", param_hint=" / ".join(both)
        )
    if over_compositions is not None:
        return _map(config, over_compositions, output or named_after(config, "map"), json)
    from ase_mlx.jobs.active import ActiveLearning

    output = output or named_after(config, "active")
    with progress_bar(config.name) as listener:
        with exits.reading("CONFIG.toml"):
            learning = ActiveLearning(config, output, listener)
            if learning.teacher is None and ask is None and tell is None:
                raise ValueError("got no [teacher], expected one; add it, or give --ask N and later --tell FILE")
        with learning:
            if ask is not None:
                _ask(learning, ask, json)
            elif tell is not None:
                _tell(learning, tell, json)
            else:
                done = learning.run(retry)
    if ask is None and tell is None and not write_json(vars(done), json):
        _print(done)


def _ask(learning: Any, count: int, json: Path | None) -> None:
    from ase_mlx.data.io import write_frames

    frames = learning.ask(count)
    path = learning.folder / "asked.extxyz"
    if frames:
        write_frames(path, frames)
    if not write_json({"asked": len(frames), "file": path if frames else None, "ended": learning.ended}, json):
        print(f"wrote {len(frames)} structures to {path}" if frames else f"Ended: {learning.ended}.")


def _tell(learning: Any, path: Path, json: Path | None) -> None:
    from ase_mlx.data.io import read_frames

    with exits.reading("--tell"):
        report = learning.tell(read_frames(path))
    if not write_json(vars(report), json):
        print(f"took {report.done} labels and {len(report.failed)} failures; {report.kept} were there")
        for name, reason in report.failed.items():
            print(f"{name}: {reason}")


def _map(config: Path, model: str, folder: Path, json: Path | None) -> None:
    with exits.reading("--map"):
        check_potential(model, others=())
    from ase_mlx.jobs.composition_map import BYTES, FILES, map_job, read_map

    with results_folder(folder, FILES, BYTES) as part, progress_bar(config.name) as listener:
        with exits.reading("CONFIG.toml"):
            task = read_map(config, model)
        chart = map_job(task, part, listener)
    result = {"model": model, "compositions": chart.table(), "errors": chart.errors, "notes": chart.notes}
    if write_json(result | {"files": [folder / name for name in chart.files]}, json):
        return
    for quantity, unit, error in (("energy", "meV_atom", "rmse"), ("density", "percent", "error")):
        lines = [_errors_at(line, quantity, unit, error) for line in chart.errors if line[f"{quantity}_frames"]]
        if lines:
            print_table(f"{quantity.capitalize()} against DFT, by distance from the nearest trained composition", lines)
    for note in chart.notes:
        print(note)
    print(f"wrote {folder}")


def _errors_at(line: dict[str, Any], quantity: str, unit: str, error: str) -> dict[str, Any]:
    share = lambda name: "" if line[name] is None else f"{100 * line[name]:.0f} %"  # noqa: E731
    label = {"meV_atom": "meV/atom, rms", "percent": "∫|Δρ|/N, %"}[unit]
    return {
        "distance": f"{100 * line['distance']:.3g} % of atoms",
        "frames": line[f"{quantity}_frames"],
        label: _number(line[f"{quantity}_{error}_{unit}"]),
        "mean σ": _number(line[f"{quantity}_std_{unit}"]),
        "inside 68 %": share(f"{quantity}_inside_68"),
        "95 %": share(f"{quantity}_inside_95"),
    }


def _print(done: Any) -> None:
    print_table("Rounds; errors on the test structures", [_row(line) for line in done.rounds])
    kinds = done.rounds[-1].get("kinds", {}) if done.rounds else {}
    if kinds:
        print_table("The last model, by kind", [{"kind": name, **_errors(line)} for name, line in kinds.items()])
    for name, reason in done.failed.items():
        print(f"{name}: {reason}")
    for note in done.notes:
        print(note)
    print(f"Ended: {done.ended}; {done.core_hours:.3g} core-hours.\nwrote {done.folder}")


def _row(line: dict[str, Any]) -> dict[str, Any]:
    row = {"round": line["round"], "labels": line["labels"], "failed": line["failed"]}
    row |= {"core-hours": f"{line['core_hours']:.3g}", "predicted, meV/Å": _number(line.get("predicted_meV_A"))}
    return row | _errors(line)


def _errors(line: dict[str, Any]) -> dict[str, Any]:
    share = lambda name: f"{100 * line[name]:.0f} %" if name in line else ""  # noqa: E731
    return {
        "energy, meV/atom": _number(line.get("energy_rmse_meV_atom")),
        "forces, meV/Å": _number(line.get("forces_rmse_meV_A")),
        "of their rms": share("forces_share"),
        "forces inside 68 %": share("forces_inside_68"),
        "95 %": share("forces_inside_95"),
        "flagged": share("flagged"),
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
