"""`ase-mlx distill`: a small, fast potential of one's own crystal, taught by a large one.

Source: ours.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.calculators import pick
from ase_mlx.cli.output import JsonFile, print_table, write_json
from ase_mlx.cli.run import progress_bar

Structures = Annotated[list[Path], typer.Argument(metavar="STRUCTURE", help="Crystals, in any format of ASE.")]
Teacher = Annotated[
    str,
    typer.Option(
        "--teacher",
        help="What teaches: a model's folder (`ase-mlx import`), a shipped name, chgnet, sevennet-0, or MODULE:FACTORY "
        "of an ASE calculator.",
    ),
]
Output = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Of the student; a second call goes on.")]
Minutes = Annotated[float, typer.Option("--minutes", min=0.1, help="Of the whole work, report included.")]
Cutoff = Annotated[float, typer.Option("--cutoff", min=2, help="Å; 6 where ions are large and phonons matter most.")]
Channels = Annotated[int, typer.Option("--channels", min=1, help="Of the student: 64 is slower and better with time.")]
Hottest = Annotated[
    float | None,
    typer.Option("--temperature", "-t", min=1, metavar="K", help="Highest; if not given, about melting."),
]
Vacancies = Annotated[bool, typer.Option("--vacancies", help="Teach vacancies too.")]
Surfaces = Annotated[bool, typer.Option("--surfaces", help="Teach surfaces too.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Equal seeds give equal frames.")]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.1, metavar="s", help="Of one structure by a teacher of another package.")
]


def distill(
    structures: Structures,
    teacher: Teacher,
    output: Output,
    minutes: Minutes = 10.0,
    cutoff: Cutoff = 5.0,
    channels: Channels = 32,
    temperature: Hottest = None,
    vacancies: Vacancies = False,
    surfaces: Surfaces = False,
    seed: Seed = 0,
    timeout: Timeout = 300.0,
    json: JsonFile = None,
) -> None:
    """Teach a small potential your crystals by a large one, within some minutes, with error bars; report both.

    The teacher relaxes the crystals and labels strained, rattled and hot supercells; the student learns, runs its own
    dynamics, is corrected by the teacher where it came through, and learns again, second derivatives too. The folder
    is an ordinary model: `-c FOLDER`, `Calculator("FOLDER")`. It stops by the clock; called again, it goes on.

    Example: `ase-mlx distill MgO.cif --teacher nequix -o mgo --minutes 10`, then `ase-mlx phonons MgO.cif -c mgo`
    """
    from ase_mlx.adapters.distillation import teaching_calculator
    from ase_mlx.data.io import read_frames
    from ase_mlx.jobs.distill import Distillation, distill_job
    from ase_mlx.whole import check_folder

    with exits.reading("STRUCTURE"):
        crystals = [read_frames(path)[-1] for path in structures]
    with exits.reading("--teacher"):
        names = [pick(teacher, atoms)[0] for atoms in crystals]
        if len(set(names)) > 1:
            raise ValueError(f"got auto, which takes {' and '.join(names)} for these; expected one: name it")
        chosen = names[0]
        calculator, origin = teaching_calculator(chosen, timeout)
    with exits.reading("--out"):
        check_folder(output, 20_000_000)
    settings = Distillation(
        minutes, cutoff, channels, temperature=temperature, vacancies=vacancies, surfaces=surfaces, seed=seed
    )
    try:
        with progress_bar(output.name) as tell, exits.reading("--out"):
            done = distill_job(crystals, calculator, output, settings, chosen, origin, tell)
    finally:
        if hasattr(calculator, "close"):
            calculator.close()
    if not write_json(vars(done), json):
        _print(done, chosen)


def _print(done: Any, teacher: str) -> None:
    for report in done.crystals:
        formula = report["formula"]
        print_table(f"{formula}: errors on the student's own dynamics", [_forces(row) for row in report["forces"]])
        print_table(f"{formula}: {teacher} and its student", _beside(report))
        print(f"Not taught: {', '.join(report['not_taught'])}.")
        for reason in report.get("failed", ()):
            print(f"Not compared: {reason}")
    for note in done.notes:
        print(note)
    used = ", ".join(f"{stage.replace('_', ' ')} {seconds:.0f}" for stage, seconds in done.seconds.items())
    print(f"Seconds: {used}.\nwrote {done.folder}")


def _forces(row: dict[str, Any]) -> dict[str, Any]:
    out = {"T, K": row["temperature_K"], "forces, meV/Å": row["forces_rmse_meV_A"]}
    out |= {"of their rms": f"{100 * row['forces_share']:.2f} %", "energy, meV/atom": row["energy_rmse_meV_atom"]}
    if "forces_inside_68" in row:
        out["forces inside σ"] = f"{100 * row['forces_inside_68']:.0f} %"
    return out


def _beside(report: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for what, name, error_bar, unit in (
        ("volume", "volume_{}_A3", "volume_std_A3", "Å³"),
        ("bulk modulus", "bulk_modulus_{}_GPa", "bulk_modulus_std_GPa", "GPa"),
        ("heat capacity, 300 K", "heat_capacity_{}", "heat_capacity_std", "J/(K mol)"),
    ):
        if name.format("student") in report:
            std = report.get(error_bar)
            rows.append(
                {
                    "quantity": what,
                    "teacher": float(report[name.format("teacher")]),
                    "student": float(report[name.format("student")]),
                    "±": "" if std is None else f"{std:.2g}",
                    "unit": unit,
                }
            )
    if "frequencies_mae_THz" in report:
        off = f"{report['frequencies_mae_THz']:.3f} on average, {report['frequencies_worst_THz']:.2f} at most"
        rows.append({"quantity": "frequencies differ by", "teacher": "", "student": off, "±": "", "unit": "THz"})
    ratio = f"{report['cost_ratio']:.1f} times faster"
    return [*rows, {"quantity": "cost", "teacher": "", "student": ratio, "±": "", "unit": ""}]
