"""`ase-mlx density`: the electron density of a structure as a file.

Source: ours.
"""

from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Annotated, Literal

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.output import JsonFile, check_output, stem, write_json
from ase_mlx.cli.phonons import numbers_of
from ase_mlx.cli.run import progress_bar
from ase_mlx.jobs.doubts import doubts

Structure = Annotated[
    Path,
    typer.Argument(
        metavar="STRUCTURE", exists=True, dir_okay=False, help="A file that ASE reads; of several frames the last."
    ),
]
Name = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A shipped name or a model's folder; auto: the one with the elements, or else "
        "the sum of neutral atoms, without bonds.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="CHGCAR (any name with CHG), x.cube, x.npy, x.zarr; x.png. CHGCAR-NAME if not given.",
    ),
]
Spacing = Annotated[float, typer.Option("--spacing", min=0.01, metavar="Å", help="Of neighbouring grid points.")]
Shape = Annotated[str, typer.Option("--shape", metavar='"N1 N2 N3"', help="Numbers of points, in place of --spacing.")]
Std = Annotated[bool, typer.Option("--std", help="Its standard deviation too, as FILE_std.")]
Charge = Annotated[
    float | None,
    typer.Option("--charge", help="Of the structure, in e; what its file says (info charge) if not given."),
]
Dipole = Annotated[
    str,
    typer.Option("--dipole", metavar='"X Y Z"', help="Known dipole of a slab or molecule, e Å, from − to +."),
]
Ecut = Annotated[
    float | None,
    typer.Option("--ecut", min=1, metavar="Ry", help="Write OUT/pwscf.save/charge-density.dat for pw.x instead."),
]
Level = Annotated[
    float | None,
    typer.Option(
        "--level", min=0, metavar="e/Å³", help="Of x.png's surface; it holds 30 % of the electrons if not given."
    ),
]
Dtype = Annotated[Literal["float64", "float32"], typer.Option("--dtype", help="float32 is faster.")]


def density(
    structure: Structure,
    model: Name = "auto",
    out: Out = None,
    spacing: Spacing = 0.2,
    shape: Shape = "",
    std: Std = False,
    charge: Charge = None,
    dipole: Dipole = "",
    dtype: Dtype = "float64",
    ecut: Ecut = None,
    level: Level = None,
    json: JsonFile = None,
) -> None:
    """Predict the valence electron density and write it plane by plane; the electrons are counted exactly.

    CHGCAR holds ρ·V as VASP's do (without augmentation), cube e/bohr³, npy and zarr e/Å³; png is a picture of a surface
    of one value, coloured by the standard deviation, on a grid of its own. With --ecut, OUT is the outdir of a Quantum
    ESPRESSO run of that cutoff that starts with startingpot = 'file'.

    Example: `ase-mlx density silicon.cif -o silicon.cube --spacing 0.15 --std`
    """
    from ase_mlx.data.io import read_structure

    out = out or Path(f"CHGCAR-{stem(structure)}")
    points, moment = _numbers(shape, int, "--shape"), _numbers(dipole, float, "--dipole")
    with exits.reading("STRUCTURE"):
        atoms = read_structure(structure)
    with exits.reading("--model"):
        name = _pick(model, atoms.get_chemical_symbols())
    from ase_mlx.fields.density_files import write_density
    from ase_mlx.graph import grid
    from ase_mlx.models.density_field import known_of
    from ase_mlx.structure import net_charge

    with exits.reading("--out"):
        _check_kind(out, ecut)
    with exits.reading("STRUCTURE" if points is None else "--shape"):
        size = grid(atoms, spacing if points is None else None, points).shape
    _check_out(structure, atoms, out, size, std, dtype, ecut)
    loaded = _model(name, atoms)
    with exits.reading("--dipole"):
        known_of(atoms.cell.array, atoms.pbc, net_charge(atoms, charge), moment)
    if ecut is not None:
        _restart(loaded, atoms, out, ecut, charge, moment, json)
        return
    if out.suffix == ".png":
        _picture(loaded, atoms, out, charge, moment, level, json)
        return
    with doubts(exits.in_options) as raised, progress_bar(structure.name) as tell:
        result = write_density(
            loaded, atoms, out, spacing, points, std, charge, moment, dtype,
            lambda done, total: tell("planes", done, total),
        )  # fmt: skip
    doubtful = {"warnings": raised.sentences, "extrapolation": raised.extrapolation}
    if not write_json(asdict(result) | doubtful, json):
        _print(result, raised.sentences)


def _model(name: str | None, atoms):
    """The model that was picked, once it has seen these atoms; without a name, neutral atoms."""
    from ase_mlx.fields.superposition import SuperposedAtoms
    from ase_mlx.graph import from_atoms
    from ase_mlx.pretrained import load

    with exits.reading("STRUCTURE"):
        if name is None:
            return SuperposedAtoms()
        loaded = load(name)
        loaded.check_elements(from_atoms(atoms, loaded.cutoff))
    return loaded


