"""The main job's figures. Shades are one and two standard deviations of the model's members.

Source: ours.
"""

from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ase_mlx.figures.style import DFT, DOUBT, EXPERIMENT, GREY, MODEL, drawn
from ase_mlx.units import GAS

MOST_BANDS = 60
"""More of them are a block of colour: the density of states alone is drawn."""

PARTS = ("#c2410c", "#0f7b4d", "#8e44ad", "#b8860b", "#2a9d8f", "#b03060")
"""Colours of the elements' shares of a density of states."""


FIGURES = (
    *("equation_of_state.png", "phonons.png", "thermal.png", "expansion.png", "dynamics.png", "density.png"),
    "elastic.png",
    "summary.png",
)
"""What `write_figures` may write."""


def write_figures(
    folder: Path,
    title: str,
    eos=None,
    run=None,
    harmonic=None,
    spectrum=None,
    reference: dict | None = None,
    expansion=None,
    projected: dict | None = None,
    density=None,
    elastic=None,
) -> list[str]:
    """Draw what a job produced, one PNG each and `summary.png` with all of it; return the file names.

    Args:
        folder: where the files go.
        title: of the summary.
        eos: an `EquationOfState`, eV and Å³, or None.
        run: a `Dynamics`, fs and K, or None.
        harmonic: a `Harmonic`, THz and J/(K mol), or None.
        spectrum: its `Spectrum`, THz, or None.
        reference: the structure's entry of `weights/reference.json`, or None.
        expansion: a `QuasiHarmonic`, 1/K and J/(K mol), or None.
        projected: densities of states in 1/THz by element, on the grid of `spectrum`, or None.
        density: a `DensitySlice`, e/Å³ and Å, or None.
        elastic: an `Elastic`, GPa, or None.

    Raises:
        OSError: a file cannot be written.

    Source: ours.
    """
    from ase_mlx.figures.dynamics import draw_dynamics
    from ase_mlx.figures.elastic import draw_elastic

    reference = reference or {}
    thermal = None if harmonic is None or harmonic.heat_capacity is None else harmonic
    every = (
        (eos, "equation_of_state.png", (5.6, 4.0), lambda place: draw_equation_of_state(place, eos, reference)),
        (elastic, "elastic.png", (7.6, 4.2), lambda place: draw_elastic(place, elastic)),
        (spectrum, "phonons.png", (7.2, 4.4), lambda place: draw_phonons(place, spectrum, reference, projected)),
        (thermal, "thermal.png", (5.8, 5.2), lambda place: draw_thermal(place, thermal, reference)),
        (expansion, "expansion.png", (5.8, 5.2), lambda place: draw_expansion(place, expansion, reference)),
        (run, "dynamics.png", (6.4, 4.8), lambda place: draw_dynamics(place, run)),
    )
    panels = [panel for shown, *panel in every if shown is not None]
    wide = [] if density is None else [("density.png", (11, 4.6), lambda place: draw_density(place, density))]
    for name, size, draw in panels + wide:
        with _figure(folder / name, size) as figure:
            draw(figure.add_gridspec(1, 1)[0])
    names = [name for name, _, _ in panels + wide]
    if len(names) < 2:
        return names
    _summary(folder / "summary.png", title, panels, wide)
    return [*names, "summary.png"]


def _summary(path: Path, title: str, panels: list, wide: list) -> None:
    """Draw panels in two columns, bands (or else the first) over both where the number is odd; below them wide ones."""
    names = [name for name, _, _ in panels]
    odd = len(panels) % 2
    across = names.index("phonons.png") if odd and "phonons.png" in names[::2] else 0 if odd else len(panels)
    rows = (len(panels) + odd) // 2 + len(wide)
    with _figure(path, (13, 0.5 + 4.6 * rows)) as figure:
        figure.suptitle(title, x=0.012, ha="left", fontsize=15, fontweight="bold")
        grid = figure.add_gridspec(rows, 2)
        for number, (_, _, draw) in enumerate(panels):
            row, column = divmod(number + (number > across), 2)
            draw(grid[row, :] if number == across else grid[row, column])
        for number, (_, _, draw) in enumerate(wide):
            draw(grid[rows - len(wide) + number, :])


