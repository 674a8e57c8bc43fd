"""`ase-mlx generate`: crystals on demand, from a latent space, judged, relaxed and ranked.

Source: ours.
"""

from pathlib import Path
from typing import Annotated

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.output import JsonFile, print_table, sole_output, write_json
from ase_mlx.cli.run import progress_bar

Number = Annotated[int, typer.Option("--number", "-n", min=1, help="Crystals to draw.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="For table, structures and CIFs.")]
Model = Annotated[str, typer.Option("--model", "-m", help="A shipped name or a trained generator's folder.")]
Pair = tuple[float, float]
Gap = Annotated[Pair | None, typer.Option("--band-gap", metavar="LEAST MOST", help="eV, of PBE.")]
Formation = Annotated[Pair | None, typer.Option("--formation-energy", metavar="LEAST MOST", help="eV/atom.")]
Hull = Annotated[Pair | None, typer.Option("--hull-distance", metavar="LEAST MOST", help="eV/atom.")]
Volume = Annotated[Pair | None, typer.Option("--volume-per-atom", metavar="LEAST MOST", help="Å³.")]
Density = Annotated[Pair | None, typer.Option("--density", metavar="LEAST MOST", help="g/cm³.")]
Elements = Annotated[list[str] | None, typer.Option("--elements", metavar="Ga,N", help="That each crystal has.")]
Allowed = Annotated[
    list[str] | None, typer.Option("--allowed", metavar="Ga,N,O", help="That it may have, and no others.")
]
Group = Annotated[int | None, typer.Option("--space-group", min=1, max=230, help="Its number.")]
Count = Annotated[
    tuple[int, int] | None, typer.Option("--atoms", metavar="LEAST MOST", help="Of the conventional cell.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Equal seeds give equal crystals.")]
Relaxing = Annotated[
    str,
    typer.Option(
        "--calculator",
        "-c",
        metavar="NAME",
        help="Bring them to rest by it first: a potential's name or folder, sevennet-0, chgnet, or MODULE:FACTORY.",
    ),
]


def generate(
    out: Out = Path("generated"),
    number: Number = 100,
    model: Model = "crystals",
    band_gap: Gap = None,
    formation_energy: Formation = None,
    hull_distance: Hull = None,
    volume_per_atom: Volume = None,
    density: Density = None,
    elements: Elements = None,
    allowed: Allowed = None,
    space_group: Group = None,
    atoms: Count = None,
    seed: Seed = 0,
    calculator: Relaxing = "",
    json: JsonFile = None,
) -> None:
    """Draw new crystals with wanted properties, judge them, bring them to rest, and rank them.

    Writes candidates.csv (every crystal with its rank, hull distance, formation energy and strangeness, band gap and
    volume as the latent tells them, each with its standard deviation, and the reasons for and against it),
    candidates.extxyz, a CIF of each candidate and report.html, to look at. The same command goes on after a kill.

    Example: `ase-mlx generate -n 200 --band-gap 1 2.5 --elements O -c universal -o oxides`
    """
    from ase_mlx.jobs.generation import generation_job

    ranges = {
        "band_gap": band_gap, "formation_energy": formation_energy, "hull_distance": hull_distance,
        "volume_per_atom": volume_per_atom, "density": density, "atoms": atoms, "space_group": space_group,
        "elements": _symbols(elements), "allowed": _symbols(allowed),
    }  # fmt: skip
    wanted = {name: value for name, value in ranges.items() if value}
    potential = None
    if calculator:
        from ase_mlx.cli.calculators import check_name, named

        with exits.reading("--calculator"):
            check_name(calculator)
            potential = named(calculator)
    with sole_output(out):
        pass
    with exits.reading("options"), progress_bar(out.name) as tell:
        made = generation_job(number, out, model, seed, wanted, potential, calculator, tell)
    if not write_json(vars(made) | {"structures": len(made.structures)}, json):
        shown = [_shown(row) for row in made.rows[:12] if row["rank"]]
        print_table(f"{len(made.structures)} candidates of {number} crystals", shown)
        for note in made.notes:
            print(note)
        print(f"written to {out}: {', '.join(made.files)}")


def _symbols(texts: list[str] | None) -> list[str]:
    return [word for text in texts or () for word in text.replace(",", " ").split()]


def _shown(row: dict) -> dict:
    """The columns of a candidate that fit on a screen, each value with its standard deviation; the file has all."""
    columns = {}
    for key, value in row.items():
        name, _, unit = key.partition(" (")
        if name in ("name", "known", "volume_per_atom", "density") or name.endswith("_std"):
            continue
        std = row.get(f"{name}_std ({unit}")
        columns[key.replace("_", " ")] = value if std in (None, "") else f"{value:.3g} ± {std:.2g}"
    return columns
