"""What a figure shows lies inside its axes, and what it does not show is not in its legend."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from ase_mlx.adapters.ase.dynamics import Dynamics
from ase_mlx.adapters.ase.job import EquationOfState, Value
from ase_mlx.adapters.phonopy.spectra import Spectrum
from ase_mlx.figures.dynamics import draw_dynamics, percent
from ase_mlx.figures.main import draw_equation_of_state, draw_phonons, write_figures
from ase_mlx.figures.style import logarithmic

DFT = {"phonons": {"label": "DFT (PBE)", "points": {"X": [4.4, 13.4], "G": [0.0, 15.1]}}}


def bands(number, top=5.0):
    x = np.linspace(0, 1, 11)
    frequencies = np.linspace(0, top, 30)
    return Spectrum(
        natoms=max(1, number // 3),
        distances=x,
        ticks=((0.0, "G"), (1.0, "X")),
        bands=np.outer(x, np.linspace(0.1, 1, number)) * top,
        dos_frequencies=frequencies,
        dos=frequencies**2,
        debye_temperature=300.0,
    )


def axes_of(draw, *arguments):
    figure = Figure()
    draw(figure.add_gridspec(1, 1)[0], *arguments)
    return figure.axes


def test_dft_above_all_bands_is_inside_the_axes_and_the_legend_beside_them():
    ax, _ = axes_of(draw_phonons, bands(6), DFT)
    assert ax.get_ylim()[1] > 15.1
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["DFT (PBE)"]
    legend.figure.draw_without_rendering()
    assert legend.get_window_extent().y0 >= ax.get_window_extent().y1 - 5


def test_more_bands_than_the_eye_can_follow_are_a_density_of_states():
    axes = axes_of(draw_phonons, bands(321), DFT)
    assert len(axes) == 1
    assert "density of states" in axes[0].get_title(loc="left") + axes[0].get_title()
    assert axes[0].get_xlabel() == "frequency (THz)"
    assert len(axes_of(draw_phonons, bands(6), {})) == 2


def test_a_legend_names_no_dft_that_is_not_drawn():
    volumes = np.linspace(18, 22, 5)
    eos = EquationOfState(
        natoms=1,
        volumes=volumes,
        energies=0.01 * (volumes - 20) ** 2,
        energies_std=None,
        volume=Value(20.0, None, "Å³"),
        lattice_constant=None,
        bulk_modulus=Value(80.0, None, "GPa"),
        derivative=Value(4.0, None, "1"),
        curve_volumes=volumes,
        curve_energies=0.01 * (volumes - 20) ** 2,
        curve_std=None,
    )
    for dft, names in (([30.0, 31.0], ["model"]), ([19.0, 20.0], ["model", "DFT"])):
        reference = {"equation_of_state": {"label": "DFT", "volume": dft, "energy": [0.01, 0.0]}}
        (ax,) = axes_of(draw_equation_of_state, eos, reference)
        assert [text.get_text() for text in ax.get_legend().get_texts()] == names


@pytest.mark.parametrize(("outside", "words", "warns"), [(0.0, "0 %", False), (1.0, "100 %", True)])
def test_dynamics_warns_in_colour_of_what_is_beyond_alone_and_shows_the_settled_temperature(outside, words, warns):
    times = np.arange(101.0)
    run = Dynamics(
        natoms=8,
        target=300.0,
        timestep=1.0,
        thermostat_end=80.0,
        times=times,
        temperatures=np.where(times < 5, 600.0, 310.0),
        energies=np.zeros(101),
        frames=(),
        sampled_times=times[::20],
        sampled_forces_std=np.full(6, 0.01),
        sampled_distance=np.full(6, 0.5),
        temperature=Value(310.0, None, "K"),
        drift=Value(0.0, None, "meV/atom/ps"),
        displacement=Value(0.0, None, "Å²"),
        largest_distance=Value(0.5, None, "1"),
        outside=outside,
    )
    upper, lower = axes_of(draw_dynamics, run)
    assert upper.get_ylim()[1] < 500
    text = next(text for text in lower.texts if "beyond the training data" in text.get_text())
    assert words in text.get_text()
    assert (text.get_color() == "#c2410c") == warns


def test_shares_are_written_without_exponents():
    shares = (0.0, 0.0004, 0.012, 0.25, 0.97127, 0.9999, 1.0)
    assert [percent(share) for share in shares] == ["0 %", "below 0.1 %", "1.2 %", "25 %", "97 %", "over 99 %", "100 %"]


def test_logarithmic_axes_have_several_plain_labels():
    for low, high in ((0.02, 0.3), (30.0, 400.0), (1e-4, 2.0)):
        ax = Figure().add_subplot()
        ax.set(yscale="log", ylim=(low, high))
        logarithmic(ax.yaxis)
        labels = [text.get_text() for text in ax.get_yticklabels()]
        assert 3 <= len(labels) <= 9
        assert all(float(label) > 0 for label in labels)


def test_one_panel_needs_no_summary(tmp_path):
    assert write_figures(tmp_path, "title", spectrum=bands(6)) == ["phonons.png"]
