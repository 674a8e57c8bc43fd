"""Convex hulls: those of pymatgen, their limits, their file."""

import numpy as np
import pytest

from ase_mlx.descriptors.hull import Hull, hull_of, read_hull, write_hull

LI, O, FE = 3, 8, 26


@pytest.fixture
def hull():
    formulas = [((LI, 1),), ((O, 1),), ((FE, 1),), ((LI, 2), (O, 1)), ((O, 3), (FE, 2)), ((LI, 1), (O, 2), (FE, 1))]
    return hull_of(formulas, [-1.9, -4.9, -8.3, -4.8, -7.0, -6.2])


def test_distances_are_those_of_pymatgen(hull):
    phases = pytest.importorskip("pymatgen.analysis.phase_diagram")
    from pymatgen.core import Composition
    from pymatgen.entries.computed_entries import ComputedEntry

    symbol = {LI: "Li", O: "O", FE: "Fe"}
    composition = lambda formula: Composition({symbol[z]: n for z, n in formula})  # noqa: E731
    entries = [
        ComputedEntry(composition(f), e * sum(n for _, n in f))
        for f, e in zip(hull.formulas, hull.energies, strict=True)
    ]
    diagram = phases.PhaseDiagram(entries)
    random = np.random.default_rng(0)
    for _ in range(40):
        formula = tuple((z, int(n)) for z, n in zip((LI, O, FE), random.integers(1, 7, 3), strict=True))
        entry = ComputedEntry(composition(formula), 0.0)
        above = diagram.get_e_above_hull(entry, allow_negative=True)
        assert -hull.lowest(formula) == pytest.approx(above, abs=1e-9)


def test_a_crystal_of_the_hull_is_on_it_and_a_mixture_is_the_average(hull):
    assert hull.lowest(((LI, 2), (O, 1))) == pytest.approx(-4.8)
    alone = hull_of([((LI, 1),), ((O, 1),)], [-2.0, -4.0])
    assert alone.lowest(((LI, 1), (O, 3))) == pytest.approx(-3.5)
    assert alone.lowest(((LI, 1),)) == -2.0


def test_the_lowest_energy_of_a_formula_counts_and_nan_does_not():
    hull = hull_of([((LI, 1),)] * 3, [-1.0, float("nan"), -1.5])
    assert hull.lowest(((LI, 1),)) == -1.5


def test_an_element_without_a_crystal_has_no_hull(hull):
    assert np.isnan(hull.lowest(((LI, 1), (17, 1))))
    with pytest.raises(ValueError, match="got the formula"):
        hull.lowest(())


def test_files_hold_all_of_it(hull, tmp_path):
    write_hull(tmp_path / "hull.csv.xz", hull)
    again = read_hull(tmp_path / "hull.csv.xz")
    assert dict(zip(again.formulas, again.energies, strict=True)) == dict(
        zip(hull.formulas, hull.energies, strict=True)
    )
    (tmp_path / "hull.csv.xz").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="make it again"):
        read_hull(tmp_path / "hull.csv.xz")


def test_a_lower_phase_never_raises_the_hull(hull):
    more = Hull((*hull.formulas, ((LI, 1), (O, 1))), np.append(hull.energies, -5.0))
    for formula in (((LI, 1), (O, 1)), ((LI, 3), (O, 2)), ((LI, 1), (O, 1), (FE, 1))):
        assert more.lowest(formula) <= hull.lowest(formula) + 1e-12
