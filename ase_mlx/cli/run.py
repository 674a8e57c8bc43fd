"""`ase-mlx demo` and `ase-mlx run`: the main job.

Source: ours.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.calculators import Dispersion, Name, check_name, described, named, pick, say
from ase_mlx.cli.output import JsonFile, named_after, results_folder, stem, write_json
from ase_mlx.progress import EVERY, LOG

Temperature = Annotated[
    float, typer.Option("--temperature", "-t", min=1, metavar="K", help="Of the dynamics and of the thermal functions.")
]
STEP = "Of the dynamics; one step is 1 fs (0.5 fs with light atoms)."
Steps = Annotated[int, typer.Option("--steps", min=50, help=STEP)]
SomeSteps = Annotated[
    int | None,
    typer.Option("--steps", min=50, help=f"{STEP} 1000 if not given, fewer with large cells and slow calculators."),
]
Seed = Annotated[int, typer.Option("--seed", help="Of the dynamics: equal seeds give equal runs.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")]

LONG = 60.0
"""s: of longer runs it is said which stage took most of it."""

DEMO = (("silicon", "Si", "sigesn"), ("aluminium", "Al", "al"))


def demo(
    structures: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="STRUCTURE",
            exists=True,
            dir_okay=False,
            help="Files of crystals of your own to put beside them, each with the model that knows it best.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the results go.")] = Path(
        "ase-mlx-demo"
    ),
    json: JsonFile = None,
    temperature: Temperature = 300.0,
    steps: Steps = 800,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Run the main job on silicon and aluminium with the shipped models.

    Relaxation, equation of state, phonons with heat capacity and free energy, dynamics: each number with its error
    bar, beside DFT and experiment. Writes results.json, results.csv, a trajectory, figures and report.html to look at.

    Example: `ase-mlx demo GaN.cif -o beside-gallium-nitride`
    """
    from ase_mlx.adapters.ase.supercells import element

    jobs: list = [(name, model, lambda symbol=symbol: element(symbol)) for name, symbol, model in DEMO]
    jobs += _jobs(structures or [], "auto", [name for name, _, _ in jobs])
    _run(jobs, out, json, device, temperature=temperature, steps=steps, seed=seed)


def run(
    structures: Annotated[
        list[Path],
        typer.Argument(
            metavar="STRUCTURE",
            exists=True,
            dir_okay=False,
            help="Files that ASE reads; of several frames the last.",
        ),
    ],
    calculator: Name = "auto",
    model: Annotated[str | None, typer.Option("--model", "-m", hidden=True)] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Where the results go; NAME-run if not given, ase-mlx-run for several.",
        ),
    ] = None,
    json: JsonFile = None,
    temperature: Temperature = 300.0,
    steps: SomeSteps = None,
    seed: Seed = 0,
    device: Device = "cpu",
    dispersion: Dispersion = False,
) -> None:
    """Run the main job on your own structures.

    Several structures get a folder each, a joint results.csv and report.html; one that fails is named and never costs
    the others.

    Example: `ase-mlx run silicon.cif germanium.cif -o results --temperature 600`
    """
    calculator = model or calculator  # the option's name before other calculators were taken, too
    jobs = _jobs(structures, calculator)
    out = out or (named_after(structures[0], "run") if len(jobs) == 1 else Path("ase-mlx-run"))
    _run(jobs, out, json, device, dispersion, temperature=temperature, steps=steps, seed=seed)


def _read(path: Path):
    from ase_mlx.data.io import read_structure

    return read_structure(path)


