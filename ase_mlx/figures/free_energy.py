"""The figure of a free energy: heat capacity, expansion, bulk modulus and volume against temperature, with bars.

Source: ours.
"""

from pathlib import Path

import numpy as np

from ase_mlx.figures.style import DOUBT, GREY, MODEL, drawn
from ase_mlx.units import BOLTZMANN, GAS, NORMAL_95

PANELS = (
    ("heat_capacity_p", "Heat capacity", "$C_p$ (J/(K mol))", GAS / BOLTZMANN, 1.0),
    ("expansion", "Thermal expansion", "α, volumetric (10⁻⁶/K)", 1.0, 1e6),
    ("bulk_modulus", "Bulk modulus", "$B_T$ (GPa)", 1.0, 1.0),
    ("volume", "Volume", "V (Å³/atom)", 1.0, 1.0),
)
"""Name, title, label, how many units of the curves make one of the data's, and how many of the axis one of both."""


def draw_free_energy(result, title: str, path: Path) -> None:
    """Draw a `FreeEnergyCurves`: after the data with bands of 1 σ and 95 %, the prior dashed within its 1 σ.

    Args:
        result: K, J/(K mol), 1/K, GPa, Å³/atom.
        title: of the figure.
        path: of the PNG.

    Raises:
        OSError: the file cannot be written.

    Source: ours.
    """
    with drawn(path, (10.4, 7.4)) as figure:
        axes = figure.subplots(2, 2, sharex=True)
        for ax, panel in zip(axes.ravel(), PANELS, strict=True):
            _panel(ax, result, *panel)
        for ax in axes[1]:
            ax.set_xlabel("temperature (K)")
            ax.set_xlim(result.temperatures[0], result.temperatures[-1])
        classical = 3 * GAS
        axes[0, 0].axhline(classical, color=GREY, linewidth=0.9, linestyle=":")
        axes[0, 0].annotate(
            "3 R", (result.temperatures[0], classical), (6, 3), textcoords="offset points", va="bottom", color=GREY
        )  # fmt: skip
        handles = [handle for ax in axes.ravel() for handle in zip(*ax.get_legend_handles_labels(), strict=True)]
        labels = {label: handle for handle, label in reversed(handles)}
        ordered = [name for name in ("measured, ± σ", "F(V, T), ± σ", "95 %", "prior, ± σ") if name in labels]
        figure.legend([labels[n] for n in ordered], ordered, loc="outside lower center", ncols=4)
        figure.suptitle(title, fontweight="bold")


def _panel(ax, result, name: str, title: str, label: str, molar: float, factor: float) -> None:
    t, colours = result.temperatures, {"linewidth": 0}
    before, wide = factor * result.before[name], factor * result.before.std[name]
    after, bar = factor * result.after[name], factor * result.after.std[name]
    ax.fill_between(t, before - wide, before + wide, color=GREY, alpha=0.16, **colours)
    ax.plot(t, before, "--", color=GREY, linewidth=1.4, label="prior, ± σ")
    ax.fill_between(
        t, after - NORMAL_95 * bar, after + NORMAL_95 * bar, color=MODEL, alpha=0.14, label="95 %", **colours
    )
    ax.fill_between(t, after - bar, after + bar, color=MODEL, alpha=0.26, **colours)
    ax.plot(t, after, color=MODEL, label="F(V, T), ± σ")
    data = result.measured
    rows = [k for k, quantity in enumerate(data.quantities) if quantity == name]
    if rows:
        values, std = (molar * factor * x.numpy()[rows] for x in (data.value, data.std))
        style = {"fmt": "o", "color": DOUBT, "markersize": 5.5, "capsize": 3, "zorder": 5, "label": "measured, ± σ"}
        ax.errorbar(data.temperature.numpy()[rows], values, std, markeredgecolor="white", **style)
    low, high = np.nanmin(after - NORMAL_95 * bar), np.nanmax(after + NORMAL_95 * bar)
    low, high = min(low, np.nanmin(before - wide)), max(high, np.nanmax(before + wide))
    ax.set_ylim(max(low, 0.0) if name != "expansion" and low < 0.2 * high else low, high + 0.03 * (high - low))
    ax.set(ylabel=label, title=title)
