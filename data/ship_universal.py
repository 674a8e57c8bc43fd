"""Put a potential of `data/universal.toml` among the shipped models, with its errors on frames that it never saw.

    python data/ship_universal.py runs/universal/model runs/universal/chunks/judged

The second folder is the chunk `judged` that `data/universal.py` makes: formulas of the part `test`, which are in no
file of labels. Energies of known crystals for convex hulls are made anew (`data/hull.py`), and the card gets the errors
of its labels against DFT (`data/against_dft.py`).
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import ase_mlx as am
from ase_mlx.learn.cards import CARD, WEIGHTS
from ase_mlx.learn.metrics import errors
from ase_mlx.learn.recipes.potential import PotentialRecipe
from ase_mlx.pretrained import FOLDER

LABELS = "nequix-oam-1-pft"
"""Whose labels it was taught."""


def main() -> int:
    """Copy, judge, compute hulls."""
    source, judged = map(Path, sys.argv[1:])
    target = FOLDER / "universal"
    target.mkdir(exist_ok=True)
    for name in (WEIGHTS, CARD):
        shutil.copy(source / name, target / name)
    model = am.load(target)
    samples = PotentialRecipe.read(model, judged, "test")
    card = json.loads((target / CARD).read_text(encoding="utf-8"))
    card |= {"errors": errors(PotentialRecipe.residuals(model, samples)), "errors_on": "test"}
    card["training_data"]["frames"]["test"] = len(samples)
    card["training_data"].pop("validation_frames", None)
    (target / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, row in card["errors"].items():
        print(name, {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    for script, arguments in (("against_dft.py", ("--labels", LABELS)), ("hull.py", ())):
        subprocess.run([sys.executable, Path(__file__).with_name(script), target, *arguments], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
