"""`ase-mlx sample`: thermalised, decorrelated structures to label and to learn from.

Source: ours.
"""

from pathlib import Path
from typing import Annotated

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.calculators import Dispersion, Name, chosen
from ase_mlx.cli.density import Structure
from ase_mlx.cli.output import JsonFile, check_output, named_after, print_table, sole_output, write_json
from ase_mlx.cli.run import Device, progress_bar

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="An extxyz file; a second call goes on. NAME-sampled.extxyz if not given.",
    ),
]
Temperatures = Annotated[
    list[float], typer.Option("--temperature", "-t", min=1, metavar="K", help="Give several for several runs.")
]
Frames = Annotated[int, typer.Option("--frames", "-n", min=1, help="Snapshots of each run.")]
Variants = Annotated[int, typer.Option("--variants", min=1, help="Structures to draw, each for each temperature.")]
Repeat = Annotated[str, typer.Option("--repeat", metavar='"N N N"', help="Multiples of the cell.")]
Alloy = Annotated[str, typer.Option("--alloy", metavar='"Si 0.5 Ge 0.5"', help="Shares of these elements' sites.")]
Substitute = Annotated[str, typer.Option("--substitute", metavar='"Ge 2"', help="Numbers of atoms to replace.")]
Vacancies = Annotated[int, typer.Option("--vacancies", min=0, help="Atoms to remove.")]
Strain = Annotated[float, typer.Option("--strain", min=0, help="Standard deviation of a random strain.")]
Volume = Annotated[float, typer.Option("--volume", min=0, help="Largest random change of volume.")]
Relax = Annotated[bool, typer.Option(help="Relax cell and atoms of changed occupations first.")]
Timestep = Annotated[float, typer.Option("--timestep", min=0.01, metavar="fs", help="At most 0.5 with light atoms.")]
Longest = Annotated[float, typer.Option("--longest", min=1, metavar="fs", help="Most time of a run after heating.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Equal seeds give equal structures.")]


def sample(
    structure: Structure,
    out: Out = None,
    calculator: Name = "auto",
    temperature: Temperatures = (300.0,),
    frames: Frames = 5,
    variants: Variants = 1,
    repeat: Repeat = "1 1 1",
    alloy: Alloy = "",
    substitute: Substitute = "",
    vacancies: Vacancies = 0,
    strain: Strain = 0.0,
    volume: Volume = 0.0,
    relax: Relax = True,
    timestep: Timestep = 2.0,
    longest: Longest = 20000.0,
    seed: Seed = 0,
    json: JsonFile = None,
    device: Device = "cpu",
    dispersion: Dispersion = False,
) -> None:
    """Sample structures by dynamics at constant temperature: random alloys, vacancies, strains, decorrelated frames.

    Each frame holds energy and forces of the calculator, with error bars and the distance score where it has them: the
    frames worth a DFT calculation are those far out. `ase-mlx label` labels the file.

    Example: `ase-mlx sample silicon.cif --repeat "2 2 2" -t 300 -t 900 --alloy "Si 1 Ge 1" --variants 3 -o sige.extxyz`
    """
    from ase_mlx.adapters.ase.sampled_file import finished, run_marks
    from ase_mlx.adapters.ase.sampling import Sampling, random_variant, repeated
    from ase_mlx.data.io import read_frames
    from ase_mlx.jobs.sampling import finish_sampling

    with exits.reading("--alloy / --substitute / --strain"):
        numbers, shares = {k: _whole(k, v) for k, v in _pairs(substitute).items()}, _pairs(alloy)
        settings = Sampling(
            tuple(temperature), frames, variants, shares, numbers, vacancies, strain, volume, relax, timestep,
            longest=longest, seed=seed,
        )  # fmt: skip
    with exits.reading("STRUCTURE"):
        atoms = repeated(read_frames(structure)[-1], _triple(repeat))
        first = random_variant(atoms, settings, _generator(seed))
    with exits.reading("--calculator"):
        potential, _ = chosen(calculator, first, device, dispersion)
    out = out or Path(f"{named_after(structure, 'sampled')}.extxyz")
    if not out.parent.is_dir():
        raise typer.BadParameter(
            f"got {str(out)!r}, expected a file in an existing folder; make it first", param_hint="--out"
        )
    check_output(out, 250 * len(atoms) * frames * variants * len(temperature), inputs=[structure])
    with sole_output(out), progress_bar(structure.name) as tell:
        marks = run_marks(settings, atoms, potential)
        with exits.reading("--out"):
            kept = finished(out, marks, frames)
        runs = finish_sampling(atoms, potential, out, settings, marks, kept, tell)
    if not write_json(vars(runs) | {"frames": len(runs.frames), "notes": runs.notes}, json):
        print_table(f"{len(runs.frames)} frames in {out}", runs.runs)
        for note in runs.notes:
            print(note)


def _generator(seed: int):
    import numpy as np

    return np.random.default_rng([seed, 0, 0])


def _triple(text: str) -> tuple[int, int, int]:
    parts = text.replace(",", " ").split()
    if len(parts) != 3 or not all(p.isdigit() for p in parts):
        raise ValueError(f'got --repeat "{text}", expected three whole numbers, such as "2 2 2"')
    return tuple(int(p) for p in parts)


def _pairs(text: str) -> dict[str, float]:
    """Read "Si 0.5 Ge 0.5"."""
    parts = text.replace(",", " ").replace("=", " ").split()
    try:
        shares = {symbol: float(number) for symbol, number in zip(parts[::2], parts[1::2], strict=True)}
    except ValueError as error:
        raise ValueError(f'got "{text}", expected symbols and numbers in turn, such as "Si 0.5 Ge 0.5"') from error
    return shares


def _whole(symbol: str, number: float) -> int:
    if number != int(number):
        raise ValueError(f"got {number:g} atoms of {symbol} to substitute, expected a whole number")
    return int(number)
