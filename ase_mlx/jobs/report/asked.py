"""What was asked: settings in words, the card of the model, the notes that results carry.

Source: ours.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ase_mlx import pretrained
from ase_mlx.jobs.report.content import DOUBT, FAILED, LEFT_OUT, NOTE, Content
from ase_mlx.learn.cards import read_card
from ase_mlx.reading import parsed_json, reading

UNITS = {
    "temperature": "K", "temperatures": "K", "displacement": "Å", "pressure": "GPa", "boundary": "μm",
    "core_hours": "h", "target_meV_A": "meV/Å", "band_gap": "eV", "formation_energy": "eV/atom",
    "hull_distance": "eV/atom", "volume_per_atom": "Å³", "density": "g/cm³",
}  # fmt: skip

DOUBTS = (
    "not", "no", "beyond", "outside", "unknown", "imaginary", "too", "wrong", "unusual", "rejected", "missed",
    "may", "uncertain", "warning", "failed", "without", "far", "nothing", "broken", "smaller", "soft",
)  # fmt: skip
"""Words by which a note is a doubt rather than a remark."""


def read_json(path: Path) -> Any:
    """Read a JSON file of results (units as in its names).

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.

    Source: ours.
    """
    with reading(path, "a JSON file of results"):
        return parsed_json(path.read_text(encoding="utf-8"))


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a JSON file of results that names its parts (units as in its names); empty where there is none.

    Raises:
        ValueError: it is damaged, or holds something else.

    Source: ours.
    """
    parts = read_json(path) if path.is_file() else {}
    if not isinstance(parts, dict):
        raise ValueError(f"got {str(path)!r}, which is of another command, expected names with what they stand for")
    return parts


def add_settings(content: Content, settings: Mapping[str, Any] | None, model: str = "") -> None:
    """Say what was asked for, and by which model, with the card of a model that is here.

    Source: ours.
    """
    settings = dict(settings or {})
    command = settings.pop("command", content.kind)
    content.asked.append(("command", f"ase-mlx {command}"))
    if not settings:
        content.note("These results are of a version that kept no settings: what was asked for stands nowhere in them.")
    for name, value in settings.items():
        if value not in (None, "", [], {}, ()):
            length = name in ("supercell", "mesh") and isinstance(value, int | float)
            unit = "Å" if length else UNITS.get(name, "")
            each = name == "temperatures"  # two of them are two, and no range
            words = ", ".join(map(_words, value)) if each and isinstance(value, list) else _words(value)
            content.asked.append((name.replace("_", " "), f"{words}{unit and ' '}{unit}"))
    if model:
        add_card(content, model)


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {_words(part)}" for name, part in value.items() if part not in (None, "", [], {}))
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(x, int | float) for x in value):
        return f"{_words(value[0])} to {_words(value[1])}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return str(value)


def add_card(content: Content, model: str) -> None:
    """Show what a model is: level of theory, training data, test errors, licence (units as in its card).

    Source: ours.
    """
    if any(card["name"] == model for card in content.cards):
        return
    try:
        card = read_card(pretrained.find(model))
    except (OSError, ValueError):
        content.cards.append({"name": model, "title": "no model with a card here", "facts": []})
        return
    training = card.get("training_data") or {}
    origin = card.get("origin") or training.get("origin")
    frames = card.get("crystals") or training.get("frames")
    facts = {
        "level of theory": card.get("level_of_theory") or training.get("level_of_theory") or "not stated",
        "elements": _covered(card.get("elements") or []),
        "taught by": origin,
        "structures": frames and _words(frames),
        "test errors": _errors(card.get("errors") or {}),
        "licence": card.get("licence") or "not stated",
    }
    shown = [(name, str(value)) for name, value in facts.items() if value]
    content.cards.append({"name": Path(model).name, "title": card.get("title") or card.get("kind", ""), "facts": shown})


def _covered(elements: list[str]) -> str:
    return " ".join(elements) if len(elements) <= 12 else f"{len(elements)}, {elements[0]} to {elements[-1]}"


def _errors(errors: Mapping[str, Any]) -> str:
    parts = []
    for name, error in errors.items():
        if isinstance(error, Mapping) and "mae" in error:
            share = f", {100 * error['inside_68']:.0f} % inside σ" if "inside_68" in error else ""
            parts.append(f"{name} {error['mae']:.3g} {error.get('unit', '')}{share}")
    return "; ".join(parts)


def add_notes(content: Content, notes: Iterable[str], about: str = "") -> None:
    """Add the sentences that results carry, doubts and remarks apart.

    Source: ours.
    """
    for note in notes:
        content.note(note, kind_of(note), about)


def kind_of(note: str) -> str:
    """Tell a doubt from a remark by its words.

    Source: ours.
    """
    words = set(re.findall(r"\w+", note.lower()))
    return DOUBT if words & set(DOUBTS) else NOTE


def add_reasons(content: Content, result: Mapping[str, Any], about: str = "") -> None:
    """Add what failed and what was skipped, each stage with its reason.

    Source: ours.
    """
    for kind, entries in ((FAILED, result.get("failed")), (LEFT_OUT, result.get("skipped"))):
        for stage, reason in (entries or {}).items():
            content.note(f"{stage}: {reason}", kind, about)