def _run(
    jobs: list[tuple[str, str, Callable]],
    out: Path,
    json: Path | None,
    device: str,
    dispersion: bool = False,
    **settings,
) -> None:
    with exits.reading("--calculator"):
        for name in {calculator for _, calculator, _ in jobs}:
            check_name(name)
    from ase_mlx.jobs.main import BYTES, FILES, JOINT
    from ase_mlx.jobs.outcome import Outcome

    if len(jobs) == 1:
        outcomes = [_one(*jobs[0], out, device, dispersion, settings)]
    else:
        outcomes = []
        with results_folder(out, JOINT, len(jobs) * BYTES, [name for name, _, _ in jobs]) as part:
            for name, model, read in jobs:
                try:
                    outcomes.append(_one(name, model, read, out / name, device, dispersion, settings))
                except typer.BadParameter as error:
                    with results_folder(out / name, FILES, 0):
                        outcomes.append(Outcome(name, model, failed={"reading": error.message}))
            write_joint(outcomes, part, out)
    finish(outcomes, out, json)


def _one(name: str, model: str, read: Callable, folder: Path, device: str, dispersion: bool, settings: dict):
    """Run one structure's job into its folder."""
    from ase_mlx.jobs.main import BYTES, FILES, main_job

    with exits.reading("STRUCTURE"):
        atoms = read()
    with exits.reading("--calculator"):
        model, choice = pick(model, atoms)
        precise, fast = _calculators(model, device, dispersion)
        precise.choice, model = choice, described(model, dispersion)
    say(choice)
    with results_folder(folder, FILES, BYTES) as part, progress_bar(name) as tell:
        words = exits.in_options
        return main_job(atoms, precise, part, name, model, fast, progress=tell, words=words, **settings)


@cache
def _calculators(name: str, device: str, dispersion: bool) -> tuple:
    """The calculator in double precision, and of ours another one for dynamics."""
    precise = named(name, device, dispersion=dispersion)
    ours = name not in ("emt", "chgnet") and ":" not in name
    return precise, named(name, device, "float32", dispersion, skin=0.5) if ours else None


def write_joint(outcomes: list, folder: Path, beside: Path | None = None) -> None:
    """Write results.csv and results.json of several structures, and a report where their folders lie in `beside`.

    Raises:
        OSError: the folder cannot be written.

    Source: ours.
    """
    from ase_mlx.jobs.outcome import summary, write_table
    from ase_mlx.jobs.report import add_report

    rows = [{"structure": outcome.name, **row} for outcome in outcomes for row in outcome.quantities]
    write_table(folder / "results.csv", rows, ("structure",))
    write_json([summary(outcome) for outcome in outcomes], folder / "results.json")
    if beside is not None:
        add_report(folder, [], outcomes[0].notes, beside)


def finish(outcomes: list, out: Path, json: Path | None) -> None:
    """Print the tables, and end with exit code 1 where something failed.

    Raises:
        typer.Exit: with code 1, something failed.

    Source: ours.
    """
    from ase_mlx.jobs.outcome import summary

    results = [summary(outcome) for outcome in outcomes]
    if not write_json(results[0] if len(results) == 1 else results, json):
        _print(outcomes, out)
    for outcome in outcomes:
        for stage, reason in outcome.failed.items():
            print(f"ase-mlx: {outcome.name}: {stage} failed: {reason}", file=sys.stderr)
    if any(outcome.failed for outcome in outcomes):
        raise typer.Exit(1)


