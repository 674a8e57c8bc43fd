"""The figure of a molecular dynamics run.

Source: ours.
"""

from ase_mlx.figures.style import DOUBT, GREY, MODEL


def draw_dynamics(place, run) -> None:
    """Temperature in K against time in ps; below it the force error bar in meV/Å, or the energy where there is none.

    Source: ours.
    """
    figure = place.get_gridspec().figure
    grid = place.subgridspec(2, 1, height_ratios=[1.1, 1], hspace=0.08)
    upper = figure.add_subplot(grid[0])
    lower = figure.add_subplot(grid[1], sharex=upper)
    t, end = run.times / 1000, run.thermostat_end / 1000
    upper.plot(t, run.temperatures, color=MODEL, lw=1.1)
    upper.axhline(run.target, color=GREY, lw=1.2, ls="--")
    settled = run.temperatures[len(run.temperatures) // 10 :].max()  # the start is at twice the target, and drops
    upper.set(
        ylabel="temperature (K)", ylim=(0, 1.4 * max(settled, run.target)), title=f"Dynamics of {run.natoms} atoms"
    )
    upper.tick_params(labelbottom=False)
    for ax in (upper, lower):
        ax.axvspan(end, t.max(), color=GREY, alpha=0.14, lw=0)
    for x, words in ((end / 2, f"thermostat at {run.target:g} K"), ((end + t.max()) / 2, "energy\nconserved")):
        upper.text(
            x, 0.97, words, transform=upper.get_xaxis_transform(), ha="center", va="top", color="#5a6068", fontsize=9.5
        )
    lower.set(xlabel="time (ps)", xlim=(0, t.max()))
    if run.sampled_forces_std is None:
        energy = 1000 * (run.energies - run.energies[-1]) / run.natoms
        lower.plot(t, energy, color=MODEL, lw=1.3)
        lower.set_ylabel("total energy\n(meV/atom)")
    else:
        doubt = 1000 * run.sampled_forces_std
        lower.plot(run.sampled_times / 1000, doubt, "o-", ms=3.5, color=DOUBT, lw=1.2)
        lower.set(ylabel="force bar\n(rms, meV/Å)", ylim=(0, 1.75 * doubt.max()))
    if run.largest_distance is not None:
        words = f"beyond the training data: {percent(run.outside)} of environments\n"
        words += f"(distance up to {run.largest_distance.value:.2f}, edge 1)"
        color = DOUBT if run.outside > 0 else "#5a6068"
        lower.text(0.015, 0.96, words, transform=lower.transAxes, va="top", fontsize=9.5, color=color, in_layout=False)
    figure.align_ylabels([upper, lower])


def percent(share: float) -> str:
    """Write a (dimensionless) share of one in per cent, to two digits, never 0 or 100 for what is not.

    Source: ours.
    """
    if 0 < share < 0.001:
        return "below 0.1 %"
    if 0.99 <= share < 1:
        return "over 99 %"
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.1 else f"{100 * share:.1f} %"
