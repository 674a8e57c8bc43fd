"""Lattice thermal conductivity: from a crystal or phono3py's forces to its hdf5, a table, the tensor and figures.

Source: ours.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase_mlx.jobs.doubts import doubts
from ase_mlx.jobs.report import REPORT, add_report
from ase_mlx.progress import Progress
from ase_mlx.whole.tables import write_csv, write_json

KAPPA, CELLS, CELL, RESULTS = "kappa.hdf5", "phono3py.yaml", "structure.extxyz", "results.json"

FILES = (
    KAPPA,
    CELLS,
    "kappa.csv",
    "conductivity.png",
    CELL,
    RESULTS,
    REPORT,
    "tensor.safetensors",
    "quartic.safetensors",
)
"""What a job may write into its folder."""

BYTES = 16_000_000
"""That they may take on the disk, with the finished supercells."""

COMPONENTS = ("xx", "yy", "zz", "yz", "xz", "xy")


@dataclass
class ConductivityOutcome:
    """A `Conductivity` (W/(m K), K) as a table, with what is to be said of it, and the files that hold it.

    Source: ours.
    """

    conductivity: Any
    mesh: str
    rows: list[dict]
    certificate: dict | None
    notes: list[str]
    files: list[str] = field(default_factory=list)
    extrapolation: dict | None = None
    model: str = ""
    settings: dict = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All but the object itself (W/(m K), K), for JSON."""
        return {key: value for key, value in vars(self).items() if key != "conductivity"}


def conductivity_job(
    source,
    calculator=None,
    folder: str | Path | None = None,
    name: str = "",
    progress: Progress | None = None,
    words: Callable[[str], str] = str,
    model: str = "",
    work: str | Path | None = None,
    **settings: Any,
) -> ConductivityOutcome:
    """Compute the lattice thermal conductivity, say what stands behind it; write tables, tensors and figures.

    Args:
        source: a crystal (Å) with a calculator, or phono3py's object with force constants.
        calculator: any ASE calculator, eV and Å, its name, or "auto".
        folder: for the results, made if missing; None: nothing is written.
        name: of the source in figures and files; the formula if not given.
        progress: called with the stage, the number done and the number in all.
        words: how notes are put.
        model: the calculator's name, for the record.
        work: folder for finished supercells, from which a second call goes on.
        settings: further arguments of `adapters.phonopy.conductivity` (Å, K).

    Returns:
        The table in W/(m K) and K, the certificate, notes; `conductivity` has all numbers.

    Raises:
        ValueError, RuntimeError, MemoryError: as `conductivity`.
        OSError: the folder cannot be written.

    Source: ours.
    """
    from ase_mlx.adapters.choice import settled
    from ase_mlx.adapters.phono3py import conductivity

    if calculator is not None and hasattr(source, "get_chemical_symbols"):
        calculator = settled(calculator, source)
    choice = getattr(calculator, "choice", None)
    with doubts(words) as raised:
        solved = conductivity(source, calculator, folder=work, progress=progress, **settings)
        outcome = ConductivityOutcome(solved, *_table(solved), model=model or (choice.name if choice else ""))
        outcome.notes = [words(note) for note in outcome.notes] + ([str(choice)] if choice else [])
        if folder is not None:
            _write(outcome, name or solved.phono3py.primitive.reduced_formula, Path(folder))
    outcome.notes += raised.sentences
    outcome.extrapolation = raised.extrapolation
    outcome.settings = {"command": "conductivity", "source": name} | _plain_settings(settings)
    if folder is not None:
        outcome.files.append(RESULTS)
        write_json(Path(folder) / RESULTS, outcome.as_dict())
        add_report(Path(folder), outcome.files, outcome.notes)
        write_json(Path(folder) / RESULTS, outcome.as_dict())  # with the report, or why there is none
    return outcome


def _plain_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """What JSON can say of the settings."""
    plain = (str, int, float, bool, list, tuple, Path)
    return {name: value for name, value in settings.items() if isinstance(value, plain)}


