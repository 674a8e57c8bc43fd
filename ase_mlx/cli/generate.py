"""`ase-mlx generate`: crystals on demand, from a latent space, judged, relaxed and ranked.

Source: ours.
"""

from pathlib import Path
from typing import Annotated

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.report import JsonFile, print_table, sole_output, write_json
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
Elements = Annotated[str, typer.Option("--elements", metavar="Ga,N", help="That each crystal has.")]
Allowed = Annotated[str, typer.Option("--allowed", metavar="Ga,N,O", help="That it may have, and no others.")]
Group = Annotated[int | None, typer.Option("--space-group", min=1, max=230, help="Its number.")]
Count = Annotated[
    tuple[int, int] | None, typer.Option("--atoms", metavar="LEAST MOST", help="Of the conventional cell.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Equal seeds give equal crystals.")]
Relax = Annotated[
    str,
    typer.Option(
        "--relax",
        metavar="CALCULATOR",
        help="Bring them to rest first: a potential's name or folder, sevennet-0, chgnet, or MODULE:FACTORY.",
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
    elements: Elements = "",
    allowed: Allowed = "",
    space_group: Group = None,
    atoms: Count = None,
    seed: Seed = 0,
    relax: Relax = "",
    json: JsonFile = None,
) -> None:
    """Draw new crystals with wanted properties, judge them, bring them to rest, and rank them.

    Writes candidates.csv (every crystal with its rank, hull distance, formation energy and strangeness, band gap and
    volume as the latent tells them, each with its standard deviation, and the reasons for and against it),
    candidates.extxyz and a CIF of each candidate. The same command goes on after a kill.

    Example: `ase-mlx generate -n 200 --band-gap 1 2.5 --elements O --relax universal -o oxides`
    """
    from ase_mlx.jobs.generation import generation_job

    ranges = {
        "band_gap": band_gap, "formation_energy": formation_energy, "hull_distance": hull_distance,
        "volume_per_atom": volume_per_atom, "density": density, "atoms": atoms, "space_group": space_group,
        "elements": _symbols(elements), "allowed": _symbols(allowed),
    }  # fmt: skip
    wanted = {name: value for name, value in ranges.items() if value}
    calculator = None
    if relax:
        from ase_mlx.cli.calculators import check_name, named

        with exits.reading("--relax"):
            check_name(relax)
            calculator = named(relax)
    with sole_output(out):
        pass
    with exits.reading("options"), progress_bar(out.name) as tell:
        made = generation_job(number, out, model, seed, wanted, calculator, relax, tell)
    if not write_json(vars(made) | {"structures": len(made.structures)}, json):
        shown = [{key: row[key] for key in row if key != "name"} for row in made.rows[:12] if row["rank"]]
        print_table(f"{len(made.structures)} candidates of {number} crystals", shown)
        for note in made.notes:
            print(note)
        print(f"written to {out}: {', '.join(made.files)}")


def _symbols(text: str) -> list[str]:
    return [word for word in text.replace(",", " ").split() if word]
