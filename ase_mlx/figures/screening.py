"""Figures of a screening: scores against their spread, contributions of the strangest, reliability of the error bars.

Source: ours.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ase_mlx.figures.style import DOUBT, GREY, MODEL, drawn, logarithmic
from ase_mlx.learn.cards import read_card
from ase_mlx.screen.ranges import Job

SCORE = {
    "novelty": "novelty: mean surprise, nats a descriptor",
    "supervised_tail": "below the tail's threshold, eV/atom",
    "residual": "reported minus predicted, in standard deviations",
}
TOP = 20
COLOURS = ("#1b4f8f", "#c2410c", "#0f7b4d", "#8e44ad", "#b8860b", "#2a9d8f", "#b03060", "#5b6472", "#7f9c3b", "#d98ba3")


def write_figures(job: Job, scores: pd.DataFrame, names: np.ndarray, order: np.ndarray) -> list[str]:
    """Draw a screening (energies in eV/atom), one PNG each; return the file names.

    Args:
        job: finished.
        scores: of all rows.
        names: of all rows, text without a unit.
        order: places (no unit) of the scored rows, the most anomalous first.

    Raises:
        OSError: a file cannot be written.

    Source: ours.
    """
    panels = [
        ("scores.png", (6.6, 4.4), lambda axes: _scores(axes, job, scores, names, order)),
        ("contributions.png", (8.4, 6.4), lambda axes: _contributions(axes, job, scores, names, order[:TOP])),
    ]
    card = read_card(Path(job.model))
    if card.get("reliability"):
        panels.append(("reliability.png", (4.8, 4.6), lambda axes: _reliability(axes, card)))
    for name, size, draw in panels:
        with drawn(job.out / name, size) as figure:
            draw(figure.subplots())
    return [name for name, _, _ in panels]


def _scores(axes, job: Job, scores: pd.DataFrame, names: np.ndarray, order: np.ndarray) -> None:
    x, y = scores["anomaly_score"].to_numpy(), scores["anomaly_score_std"].to_numpy()
    flagged = scores["anomaly"].eq(True).to_numpy()
    some = order if len(order) <= 20000 else np.concatenate([order[:2000], order[2000 :: len(order) // 18000]])
    quiet, loud = some[~flagged[some]], some[flagged[some]]
    many = len(some) > 200
    for rows, color, label, size, alpha in (
        (quiet, GREY, f"{(~flagged[order]).sum()} others", 7 if many else 26, 0.35 if many else 0.8),
        (loud, DOUBT, f"{flagged[order].sum()} flagged", 12 if many else 26, 0.8),
    ):
        if len(rows):
            axes.scatter(x[rows], y[rows], s=size, color=color, alpha=alpha, linewidths=0, label=label)
    spread = y[order][y[order] > 0]
    if len(spread) > 1 and spread.max() > 30 * spread.min():
        axes.set_yscale("log")
        axes.set_ylim(max(np.quantile(spread, 0.001) / 2, 1e-6), 1.4 * spread.max())
        logarithmic(axes.yaxis)
    else:
        axes.set_ylim(0, 1.15 * y[order].max() if len(spread) else 1)
    axes.margins(x=0.12)
    axes.set_xlabel(SCORE[job.wanted.mode])
    axes.set_ylabel("spread of the members' scores")
    axes.set_title(f"{job.table.path.name}: {job.wanted.mode}")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=2, handletextpad=0.2, columnspacing=1.0)
    _label(axes, names, x, np.maximum(y, 1e-6), order)


def _label(axes, names: np.ndarray, x: np.ndarray, y: np.ndarray, order: np.ndarray) -> None:
    """Name up to ten of the most anomalous, beside the point where it hides no other name."""
    from matplotlib.patheffects import withStroke

    axes.figure.draw_without_rendering()  # so that places are final
    renderer, inside = axes.figure.canvas.get_renderer(), axes.get_window_extent()
    taken = []
    for k in order[:40]:
        if len(taken) == 10:
            break
        for right, up in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
            text = axes.annotate(
                str(names[k]), (x[k], y[k]), (5 * right, 4 * up), textcoords="offset points", fontsize=8,
                ha="left" if right > 0 else "right", va="bottom" if up > 0 else "top",
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )  # fmt: skip
            box = text.get_window_extent(renderer)
            corners = inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1)
            if corners and not box.count_overlaps(taken):
                taken.append(box)
                break
            text.remove()


def _contributions(axes, job: Job, scores: pd.DataFrame, names: np.ndarray, top: np.ndarray) -> None:
    """Stacked bars: the five largest contributions of each crystal; colours for the descriptors that occur most."""
    rows = [list(zip(*(scores.iloc[k][c] for c in ("top_descriptors", "top_contributions")), strict=True)) for k in top]
    weight: dict[str, float] = {}
    for row in rows:
        for name, value in row:
            weight[name] = weight.get(name, 0.0) + max(value, 0.0)
    common = sorted(weight, key=weight.get, reverse=True)[: len(COLOURS)]
    colour = dict(zip(common, COLOURS, strict=False))
    for place, row in enumerate(rows):
        left = 0.0
        for name, value in sorted(row, key=lambda pair: common.index(pair[0]) if pair[0] in common else 99):
            if value > 0:
                axes.barh(place, value, left=left, color=colour.get(name, "#c9ccd2"), height=0.72)
                left += value
    for name in common:
        axes.barh(-5, 0, color=colour[name], label=name)
    axes.barh(-5, 0, color="#c9ccd2", label="others")
    axes.set_yticks(range(len(top)), [f"{names[k]}  {rank}" for rank, k in enumerate(top, start=1)], fontsize=8.5)
    axes.set_ylim(len(top) - 0.4, -0.6)
    of = "the surprise, nats a descriptor" if job.wanted.mode == "novelty" else "the formation energy, eV/atom"
    axes.set_xlabel(f"five largest contributions to {of}")
    axes.grid(axis="y", visible=False)
    axes.set_title(f"What makes the {len(top)} strangest strange")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8.5)


def _reliability(axes, card: dict) -> None:
    """How many of the model's own held-out crystals lie inside intervals of each probability."""
    kept = card["reliability"]
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=1.2, linestyle="--", label="as promised")
    for (name, covered), colour in zip(kept["covered"].items(), (MODEL, DOUBT), strict=False):
        axes.plot(100 * np.array(kept["levels"]), 100 * np.array(covered), color=colour, label=name.replace("_", " "))
    axes.set_xlabel("probability of the interval, %")
    axes.set_ylabel(f"{card['crystals']['test']} test crystals inside, %")
    axes.set_title("Reliability of the error bars")
    axes.set_aspect("equal")
    axes.legend(loc="upper left")