def draw_equation_of_state(place, eos, reference: dict) -> None:
    """Energy in meV/atom from the minimum against volume in Å³/atom, the reference's points beside it.

    Source: ours.
    """
    ax = place.get_gridspec().figure.add_subplot(place)
    volumes, energies = eos.curve_volumes / eos.natoms, 1000 * eos.curve_energies / eos.natoms
    std = None if eos.curve_std is None else 1000 * eos.curve_std / eos.natoms
    _line(ax, volumes, energies, std, MODEL, "model" if std is None else "model (shades: 1σ, 2σ)")
    minimum = eos.energies.min() - (eos.energies - np.interp(eos.volumes, eos.curve_volumes, eos.curve_energies)).mean()
    points = 1000 * (eos.energies - eos.energies.min() + minimum) / eos.natoms
    ax.plot(eos.volumes / eos.natoms, points, "o", ms=4, color=MODEL, zorder=4)
    measured = reference.get("equation_of_state")
    if measured is not None:
        inside = np.abs(np.array(measured["volume"]) / volumes.mean() - 1) < 0.1
        x, y = np.array(measured["volume"])[inside], 1000 * np.array(measured["energy"])[inside]
        _diamonds(ax, x, y, DFT, measured["label"])
    ax.axvline(eos.volume.value / eos.natoms, ymax=0.4, color=GREY, lw=1, ls=":")
    ax.set(xlabel="volume (Å³/atom)", ylabel=r"energy $E - E_0$ (meV/atom)", title="Equation of state")
    lines = [_said("$V_0$", eos.volume, "Å³/atom", eos.natoms), _said("$B_0$", eos.bulk_modulus, "GPa")]
    if eos.lattice_constant is not None:
        lines[0] = _said("$a_0$", eos.lattice_constant, "Å")
    ax.text(0.5, 0.95, "\n".join(lines), transform=ax.transAxes, ha="center", va="top", fontsize=10.5)
    ax.margins(y=0.12)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.74))


def draw_density(place, density) -> None:
    """Density minus free atoms in a plane (e/Å³, Å), and the density along the bond with two standard deviations.

    Source: ours.
    """
    figure = place.get_gridspec().figure
    grid = place.subgridspec(1, 2, width_ratios=[1, 1.35], wspace=0.12)
    ax, side = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    top = float(np.abs(density.difference).max())
    levels = np.linspace(-top, top, 25)
    shades = ax.contourf(density.axis, density.axis, density.difference, levels, cmap="RdBu_r")
    ax.contour(density.axis, density.axis, density.difference, levels[::3], colors="#40454d", linewidths=0.4)
    for (x, y), symbol in zip(density.atoms, density.symbols, strict=True):
        ax.plot(x, y, "o", ms=15, mfc="white", mec="#40454d", clip_on=False)
        ax.text(x, y, symbol, ha="center", va="center_baseline", fontsize=8.5, clip_on=False)
    half = density.axis[-1]
    ax.set(aspect="equal", xlim=(-half, half), ylim=(-half, half), xlabel="along the bond (Å)", ylabel="across (Å)")
    ax.set_title("Density minus free atoms")
    ax.grid(False)
    bar = figure.colorbar(shades, ax=ax, shrink=0.85, pad=0.02, ticks=np.linspace(-top, top, 5), format="%.2f")
    bar.set_label("e/Å³")
    _line(side, density.distance, density.density, density.std, MODEL, "model" if density.std is None else
          "model (shades: 1σ, 2σ)")  # fmt: skip
    side.plot(density.distance, density.free, color=GREY, ls="--", lw=1.4, label="free atoms, superposed")
    side.set(
        xlabel="distance along the shortest bond (Å)", ylabel="valence density (e/Å³)", xlim=(0, density.distance[-1])
    )
    side.set_title(f"Along {density.ends[0]}-{density.ends[1]}")
    side.set_ylim(bottom=0)
    side.legend(loc="lower center")


