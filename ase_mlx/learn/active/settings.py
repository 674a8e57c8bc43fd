"""Settings of an active learning: TOML into validated frozen dataclasses.

Source: ours.
"""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from ase_mlx.models.ranges import WHOLE, expect_ranges
from ase_mlx.quantities import SYMBOLS
from ase_mlx.reading import reading

from ..config import TOML, build, read_toml

ACQUISITIONS = ("integrated", "variance", "distance", "farthest", "d_optimal", "random", "tessellation")
"""How the next structures can be chosen: `learn.active.choice` says each."""


CORNERS = 3
"""Elements of a map over compositions: what a ternary diagram shows."""


@dataclass(frozen=True)
class TeacherSettings:
    """Who labels: `espresso` or MODULE:FACTORY, as of `ase-mlx label`, and how many structures at a time.

    Source: ours.
    """

    name: str
    config: str = ""
    pseudo_dir: str = ""
    workers: int = 1

    def __post_init__(self):
        """Refuse a teacher that nobody could serve."""
        expect_ranges(self, "teacher.", workers=(1, 1024))


@dataclass(frozen=True)
class MapSettings:
    """A map over compositions of three elements on the sites of a crystal; edges are cut into `divisions` parts.

    `densities` are files of DFT densities that judge those of a model, `known_densities` those that it learned from.

    Source: ours.
    """

    elements: tuple[str, ...]
    crystal: Literal["diamond", "fcc", "bcc", "sc"]
    divisions: int = 8
    densities: tuple[str, ...] = ()
    known_densities: tuple[str, ...] = ()

    def __post_init__(self):
        """Refuse what is no simplex of three elements."""
        expect_ranges(self, "map.", divisions=(1, 64))
        if len(self.elements) != CORNERS or len(set(self.elements)) != CORNERS:
            raise ValueError(
                f"got elements = {list(self.elements)} in [map], expected {CORNERS} different ones, the corners of the "
                'map; give such as ["Si", "Ge", "Sn"]'
            )
        if strange := [symbol for symbol in self.elements if symbol not in SYMBOLS[1:]]:
            raise ValueError(f"got {', '.join(map(repr, strange))} in [map] elements, expected symbols such as Si")


@dataclass(frozen=True)
class ActiveSettings:
    """An active learning; `core_hours` of the teacher (hours), `target_meV_A` of predicted force errors (meV/Å).

    `pool` are files of structures that may be asked for, `known` labelled ones that are learned from all along,
    `validation` sets error bars, `test` is only judged by. `model`, `fit` and `data` are those of a training, once a
    round; `last` are the settings of `fit` for one from random weights at the end, where there are some. 0 rounds,
    hours or meV/Å: no such end. `map` is read by a map over compositions alone.

    Source: ours.
    """

    pool: tuple[str, ...]
    start: str = ""
    known: str = ""
    validation: str = ""
    test: str = ""
    acquisition: Literal["integrated", "variance", "distance", "farthest", "d_optimal", "random", "tessellation"] = (
        "variance"
    )
    costs: Literal["measured", "counted", "equal"] = "measured"
    batch: int = 8
    first: int = 8
    rounds: int = 0
    core_hours: float = 0.0
    target_meV_A: float = 0.0
    seed: int = 0
    teacher: TeacherSettings | None = None
    model: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)
    map: MapSettings | None = None

    def __post_init__(self):
        """Refuse what no loop can do."""
        expect_ranges(
            self, batch=(1, 1e6), first=(2, 1e6), rounds=WHOLE, core_hours=(0, 1e9), target_meV_A=(0, 1e6), seed=WHOLE
        )
        if not self.pool:
            raise ValueError('got no file in pool, expected structures to choose from; add `pool = ["FILE"]`')
        if not self.validation and not self.known:
            raise ValueError(
                "got neither validation nor known frames, expected some that set the error bars: give `validation = "
                '"FILE"`, or frames with info["part"] = "val" in `known`'
            )
        if self.start and self.model:
            raise ValueError(
                f"got {', '.join(self.model)} in [model], expected those of the model to start from; leave the table "
                "out, or leave out start"
            )


STOPS = ("batch", "rounds", "core_hours", "target_meV_A", "pool", "map")
"""Settings that may change between two calls."""


def read_settings(path: str | Path) -> ActiveSettings:
    """Read the TOML file of an active learning (units as of `ActiveSettings`); files are taken relative to it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no valid TOML, or a wrong key or value.

    Source: ours.
    """
    path = Path(path)
    with reading(path, TOML, "docs/active.md shows one"):
        settings = build(ActiveSettings, read_toml(path))
    place = lambda name: str((path.parent / name).resolve()) if name else ""  # noqa: E731
    changes: dict[str, Any] = {name: place(getattr(settings, name)) for name in ("known", "validation", "test")}
    if settings.start and (path.parent / settings.start).is_dir():
        changes["start"] = place(settings.start)
    teacher = settings.teacher
    if teacher is not None:
        teacher = replace(teacher, config=place(teacher.config), pseudo_dir=place(teacher.pseudo_dir))
    places = lambda names: tuple(place(name) for name in names)  # noqa: E731
    chart = settings.map
    if chart is not None:
        chart = replace(chart, densities=places(chart.densities), known_densities=places(chart.known_densities))
    return replace(settings, pool=places(settings.pool), teacher=teacher, map=chart, **changes)


def lasting(settings: ActiveSettings) -> dict[str, Any]:
    """Give the settings that a loop keeps for good (units as of `ActiveSettings`); files are known by content.

    Source: ours.
    """
    files = ("start", "known", "validation", "test", "teacher")
    return {f.name: getattr(settings, f.name) for f in fields(settings) if f.name not in (*STOPS, *files)}
