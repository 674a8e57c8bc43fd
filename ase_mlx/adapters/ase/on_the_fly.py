"""A calculator that knows when it does not know: it watches its error bars, asks a teacher, and learns on the way.

Any integrator or optimiser of ASE moves the atoms; nothing of what was computed is thrown away.

Source: ours; the idea is that of Jinnouchi et al., Phys. Rev. B 100, 014105 (2019), and Vandermause et al., npj Comput.
Mater. 6, 20 (2020).
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from ase_mlx.data.io import read_frames
from ase_mlx.data.journal import Journal
from ase_mlx.data.label import Process, Teacher, content_key, label_one
from ase_mlx.learn.active.training import labels_digest, train_in
from ase_mlx.learn.files import load_model
from ase_mlx.models.extrapolation import once
from ase_mlx.models.predict import predict
from ase_mlx.models.ranges import WHOLE, expect_ranges
from ase_mlx.pretrained import find
from ase_mlx.whole import scratch_folder, sole, write_text

LABELS, MODELS, STATE = "labels.extxyz", "models", "on_the_fly.json"

REMEMBERED = 5
"""Labels whose errors, beside the bars before them, set the factor on the bars."""

VALIDATION = 3
"""Every so many-th label sets the error bars; the others are learned from."""


@dataclass(frozen=True)
class Watch:
    """When to ask: from an `error` of the force on an atom (its bar, eV/Å) or a `distance` of one (dimensionless) on.

    `every`: labels between two trainings; `calls`: most labels, 0 without an end; `fit`: settings of a training.

    Source: ours.
    """

    error: float = 0.2
    distance: float = 1.5
    every: int = 1
    calls: int = 0
    fit: dict[str, Any] = field(default_factory=lambda: {"epochs": 20, "learning_rate": 1e-3})

    def __post_init__(self):
        """Refuse thresholds that are none."""
        expect_ranges(self, error=(1e-6, 1e3), distance=(1e-3, 1e6), every=(1, 1e6), calls=WHOLE)


class OnTheFly(Calculator):
    """Energy (eV), forces (eV/Å), stress (eV/Å³): of the model where it is sure, of the teacher where it is not.

    `factor` (dimensionless) is what the last errors were beside their bars; bars are multiplied by it before they are
    compared with the threshold. Where the model changes, so does the energy: a step of it, not of the atoms.

    Source: see the module.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(
        self, model: str | Path, teacher: Teacher, known: str | Path, folder: str | Path, watch: Watch | None = None
    ):
        """Begin with a potential, or go on where an earlier run in the folder ended.

        Args:
            model: a shipped name or a folder.
            teacher: as of `adapters.teachers`.
            known: labelled frames that are learned from all along, with `info["part"]` (val: error bars).
            folder: keeps labels, models and state; one process at a time.
            watch: thresholds (eV/Å).

        Raises:
            ValueError: a potential without error bars, labels of another teacher in the folder.
            BlockingIOError: another process works in the folder.
        """
        super().__init__()
        self.implemented_properties = list(type(self).implemented_properties)
        self.watch, self.teacher, self.folder = watch or Watch(), teacher, Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._claim = sole(self.folder)
        self._claim.__enter__()
        self.known, self.process = read_frames(known), Process(teacher)
        self.state: dict[str, Any] = {"model": str(find(model)), "ratios": [], "asked": [], "learned": 0}
        if (self.folder / STATE).is_file():
            self.state = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
        self.steps, self.labels = 0, self._read()
        self.model = load_model(self.state["model"])
        if not bool(getattr(self.model, "deviations", np.zeros(1)).any()):
            self.close()
            raise ValueError(f"got {str(model)!r}, a model without error bars, expected a potential with members")
        self.state["asked"] = list(self.labels)  # the last one is not there where a run was killed just then
        if len(self.labels) - self.state["learned"] >= self.watch.every:
            self._learn()

    def _read(self) -> dict[str, Atoms]:
        Journal(self.folder / LABELS, self.teacher.name, self.teacher.identity).look()
        path = self.folder / LABELS
        frames = read_frames(path) if path.is_file() and path.stat().st_size else []
        return {str(atoms.info["label_key"]): atoms for atoms in frames}

    @property
    def factor(self) -> float:
        """What to multiply the bars by (dimensionless): rms of error over bar of the last labels; 1 before any."""
        ratios = self.state["ratios"][-REMEMBERED:]
        return float(np.sqrt((1 + np.sum(np.square(ratios))) / (1 + len(ratios))))

    def doubt(self, prediction: Any) -> tuple[float, float]:
        """Give the largest bar of a force on an atom, times `factor` (eV/Å), and the largest distance."""
        bars = np.linalg.norm(prediction.std["forces"], axis=1).max()
        return self.factor * float(bars), float(np.max(prediction.get("distance", 0.0)))

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = None, system_changes: list[str] = all_changes
    ) -> None:
        """Compute one structure, by the teacher where the model doubts.

        Raises:
            RuntimeError: the teacher failed, or all calls are used; the atoms are where they were.
        """
        super().calculate(atoms, properties or ["energy"], system_changes)
        bare = Atoms(self.atoms.numbers, self.atoms.positions, cell=self.atoms.cell, pbc=self.atoms.pbc)
        with once(speak=False):
            prediction = predict(self.model, bare)
        self.steps += 1
        error, distance = self.doubt(prediction)
        key = content_key(bare)
        if key in self.labels or error > self.watch.error or distance > self.watch.distance:
            labelled = self.labels.get(key)
            if labelled is None:
                labelled = self._ask(bare, key, prediction, error, distance)
            self.results = dict(labelled.calc.results)
            self.results.setdefault("free_energy", self.results["energy"])
        else:
            names = [name for name in ("energy", "forces", "stress") if name in prediction]
            self.results = {name: np.array(prediction[name]) for name in names}
            self.results |= {"energy": float(prediction["energy"]), "free_energy": float(prediction["energy"])}

    def _ask(self, atoms: Atoms, key: str, prediction: Any, error: float, distance: float) -> Atoms:
        if self.watch.calls and len(self.labels) >= self.watch.calls:
            raise RuntimeError(
                f"got a predicted error of {error:.2g} eV/Å and a distance of {distance:.2g} at step {self.steps}, and "
                f"all {self.watch.calls} calls of the teacher are used; allow more, or higher thresholds"
            )
        name, began = f"step {self.steps}", time.monotonic()
        with (
            Journal(self.folder / LABELS, self.teacher.name, self.teacher.identity) as journal,
            scratch_folder("ase-mlx-on-the-fly") as scratch,
        ):
            text, reason = label_one(self.process, scratch / "0", key, name, atoms)
            journal.add(key, name, text, reason, time.monotonic() - began)
        if text is None:
            raise RuntimeError(f"the teacher {self.teacher.name} failed at step {self.steps}: {reason}")
        self.labels = self._read()
        off = np.linalg.norm(prediction["forces"] - self.labels[key].get_forces(), axis=1)
        bars = np.linalg.norm(prediction.std["forces"], axis=1)
        self.state["ratios"].append(float(np.sqrt(np.sum(off**2) / np.sum(bars**2))))
        self.state["asked"].append(key)
        self._keep()
        if len(self.labels) - self.state["learned"] >= self.watch.every:
            self._learn()
        return self.labels[key]

    def _learn(self) -> None:
        """Train from the last weights on all there is, and take the new model."""
        own = [self._of(part, atoms) for part, atoms in self._parts()]
        frames = [*self.known, *own]
        folder = self.folder / MODELS / labels_digest(frames)
        train_in(folder, frames, {"start": self.state["model"], "fit": self.watch.fit}, {"title": "on the fly"})
        self.state |= {"model": str(folder), "learned": len(own)}
        self._keep()
        self.model = load_model(folder)

    def _parts(self) -> list[tuple[str, Atoms]]:
        frames = [self.labels[key] for key in self.state["asked"]]
        return [("val" if k % VALIDATION == VALIDATION - 1 else "train", atoms) for k, atoms in enumerate(frames)]

    @staticmethod
    def _of(part: str, atoms: Atoms) -> Atoms:
        frame = atoms.copy()
        frame.calc, frame.info["part"] = atoms.calc, part
        return frame

    def _keep(self) -> None:
        write_text(self.folder / STATE, json.dumps(self.state, indent=1))

    def close(self) -> None:
        """End the teacher's process, and let others into the folder."""
        self.process.end()
        self._claim.__exit__(None, None, None)
