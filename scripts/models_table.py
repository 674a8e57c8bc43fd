"""Print README's table of the shipped models from their cards; `--write` puts it into README.md.

Errors are mean absolute ones on the test frames, which no training touched.
"""

import argparse
import re
from pathlib import Path

from ase_mlx.learn.files import WEIGHTS
from ase_mlx.pretrained import FOLDER, available

README = Path(__file__).resolve().parents[1] / "README.md"
START, END = "<!-- models table -->", "<!-- end of models table -->"
HEAD = (
    "name", "elements", "energy (meV/atom)", "forces (meV/Å)", "stress (MPa)", "density (%)",
    "forces within 68 % / 95 % bars", "density within", "MB",
)  # fmt: skip


def table() -> str:
    """Lay the cards out as Markdown, a row a model."""
    rows = [HEAD, tuple("---" if k < 2 else "---:" for k in range(len(HEAD)))]
    for card in available():
        errors = card["errors"]
        density = card["density"]["errors"]
        forces_in, density_in = (
            " / ".join(f"{100 * found[key]:.0f} %" for key in ("inside_68", "inside_95"))
            for found in (errors["forces"], density)
        )
        size = (FOLDER / card["name"] / WEIGHTS).stat().st_size / 1e6
        mae = (f"{errors[quantity]['mae']:.3g}" for quantity in ("energy", "forces", "stress"))
        rows.append((f"`{card['name']}`", ", ".join(card["elements"]), *mae, f"{density['nmae']:.2f}",
                     forces_in, density_in, f"{size:.1f}"))  # fmt: skip
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


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