def _check_out(structure: Path, atoms, out: Path, shape: tuple, std: bool, dtype: str, ecut: float | None) -> None:
    """Look at the place of the output before the work."""
    from ase_mlx.data.espresso_density import least_grid
    from ase_mlx.fields.density_files import check_place

    if ecut is not None:
        waves = prod(least_grid(atoms.cell.array, ecut))
        check_output(out / "pwscf.save" / "charge-density.dat", 16 * waves)
    elif out.suffix == ".png":
        check_output(out, 300_000, inputs=[structure])
    else:
        with exits.reading("--out"):
            check_place(out, shape, std, dtype)
        check_output(out, 0, inputs=[structure]) if out.suffix != ".zarr" else None


def _check_kind(out: Path, ecut: float | None) -> None:
    from ase_mlx.data.volumetric import kind_of

    if ecut is not None or out.suffix == ".png":
        return
    try:
        kind_of(out)
    except ValueError as error:
        raise ValueError(f"{error}; or x.png for a picture") from error


def _numbers(text: str, kind: type, option: str) -> tuple | None:
    """Three numbers, None of an empty text."""
    if not text:
        return None
    what = 'three positive whole numbers, such as "40 40 40"' if kind is int else 'three numbers, such as "0 0 0.5"'
    with exits.reading(option):
        numbers = numbers_of(text, what)
        if len(numbers) != 3 or (kind is int and any(n != int(n) or n < 1 for n in numbers)):
            raise ValueError(f'got "{text}", expected {what}')
        return tuple(kind(number) for number in numbers)


def _pick(name: str, symbols: list[str]) -> str | None:
    """Choose the model of a density that knows these elements, before torch is imported; None: none does."""
    from ase_mlx.learn.cards import read_card
    from ase_mlx.pretrained import available, find

    densities = {card["name"]: card["elements"] for card in available() if "density" in card["outputs"]}
    shipped = ", ".join(f"{candidate} ({' '.join(elements)})" for candidate, elements in densities.items())
    if name != "auto":
        card = read_card(find(name))
        if "density" not in card["outputs"]:
            raise ValueError(f"got {name!r}, a model without a density; these have one: {shipped}; train another with "
                             "`ase-mlx train` (docs/density.md)")  # fmt: skip
        densities = {name: card["elements"]}
    for candidate, elements in densities.items():
        if set(symbols) <= set(elements):
            return candidate
    if name == "auto":
        return None
    raise ValueError(
        f"got {', '.join(sorted(set(symbols)))}; no density of these elements: {shipped}. Name the folder of a model "
        "trained on them with --model (docs/density.md), or none for the sum of neutral atoms"
    )


def _restart(model, atoms, out: Path, ecut: float, charge: float | None, dipole: tuple | None, json) -> None:
    from ase_mlx.fields.density_files import write_restart

    with exits.reading("--out"), doubts(exits.in_options) as raised:
        path = write_restart(model, atoms, out, ecut, charge, dipole=dipole)
    if not write_json({"path": path, "warnings": raised.sentences, "extrapolation": raised.extrapolation}, json):
        print(f"wrote {path}: set outdir = '{out}', prefix = 'pwscf', startingpot = 'file'")
        _warn(raised.sentences)


def _picture(model, atoms, out: Path, charge: float | None, dipole: tuple | None, level: float | None, json) -> None:
    from ase_mlx.fields.density_surface import density_surface
    from ase_mlx.figures.isosurface import draw_isosurface

    with exits.reading("--level"), doubts(exits.in_options) as raised:
        surface = density_surface(model, atoms, level, charge, dipole)
    draw_isosurface(out, surface, atoms.get_chemical_formula())
    result = {"path": out} | {name: getattr(surface, name) for name in ("level", "lowest", "highest")}
    if not write_json(result | {"warnings": raised.sentences, "extrapolation": raised.extrapolation}, json):
        print(f"wrote {out}: the surface of {surface.level:.3g} e/Å³ (the density is between {surface.lowest:.3g} and "
              f"{surface.highest:.3g})")  # fmt: skip
        _warn(raised.sentences)


def _print(result, sentences: list[str]) -> None:
    volume = " × ".join(str(n) for n in result.shape)
    print(f"wrote {result.path}: {volume} points, {result.bytes / 1e6:.1f} MB in {result.seconds:.1f} s")
    print(f"electrons {result.electrons:.10f} (expected {result.expected:g}), between {result.lowest:.4f} and "
          f"{result.highest:.4f} e/Å³")  # fmt: skip
    if result.std_path is not None:
        print(f"wrote {result.std_path}: mean standard deviation {result.mean_std:.2e} e/Å³")
    _warn(sentences)


def _warn(sentences: list[str]) -> None:
    for text in sentences:
        print(f"warning: {text}")
