"""Phonons of a crystal: from a structure to tables, figures and phonopy's yaml.

Source: ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ase_mlx.figures.main import FIGURES
from ase_mlx.jobs.curves import BANDS, THERMAL, write_bands, write_curves
from ase_mlx.jobs.main import YAML
from ase_mlx.jobs.outcome import Outcome, add_harmonic, limits_of, reference_of, summary, write_table
from ase_mlx.jobs.report import REPORT, add_report
from ase_mlx.progress import Progress, steps_of
from ase_mlx.whole.tables import write_json

PRIOR = "free_energy.json"
"""What a model of F(V, T) begins from, with `qha`."""

CELL = "structure.extxyz"
"""The unit cell that the phonons are of."""

FILES = ("results.csv", "results.json", BANDS, THERMAL, PRIOR, YAML, CELL, REPORT, *FIGURES)
"""Results of a call."""

BYTES = 12_000_000
"""That they may take on the disk, with the finished supercells."""


@dataclass(frozen=True)
class PhononSettings:
    """What phonons to compute; as `adapters.phonopy.phonons` and `quasi_harmonic` take it where the names agree.

    Attributes:
        supercell: multiples, a least height in Å, or "auto": checked for convergence.
        displacement: of the atoms, Å.
        method: "displacements", "random" or "hessian".
        relax: positions and cell first.
        born: file of Born charges.
        on_imaginary: "error", "follow" or "report".
        qha: thermal expansion too, by phonons at six volumes.
        pressure: of the quasi-harmonic curves, GPa.
        mesh: length of the q mesh, Å.
        temperature: of the table, K.
        error_bars: of all that follows from force constants, where the calculator has members.

    Source: ours.
    """

    supercell: Any = "auto"
    displacement: float = 0.01
    method: str = "displacements"
    relax: bool = True
    born: str | Path | None = None
    on_imaginary: str = "error"
    qha: bool = False
    pressure: float = 0.0
    mesh: float = 60.0
    temperature: float = 300.0
    error_bars: bool = True


def check_settings(settings: PhononSettings) -> None:
    """Refuse what only force constants that are computed depend on (Å), where they are read.

    Raises:
        ValueError: naming it.

    Source: ours.
    """
    default = PhononSettings()
    computing = ("method", "relax") if settings.qha else ("method", "relax", "displacement")
    unused = [name for name in computing if getattr(settings, name) != getattr(default, name)]
    unused += [] if isinstance(settings.supercell, str) else ["supercell"]
    if unused:
        raise ValueError(
            f"got {', '.join(sorted(unused))} for force constants that are read, expected none of these: nothing is "
            "displaced; leave them out, or give the structure itself and a calculator"
        )


def phonon_job(
    structure,
    calculator=None,
    folder: str | Path | None = None,
    settings: PhononSettings | None = None,
    name: str = "",
    model: str = "",
    work: str | Path | None = None,
    progress: Progress | None = None,
    words: Callable[[str], str] = str,
) -> Outcome:
    """Compute phonons and, where asked, the quasi-harmonic curves; write tables, figures and phonopy's yaml.

    Args:
        structure: a crystal as `ase.Atoms` (Å), or a `phonopy.Phonopy` with force constants.
        calculator: any ASE calculator, eV and Å, its name, or "auto"; None for a Phonopy's own force constants.
        folder: for the results, made if missing; None: nothing is written.
        settings: what to compute; those of the supercells do not count for a Phonopy, see `check_settings`.
        name: of the structure in tables and figures; its formula if not given.
        model: the calculator's name, for the record.
        work: folder for finished supercells, from which a second call goes on.
        progress: called with stage, number done and number in all.
        words: how notes and reasons are put, see `Outcome`.

    Returns:
        Numbers with error bars and references; what failed, and why; in `results` what each stage returned: "phonons"
        (a Phonopy), "spectra" (a `Harmonic`, a `Spectrum`, densities of states by atom), "expansion".

    Raises:
        OSError: the folder cannot be written.

    Source: ours.
    """
    from ase_mlx.adapters.phonopy.cells import to_ase

    settings, folder = settings or PhononSettings(), None if folder is None else Path(folder)
    atoms = to_ase(structure.unitcell) if (read := hasattr(structure, "unitcell")) else structure
    formula = atoms.get_chemical_formula(empirical=True)
    outcome, tell = Outcome(name or formula, "", formula, "crystal", words=words), partial(steps_of, progress)
    outcome.settings, spectra, curves = {"command": "phonons", **vars(settings)}, None, None
    calculator = outcome.computed_by(calculator, atoms, model)
    ph = outcome.stage(
        "phonons", lambda: structure if read else _force_constants(atoms, calculator, settings, work, tell)
    )
    if ph is not None:
        _describe(outcome, ph, folder)
        spectra = outcome.stage("spectra", lambda: _spectra(ph, calculator, settings, work, tell))
    if spectra is not None:
        add_harmonic(outcome, spectra[0], settings.temperature)
        outcome.notes += [_origin(ph, spectra[0]), *spectra[0].notes]
        outcome.notes += limits_of(outcome.model) if spectra[0].debye_temperature is not None else []
    if spectra is not None and settings.qha:
        curves = outcome.stage("expansion", lambda: _expansion(ph, calculator, settings, work, tell))
    if curves is not None:
        _add_expansion(outcome, curves, settings.temperature)
    outcome.conclude(reference := {} if ph is None else reference_of(to_ase(ph.unitcell), outcome.spacegroup))
    if folder is not None:
        _write(outcome, folder, ph, spectra, curves, reference, settings.mesh)
    return outcome


def _force_constants(atoms, calculator, settings: PhononSettings, work, tell):
    from ase_mlx.adapters.phonopy import phonons

    return phonons(
        atoms, calculator, settings.supercell, settings.displacement, settings.relax, method=settings.method,
        born=settings.born, on_imaginary=settings.on_imaginary, folder=work, progress=tell("supercells"),
    )  # fmt: skip


def _describe(outcome: Outcome, ph, folder: Path | None) -> None:
    """Space group and origin of force constants, and phonopy's file of them."""
    from ase_mlx.adapters.ase.job import spacegroup_of
    from ase_mlx.adapters.phonopy import save_phonons
    from ase_mlx.adapters.phonopy.cells import to_ase
    from ase_mlx.data.io import write_frames

    outcome.spacegroup = spacegroup_of(to_ase(ph.unitcell))
    outcome.notes += [f"Taken from the file: {'; '.join(ph.sources)}."] if getattr(ph, "sources", ()) else []
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        outcome.write("phonopy's file", [YAML], lambda: save_phonons(ph, folder / YAML))
        outcome.write("structure's file", [CELL], lambda: write_frames(folder / CELL, [to_ase(ph.unitcell)]))


