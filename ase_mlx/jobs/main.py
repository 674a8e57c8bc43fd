"""The main job on one structure: the stages in turn, then tables, trajectory and figures into one folder.

A stage that fails or does not apply is named with its reason, and the others go on.

Source: ours.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ase_mlx.figures.main import FIGURES
from ase_mlx.jobs.curves import BANDS, THERMAL, write_bands, write_curves
from ase_mlx.jobs.outcome import (
    Outcome,
    add_elastic,
    add_harmonic,
    limits_of,
    reference_of,
    summary,
    write_table,
)
from ase_mlx.jobs.report import REPORT, add_report
from ase_mlx.progress import Progress, steps_of
from ase_mlx.structure import expect_atoms
from ase_mlx.whole.tables import write_json

YAML = "phonopy_params.yaml"
"""phonopy's name for it; a plain phonopy.yaml would be overwritten by phonopy's own command."""

TRAJECTORY = "trajectory.extxyz"

JOINT = ("results.csv", "results.json", REPORT)
FILES = (*JOINT, TRAJECTORY, YAML, BANDS, THERMAL, *FIGURES)
"""What a job may write into its folder."""

BYTES = 8_000_000
"""That they may take on the disk."""

LENGTHS = (10.0, 15.0)
"""Å: least heights of the phonons' supercell; the second where interpolation in the first makes modes imaginary."""

MOST_ATOMS = 20
"""Crystals with more inequivalent atoms get no phonons here: over a hundred supercells are a job of their own."""

MOST_DISPLACED = 32
"""Crystals with more inequivalent atoms get no elastic constants: each is displaced six times."""

STEPS, ATOM_STEPS, FEWEST = 1000, 30_000, 100
"""Steps of the dynamics if not given; of a calculator that is not one of ours with error bars, which are many times
slower, as many as move this number of atoms once, but not fewer than the last."""

STABLE = "`ase-mlx phonons --on-imaginary follow` finds the stable structure"
"""What helps against imaginary modes here."""

CRYSTAL_ONLY = "it needs a crystal periodic in three directions, and this is a {}"


def main_job(
    atoms,
    calculator,
    folder: str | Path | None = None,
    name: str = "",
    model: str = "",
    fast=None,
    temperature: float = 300.0,
    steps: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    words: Callable[[str], str] = str,
) -> Outcome:
    """Relax, fit the equation of state, run dynamics, compute phonons; write tables, trajectory and figures.

    Args:
        atoms: the structure, Å.
        calculator: any ASE calculator in double precision, eV and Å, its name, or "auto".
        folder: made if missing; None: nothing is written.
        name: of the structure in tables and figures; its formula if not given.
        model: name of the model, for the record.
        fast: calculator for the dynamics, eV and Å; `calculator` if not given.
        temperature: of the dynamics and of the thermal functions in the table, K.
        steps: of the dynamics; 1000 if not given, fewer with large cells and slow calculators.
        seed: of the dynamics.
        progress: called with stage, number done and number in all.
        words: how notes and reasons are put, see `Outcome`.

    Returns:
        Numbers with error bars and references; what was skipped, what failed, and why; in `results` what each stage
        returned, by its name: of "phonons" a `Harmonic` and a `Spectrum`.

    Raises:
        OSError, TypeError: the folder cannot be written; no atoms, such as the name of a file.

    Source: ours.
    """
    from ase_mlx.adapters.ase.job import relax

    expect_atoms(atoms)
    folder = None if folder is None else Path(folder)
    outcome, tell = Outcome(name or atoms.get_chemical_formula(), words=words), partial(steps_of, progress)
    outcome.settings = {"command": "run", "temperature": temperature, "steps": steps, "seed": seed}
    calculator = outcome.computed_by(calculator, atoms, model)
    relaxed, reference = outcome.stage("relaxation", lambda: relax(atoms, calculator, progress=tell("relaxation"))), {}
    if relaxed is not None:
        _relaxed(outcome, relaxed)
        _equation_of_state(outcome, relaxed, calculator, tell)
        constants = _elastic(outcome, relaxed, calculator)
        _anomaly(outcome, relaxed)
        _phonons(outcome, relaxed, calculator, constants, temperature, folder)
        _density(outcome, relaxed.atoms, calculator)
        outcome.settings["steps"] = steps = steps or _steps(outcome, relaxed)
        _dynamics(outcome, relaxed.atoms, fast or calculator, temperature, steps, seed, tell)
        reference = reference_of(relaxed.atoms, relaxed.spacegroup)
    outcome.conclude(reference)
    if folder is not None:
        _write(outcome, folder, reference)
    return outcome


