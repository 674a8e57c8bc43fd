"""`ase-mlx conductivity` and `ase-mlx compress`: lattice thermal conductivity, and compressed force constants.

Source: ours.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.calculators import Dispersion, Name, check_name, chosen
from ase_mlx.cli.output import JsonFile, check_output, named_after, print_table, results_folder, write_json
from ase_mlx.cli.phonons import Born, Displacement, ErrorBars, Relax, _supercell, check_crystal, numbers_of
from ase_mlx.cli.run import Device, progress_bar

Source = Annotated[
    Path,
    typer.Argument(
        metavar="STRUCTURE|YAML",
        exists=True,
        dir_okay=False,
        help="A file that ASE reads, or phono3py's yaml with forces (FORCES_FC3 or fc3.hdf5 may lie beside it).",
    ),
]
Yaml = Annotated[Path, typer.Argument(metavar="YAML", exists=True, dir_okay=False, help="phono3py's yaml with forces.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FOLDER", help="Where the results go; NAME-conductivity if not given."),
]
TensorFile = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="A safetensors file; NAME-tensor.safetensors if not given."),
]
Rank = Annotated[
    str,
    typer.Option(
        "--rank",
        help="none: exact; a tensor of so many products; auto: as many as needed; learned from forces; or a file of "
        "`ase-mlx compress`.",
    ),
]
Products = Annotated[str, typer.Option("--rank", help="Products in the tensor; auto: as many as needed.")]
Mesh = Annotated[str, typer.Option("--mesh", help='A length in Å ("60") or three numbers ("19 19 19").')]
Temperatures = Annotated[
    list[float], typer.Option("--temperature", "-t", min=1, metavar="K", help="May be given several times.")
]
Temperature = Annotated[float, typer.Option("--temperature", "-t", min=1, metavar="K", help="Of the weights.")]
Shape = Annotated[str, typer.Option("--supercell", help='Of a structure: multiples ("2 2 2") or a least height in Å.')]
Isotopes = Annotated[bool, typer.Option("--isotopes", help="Scattering by natural isotopes too.")]
Boundary = Annotated[float | None, typer.Option("--boundary", min=1e-6, metavar="μm", help="Mean free path of grains.")]
Solver = Annotated[
    Literal["rta", "iterative"], typer.Option("--solver", help="Relaxation times, or the whole Boltzmann equation.")
]
Order = Annotated[
    Literal["3", "4"],
    typer.Option("--order", help="4: four-phonon scattering too (with a calculator, or fc4.hdf5 beside the yaml)."),
]
Symmetrize = Annotated[bool, typer.Option("--symmetrize", help="Project force constants onto all their symmetries.")]


def conductivity(
    source: Source,
    calculator: Name = "auto",
    out: Out = None,
    mesh: Mesh = "60",
    temperature: Temperatures = tuple(float(t) for t in range(100, 1001, 100)),
    rank: Rank = "none",
    solver: Solver = "rta",
    order: Order = "3",
    supercell: Shape = "10",
    displacement: Displacement = 0.03,
    relax: Relax = True,
    isotopes: Isotopes = False,
    boundary: Boundary = None,
    symmetrize: Symmetrize = False,
    born: Born = None,
    error_bars: ErrorBars = True,
    json: JsonFile = None,
    device: Device = "cpu",
    dispersion: Dispersion = False,
) -> None:
    """Lattice thermal conductivity of a crystal, exact; with --rank from a tensor, and what that changed.

    Writes kappa.hdf5 (phono3py's layout and units), kappa.csv, figures of conductivity, accumulation and linewidths,
    tensor.safetensors where there is one, phono3py.yaml (phono3py's commands go on from it) and report.html, a page to
    look at. Finished supercells and what was read are kept in the folder.

    Example: `ase-mlx conductivity phono3py_params.yaml --mesh "19 19 19" -o silicon-conductivity`
    """
    with exits.reading("--rank"):
        products = _rank(rank)
    with exits.reading("--mesh"):
        numbers = _mesh(mesh)
    with exits.reading("--supercell"):
        shape = _fixed_supercell(supercell)
    with exits.reading("--calculator"):
        check_name(calculator)
    out = out or named_after(source, "conductivity")
    from ase_mlx.jobs.conductivity import BYTES, FILES, conductivity_job

    with results_folder(out, FILES, BYTES) as part, ExitStack() as stack:
        with exits.reading("STRUCTURE|YAML"):
            kept = order == "3" and rank != "learned" and not isinstance(products, Path)
            orders = {"third": not isinstance(products, Path), "fourth": order == "4"}
            crystal = _read(source, symmetrize, born, out / "work" if kept else None, **orders)
        potential, model = _calculator(crystal, calculator, device, dispersion, fourth=order == "4")
        tell = stack.enter_context(progress_bar(source.name))
        outcome = conductivity_job(
            crystal, potential, part, source.name, tell, exits.in_options, model, mesh=numbers,
            temperatures=sorted(set(temperature)), rank=products, supercell=shape, displacement=displacement,
            relax=relax, isotopes=isotopes, boundary=boundary, solver=solver, order=int(order), error_bars=error_bars,
            device=device, work=out / "work", born=None if hasattr(crystal, "fc3") else born,
        )  # fmt: skip
    result = outcome.as_dict()
    if not write_json(result, json):
        print_table(f"{source.name}: lattice thermal conductivity in W/(m K), mesh {result['mesh']}", result["rows"])
        for note in result["notes"]:
            print(note)
        print(f"written to {out}: {', '.join(result['files'])}")


def compress(
    source: Yaml,
    out: TensorFile = None,
    rank: Products = "auto",
    temperature: Temperature = 300.0,
    symmetrize: Symmetrize = False,
    json: JsonFile = None,
) -> None:
    """Compress third-order force constants, exact in all their symmetries, and say what is lost.

    Example: `ase-mlx compress phono3py_params.yaml -o tensor.safetensors`
    """
    from ase_mlx.adapters.phono3py.crystal import crystal_of
    from ase_mlx.phonons.compression import compress as run
    from ase_mlx.phonons.tensor_files import save_tensor

    with exits.reading("--rank"):
        products = _rank(rank)
        if products in (None, "learned") or isinstance(products, Path):
            raise ValueError(f"got --rank {rank}, expected a number or auto: this command compresses force constants")
    with exits.reading("YAML"):
        crystal = _read(source, symmetrize)
        if not hasattr(crystal, "fc3"):
            raise ValueError(f"got {source.name!r}, a structure, expected phono3py's yaml with forces")
    out = out or Path(f"{named_after(source, 'tensor')}.safetensors")
    check_output(out, 1_000_000, inputs=[source])
    with progress_bar(source.name) as tell:
        fit = run(crystal_of(crystal), products, temperature, progress=lambda *steps: tell("fit", *steps))
    full, compact = fit.ratios
    row = {
        "rank": fit.tensor.rank,
        "numbers": fit.tensor.size,
        "full / numbers": round(full),
        "compact / numbers": round(compact),
        "held-out error (%)": 100 * fit.held_out,
        "reached": fit.reached,
        "fit (s)": fit.seconds,
    }
    with exits.reading("--out"):
        card = {"source": source.name, "temperature_K": temperature, "errors": fit.errors}
        save_tensor(fit.tensor, out, card)
    if not write_json({"path": out, **row}, json):
        print_table(f"{source.name}: third-order force constants in {out}", [row])


def _calculator(crystal, name: str, device: str, dispersion: bool, fourth: bool) -> tuple:
    """The calculator of that name, or the one chosen for a crystal, or for a Phono3py's fourth order; and its name."""
    read, held = hasattr(crystal, "fc3"), getattr(crystal, "fc4", None) is not None
    if read and (held or not fourth):
        if dispersion:
            raise typer.BadParameter(
                "got force constants, which hold what they hold; expected a structure", param_hint="--dispersion"
            )
        return None, ""
    if read:
        from ase_mlx.adapters.phonopy.cells import to_ase
    with exits.reading("--calculator"):
        choice = chosen(name, to_ase(crystal.unitcell) if read else crystal, device, dispersion)
    if not read:
        with exits.reading("STRUCTURE|YAML"):
            check_crystal(crystal)
    return choice


def _fixed_supercell(text: str):
    """Read multiples or a height in Å."""
    if (shape := _supercell(text)) == "auto":
        raise ValueError("got auto, expected multiples or a height in Å")
    return shape


def _mesh(text: str) -> float | tuple[int, ...]:
    """Read a length in Å, or three whole numbers."""
    expected = 'a length in Å ("60") or three whole numbers ("19 19 19")'
    numbers = numbers_of(text, expected)
    whole = all(number == int(number) for number in numbers)
    if len(numbers) not in (1, 3) or min(numbers) <= 0 or (len(numbers) == 3 and not whole):
        raise ValueError(f'got "{text}", expected {expected}')
    return numbers[0] if len(numbers) == 1 else tuple(int(number) for number in numbers)


def _rank(text: str) -> int | str | Path | None:
    if text in ("auto", "learned", "none"):
        return None if text == "none" else text
    if text.endswith(".safetensors"):
        if not Path(text).is_file():
            raise ValueError(f'got --rank "{text}", where there is no file; `ase-mlx compress` writes one')
        return Path(text)
    if not text.isdigit() or int(text) == 0:
        raise ValueError(f'got --rank "{text}", expected a positive number, auto, learned, none or x.safetensors')
    return int(text)


def _read(path: Path, symmetrize: bool, born: Path | None = None, folder: Path | None = None, **orders: bool):
    """The Phono3py of a yaml, or the atoms of a structure."""
    if ".yaml" in path.name or ".yml" in path.name:
        from ase_mlx.adapters.phono3py import load_third_order

        return load_third_order(path, symmetrize, born, folder=folder, **orders)
    from ase_mlx.data.io import read_structure

    return read_structure(path)