def draw_phonons(place, spectrum, reference: dict, projected: dict | None = None) -> None:
    """Bands in THz along the lattice's path, the density of states in states/(THz atom) beside them.

    `projected` has its parts by element, for crystals of several. More bands than the eye can follow are left out.

    Source: ours.
    """
    figure = place.get_gridspec().figure
    if spectrum.bands.shape[1] > MOST_BANDS:
        ax = figure.add_subplot(place)
        _density_of_states(ax, spectrum, projected, upright=False)
        ax.set(title=f"Phonons: density of states, {spectrum.natoms} atoms", xlabel="frequency (THz)")
        ax.set(ylabel="states per atom (1/THz)", ylim=(0, None))
        return
    grid = place.subgridspec(1, 2, width_ratios=[3.4, 1], wspace=0.04)
    ax = figure.add_subplot(grid[0])
    side = figure.add_subplot(grid[1], sharey=ax)
    std = spectrum.std.get("bands")
    for band in range(spectrum.bands.shape[1]):
        _line(ax, spectrum.distances, spectrum.bands[:, band], None if std is None else std[:, band], MODEL, None, 1.4)
    _ticks(ax, spectrum.ticks)
    optical = reference.get("quantities", {}).get("highest frequency at Γ", {}).get("experiment")
    measured = reference.get("phonons", {"points": {}})
    dft = [(x, y) for x, label in spectrum.ticks for y in measured["points"].get(label, ()) if y > 0]
    if dft:
        _diamonds(ax, *zip(*dft, strict=True), DFT, measured["label"], 5)
    if optical is not None:
        _diamonds(
            ax, *zip(*[(x, optical) for x, name in spectrum.ticks if name == "G"], strict=True), EXPERIMENT, "Raman"
        )
    if dft or optical is not None:  # beside the title: inside, bands are everywhere
        ax.legend(loc="lower right", bbox_to_anchor=(1.0, 0.985), ncols=2, handletextpad=0.2, columnspacing=1.2)
    top = 1.06 * max(spectrum.bands.max(), optical or 0, *(y for _, y in dft))
    low = min(0.0, 1.1 * spectrum.bands.min()) if spectrum.bands.min() < -0.05 else 0.0
    ax.set(ylim=(low, top), ylabel="frequency (THz)", title="Phonons")
    if low < 0:
        ax.axhspan(low, 0, color=DOUBT, alpha=0.1, lw=0)
        ax.text(0.01, 0.01, "imaginary", transform=ax.transAxes, color=DOUBT)
    _density_of_states(side, spectrum, projected, upright=True)
    side.tick_params(labelleft=False)
    side.set(xlabel="DOS per atom\n(1/THz)", xlim=(0, None))
    side.xaxis.get_major_locator().set_params(nbins=3)


def _density_of_states(ax, spectrum, projected: dict | None, upright: bool) -> None:
    """The density of states per atom against frequency, along the vertical axis where bands stand beside it."""
    frequencies, dos, error = spectrum.dos_frequencies, spectrum.dos / spectrum.natoms, spectrum.std.get("dos")
    fill = ax.fill_betweenx if upright else ax.fill_between

    def line(values, **style) -> None:
        ax.plot(*((values, frequencies) if upright else (frequencies, values)), **style)

    line(dos, color=MODEL, lw=1.5)
    if error is None:
        fill(frequencies, 0, dos, color=MODEL, alpha=0.15, lw=0)
    else:
        error = error / spectrum.natoms
        fill(frequencies, np.maximum(dos - error, 0), dos + error, color=MODEL, alpha=0.3, lw=0)
    shares = list((projected or {}).items())
    for color, (symbol, part) in zip(PARTS, shares if len(shares) > 1 else [], strict=False):
        line(part / spectrum.natoms, color=color, lw=1.2, label=symbol)
    if ax.get_legend_handles_labels()[1]:
        side = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.985), "ncols": len(shares)} if upright else {}
        ax.legend(handlelength=1.0, borderaxespad=0.1, columnspacing=0.8, **side)


def draw_thermal(place, harmonic, reference: dict) -> None:
    """Heat capacity in J/(K mol) and free energy in kJ/mol, both per mole of atoms, against temperature in K.

    No experiment stands here: what is measured is C_p.

    Source: ours.
    """
    figure = place.get_gridspec().figure
    grid = place.subgridspec(2, 1, height_ratios=[1.1, 1], hspace=0.08)
    upper = figure.add_subplot(grid[0])
    lower = figure.add_subplot(grid[1], sharex=upper)
    per, t = harmonic.natoms, harmonic.temperatures
    for ax, name in ((upper, "heat_capacity"), (lower, "free_energy")):
        std = harmonic.std.get(name)
        _line(ax, t, getattr(harmonic, name) / per, None if std is None else std / per, MODEL, "model")
    upper.axhline(3 * GAS, color=GREY, lw=1, ls="--")
    upper.text(0.01 * t.max(), 25.3, r"$3R$ (Dulong–Petit)", va="bottom", color="#5a6068", fontsize=9.5)
    measured = reference.get("quantities", {})
    for ax, key in ((upper, "heat capacity C_V (300 K)"), (lower, "vibrational free energy (300 K)")):
        if measured.get(key, {}).get("dft") is not None:
            _diamonds(ax, [300], [measured[key]["dft"]], DFT, "DFT (PBE)")
    upper.legend(loc="lower right")
    upper.tick_params(labelbottom=False)
    upper.set(ylabel="$C_V$\n(J/(K mol))", ylim=(0, 29), title="Thermal functions, per mole of atoms")
    lower.axhline(0, color=GREY, lw=0.8)
    lower.set(xlabel="temperature (K)", ylabel="$F_{vib}$\n(kJ/mol)", xlim=(t.min(), t.max()))
    figure.align_ylabels([upper, lower])