def _relaxed(outcome: Outcome, relaxed) -> None:
    outcome.formula = relaxed.atoms.get_chemical_formula(empirical=True)
    outcome.kind, outcome.spacegroup = relaxed.kind, relaxed.spacegroup
    outcome.notes += [f"relaxation: {note}" for note in relaxed.notes]
    if not relaxed.converged:
        outcome.failed["relaxation"] = relaxed.notes[-1]
    outcome.add("energy", relaxed.energy, len(relaxed.atoms), "eV/atom")
    if relaxed.energy.std is None:
        outcome.notes.append("No error bars of what follows from forces: the calculator has no members.")
    relaxed.atoms.info["stage"] = "relaxed"


def _equation_of_state(outcome: Outcome, relaxed, calculator, tell) -> None:
    from ase_mlx.adapters.ase.job import equation_of_state

    if relaxed.kind != "crystal":
        outcome.skipped["cell relaxation"] = outcome.skipped["equation of state"] = CRYSTAL_ONLY.format(relaxed.kind)
        return
    work = lambda: equation_of_state(relaxed.atoms, calculator, progress=tell("equation of state"))  # noqa: E731
    eos = outcome.stage("equation of state", work)
    if eos is None:
        return
    outcome.notes += [f"equation of state: {note}" for note in eos.notes]
    outcome.add("lattice constant", eos.lattice_constant)
    outcome.add("volume", eos.volume, eos.natoms, "Å³/atom")
    outcome.add("bulk modulus", eos.bulk_modulus)
    outcome.add("pressure derivative of B", eos.derivative)


def _elastic(outcome: Outcome, relaxed, calculator):
    from ase_mlx.adapters.ase import elastic
    from ase_mlx.adapters.ase.supercells import inequivalent_atoms

    if relaxed.kind != "crystal":
        outcome.skipped["elastic constants"] = CRYSTAL_ONLY.format(relaxed.kind)
        return None
    if (count := inequivalent_atoms(relaxed.atoms)) > MOST_DISPLACED:
        outcome.skipped["elastic constants"] = (
            f"{count} inequivalent atoms are displaced six times each (limit here: {MOST_DISPLACED}); "
            "call ase_mlx.adapters.ase.elastic"
        )
        return None
    if relaxed.atoms.constraints:
        outcome.skipped["elastic constants"] = "some of its atoms are held fixed"
        return None
    constants = outcome.stage("elastic constants", lambda: elastic(relaxed.atoms, calculator, relax=False))
    if constants is not None:
        add_elastic(outcome, constants)
        outcome.notes += [f"elastic constants: {note}" for note in constants.notes]
        outcome.notes += limits_of(outcome.model)
    return constants


def _anomaly(outcome: Outcome, relaxed) -> None:
    from ase_mlx.adapters.ase.anomaly import anomaly_of, unseen

    if relaxed.kind != "crystal":
        outcome.skipped["anomaly score"] = CRYSTAL_ONLY.format(relaxed.kind)
        return
    if elements := unseen(relaxed.atoms):
        outcome.skipped["anomaly score"] = f"its model was trained on no crystals with {', '.join(elements)}"
        return
    anomaly = outcome.stage("anomaly score", lambda: anomaly_of(relaxed.atoms))
    if anomaly is not None:
        outcome.add("anomaly score (novelty)", anomaly.score)
        outcome.add("crystals less strange", anomaly.less_strange)
        if anomaly.flagged:
            outcome.notes.append(f"anomaly score: an unusual structure, because of {', '.join(anomaly.reasons)}")


def _phonons(outcome: Outcome, relaxed, calculator, constants, temperature: float, folder: Path | None) -> None:
    import warnings

    import numpy as np

    from ase_mlx.adapters.ase.supercells import inequivalent_atoms, supercell_matrix
    from ase_mlx.adapters.phonopy import (
        ImaginaryModesWarning,
        harmonic,
        judge,
        members,
        phonons,
        save_phonons,
        spectrum,
        stability,
    )

    if relaxed.kind != "crystal":
        outcome.skipped["phonons"] = CRYSTAL_ONLY.format(relaxed.kind)
        return
    if (count := inequivalent_atoms(relaxed.atoms)) > MOST_ATOMS:
        outcome.skipped["phonons"] = (
            f"{count} inequivalent atoms need up to {6 * count} displaced supercells (limit here: {MOST_ATOMS} atoms); "
            "call ase_mlx.adapters.phonopy.phonons"
        )
        return
    temperatures = np.union1d(np.arange(0.0, max(1000.0, temperature) + 1, 10.0), temperature)

    def work():
        warnings.simplefilter("ignore", ImaginaryModesWarning)  # `judge` says it below, once
        for length in LENGTHS:
            matrix = supercell_matrix(relaxed.atoms, length, symprec=1e-5)
            ph = phonons(relaxed.atoms, calculator, matrix, relax=False, on_imaginary="report")
            if not stability(ph).is_interpolation():
                break
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            save_phonons(ph, folder / YAML)
            outcome.files.append(YAML)
        ensemble = members(ph, calculator)
        waves = harmonic(ph, ensemble, temperatures, on_imaginary="report", elastic=constants)
        return waves, spectrum(ph, ensemble)

    spectra = outcome.stage("phonons", work)
    if spectra is None:
        return
    waves = spectra[0]
    outcome.notes += [f"phonons: {note}" for note in waves.notes if constants is None or note not in constants.notes]
    outcome.stage("thermal functions", lambda: judge(waves.stability, remedy=STABLE))
    add_harmonic(outcome, waves, temperature)


