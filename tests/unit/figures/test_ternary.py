"""Ternary diagrams: every cell of its colour, no text upon another, panels only of what there is."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from ase_mlx.figures import style, ternary
from ase_mlx.learn.active.simplex import lattice


def chart(divisions=4, density=True, distance=0.5):
    shares = lattice(3, divisions) / divisions
    value = shares @ [1.0, 2.0, 4.0]
    values = {name: value for name, *_ in ternary.PANELS} | ({"density_std": value} if density else {})
    return SimpleNamespace(
        elements=("Si", "Ge", "Sn"),
        shares=shares,
        values=values,
        std={name: 10.0 ** (2 * value) for name, *_ in ternary.PANELS},
        distance=np.where(value > 3, 1.5, distance),
        trained=shares[:3],
        labelled=shares[3:5],
        labelled_densities=shares[:5],
        density_error=value[:5],
    )


@pytest.fixture
def figures(monkeypatch):
    """What is drawn, as matplotlib's figures."""
    seen, drawn = [], style.drawn

    class Kept:
        def __init__(self, *arguments):
            self.inner = drawn(*arguments)

        def __enter__(self):
            seen.append(self.inner.__enter__())
            return seen[-1]

        def __exit__(self, *error):
            return self.inner.__exit__(*error)

    monkeypatch.setattr(ternary, "drawn", Kept)
    return seen


def panels(figure):
    return [ax for ax in figure.axes if not ax.axison]


def test_texts_of_a_panel_lie_apart(tmp_path, figures):
    ternary.draw_composition_map(tmp_path / "map.png", chart())
    (figure,) = figures
    assert len(panels(figure)) == 10
    for ax in panels(figure):
        texts = [text for text in (*ax.texts, ax.title) if text.get_text()]
        assert {"Si", "Ge", "Sn"} <= {text.get_text() for text in texts}
        boxes = [text.get_window_extent() for text in texts if text.get_rotation() == 0]
        assert not [(a, b) for k, a in enumerate(boxes) for b in boxes[:k] if a.overlaps(b)]
        inside = [text.get_window_extent() for text in texts]
        assert all(figure.bbox.contains(*end) for box in inside for end in (box.min, box.max))
    labels = [ax.get_xlabel() for ax in figure.axes if ax.axison]
    assert {"eV/atom", "σ (meV/atom)", "σ (mÅ)", "GPa", "∫σ dV / N (%)"} <= set(labels)


def test_a_cell_lies_where_its_composition_does_and_has_its_colour(tmp_path, figures):
    shown = chart()
    shown.values["energy"] = np.where(np.arange(15) == 4, np.nan, shown.values["energy"])
    ternary.draw_composition_map(tmp_path / "map.png", shown)
    cells = [c for c in panels(figures[0])[0].collections if isinstance(c, PolyCollection)][0]
    centres = np.array([path.vertices[:6].mean(axis=0) for path in cells.get_paths()])
    known = np.isfinite(shown.values["energy"])
    assert len(centres) == 14
    assert centres == pytest.approx(shown.shares[known] @ ternary.CORNERS, abs=1e-12)
    assert np.asarray(cells.get_array()) == pytest.approx(shown.values["energy"][known])
    sn = shown.shares[known][:, 2] == 1
    assert centres[sn][0] == pytest.approx([0.5, 3**0.5 / 2])


def test_no_panel_and_no_mark_of_what_is_not_there(tmp_path, figures):
    shown = chart(density=False)
    shown.distance, shown.labelled = np.full(15, np.nan), shown.labelled[:0]
    ternary.draw_composition_map(tmp_path / "map.png", shown)
    assert len(panels(figures[0])) == 8
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["trained composition"]
    shown.std["energy"] = np.full(15, np.nan)
    ternary.draw_composition_map(tmp_path / "map.png", shown)
    assert any(text.get_text() == "no error bars" for text in panels(figures[1])[4].texts)