def draw_expansion(place, curves, reference: dict) -> None:
    """Heat capacities in J/(K mol) per mole of atoms, and the volumetric expansion in 1e-6/K, against temperature in K.

    Source: ours.
    """
    figure = place.get_gridspec().figure
    grid = place.subgridspec(2, 1, height_ratios=[1, 1.25], hspace=0.08)
    upper = figure.add_subplot(grid[0])
    lower = figure.add_subplot(grid[1], sharex=upper)
    t, per = curves.temperatures, curves.natoms
    for name, color, label in (("heat_capacity_v", GREY, r"$C_V$"), ("heat_capacity_p", MODEL, r"$C_p$")):
        std = curves.std.get(name)
        _line(upper, t, getattr(curves, name) / per, None if std is None else std / per, color, label)
    std = curves.std.get("expansion")
    _line(lower, t, 1e6 * curves.expansion, None if std is None else 1e6 * std, MODEL, None)
    measured = reference.get("quantities", {})
    for ax, key in ((upper, "heat capacity C_p (300 K)"), (lower, "volumetric expansion (300 K)")):
        for origin, color, label in (("dft", DFT, "DFT"), ("experiment", EXPERIMENT, "experiment")):
            if measured.get(key, {}).get(origin) is not None:
                _diamonds(ax, [300], [measured[key][origin]], color, label + (", $C_p$" if ax is upper else ""))
    for ax in (upper, lower):
        if ax.get_legend_handles_labels()[1]:
            ax.legend(loc="lower right")
    lower.axhline(0, color=GREY, lw=0.8)
    upper.tick_params(labelbottom=False)
    upper.set(ylabel="heat capacity\n(J/(K mol))", ylim=(0, None), title="Quasi-harmonic, per mole of atoms")
    lower.set(xlabel="temperature (K)", ylabel=r"$\alpha_V$ (10⁻⁶ K⁻¹)", xlim=(t.min(), t.max()))
    figure.align_ylabels([upper, lower])


@contextmanager
def _figure(path: Path, size: tuple[float, float]):
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with drawn(path, size, ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.03)) as figure:
        yield figure


def _diamonds(ax, x, y, color: str, label: str, size: float = 6.5) -> None:
    if len(x):  # a legend names what is drawn
        ax.plot(x, y, "D", ms=size, mfc="none", mec=color, mew=1.5, label=label, zorder=5, clip_on=False)


def _line(ax, x, y, std, color: str, label: str | None, width: float = 1.8) -> None:
    ax.plot(x, y, color=color, lw=width, label=label, zorder=3)
    if std is not None:
        for factor, alpha in ((2, 0.13), (1, 0.22)):
            ax.fill_between(x, y - factor * std, y + factor * std, color=color, alpha=alpha, lw=0, zorder=2)


def _ticks(ax, ticks) -> None:
    places: dict[float, list[str]] = {}
    for x, label in ticks:
        places.setdefault(round(x, 9), []).append("Γ" if label == "G" else label)
    span = max(places)
    names, previous = [], -1.0
    for x, labels in places.items():
        crowded = (x - previous) < 0.035 * span
        names.append(("\n" if crowded else "") + "|".join(labels))
        previous = x if not crowded else -1.0
    ax.set_xticks(list(places), names)
    ax.set_xlim(0, span)
    ax.grid(axis="x", color="#b9bec6", lw=0.8)


def _said(name: str, quantity, unit: str, per: int = 1) -> str:
    if quantity.std is None:
        return f"{name} = {quantity.value / per:.4g} {unit}"
    digits = max(0, 1 - int(np.floor(np.log10(max(quantity.std / per, 1e-12)))))
    return f"{name} = {quantity.value / per:.{digits}f} ± {quantity.std / per:.{digits}f} {unit}"
