"""The learning curve of an active learning: errors against labels and hours of the teacher.

Source: ours.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ase_mlx.figures.style import DFT, MODEL, drawn

ERRORS = (("forces_rmse_meV_A", "forces, meV/Å (rms)"), ("energy_rmse_meV_atom", "energy, meV/atom (rms)"))


def draw_learning_curve(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Draw errors of the test structures and those predicted of the pool (units in the names) by number of labels.

    Args:
        path: of the PNG.
        lines: of the rounds, as in the report.

    Raises:
        OSError: the file cannot be written.

    Source: ours.
    """
    with drawn(path, (8.4, 3.8)) as figure:
        for axis, (name, label) in zip(figure.subplots(1, 2), ERRORS, strict=True):
            _curve(axis, [line for line in lines if line["round"] != "last"], name, DFT, "test")
            if name.startswith("forces"):
                _curve(axis, lines, "predicted_meV_A", MODEL, "predicted of the pool")
            axis.set_xlabel("labels")
            axis.set_ylabel(label)
            if axis.has_data():
                axis.set_ylim(bottom=0)
                axis.xaxis.get_major_locator().set_params(integer=True)
                axis.legend()


def _curve(axis, lines: Sequence[Mapping[str, Any]], name: str, colour: str, label: str) -> None:
    points = [(line["labels"], line[name]) for line in lines if line.get(name)]
    if points:
        axis.plot(*zip(*points, strict=True), marker="o", markersize=4, color=colour, label=label)