def _table(solved) -> tuple[str, list[dict], dict | None, list[str]]:
    """Mesh, rows, certificate and notes of a `Conductivity`."""
    mesh = " × ".join(str(n) for n in solved.modes.mesh.numbers)
    rows = [
        {"T (K)": float(t), **{c: float(x) for c, x in zip(COMPONENTS, _clean(kappa), strict=True)}}
        for t, kappa in zip(solved.temperatures, solved.kappa, strict=True)
    ]
    if solved.kappa_std is not None:
        for row, std in zip(rows, solved.kappa_std, strict=True):
            row["std"] = float(std[:3].mean())
    notes, certificate = list(solved.notes), None
    if sources := getattr(solved.phono3py, "sources", ()):
        notes.append(f"Taken from the file: {'; '.join(sources)}.")
    if solved.compression is not None:
        fit, (full, compact) = solved.compression, solved.compression.ratios
        notes.insert(
            0, f"Rank {fit.tensor.rank}, {full:.0f} times smaller than the tensor ({compact:.0f} times than the "
            f"translation-reduced one), fitted in {fit.seconds:.0f} s; held-out error {100 * fit.held_out:.1f} %.",
        )  # fmt: skip
        if solved.certificate is not None:
            notes.insert(1, f"Certificate: {solved.certificate}.")
            certificate = {
                "changes": solved.certificate.changes.tolist(),
                "half_widths": solved.certificate.half_widths.tolist(),
                "triplets": solved.certificate.triplets,
                "quartets": solved.certificate.quartets,
                "exact": solved.certificate.exact,
            }
    more = solved.coherence[solved.modes.middle, :3].mean()
    room = solved.temperatures[solved.modes.middle]
    notes.append(f"Coherences between modes (Wigner) would add {more:.2g} W/(m K) at {room:g} K.")
    if solved.modes.four is not None:
        notes.append(_four_phonons(solved))
    return mesh, rows, certificate, notes


def _four_phonons(solved) -> str:
    fit, modes = solved.quartic, solved.modes
    less = 1 - modes.kappa[modes.middle, :3].mean() / modes.three_phonon_kappa[modes.middle, :3].mean()
    begin = f"Four-phonon scattering takes {100 * less:.1f} % off kappa({modes.temperatures[modes.middle]:g} K)"
    if fit is None:
        return f"{begin}; fourth order exact."
    return (
        f"{begin}; fourth order: rank {fit.tensor.rank}, {fit.ratios[0]:.2g} times smaller than the tensor, held-out "
        f"forces off by {100 * fit.held_out:.0f} %."
    )


def _write(outcome: ConductivityOutcome, name: str, folder: Path) -> None:
    from ase_mlx.adapters.phono3py import write_cells, write_kappa
    from ase_mlx.adapters.phonopy.cells import to_ase
    from ase_mlx.data.io import write_frames
    from ase_mlx.figures.conductivity import draw_conductivity
    from ase_mlx.phonons.tensor_files import save_tensor

    solved = outcome.conductivity
    folder.mkdir(parents=True, exist_ok=True)
    write_kappa(solved.modes, solved.phono3py, folder / KAPPA)
    write_cells(solved.phono3py, folder / CELLS)
    write_frames(folder / CELL, [to_ase(solved.phono3py.unitcell)])
    bars = [] if solved.kappa_std is None else ["std_W/(m K)"]
    header = ["temperature_K", *(f"kappa_{c}_W/(m K)" for c in COMPONENTS), *bars]
    write_csv(folder / "kappa.csv", header, [[f"{x:.8g}" for x in row.values()] for row in outcome.rows])
    outcome.files += [KAPPA, CELLS, CELL, "kappa.csv", "conductivity.png"]
    for file, fit in (("tensor", solved.compression), ("quartic", solved.quartic)):
        if fit is not None:
            save_tensor(fit.tensor, folder / f"{file}.safetensors", {"source": name, "errors": fit.errors})
            outcome.files.append(f"{file}.safetensors")
    title = f"{name}: {solved.phono3py.primitive.reduced_formula}, {outcome.mesh}"
    draw_conductivity(solved, title, folder / "conductivity.png")


def _clean(kappa):
    """Zero where symmetry asks for it and rounding left something."""
    import numpy as np

    return np.where(np.abs(kappa) < 1e-10 * np.abs(kappa).max(), 0.0, kappa)
