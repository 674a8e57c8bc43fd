"""The work of `ase-mlx phonons`: from a structure to tables, figures and phonopy's yaml.

Source: ours.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from ase_mlx.cli.figures import FIGURES
from ase_mlx.cli.job import YAML
from ase_mlx.cli.outcome import Outcome, add_harmonic, limits_of, reference_of, summary, write_table
from ase_mlx.cli.report import write_json
from ase_mlx.whole import whole_file

WORK = "work"
"""Folder of finished supercells, inside the output's."""

FILES = ("results.csv", "results.json", "bands.csv", "thermal.csv", YAML, *FIGURES)
"""Results of a call."""

BYTES = 8_000_000
"""That they may take on the disk, with the finished supercells."""


@dataclass(frozen=True)
class Wanted:
    """What was asked for: `settings` as `phonons` takes them, pressure in GPa, mesh in Å, temperature in K.

    Source: ours.
    """

    settings: dict
    on_imaginary: str
    qha: bool
    pressure: float
    mesh: float
    temperature: float


def run_phonons(
    name: str, atoms, crystal, calculator, model: str, folder: Path, work: Path, wanted: Wanted, progress
) -> Outcome:
    """Compute phonons and, where asked, the quasi-harmonic curves; write everything into `folder`.

    Args:
        name: of the structure in tables and figures.
        atoms: the crystal, Å.
        crystal: its `phonopy.Phonopy` where it was read from a file, else None.
        calculator: any ASE calculator, eV and Å; None where only a file was read.
        model: the calculator's name, for the record.
        folder: for the results.
        work: folder for finished supercells.
        wanted: what to compute (GPa, Å, K).
        progress: called with stage, number done and number in all.

    Returns:
        Numbers with error bars and references; what failed, and why.

    Raises:
        OSError: the folder cannot be written.

    Source: ours.
    """
    from ase_mlx.adapters.ase.job import spacegroup_of
    from ase_mlx.adapters.phonopy import phonons, save_phonons
    from ase_mlx.adapters.phonopy.cells import to_ase

    outcome = Outcome(name, model, atoms.get_chemical_formula(empirical=True), "crystal")

    def tell(stage: str):
        return lambda done, total: progress(stage, done, total)

    def force_constants():
        common = {"on_imaginary": wanted.on_imaginary, "folder": work, "progress": tell("supercells")}
        return crystal or phonons(atoms, calculator, **common, **wanted.settings)

    ph, found, curves = outcome.stage("phonons", force_constants), None, None
    if ph is not None:
        outcome.spacegroup = spacegroup_of(to_ase(ph.unitcell))
        outcome.notes += [f"Taken from the file: {'; '.join(ph.sources)}."] if getattr(ph, "sources", ()) else []
        outcome.stage("phonopy's file", lambda: save_phonons(ph, folder / YAML))
        outcome.files.append(YAML)
        found = outcome.stage("spectra", lambda: _spectra(ph, calculator, work, wanted, tell))
    if found is not None:
        add_harmonic(outcome, found[0], wanted.temperature)
        outcome.notes += [_said(ph, found[0]), *found[0].notes]
        outcome.notes += limits_of(model) if found[0].debye_temperature is not None else []
    if found is not None and wanted.qha:
        curves = outcome.stage("expansion", lambda: _expansion(ph, calculator, work, wanted, tell))
    if curves is not None:
        _add_expansion(outcome, curves, wanted.temperature)
    _write(outcome, folder, ph, found, curves)
    return outcome


def _spectra(ph, calculator, work: Path, wanted: Wanted, tell):
    import numpy as np

    from ase_mlx.adapters.phonopy import harmonic, members, projected_dos, spectrum

    ensemble = () if calculator is None else members(ph, calculator, work, tell("error bars"))
    temperatures = np.union1d(np.arange(0.0, max(1000.0, wanted.temperature) + 1, 10.0), wanted.temperature)
    report = "error" if wanted.on_imaginary == "error" else "report"
    waves = harmonic(ph, ensemble, temperatures, wanted.mesh, on_imaginary=report)
    lines = spectrum(ph, ensemble, mesh=wanted.mesh)
    return waves, lines, projected_dos(ph, (), lines.dos_frequencies)