def _spectra(ph, calculator, settings: PhononSettings, work, tell):
    import numpy as np

    from ase_mlx.adapters.phonopy import harmonic, members, projected_dos, spectrum

    bars = settings.error_bars and calculator is not None
    ensemble = () if not bars else members(ph, calculator, work, tell("error bars"))
    temperatures = np.union1d(np.arange(0.0, max(1000.0, settings.temperature) + 1, 10.0), settings.temperature)
    report = "error" if settings.on_imaginary == "error" else "report"
    waves = harmonic(ph, ensemble, temperatures, settings.mesh, on_imaginary=report)
    lines = spectrum(ph, ensemble, mesh=settings.mesh)
    return waves, lines, projected_dos(ph, (), lines.dos_frequencies)


def _expansion(ph, calculator, settings: PhononSettings, work, tell):
    from ase_mlx.adapters.phonopy import quasi_harmonic
    from ase_mlx.adapters.phonopy.labelled import unitcell_of

    report = "error" if settings.on_imaginary == "error" else "report"
    return quasi_harmonic(
        unitcell_of(ph), calculator, ph.supercell_matrix, settings.displacement,
        pressure=settings.pressure, mesh=settings.mesh, on_imaginary=report, folder=work,
        progress=tell("volumes"), error_bars=settings.error_bars, born=ph.nac_params,
    )  # fmt: skip


def _origin(ph, waves) -> str:
    how = "exact second derivatives" if waves.displacement is None else f"displacements of {waves.displacement:g} Å"
    bars = f"error bars from {waves.members} members" if waves.members else "no error bars: no members, or none asked"
    return f"Supercell of {len(ph.supercell)} atoms, {how}; {bars}. Modes: {waves.stability}."


def _add_expansion(outcome: Outcome, curves, temperature: float) -> None:
    import numpy as np

    from ase_mlx.adapters.ase.job import Value

    at = int(np.argmin(np.abs(curves.temperatures - temperature)))
    here = f"({curves.temperatures[at]:g} K)"
    rows = (
        ("volumetric expansion", "expansion", 1e-6, "1e-6/K"),
        ("volume", "volume", curves.natoms, "Å³/atom"),
        ("isothermal bulk modulus", "bulk_modulus", 1, "GPa"),
        ("heat capacity C_p", "heat_capacity_p", curves.natoms, "J/(K mol atom)"),
        ("Grüneisen parameter", "gruneisen", 1, "1"),
    )
    for name, key, per, unit in rows:
        std = curves.std.get(key)
        value = Value(float(getattr(curves, key)[at]), None if std is None else float(std[at]), unit, "members")
        outcome.add(f"{name} {here}", value, per, unit)
    outcome.notes += curves.notes


def _write(outcome: Outcome, folder: Path, ph, spectra, expansion, reference: dict, mesh: float) -> None:
    from ase_mlx.figures.main import write_figures

    folder.mkdir(parents=True, exist_ok=True)
    title = f"{outcome.name}: {outcome.formula}, {outcome.spacegroup}, {outcome.model or 'phonopy.yaml'}"
    if spectra is not None:
        waves, lines, projected = spectra
        parts: dict[str, float] = {}
        for symbol, row in zip(ph.primitive.symbols, projected.value, strict=True):
            parts[symbol] = parts.get(symbol, 0) + row
        drawn = outcome.stage(
            "figures",
            lambda: write_figures(
                folder, title, harmonic=waves, spectrum=lines, reference=reference, expansion=expansion, projected=parts
            ),
        )
        outcome.files += drawn or []
        outcome.write("bands", [BANDS], lambda: write_bands(folder / BANDS, lines))
        outcome.write("thermal functions", [THERMAL], lambda: write_curves(folder / THERMAL, waves, expansion))
    if expansion is not None:
        _write_prior(outcome, folder / PRIOR, expansion, mesh)
    outcome.files += ["results.csv", "results.json"]
    write_table(folder / "results.csv", outcome.quantities)
    write_json(folder / "results.json", summary(outcome))
    add_report(folder, outcome.files, outcome.notes)
    write_json(folder / "results.json", summary(outcome))  # with the report, or why there is none


def _write_prior(outcome: Outcome, path: Path, expansion, mesh: float) -> None:
    from ase_mlx.adapters.phonopy.free_energy import free_energy_prior

    try:
        free_energy_prior(expansion, mesh).write(path)
    except ValueError as error:
        outcome.notes.append(f"No {path.name}: {error}")
    else:
        outcome.files.append(path.name)