def _print(outcomes: list, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from ase_mlx.jobs.report import REPORT

    console = Console(width=None if sys.stdout.isatty() else 100)
    for outcome in outcomes:
        if outcome.quantities:
            group = f", {outcome.spacegroup}" if outcome.spacegroup else ""
            table = Table(title=f"{outcome.name}: {outcome.formula} {outcome.kind}{group}", title_justify="left")
            beside = [key for key in ("dft", "experiment") if any(row[key] is not None for row in outcome.quantities)]
            for column in ("quantity", "value", "unit", *("DFT" if key == "dft" else key for key in beside)):
                table.add_column(column, justify="left" if column in ("quantity", "unit") else "right")
            for row in outcome.quantities:
                references = ("" if row[key] is None else f"{row[key]:.4g}" for key in beside)
                table.add_row(row["quantity"], with_error_bar(row["value"], row["std"]), row["unit"], *references)
            console.print(table)
            for source, names in _sources(outcome.quantities).items():
                console.print(f"  DFT of {', '.join(names)}: {source}", markup=False, highlight=False)
        for reason in dict.fromkeys(outcome.skipped.values()):
            stages = ", ".join(stage for stage, why in outcome.skipped.items() if why == reason)
            console.print(f"  {stages} skipped: {reason}", markup=False, highlight=False)
        for note in outcome.notes:
            console.print(f"  {note}", markup=False, highlight=False)
    look = f"; look at {out / REPORT}" if (out / REPORT).is_file() else ""
    console.print(
        f"Written to {out} in {_time([outcome.seconds for outcome in outcomes])}{look}", markup=False, highlight=False
    )


def _time(runs: list[dict[str, float]]) -> str:
    """All seconds of the stages and, where it is long, the one that took most of them."""
    total = sum(sum(one.values()) for one in runs)
    stage = max(
        {name for one in runs for name in one}, key=lambda name: sum(one.get(name, 0.0) for one in runs), default=""
    )
    share = sum(one.get(stage, 0.0) for one in runs)
    if total < LONG or share < 0.5 * total:
        return f"{total:.0f} s"
    shorter = " (fewer --steps shorten them)" if stage == "dynamics" else ""
    return f"{total:.0f} s, {share:.0f} of them for the {stage}{shorter}"


def _sources(rows: list[dict]) -> dict[str, list[str]]:
    """Which numbers each source gives as DFT's."""
    sources: dict[str, list[str]] = {}
    for row in rows:
        if row["dft"] is not None:
            sources.setdefault(row["dft_source"], []).append(row["quantity"])
    return sources


def with_error_bar(value: float, std: float | None) -> str:
    """Write a number and its std, same unit, to two digits of the std; to three digits of its own without one.

    Source: ours.
    """
    from math import floor, isfinite, log10

    if std is None or not isfinite(std) or std <= 0:
        text = f"{value:.3g}"
        return f"{float(text):.0f}" if "e+" in text and abs(value) < 1e6 else text
    digits = 1 - floor(log10(std))
    if abs(digits) > 8:
        return f"{value:.5g} ± {std:.1e}"
    return f"{round(value, digits):.{max(digits, 0)}f} ± {round(std, digits):.{max(digits, 0)}f}"


def _jobs(paths: list[Path], calculator: str, taken: Sequence[str] = ()) -> list[tuple[str, str, Callable]]:
    """Name each file's job by the file, so that no two have one name."""
    names = list(taken)
    for path in paths:
        name, number = stem(path), 2
        while name in names:
            name, number = f"{stem(path)}-{number}", number + 1
        names.append(name)
    pairs = zip(names[len(taken) :], paths, strict=True)
    return [(name, calculator, lambda path=path: _read(path)) for name, path in pairs]


@contextmanager
def progress_bar(name: str):
    """Show a bar for each stage on a terminal, a line every few seconds in a pipe or for what has no bar.

    Source: ours.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        tasks: dict[str, int] = {}
        printed = monotonic()

        def tell(stage: str, done: int, total: int, more: str = "") -> None:
            nonlocal printed
            text = f"{name}: {stage}{more and f', {more}'}"
            if stage not in tasks:
                tasks[stage] = bar.add_task(text, total=total)
            bar.update(tasks[stage], completed=done, total=total, description=text)
            if bar.disable and monotonic() - printed >= EVERY:
                printed = monotonic()
                print(f"{text} {done}/{total}", file=sys.stderr, flush=True)

        handler = logging.StreamHandler()  # for what reports to nobody, such as the relaxations of a job
        handler.setFormatter(logging.Formatter(f"{name.replace('%', '%%')}: %(message)s"))
        LOG.setLevel(logging.INFO)
        LOG.addHandler(handler)
        try:
            yield tell
        finally:
            LOG.removeHandler(handler)