def _expansion(ph, calculator, work: Path, wanted: Wanted, tell):
    from ase_mlx.adapters.phonopy import quasi_harmonic
    from ase_mlx.adapters.phonopy.labelled import unitcell_of

    report = "error" if wanted.on_imaginary == "error" else "report"
    return quasi_harmonic(
        unitcell_of(ph), calculator, ph.supercell_matrix, wanted.settings["displacement"],
        pressure=wanted.pressure, mesh=wanted.mesh, on_imaginary=report, folder=work, progress=tell("volumes"),
    )  # fmt: skip


def _said(ph, waves) -> str:
    how = "exact second derivatives" if waves.displacement is None else f"displacements of {waves.displacement:g} Å"
    bars = (
        f"error bars from {waves.members} members" if waves.members else "no error bars: the calculator has no members"
    )
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


def _write(outcome: Outcome, folder: Path, ph, found, expansion) -> None:
    from ase_mlx.adapters.phonopy.cells import to_ase
    from ase_mlx.cli.figures import write_figures

    reference = {} if ph is None else reference_of(to_ase(ph.unitcell), outcome.spacegroup)
    outcome.conclude(reference)
    title = f"{outcome.name}: {outcome.formula}, {outcome.spacegroup}, {outcome.model or 'phonopy.yaml'}"
    if found is not None:
        waves, lines, projected = found
        parts: dict[str, float] = {}
        for symbol, row in zip(ph.primitive.symbols, projected.value, strict=True):
            parts[symbol] = parts.get(symbol, 0) + row
        drawn = outcome.stage(
            "figures",
            lambda: write_figures(
                folder, title, harmonic=waves, spectrum=lines, reference=reference, expansion=expansion, projected=parts
            ),
        )
        outcome.files += [*(drawn or []), "bands.csv", "thermal.csv"]
        _write_bands(folder / "bands.csv", lines)
        _write_curves(folder / "thermal.csv", waves, expansion)
    outcome.files += ["results.csv", "results.json"]
    write_table(folder / "results.csv", outcome.quantities)
    write_json(summary(outcome), folder / "results.json")


def _write_bands(path: Path, lines) -> None:
    """Distance along the path in 1/Å, then frequency and std of each band in THz."""
    import numpy as np

    std = lines.std.get("bands", np.full(lines.bands.shape, np.nan))
    bands = range(lines.bands.shape[1])
    header = ["distance_1/A", *(f"band{k + 1}{end}_THz" for k in bands for end in ("", "_std"))]
    rows = ([x, *np.stack([f, s], axis=1).ravel()] for x, f, s in zip(lines.distances, lines.bands, std, strict=True))
    _csv(path, header, rows)


def _write_curves(path: Path, waves, expansion) -> None:
    """Functions of temperature with their std, per mole of atoms as in the table."""
    import numpy as np

    columns = {"temperature_K": waves.temperatures}

    def add(label: str, source, name: str, per: float = 1.0) -> None:
        values, std = getattr(source, name), source.std.get(name)
        for end, array in (("", values), ("_std", std)):
            full = np.full(len(waves.temperatures), np.nan)
            if array is not None:
                where = np.searchsorted(waves.temperatures, source.temperatures)
                full[where] = array / per
            columns[label + end] = full

    if waves.heat_capacity is not None:
        add("F_kJ/(mol atom)", waves, "free_energy", waves.natoms)
        add("S_J/(K mol atom)", waves, "entropy", waves.natoms)
        add("C_V_J/(K mol atom)", waves, "heat_capacity", waves.natoms)
    if expansion is not None:
        add("V_A3/atom", expansion, "volume", expansion.natoms)
        add("alpha_V_1/K", expansion, "expansion")
        add("B_GPa", expansion, "bulk_modulus")
        add("C_p_J/(K mol atom)", expansion, "heat_capacity_p", expansion.natoms)
        add("G_kJ/(mol atom)", expansion, "gibbs_energy", expansion.natoms)
    _csv(path, list(columns), zip(*columns.values(), strict=True))


def _csv(path: Path, header: list[str], rows) -> None:
    import math

    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(header)
        table.writerows(["" if math.isnan(x) else f"{x:.8g}" for x in row] for row in rows)