def _density(outcome: Outcome, atoms, calculator) -> None:
    from ase_mlx.adapters.ase.job import Value
    from ase_mlx.fields.density_slice import density_slice

    model = getattr(calculator, "model", None)
    if "density" not in {getattr(q, "name", None) for q in getattr(model, "outputs", ())}:
        return
    along = outcome.stage("density", lambda: density_slice(model, atoms))
    if along is not None:
        middle = len(along.distance) // 2
        std = None if along.std is None else float(along.std[middle])
        outcome.add("density amid the bond", Value(float(along.density[middle]), std, "e/Å³", "members"))
    if len(set(atoms.numbers)) > 1:
        charges = outcome.stage("charges", lambda: calculator.get_property("charges", atoms))
        if charges is not None:
            outcome.add("largest Hirshfeld charge", Value(float(abs(charges).max()), None, "e"))


def _steps(outcome: Outcome, relaxed) -> int:
    """How many steps of dynamics a calculator is worth that may be many times slower than ours with error bars."""
    from ase_mlx.adapters.ase.dynamics import cell_size

    atoms = cell_size(relaxed.atoms)
    if relaxed.energy.std is not None or atoms * STEPS <= ATOM_STEPS:
        return STEPS
    steps = max(FEWEST, ATOM_STEPS // atoms)
    outcome.notes.append(f"dynamics: {steps} steps of {atoms} atoms, to save time; steps={STEPS} makes them {STEPS}.")
    return steps


def _dynamics(outcome: Outcome, atoms, calculator, temperature: float, steps: int, seed: int, tell) -> None:
    import numpy as np

    from ase_mlx.adapters.ase.dynamics import dynamics
    from ase_mlx.adapters.ase.job import Value

    def work():
        return dynamics(atoms, calculator, temperature, steps, seed=seed, progress=tell("dynamics"))

    run = outcome.stage("dynamics", work)
    if run is None:
        return
    for frame in run.frames:
        frame.info["stage"] = "dynamics"
    outcome.add("mean temperature", run.temperature)
    outcome.add("energy drift", run.drift)
    outcome.add("mean square displacement", run.displacement)
    if run.sampled_forces_std is not None:
        rms = float(np.sqrt(np.mean(run.sampled_forces_std**2)))
        outcome.add("force error bar (rms, dynamics)", Value(1000 * rms, None, "meV/Å"))
    outcome.add("largest distance score", run.largest_distance)
    if run.outside is not None:
        outcome.add("beyond the training data", Value(100 * run.outside, None, "%"))


def _write(outcome: Outcome, folder: Path, reference: dict) -> None:
    from ase_mlx.data.io import write_frames
    from ase_mlx.figures.main import write_figures

    folder.mkdir(parents=True, exist_ok=True)
    part = outcome.results.get
    relaxed, run, (waves, spectrum) = part("relaxation"), part("dynamics"), part("phonons") or (None, None)
    if relaxed is not None:
        frames = [relaxed.atoms, *(() if run is None else run.frames)]
        outcome.write("trajectory", [TRAJECTORY], lambda: write_frames(folder / TRAJECTORY, frames))
    if waves is not None:
        outcome.write("bands", [BANDS], lambda: write_bands(folder / BANDS, spectrum))
        outcome.write("thermal functions", [THERMAL], lambda: write_curves(folder / THERMAL, waves))
    names = (outcome.formula, outcome.spacegroup or outcome.kind, outcome.model and f"model {Path(outcome.model).name}")
    title, constants = f"{outcome.name}: {', '.join(name for name in names if name)}", part("elastic constants")
    drawn = outcome.stage(
        "figures",
        lambda: write_figures(
            folder, title, part("equation of state"), run, waves, spectrum, reference, density=part("density"),
            elastic=constants,
        ),
    )  # fmt: skip
    outcome.files += [*(drawn or []), "results.csv", "results.json"]
    write_table(folder / "results.csv", outcome.quantities)
    write_json(folder / "results.json", summary(outcome))
    add_report(folder, outcome.files, outcome.notes)
    write_json(folder / "results.json", summary(outcome))  # with the report, or why there is none
