"""Print README's table of the shipped models from their cards; `--write` puts it into README.md.

Errors are mean absolute ones on the test frames, which no training touched.
"""

import argparse
import re
from pathlib import Path

from ase_mlx.learn.cards import WEIGHTS, read_card
from ase_mlx.pretrained import FOLDER, available

README = Path(__file__).resolve().parents[1] / "README.md"
START, END = "<!-- models table -->", "<!-- end of models table -->"
HEAD = (
    "name", "elements", "energy (meV/atom)", "forces (meV/Å)", "stress (MPa)", "density (%)",
    "forces within 68 % / 95 % bars", "density within", "MB",
)  # fmt: skip


CRYSTALS = (
    "name", "elements", "formation energy (meV/atom)", "inside 90 % bars", "hull distance (meV/atom)",
    "inside 90 % bars", "band gap (meV)", "inside 90 % bars", "MB",
)  # fmt: skip


def table() -> str:
    """Lay the cards out as Markdown, a row a model: potentials first, then models of whole crystals."""
    return f"{potentials()}\n\n{crystals()}"


def markdown(rows: list[tuple[str, ...]]) -> str:
    """Lay rows out, the first as the head."""
    head, *rest = rows
    line = tuple("---" if k < 2 else "---:" for k in range(len(head)))
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, line, *rest))


def megabytes(card: dict) -> str:
    """Size of a model's weights, MB; the model that holds them where they are a part of it."""
    part = read_card(FOLDER / card["name"]).get("part_of")
    if part is not None:
        return f"in `{part['model']}`"
    return f"{(FOLDER / card['name'] / WEIGHTS).stat().st_size / 1e6:.1f}"


def crystals() -> str:
    """Models of whole crystals."""
    rows = [CRYSTALS]
    for card in available():
        if "formation_energy" in card["errors"]:
            found = [card["errors"].get(name) for name in ("formation_energy", "hull_distance", "band_gap")]
            cells = (x for e in found for x in ((f"{e['mae']:.3g}", f"{100 * e['inside_90']:.1f} %") if e else "––"))
            rows.append((f"`{card['name']}`", str(len(card["elements"])), *cells, megabytes(card)))
    return markdown(rows)


def potentials() -> str:
    """Potentials with their densities."""
    rows = [HEAD]
    for card in available():
        if "forces" not in card["errors"]:
            continue
        errors, density = card["errors"], (card["density"] or {}).get("errors")
        inside = [
            " / ".join(f"{100 * found[key]:.0f} %" for key in ("inside_68", "inside_95")) if found else "–"
            for found in (errors["forces"], density)
        ]
        mae = (f"{errors[quantity]['mae']:.3g}" for quantity in ("energy", "forces", "stress"))
        elements = ", ".join(card["elements"]) if len(card["elements"]) <= 12 else str(len(card["elements"]))
        nmae = f"{density['nmae']:.2f}" if density else "–"
        rows.append((f"`{card['name']}`", elements, *mae, nmae, *inside, megabytes(card)))
    return markdown(rows)


def written(readme: str) -> str:
    """Put the table between its marks in a README's text."""
    return re.sub(f"{START}.*?{END}", lambda _: f"{START}\n\n{table()}\n\n{END}", readme, flags=re.DOTALL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    if parser.parse_args().write:
        README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())
