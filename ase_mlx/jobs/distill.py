"""A student of one or a few crystals: a small, fast potential taught by a large one, within some minutes.

Source: ours; learning of Hessian columns as in arXiv 2601.07742, the shallow ensemble of arXiv 2402.16621.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ase_mlx.jobs.outcome import sentence
from ase_mlx.models.ranges import WHOLE, expect_ranges
from ase_mlx.progress import Progress, steps_of
from ase_mlx.whole import sole, write_text
from ase_mlx.whole.tables import json_text

WORK, STATE, REPORT = "work", "state.json", "report.json"


@dataclass(frozen=True)
class Distillation:
    """How to distil; `minutes` of the whole job, `cutoff` in Å, temperatures in K, all else dimensionless.

    `temperature` is the highest one that is taught; None: about the melting point, where atoms move by 0.15 of the
    nearest distance in the harmonic crystal. `vacancies` and `surfaces` are taught on request.

    Source: ours; sizes as tried on MgO and NaCl.
    """

    minutes: float = 10.0
    cutoff: float = 5.0
    channels: int = 32
    layers: int = 3
    l_max: int = 2
    members: int = 16
    temperature: float | None = None
    vacancies: bool = False
    surfaces: bool = False
    hessian_weight: float = 0.05
    seed: int = 0

    def __post_init__(self):
        """Refuse what cannot be distilled."""
        expect_ranges(
            self, minutes=(0.05, 1e5), cutoff=(2, 12), channels=(1, 512), layers=(1, 8), l_max=(0, 4), members=(0, 128),
            hessian_weight=(0, 100), seed=WHOLE,
        )  # fmt: skip
        if self.temperature is not None:
            expect_ranges(self, temperature=(1, 20000))


@dataclass
class Distilled:
    """A student's folder, a report for each crystal (units in its names), and what is to be known of it.

    Source: ours.
    """

    folder: Path
    crystals: list[dict[str, Any]]
    seconds: dict[str, float]
    notes: list[str] = field(default_factory=list)


class Clock:
    """Seconds used of a job, those before a kill with them, kept in a file.

    Source: ours.
    """

    def __init__(self, path: Path, identity: str, seconds: float, now: Callable[[], float]):
        """Go on from the file, where it is of the same job.

        Raises:
            ValueError: it is of another one.
        """
        self.path, self.seconds, self.now, self.began = path, seconds, now, now()
        self.state: dict[str, Any] = {"identity": identity, "used": 0.0, "stages": {}, "plan": {}}
        if path.is_file():
            state = json.loads(path.read_text(encoding="utf-8"))
            if state.get("identity") != identity:
                raise ValueError(
                    f"got {str(path.parent.parent)!r}, where another distillation was begun ({state.get('identity')}; "
                    f"now {identity}); give another folder, or delete that one"
                )
            self.state = state
        self.before = self.state["used"]

    @property
    def used(self) -> float:
        """Time used, earlier calls with it (seconds)."""
        return self.before + self.now() - self.began

    def left(self, share: float = 1.0) -> float:
        """Seconds until a share (dimensionless) of the time is used."""
        return share * self.seconds - self.used

    def late(self, share: float) -> Callable[[], bool]:
        """Tell, when asked, whether a share (dimensionless) of the time is used."""
        return lambda: self.left(share) < 0

    def keep(self, **plan: Any) -> None:
        """Write what is used, and what was planned."""
        self.state["used"] = self.used
        self.state["plan"] |= plan
        write_text(self.path, json.dumps(self.state, indent=1))

    def stage(self, name: str, since: float) -> None:
        """Note the seconds of a stage that ended."""
        stages = self.state["stages"]
        stages[name] = round(stages.get(name, 0.0) + self.used - since, 2)
        self.keep()


def _check_labels(atoms, teacher) -> None:
    """Refuse what a teacher may read off atoms: the student sees elements and places alone."""
    from ase_mlx.adapters.ase.labels import reads_labels

    if not reads_labels(teacher):
        return
    labels = {"charge of the cell": atoms.info.get("charge"), "spin": atoms.info.get("spin")}
    arrays = ("initial_charges", "initial_magmoms", "tags")
    labels |= {name: atoms.arrays[name].any() for name in arrays if name in atoms.arrays}
    if names := [name for name, value in labels.items() if value]:
        raise ValueError(
            f"got {atoms.get_chemical_formula()} with {', '.join(names)}, which its teacher may read and its student "
            "cannot: expected a crystal without; take them off (atoms.set_initial_magnetic_moments(None), "
            "atoms.info.pop('charge'), …) if they mean nothing to the teacher"
        )


def distill_job(
    structures: Sequence[Any],
    teacher,
    folder: str | Path,
    settings: Distillation | None = None,
    name: str = "",
    origin: dict[str, Any] | None = None,
    progress: Progress | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Distilled:
    """Teach a small potential some crystals by a large one, and compare both; the same call goes on after a kill.

    Relaxation by the teacher, supercells that are strained, rattled and hot, labels; a first training; dynamics of the
    student up to the highest temperature, labelled by the teacher: a part is learned, a part sets the error bars, a
    part is judged by; a second training with columns of the Hessian; the report.

    Args:
        structures: crystals as `ase.Atoms` (Å).
        teacher: any ASE calculator with a stress, eV and Å; models of ours are asked in batches.
        folder: becomes a model folder, with `report.json`; what a second call goes on from is in its `work`.
        settings: time, sizes, temperatures.
        name: of the teacher, for the card.
        origin: what else the card says of the teacher, such as its sha256.
        progress: called with stage, number done and number in all.
        now: the clock, seconds.

    Returns:
        The report: errors by temperature, a₀, B, phonons, heat capacity of both, cost, what was not taught.

    Raises:
        ValueError: no crystal, an element that the teacher lacks, labels on atoms that the teacher may
            read, a folder of another distillation.
        RuntimeError: the teacher labelled too few structures.
        OSError: the folder cannot be written.

    Source: ours.
    """
    from ase_mlx.jobs.distill_stages import Stages  # torch with it

    settings, folder = settings or Distillation(), Path(folder)
    for atoms in structures:
        _check_labels(atoms, teacher)
    work = folder / WORK
    work.mkdir(parents=True, exist_ok=True)
    with sole(work):
        clock = Clock(work / STATE, _identity(structures, settings, name), 60 * settings.minutes, now)
        if clock.state["plan"].get("finished") and (folder / REPORT).is_file():
            report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
            return Distilled(folder, report["crystals"], report["seconds"], report["notes"])
        stages = Stages(list(structures), teacher, folder, settings, clock, name, origin or {}, progress)
        for step in stages.steps():
            began = clock.used
            step()
            clock.stage(step.__name__, began)
        done = Distilled(folder, stages.reports, clock.state["stages"], stages.notes)
        lines = {"crystals": done.crystals, "seconds": done.seconds, "notes": done.notes}
        write_text(folder / REPORT, json_text(lines))
        clock.keep(finished=True)
    return done


def _identity(structures: Sequence[Any], settings: Distillation, name: str) -> str:
    from ase_mlx.keep import digest

    parts = [(a.numbers, np.round(a.positions, 6), np.round(a.cell.array, 6)) for a in structures]
    formulas = " ".join(a.get_chemical_formula(empirical=True) for a in structures)
    return f"{formulas} by {name or 'a calculator'}, {digest(parts, asdict(settings), name)[:12]}"


def reason_of(error: Exception) -> str:
    """Say an error in a sentence for the report.

    Source: ours.
    """
    return sentence(error)


def listen(progress: Progress | None, stage: str) -> Callable[[int, int], None]:
    """Report steps of a stage where somebody listens.

    Source: ours.
    """
    return steps_of(progress, stage) or (lambda done, total: None)
