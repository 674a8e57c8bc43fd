"""Relaxation of many structures: equal to one after the other, whatever becomes of single ones."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.job import relax

SILICON = bulk("Si", cubic=True)


def structures():
    rng = np.random.default_rng(0)
    out = [bulk("Si", a=5.3), SILICON.copy(), SILICON.copy(), Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]])]
    out[1].set_cell(out[1].cell * 1.02, scale_atoms=True)
    out[2].positions += rng.normal(scale=0.05, size=(8, 3))
    return out


@pytest.mark.filterwarnings("ignore::ase_mlx.models.extrapolation.ExtrapolationWarning")  # the dimer
@pytest.mark.parametrize("cell", ["free", *(pytest.param(c, marks=pytest.mark.slow) for c in ("shape", "fixed"))])
def test_equal_to_single_relaxations(cell):
    calculator = Calculator("sigesn", dtype="float64")
    together = relax(structures(), calculator, cell=cell)
    for atoms, one in zip(structures(), together, strict=True):
        alone = relax(atoms, calculator, cell=cell)
        assert one.converged and alone.converged and one.steps == alone.steps
        assert one.energy.value == pytest.approx(alone.energy.value, abs=1e-7)
        assert one.energy.std == pytest.approx(alone.energy.std, rel=1e-4)
        assert one.largest_force < 1e-3
        assert np.allclose(one.atoms.cell, alone.atoms.cell, atol=1e-5)
        assert np.allclose(one.atoms.positions, alone.atoms.positions, atol=1e-5)
        assert (one.spacegroup, one.kind, one.notes) == (alone.spacegroup, alone.kind, alone.notes)
        assert np.allclose(one.atoms.arrays["forces_std"], alone.atoms.arrays["forces_std"], rtol=1e-4)


def test_symmetry_is_kept_or_free():
    start = bulk("Si", cubic=True)
    start.positions[0] += 0.005
    kept, free = (relax([start], Calculator("sigesn", dtype="float64"), symmetry=s)[0] for s in (True, False))
    assert kept.spacegroup == "Fd-3m (227)"
    assert kept.energy.value == pytest.approx(free.energy.value, abs=1e-4)


def test_one_that_fails_does_not_lose_the_others():
    foreign, broken = bulk("NaCl", "rocksalt", a=5.6), bulk("Si")
    broken.positions[0] = np.nan
    with pytest.warns(UserWarning, match="2 of 3 structures failed to relax"):
        good, first, second = relax([bulk("Si", a=5.4), foreign, broken], Calculator("sigesn", dtype="float64"))
    assert good.converged
    for one, reason in ((first, "Na"), (second, "not finite")):
        assert not one.converged and np.isnan(one.energy.value) and reason in one.notes[0]
    with pytest.raises(ValueError, match="none of 2 structures relaxed"):
        relax([foreign, broken], Calculator("sigesn"))


def test_other_calculators_go_one_by_one():
    copper, gold = bulk("Cu", a=3.7), bulk("Au", a=4.2)
    water = molecule("H2O")
    several = relax([copper, gold, water], EMT())
    assert [one.kind for one in several] == ["crystal", "crystal", "molecule"]
    assert several[0].energy.value == relax(copper, EMT()).energy.value
    with pytest.warns(UserWarning, match="1 of 2"):
        _, failed = relax([copper, bulk("Si")], EMT())
    assert "Si" in failed.notes[0] or "No EMT" in failed.notes[0]
    assert relax([], EMT()) == []
