"""`ase-mlx phonons`: bands, thermal functions and thermal expansion of a crystal, from any calculator.

Source: ours.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.calculators import Dispersion, Name, check_name, chosen
from ase_mlx.cli.output import JsonFile, named_after, results_folder, stem
from ase_mlx.cli.run import Device, finish, progress_bar

Structure = Annotated[
    Path,
    typer.Argument(
        metavar="STRUCTURE",
        exists=True,
        dir_okay=False,
        help="A file that ASE reads, or a phonopy yaml with forces or force constants.",
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Where the results go; NAME-phonons if not given.")
]
Supercell = Annotated[
    str,
    typer.Option(
        "--supercell", help='Multiples ("2 2 2"), a least height in Å ("12"), or auto: checked for convergence.'
    ),
]
Displacement = Annotated[float, typer.Option("--displacement", min=1e-4, metavar="Å", help="Of the atoms.")]
Method = Annotated[
    Literal["displacements", "random", "hessian"],
    typer.Option("--method", help="hessian: exact derivatives, of our own models alone."),
]
Relax = Annotated[bool, typer.Option(help="Relax positions and cell first.")]
Born = Annotated[Path | None, typer.Option("--born", metavar="BORN", exists=True, help="Born charges, phonopy's file.")]
OnImaginary = Annotated[
    Literal["error", "follow", "report"],
    typer.Option("--on-imaginary", help="follow: displace along the lowest mode, relax, and start again."),
]
Qha = Annotated[bool, typer.Option("--qha", help="Thermal expansion too: phonons at six volumes.")]
Pressure = Annotated[float, typer.Option("--pressure", metavar="GPa", help="Of the quasi-harmonic curves.")]
Mesh = Annotated[float, typer.Option("--mesh", min=1, metavar="Å", help="Length of the q mesh, Γ-centred.")]
Temperature = Annotated[float, typer.Option("--temperature", "-t", min=1, metavar="K", help="Of the table.")]
ErrorBars = Annotated[
    bool, typer.Option("--error-bars/--no-error-bars", help="From the members of a calculator that has some.")
]


def phonons(
    structure: Structure,
    calculator: Name = "auto",
    out: Out = None,
    supercell: Supercell = "auto",
    displacement: Displacement = 0.01,
    method: Method = "displacements",
    relax: Relax = True,
    born: Born = None,
    on_imaginary: OnImaginary = "error",
    qha: Qha = False,
    pressure: Pressure = 0.0,
    mesh: Mesh = 60.0,
    temperature: Temperature = 300.0,
    error_bars: ErrorBars = True,
    json: JsonFile = None,
    device: Device = "cpu",
    dispersion: Dispersion = False,
) -> None:
    """Phonons of a crystal with error bars: bands, density of states, heat capacity, and with --qha its expansion.

    Writes phonopy_params.yaml (phonopy's own commands read it), CSV tables, figures and report.html, a page to look at.
    Finished supercells are kept in the folder: after a kill the same call goes on from them.

    Example: `ase-mlx phonons silicon.cif --qha -o silicon-phonons`
    """
    with exits.reading("--supercell"):
        shape = _supercell(supercell)
    with exits.reading("--calculator"):
        check_name(calculator)
    with exits.reading("STRUCTURE"):
        crystal, atoms = _read(structure, born)
    model = None
    if crystal is None or calculator != "auto":
        with exits.reading("--calculator"):
            model, calculator = chosen(calculator, atoms, device, dispersion)
        with exits.reading("STRUCTURE"):
            check_crystal(atoms)
    if model is None and qha:
        raise typer.BadParameter("--qha needs a calculator for the other volumes", param_hint="--calculator")
    from ase_mlx.jobs.phonons import BYTES, FILES, PhononSettings, check_settings, phonon_job

    settings = PhononSettings(
        shape, displacement, method, relax, born, on_imaginary, qha, pressure, mesh, temperature, error_bars
    )
    with exits.reading("OPTIONS"):
        check_settings(settings) if crystal is not None else None
    out = out or named_after(structure, "phonons")
    with results_folder(out, FILES, BYTES) as part, progress_bar(structure.name) as tell:
        outcome = phonon_job(
            crystal or atoms, model, part, settings, stem(structure), calculator, out / "work", tell, exits.in_options
        )
    finish([outcome], out, json)


def _supercell(text: str):
    """Read "auto", a height in Å, three or nine integers ("2 2 2", "2x2x2")."""
    if text.strip() == "auto":
        return "auto"
    expected = 'a height in Å ("12"), three whole numbers ("2 2 2") or the nine of a matrix; or auto'
    numbers = numbers_of(text, expected)
    if len(numbers) == 1 and numbers[0] > 0:
        return numbers[0]
    if len(numbers) not in (3, 9) or any(number != int(number) for number in numbers):
        raise ValueError(f'got "{text}", expected {expected}')
    whole = tuple(int(number) for number in numbers)
    if len(whole) == 9:
        import numpy as np

        return np.array(whole).reshape(3, 3)
    if min(whole) < 1:
        raise ValueError(f'got "{text}", expected {expected}')
    return whole


def numbers_of(text: str, expected: str) -> list[float]:
    """Read finite numbers between blanks, commas or x: "2 2 2", "2,2,2", "2x2x2"; any unit.

    Raises:
        ValueError: something else, with what was expected.

    Source: ours.
    """
    from math import isfinite

    try:
        numbers = [float(part) for part in text.replace(",", " ").replace("x", " ").replace("×", " ").split()]
    except ValueError as error:
        raise ValueError(f'got "{text}", expected {expected}') from error
    if not numbers or not all(isfinite(number) for number in numbers):
        raise ValueError(f'got "{text}", expected {expected}')
    return numbers


def _read(path: Path, born: Path | None):
    """The phonopy object where the file is one of phonopy's, and the atoms."""
    if ".yaml" in path.name or ".yml" in path.name:
        from ase_mlx.adapters.phonopy import load_phonons
        from ase_mlx.adapters.phonopy.cells import to_ase

        crystal = load_phonons(path, born)
        return crystal, to_ase(crystal.unitcell)
    from ase_mlx.data.io import read_structure

    return None, read_structure(path)


def check_crystal(atoms) -> None:
    """Refuse what has no phonons of a crystal, when phonopy has to be imported anyway (Å, amu).

    Raises:
        ValueError: naming what was found.

    Source: ours.
    """
    from ase_mlx.adapters.phonopy.cells import check_crystal as check

    check(atoms)
