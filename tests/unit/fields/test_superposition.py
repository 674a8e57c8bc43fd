"""Superposed neutral atoms: electrons, smoothness, the atoms' own density beyond their shells, symmetry."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from ase_mlx.data.free_atoms import neutral_atom, superpose
from ase_mlx.fields.density_files import write_density, write_restart
from ase_mlx.fields.superposition import SuperposedAtoms, smoothed
from ase_mlx.graph import grid
from ase_mlx.models.density_planes import on_whole_grid

pytestmark = pytest.mark.filterwarnings("ignore:This density is the sum of neutral atoms")


@pytest.mark.parametrize("number", range(1, 95))
def test_an_atom_keeps_its_electrons_and_its_outside(number):
    radius, density, _ = neutral_atom(number)
    smooth = smoothed(radius, density)
    shell = 4 * np.pi * radius**2
    assert smooth.min() >= 0
    assert np.trapezoid(shell * smooth, radius) == pytest.approx(np.trapezoid(shell * density, radius), rel=0.03)
    outside = radius > radius[np.argmax(shell * density)] + 0.3
    np.testing.assert_array_equal(smooth[outside], density[outside])


@pytest.mark.parametrize("atoms", [bulk("GaN", "zincblende", a=4.5), bulk("NaCl", "rocksalt", a=5.64), bulk("Cu")])
def test_the_grid_holds_all_electrons_and_the_atoms_where_they_are_smooth(atoms):
    points = grid(atoms, shape=(16, 16, 16))
    source = SuperposedAtoms().density_planes(atoms, points)
    density = on_whole_grid(source)
    assert source.expected == sum(neutral_atom(int(z))[2] for z in atoms.numbers)
    assert density.mean() * atoms.cell.volume == pytest.approx(source.expected, abs=1e-9)
    middle = np.full((1, 3), 0.75) @ atoms.cell.array  # an interstice of all three
    free = superpose(middle, atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, neutral_atom)
    np.testing.assert_allclose(density[tuple(3 * n // 4 for n in points.shape)], free, rtol=0.05)
    turned = np.concatenate([values for _, values, _ in source.planes(True, np.float64)])
    np.testing.assert_allclose(turned.transpose(), density, atol=1e-12)


def test_files_are_written_and_what_it_is_not_is_said(tmp_path):
    salt = bulk("NaCl", "rocksalt", a=5.64)
    with pytest.warns(UserWarning, match=r"no charge transfer.*Na 1, Cl 7"):
        result = write_density(SuperposedAtoms(), salt, tmp_path / "CHGCAR")
    assert result.electrons == pytest.approx(8, abs=1e-6) and result.negative == 0
    assert write_restart(SuperposedAtoms(), salt, tmp_path / "out", 30.0).is_file()
    with pytest.raises(ValueError, match="error bars"):
        write_density(SuperposedAtoms(), salt, tmp_path / "x.npy", std=True)


def test_charges_and_elements_without_an_atom_are_refused():
    water = molecule("H2O", vacuum=4.0)
    with pytest.raises(ValueError, match="neutral"):
        SuperposedAtoms().density_planes(water, grid(water, 0.3), charge=1.0)
    einsteinium = Atoms("Es", cell=[5, 5, 5], pbc=True)
    with pytest.raises(ValueError, match="got Es"):
        SuperposedAtoms().density_planes(einsteinium, grid(einsteinium, 0.5))
