"""`ase-mlx active`: a potential taught by the structures that it asks for.

Source: ours.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.output import JsonFile, named_after, print_table, write_json
from ase_mlx.cli.run import progress_bar

Config = Annotated[
    Path, typer.Argument(metavar="CONFIG.toml", exists=True, dir_okay=False, help="Pool, teacher, training, ends.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="FOLDER", help="Of the model; a second call goes on. CONFIG-active if not given."
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
Retry = Annotated[bool, typer.Option("--retry", help="Try again what failed in earlier calls.")]


def active(
    config: Config,
    output: Output = None,
    ask: Ask = None,
    tell: Tell = None,
    retry: Retry = False,
    json: JsonFile = None,
) -> None:
    """Teach a potential by structures that it chooses itself from a pool, labelled by DFT or another teacher.

    Round by round: choose by error bars, distance, latent space or cost; label; train; recalibrate. Ends by budget,
    predicted error or pool. Killed at any moment, the same call goes on. Where DFT runs elsewhere: --ask, then --tell.
    report.html in the folder is a page to look at.

    Example: `ase-mlx active al.toml -o al-active`, or `ase-mlx active al.toml -o al-active --ask 8`
    """
    from ase_mlx.jobs.active import ActiveLearning

    output = output or named_after(config, "active")
    if ask is not None and tell is not None:
        raise typer.BadParameter("got both --ask and --tell, expected one at a time", param_hint="--ask / --tell")
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
