"""The rounds of an active learning: what is chosen, what is learned, when it ends.

Source: ours.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ase_mlx.adapters.espresso_checks import k_points
from ase_mlx.data.label import Teacher
from ase_mlx.jobs.active_frames import Frames, has_labels
from ase_mlx.jobs.active_state import Labels, State
from ase_mlx.keep import digest
from ase_mlx.learn.active.choice import BLIND, choose, covering, in_order
from ase_mlx.learn.active.costs import affordable, predicted_seconds, work
from ase_mlx.learn.active.judge import judged, kind_of
from ase_mlx.learn.active.pool import View, look
from ase_mlx.learn.active.settings import ActiveSettings, lasting
from ase_mlx.learn.active.training import labels_digest, train_in
from ase_mlx.learn.cards import CARD, WEIGHTS, read_card
from ase_mlx.learn.files import load_model
from ase_mlx.pretrained import find
from ase_mlx.progress import Progress, steps_of
from ase_mlx.whole import write_together

MODELS, LAST = "models", "last"

SIZES = (
    "cutoff", "l_max", "layers", "channels", "n_basis", "radial_hidden", "latent", "members", "products",
)  # fmt: skip
"""Of a model, which one from random weights takes from the one before."""


def identity_of(settings: ActiveSettings, frames: Frames, journal: tuple[str, str]) -> dict[str, str]:
    """Say all that an active learning keeps for good (units as of `ActiveSettings`), by name.

    Source: ours.
    """
    held = {part: [a for key, a in frames.held.items() if frames.part[key] == part] for part in ("val", "test")}
    held["known"] = frames.known
    start = str(read_card(find(settings.start)).get("sha256"))[:12] if settings.start else ""
    own = {name: json.dumps(value, default=str) for name, value in lasting(settings).items()}
    return own | {"start": start, "teacher": digest(*journal)[:12]} | {k: labels_digest(v) for k, v in held.items()}


class Rounds:
    """What is chosen and learned, round by round; `state` keeps it.

    Source: ours.
    """

    def __init__(
        self,
        settings: ActiveSettings,
        frames: Frames,
        state: State,
        folder: Path,
        teacher: Teacher | None,
        progress: Progress | None,
    ):
        """Look at nothing yet."""
        self.settings, self.frames, self.state, self.folder = settings, frames, state, folder
        self.teacher, self.progress = teacher, progress
        self._views: dict[str, View] = {}

    def model_folder(self) -> Path | None:
        """The folder of the last model, of the one to start from where none was learned, or None."""
        names = [line["learned"]["model"] for line in self.state.rounds if "model" in line.get("learned", {})]
        if names:
            return self.state.folder / MODELS / names[-1]
        return find(self.settings.start) if self.settings.start else None

    def training_frames(self, labels: Labels) -> list[Any]:
        """All labelled structures (eV, Å) with their parts, in the order in which they were asked for."""
        frames = list(self.frames.known)
        parts = list(self.frames.part.items())
        parts += [(key, "train") for line in self.state.rounds for key in line["keys"]]
        for key, part in parts:
            atoms = labels.done.get(key, self.frames.held.get(key))
            if atoms is not None and has_labels(atoms):
                frame = atoms.copy()
                frame.calc = atoms.calc
                frame.info["part"] = part
                frames.append(frame)
        return frames

    def learn(self, labels: Labels) -> bool:
        """Train on all labels so far where there are new ones; say whether anything was learned, or judged."""
        frames = self.training_frames(labels)
        if not self.state.rounds:
            if self.settings.start and not self.state.started:
                self.state.started = self._seen(find(self.settings.start), frames)
                self.state.keep()
                return True
            return False
        line, name = self.state.rounds[-1], labels_digest(frames)
        if line.get("learned", {}).get("frames") == name:
            return False
        states = [key in labels.done for each in self.state.rounds for key in each["keys"]]
        learned: dict[str, Any] = {"labels": sum(states), "failed": len(states) - sum(states)}
        learned |= {"core_hours": labels.spent / 3600, "frames": name}
        before = self.model_folder()
        if sum(atoms.info["part"] == "train" for atoms in frames) > 1 and (before is None or before.name != name):
            folder = self.state.folder / MODELS / name
            self._train(frames, folder, self._table(before, self.settings.fit))
            learned |= {"model": name} | self._seen(folder, frames)
            self._publish(folder)
        line["learned"] = learned
        self.state.keep()
        return True

    def last(self, labels: Labels) -> None:
        """Train from random weights on all labels, where the settings ask for it."""
        before, frames = self.model_folder(), self.training_frames(labels)
        name = f"{LAST}-{labels_digest(frames)}"
        if not self.settings.last or not self.state.rounds or self.state.rounds[-1].get("last") == name:
            return
        config = read_card(before)["config"]
        table = {"model": {size: config[size] for size in SIZES}, "fit": self.settings.last}
        self._train(frames, self.state.folder / MODELS / name, table)
        self._publish(self.state.folder / MODELS / name)
        seen = self._seen(self.state.folder / MODELS / name, frames)
        self.state.rounds[-1] |= {"last": name, "last_seen": seen}
        self.state.keep()

    def _table(self, start: Path | None, fit: dict[str, Any]) -> dict[str, Any]:
        return {"fit": fit} | ({"model": self.settings.model} if start is None else {"start": str(start)})

    def _train(self, frames: list[Any], folder: Path, table: dict[str, Any]) -> None:
        number = len(self.state.rounds)
        card = {"active_learning": {"acquisition": self.settings.acquisition, "rounds": number}}
        steps = steps_of(self.progress, f"training, round {number}")
        train_in(folder, frames, table | {"data": self.settings.data}, card, steps)

    def _publish(self, folder: Path) -> None:
        write_together({self.folder / name: (folder / name).read_bytes() for name in (WEIGHTS, CARD)})

    def _seen(self, folder: Path, frames: list[Any]) -> dict[str, Any]:
        """Errors of a model on the test structures, and those that it predicts of the pool."""
        model, line = load_model(folder), {}
        own = set(model.elements)
        tests = [a for a in frames if a.info["part"] == "test" and set(map(int, a.numbers)) <= own]
        if tests:
            line["test"] = judged(model, tests)
        view, keys = self._pool(folder, self._left(own))
        if keys:
            line |= {"predicted_meV_A": 1e3 * view.predicted_error, "pool": len(keys)}
        return line

    def _left(self, elements: set[int] | None = None) -> list[str]:
        """Structures of the pool that were not asked for, of some elements."""
        asked = {key for line in self.state.rounds for key in line["keys"]}
        left = {key: atoms for key, atoms in self.frames.pool.items() if key not in asked}
        return [k for k, a in left.items() if elements is None or set(map(int, a.numbers)) <= elements]

    def _pool(self, folder: Path, keys: list[str]) -> tuple[View | None, list[str]]:
        name = digest(str(folder), keys)
        if keys and name not in self._views:
            self._views = {name: look(load_model(folder), [self.frames.pool[key] for key in keys])}
        return self._views.get(name), keys

    def ended(self, labels: Labels) -> str:
        """Say why the learning has ended, or nothing."""
        s, rounds = self.settings, self.state.rounds
        line = rounds[-1]["learned"] if rounds else self.state.started
        if s.rounds and len(rounds) >= s.rounds:
            return f"{len(rounds)} rounds are done"
        error = line.get("predicted_meV_A", np.inf)
        if error <= s.target_meV_A:
            return f"the predicted error of forces in the pool, {error:.3g} meV/Å, is within {s.target_meV_A:g}"
        if s.core_hours and labels.spent >= 3600 * s.core_hours:
            return f"{labels.spent / 3600:.3g} of {s.core_hours:g} core-hours are used"
        return "" if self._left() else f"all {len(self.frames.pool)} structures of the pool were asked for"

    def choose(self, labels: Labels, count: int | None) -> str:
        """Choose the structures of the next round and note them, or say why there are none."""
        s, number, model = self.settings, len(self.state.rounds), self.model_folder()
        left, batch = self._left(), count or (s.batch if number or s.start else s.first)
        needed = self._lacking(labels)
        picks = [left[k] for k in covering(needed, [self.frames.pool[key].numbers for key in left])]
        why = ["element"] * len(picks)
        rest = [key for key in left if key not in picks]
        more = self._chosen(rest, max(0, batch - len(picks)), model, labels)
        picks, why = picks + more, why + [s.acquisition if model or s.acquisition in BLIND else "random"] * len(more)
        seconds = self._seconds(picks, labels)
        most = affordable(seconds, 3600 * s.core_hours - labels.spent) if s.core_hours and labels.spent else len(picks)
        if not picks:
            return f"{s.acquisition} has no further structure in the pool"
        if not most:
            used = f"{labels.spent / 3600:.3g} of {s.core_hours:g} core-hours are used"
            return f"{used}, and the next structure takes about {seconds[0] / 3600:.2g}"
        chosen = {key: self.frames.pool[key] for key in picks[:most]}
        self.state.ask(chosen, why[:most], [round(float(x), 1) for x in seconds[:most]])
        return ""

    def _lacking(self, labels: Labels) -> set[int]:
        """Elements that no labelled structure has yet."""
        learned = [a for a in self.training_frames(labels) if a.info["part"] == "train"]
        return self.frames.elements() - {int(z) for atoms in learned for z in atoms.numbers}

    def _chosen(self, keys: list[str], batch: int, model: Path | None, labels: Labels) -> list[str]:
        s, number = self.settings, len(self.state.rounds)
        seed = int(np.random.SeedSequence([s.seed, number]).generate_state(1)[0])
        if s.acquisition == "tessellation":
            places, pool = list(self.frames.pool), list(self.frames.pool.values())
            asked = {k for k, key in enumerate(places) if key not in keys}
            conditions = [str(a.info.get("temperature_K", kind_of(a))) for a in pool]
            return [places[k] for k in in_order([a.numbers for a in pool], conditions, asked, batch, s.seed)]
        blind = model is None or s.acquisition == "random"
        own = None if blind else set(read_card(model)["config"]["elements"])
        keys = [k for k in keys if own is None or set(map(int, self.frames.pool[k].numbers)) <= own]
        sizes = np.array([len(self.frames.pool[key]) for key in keys], dtype=int)
        seconds = None if s.costs == "equal" else self._seconds(keys, labels if s.costs == "measured" else None)
        view = None if blind else self._pool(model, keys)[0]
        learned = None
        if not blind and s.acquisition in ("integrated", "d_optimal", "farthest"):
            frames = [a for a in self.training_frames(labels) if a.info["part"] == "train"]
            learned = look(load_model(model), frames) if frames else None
        return [keys[k] for k in choose(s.acquisition, batch, view, learned, seconds, sizes, seed)]

    def _seconds(self, keys: list[str], labels: Labels | None) -> np.ndarray:
        """Predicted seconds of labels; of no labels, the work itself."""
        points = lambda a: 1 if self.teacher is None else k_points(self.teacher, a)  # noqa: E731
        numbers = lambda values: np.array(values, dtype=int)  # noqa: E731
        amount = lambda frames: work(numbers([len(a) for a in frames]), numbers([points(a) for a in frames]))  # noqa: E731
        family = lambda frames: [str(a.info.get("family", "")) for a in frames]  # noqa: E731
        frames = [self.frames.pool[key] for key in keys]
        seen = {} if labels is None else {k: a for k, a in labels.done.items() if labels.seconds.get(k, 0.0) > 0}
        took = np.array([labels.seconds[key] for key in seen], dtype=float)
        labelled = list(seen.values())
        return predicted_seconds(amount(frames), family(frames), amount(labelled), family(labelled), took)

    def lines(self) -> list[dict[str, Any]]:
        """A line of the learning curve for the model to start from, and each round (units in the names)."""
        out = [{"round": 0, "labels": 0, "failed": 0, "core_hours": 0.0} | _flat(self.state.started)]
        out = out if self.state.started else []
        for number, line in enumerate(self.state.rounds, 1):
            if "learned" in line:
                out.append({"round": number} | _flat(line["learned"]))
            if "last_seen" in line:
                out.append(out[-1] | {"round": "last"} | _flat(line["last_seen"]))
        return out


def _flat(learned: dict[str, Any]) -> dict[str, Any]:
    """One level of a line: errors of the test structures beside the rest."""
    return {k: v for k, v in learned.items() if k not in ("frames", "test")} | learned.get("test", {})
