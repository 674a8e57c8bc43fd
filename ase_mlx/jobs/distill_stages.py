"""The stages of a distillation, one after the other; each keeps what it has done.

Source: ours.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.hot_frames import hot_frames
from ase_mlx.adapters.ase.job import relax
from ase_mlx.adapters.ase.supercells import inequivalent_atoms, kind, repeated
from ase_mlx.adapters.ase.teaching_frames import (
    KIND,
    LEAST,
    LINDEMANN,
    Share,
    matrix_of_height,
    nearest_distance,
    rattled,
    teaching_frames,
)
from ase_mlx.adapters.batched_labels import label_frames
from ase_mlx.adapters.comparison import compare_lattice, compare_phonons, force_errors, seconds_each
from ase_mlx.adapters.phonopy import phonons
from ase_mlx.adapters.phonopy.thermal_cell import ThermalCell, thermal_cell
from ase_mlx.data.io import read_frames, write_frames
from ase_mlx.jobs.distill import Clock, Distillation, listen, reason_of
from ase_mlx.jobs.distill_frames import bare, fewer, hold_out, part_of, with_columns
from ase_mlx.jobs.timed_training import train_for
from ase_mlx.learn.config import build
from ase_mlx.learn.files import load_model, save_model
from ase_mlx.learn.recipes.potential import PotentialRecipe, PotentialTraining
from ase_mlx.models.against_dft import LINE
from ase_mlx.models.error_bars import CALIBRATED
from ase_mlx.progress import Progress

PER_ATOM = 1.6e-3
"""Seconds of training an atom and frame, for the plan."""

PASSES = 14
"""Least times that a training should see each frame."""

SHARES = {"phonons": 0.08, "labels": 0.3, "first": 0.2, "hot": 0.1, "trained": 0.82, "report": 1.0}
"""Of the time: most for phonons, until when labels, for the first training, for dynamics, until when training lasts."""

SNAPSHOTS, SHORT = 18, 240.0
"""Of the student's dynamics at each temperature, half as many in less than so many seconds: of nine, three are learned,
four set the error bars, two are judged by."""

BAR_ATOMS = 2.5
"""Atoms, for each second of the job, of the training frames that error bars and distance score read, at most 1,500."""


@dataclass
class Crystal:
    """One crystal at rest (Å) with the cells it is taught in; temperatures in K.

    Source: ours.
    """

    atoms: Any
    matrix: np.ndarray
    supercell: Any
    cell: Any
    phonons: Any = None
    thermal: ThermalCell | None = None
    hottest: float = 1000.0

    def displaced(self, temperature: float, rng: np.random.Generator):
        """Draw the supercell at a temperature (K)."""
        if self.thermal is not None:
            return self.thermal.displaced(temperature, rng)
        size = LINDEMANN * nearest_distance(self.supercell) * np.sqrt(temperature / self.hottest / 3)
        return rattled(self.supercell, size, rng)


class Stages:
    """A distillation under way; `reports` has a dictionary for each crystal, units in its names.

    Source: ours.
    """

    def __init__(
        self,
        structures: list[Any],
        teacher,
        folder: Path,
        settings: Distillation,
        clock: Clock,
        name: str,
        origin: dict[str, Any],
        progress: Progress | None,
    ):
        """Look at the structures; nothing is computed.

        Raises:
            ValueError: no structures, or one that is no crystal.
        """
        if not structures or any(kind(atoms) != "crystal" for atoms in structures):
            kinds = ", ".join(f"{a.get_chemical_formula()}: {kind(a)}" for a in structures) or "no structures"
            raise ValueError(f"got {kinds}; expected crystals, periodic in three directions")
        self.structures, self.teacher, self.folder, self.settings = structures, teacher, folder, settings
        self.work, self.clock, self.name, self.origin, self.progress = folder / "work", clock, name, origin, progress
        self.crystals: list[Crystal] = []
        self.reports: list[dict[str, Any]] = [{} for _ in structures]
        self.notes: list[str] = []
        self.first: list[Any] = []
        self.hot: list[Any] = []
        self.quick = _single_precision(teacher)
        self.snapshots = SNAPSHOTS if clock.seconds > SHORT else SNAPSHOTS // 2

    def steps(self) -> Iterator[Callable[[], None]]:
        """The stages in their order."""
        yield from (self.relaxation, self.vibrations, self.labels, self.first_training, self.dynamics)
        yield from (self.training, self.comparison)

    def relaxation(self) -> None:
        """Bring the crystals to rest by the teacher, and time it."""
        path = self.work / "relaxed.extxyz"
        if not path.exists():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # one of many that fails is an error here, below
                done = relax(self.structures, self.teacher, fmax=2e-4, steps=300)
            for one, atoms in zip(done, self.structures, strict=True):
                if not np.isfinite(one.energy.value):
                    raise ValueError(f"got {atoms.get_chemical_formula()}, which the teacher cannot: {one.notes[-1]}")
            write_frames(path, [bare(one.atoms) for one in done])
        for atoms in read_frames(path):
            matrix = matrix_of_height(atoms, 2 * self.settings.cutoff)
            cell = repeated(atoms, matrix_of_height(atoms, 1.5 * self.settings.cutoff, LEAST))
            self.crystals.append(Crystal(atoms, matrix, repeated(atoms, matrix), cell))
        if "teacher_seconds" not in self.clock.state["plan"]:
            each = [seconds_each(self.quick, c.cell, 1) / len(c.cell) for c in self.crystals]
            self.clock.keep(teacher_seconds=float(np.mean(each)))

    def vibrations(self) -> None:
        """Phonons by the teacher, where there is time for them, and the temperatures."""
        each = self.clock.state["plan"]["teacher_seconds"]
        for k, crystal in enumerate(self.crystals):
            cost = 4 * inequivalent_atoms(crystal.atoms) * len(crystal.supercell) * each
            formula = crystal.atoms.get_chemical_formula(empirical=True)
            most = SHARES["phonons"] * self.clock.seconds / len(self.crystals)
            if cost > most:
                self.notes.append(
                    f"{formula}: no phonons by the teacher: about {cost:.0f} s, and {most:.0f} s are for them; hot "
                    "structures are random displacements, and the student's phonons were not compared."
                )
            else:
                self._phonons(crystal, formula, k)
            if self.settings.temperature is not None:
                crystal.hottest = self.settings.temperature
            elif crystal.thermal is not None:
                limit = (LINDEMANN * nearest_distance(crystal.supercell)) ** 2
                crystal.hottest = float(np.clip(limit / crystal.thermal.mean_square(1.0), 300.0, 4000.0))
            self.reports[k] |= {"formula": formula, "atoms": len(crystal.atoms), "hottest_K": round(crystal.hottest)}
            self.reports[k] |= {"supercell_atoms": len(crystal.supercell), "dynamics_atoms": len(crystal.cell)}

    def _phonons(self, crystal: Crystal, formula: str, k: int) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                crystal.phonons = phonons(
                    crystal.atoms, self.teacher, crystal.matrix, relax=False, on_imaginary="report",
                    folder=self.work / f"forces-{k}", progress=listen(self.progress, f"phonons of {formula}"),
                )  # fmt: skip
            crystal.thermal = thermal_cell(crystal.phonons)
        except (ValueError, RuntimeError, np.linalg.LinAlgError) as error:
            self.notes.append(f"{formula}: no phonons by the teacher: {reason_of(error)}")

    def labels(self) -> None:
        """Make the first frames and have them labelled."""
        rng = np.random.default_rng(self.settings.seed)
        wanted, places = [], []
        for k, crystal in enumerate(self.crystals):
            share = self._share(crystal, k)
            frames = teaching_frames(crystal.atoms, crystal.supercell, crystal.displaced, crystal.hottest, share, rng)
            wanted += frames
            places += [k] * len(frames)
        late = self.clock.late(SHARES["labels"] + 0.1)
        done, reasons = label_frames(wanted, self.quick, self.work / "labels", late, listen(self.progress, "labels"))
        self._say(reasons, len(wanted), "first frames")
        self.first = with_columns(done)
        if sum(a.info[KIND] != "rest" for a in self.first) < 4:
            why = next(iter(reasons.values()), "too little time")
            raise RuntimeError(
                f"got {len(self.first)} labelled structures of {len(wanted)}, expected enough to train on: {why}; give "
                "more minutes, a smaller cell, or another teacher"
            )

    def _share(self, crystal: Crystal, k: int) -> Share:
        seconds, n = self.clock.seconds / len(self.crystals), len(crystal.supercell)
        plan = self.clock.state["plan"]
        by_labels = (SHARES["labels"] - SHARES["phonons"]) * 0.7 * seconds / plan["teacher_seconds"] / n
        by_training = SHARES["trained"] * 0.7 * seconds / PER_ATOM / PASSES / n
        count = int(np.clip(min(by_labels, by_training, 90), 8, 90))
        count = plan.get(f"frames_{k}", count)
        self.clock.keep(**{f"frames_{k}": count})
        formula = crystal.atoms.get_chemical_formula(empirical=True)
        if count < 30:
            self.notes.append(
                f"{formula}: in {self.settings.minutes:g} minutes {count} supercells of {n} atoms; with more time or "
                "a smaller cutoff there would be more, and the student better."
            )
        extra = count // 8
        hot, columns = max(count // 2, 4), max(count // 6, 2) if self.settings.hessian_weight else 0
        return Share(
            24, hot, max(count // 8, 1), columns,
            extra if self.settings.vacancies else 0, extra if self.settings.surfaces else 0,
        )  # fmt: skip

    def _say(self, reasons: dict[int, str], count: int, what: str) -> None:
        if reasons:
            first = next(iter(reasons.values()))
            self.notes.append(f"{len(reasons)} of {count} {what} were not labelled, and not learned: {first}")

    def first_training(self) -> None:
        """A student for the dynamics, without error bars."""
        folder = self.work / "first"
        if not (folder / "card.json").exists():
            file = self.work / "first.extxyz"
            hold_out(self.first)
            if not file.exists():
                write_frames(file, self.first)
            self._train(file, folder, "first", SHARES["first"] * self.clock.seconds, members=0)

    def _train(self, file: Path, folder: Path, stage: str, seconds: float, members: int, **more) -> dict[str, Any]:
        s, plan = self.settings, self.clock.state["plan"]
        seconds = plan.get(f"{stage}_seconds", max(seconds, 0.05 * self.clock.seconds))
        self.clock.keep(**{f"{stage}_seconds": seconds})
        size = {"cutoff": s.cutoff, "channels": s.channels, "layers": s.layers, "l_max": s.l_max}
        size |= {"members": members, "latent": 32}
        warm = load_model(more.pop("warm")) if "warm" in more else None
        if warm is not None:  # its scales too, so that its weights mean the same
            own = warm.config
            size |= {"energy_scale": own.energy_scale, "neighbors": own.neighbors}
            size |= {"reference_energies": own.reference_energies, "elements": own.elements}
        title = " and ".join(r["formula"] for r in self.reports) + f" by {self.name or 'a calculator'}"
        table = {
            "data": {"file": str(file), "title": title, "level_of_theory": f"that of its teacher, {self.name}"},
            "model": size,
            "fit": {"epochs": 1000, "batch_size": 1, "warmup_steps": 20, "seed": s.seed},
        }
        table["data"] |= {"origin": "labels of its teacher", "licence": str(self.origin.get("licence", "not stated"))}
        columns = any("force_change" in atoms.arrays for atoms in self.first)
        table["fit"] |= {"learning_rate": 5e-3, "ema_decay": 0.99, "hessian_weight": s.hessian_weight * columns}
        recipe = PotentialRecipe(build(PotentialTraining, table))
        if warm is not None:
            recipe.model.adopt(warm)
        recipe.data.chosen = fewer(recipe.data.chosen, min(BAR_ATOMS * self.clock.seconds, 1500))
        return train_for(
            recipe, folder, seconds, self.clock.now, plan.get(f"{stage}_used", 0.0),
            lambda used: self.clock.keep(**{f"{stage}_used": used}), listen(self.progress, f"{stage} training"), **more,
        )  # fmt: skip

    def dynamics(self) -> None:
        """Let the student move the crystals at three temperatures, and the teacher label what it comes through."""
        path = self.work / "hot.extxyz"
        if not path.exists() and (self.folder / "card.json").exists():
            return  # taught without, as time was short
        if not path.exists():
            student = Calculator(self.work / "first", skin=0.5)
            until = self.clock.used + 1.3 * SHARES["hot"] * self.clock.seconds
            frames = []
            for k, crystal in enumerate(self.crystals):
                frames += self._heated(crystal, student, k, until)
            done, reasons = label_frames(frames, self.quick, self.work / "labels")
            self._say(reasons, len(frames), "snapshots of the student's dynamics")
            if not done:
                self.notes.append("No time was left for dynamics of the student: it was not corrected where it goes.")
                return
            write_frames(path, done)
        self.hot = read_frames(path)

    def _heated(self, crystal: Crystal, student, k: int, until: float) -> list[Any]:
        each = seconds_each(student, crystal.cell, 1)
        runs = sorted({min(300.0, crystal.hottest), crystal.hottest / 2, crystal.hottest})
        total = SHARES["hot"] * 0.8 * self.clock.seconds / len(self.crystals) / len(runs)
        steps = int(np.clip(total / each, 60, 600))
        frames, apart = [], []
        for j, temperature in enumerate(runs):
            rng = np.random.default_rng([self.settings.seed, k, j])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it has not seen these yet: that is why
                late = lambda j=j: j > 0 and self.clock.used > until  # noqa: E731
                run = hot_frames(crystal.cell, student, temperature, steps, self.snapshots, rng, late)
            apart += [run.apart] if run.apart else []
            frames += run.frames
            for number, atoms in enumerate(run.frames):
                atoms.info |= {KIND: "dynamics", "crystal": k, "part": ("train", "val", "test")[part_of(number)]}
            listen(self.progress, "dynamics")(j + 1, len(runs))
        if apart:
            formula = crystal.atoms.get_chemical_formula(empirical=True)
            self.notes.append(
                f"{formula} fell apart in the dynamics of the first student {'; '.join(apart)}: not learned from there "
                "on. Where the crystal itself is not stable there (it melts, it decomposes), give a lower temperature."
            )
        return frames

    def training(self) -> None:
        """The student: all frames, columns of the Hessian, error bars set by its own dynamics."""
        if not (self.folder / "card.json").exists():
            frames = [*self.first, *self.hot]
            for atoms in self.first:
                atoms.info["part"] = "train"
            for atoms in [a for a in self.first if a.info[KIND] == "column"][2::3]:
                atoms.info["part"] = "val"  # what bars of phonons are set by
            if sum(a.info["part"] == "val" for a in frames) < 4:
                hold_out(frames)
                self.notes.append("Too few snapshots of dynamics: the error bars are set by other held-out frames.")
            if not (self.work / "frames.extxyz").exists():
                write_frames(self.work / "frames.extxyz", frames)
            origin = {"teacher": self.name, **self.origin, "materials": [r["formula"] for r in self.reports]}
            errors = {LINE: origin.pop(LINE)} if LINE in origin else {}
            card = {"origin": origin, "distillation": asdict(self.settings), **errors}
            self._train(
                self.work / "frames.extxyz", self.folder, "second", self.clock.left(SHARES["trained"]),
                self.settings.members, warm=self.work / "first", card=card,
            )  # fmt: skip

    def comparison(self) -> None:
        """Compare the student with its teacher, and put that into its card."""
        import json

        model, at = load_model(self.folder), CALIBRATED.index("hessian")
        own = self.clock.state["plan"].get("phonon_bars", float(model.std_scale[at]))
        self.clock.keep(phonon_bars=own)  # a comparison that was killed may have widened them
        model.std_scale[at] = own
        student = Calculator(model, dtype="float64")
        quick = Calculator(model)
        for k, (crystal, report) in enumerate(zip(self.crystals, self.reports, strict=True)):
            judged = [a for a in self.hot if a.info["part"] == "test" and int(a.info["crystal"]) == k]
            report["forces"] = force_errors(model, judged)
            report["cost_ratio"] = seconds_each(self.quick, crystal.cell) / seconds_each(quick, crystal.cell)
            report["not_taught"] = self._not_taught(crystal)
            listen(self.progress, "comparison")(2 * k + 1, 2 * len(self.crystals))
            for compare in (self._lattice, self._vibrating):
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        report |= compare(crystal, student)
                except (ValueError, RuntimeError) as error:
                    report.setdefault("failed", []).append(reason_of(error))
            listen(self.progress, "comparison")(2 * k + 2, 2 * len(self.crystals))
        self._widen(model)
        card = json.loads((self.folder / "card.json").read_text(encoding="utf-8"))
        lines = {key: value for key, value in card.items() if key not in HEAD}
        notes = list(dict.fromkeys([*card["notes"], *self.notes]))
        save_model(model, self.folder, lines | {"comparison": self.reports, "notes": notes})

    def _widen(self, model) -> None:
        """Make the bars of phonons those that the teacher's phonons ask for: errors of many columns may add up."""
        factor = max((report.get("phonon_bars_factor", 1.0) for report in self.reports), default=1.0)
        if factor > 1.01:
            model.std_scale[CALIBRATED.index("hessian")] = model.hessian_scale * factor
            for report in self.reports:
                if "heat_capacity_std" in report:
                    report["heat_capacity_std"] *= factor
            self.notes.append(f"Error bars of phonons were widened {factor:.2g} times, by the phonons of the teacher.")

    def _lattice(self, crystal: Crystal, student) -> dict[str, Any]:
        return compare_lattice(crystal.atoms, self.teacher, student)

    def _vibrating(self, crystal: Crystal, student) -> dict[str, Any]:
        return (
            {} if crystal.phonons is None else compare_phonons(crystal.atoms, crystal.phonons, student, crystal.matrix)
        )

    def _not_taught(self, crystal: Crystal) -> list[str]:
        s = self.settings
        defects = [*([] if s.vacancies else ["vacancies"]), *([] if s.surfaces else ["surfaces"])]
        return [
            *defects, "interstitials", "other compositions and structures", "free atoms and molecules",
            f"temperatures above {crystal.hottest:.0f} K", "volumes beyond −9 and +9 %",
        ]  # fmt: skip


HEAD = ("schema", "kind", "config", "outputs", "e3nn_convention", "sha256")
"""Lines of a card that are written with the weights."""


def _single_precision(teacher):
    if isinstance(teacher, Calculator) and teacher.model is not None:
        return Calculator(teacher.model, teacher.device, "float32")
    return teacher
