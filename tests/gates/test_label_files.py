"""Labels through the gates: pymatgen's structures, extxyz, phonopy's yaml."""

import warnings

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixCom, FixedPlane
from pymatgen.core import Lattice, Species, Structure
from pymatgen.electronic_structure.core import Magmom

from ase_mlx.adapters.matminer import ThermalFeaturizer
from ase_mlx.adapters.matminer.structures import to_atoms
from ase_mlx.adapters.phonopy import harmonic, load_phonons, phonons, save_phonons
from ase_mlx.data.io import read_frames, write_frames

CUBE, PLACES = Lattice.cubic(3.0), [[0, 0, 0], [0.5, 0.5, 0.5]]


def structure(species, **properties):
    return Structure(CUBE, species, PLACES, site_properties=properties)


@pytest.mark.parametrize(
    ("species", "masses"),
    [
        (["Li", "D"], [6.94, 2.014102]), (["T", "D"], [3.016049, 2.014102]), (["Li", "H"], [6.94, 1.008]),
        ([Species("D", 1), Species("Li", 1)], [2.014102, 6.94]),
    ],
)  # fmt: skip
def test_isotopes_of_hydrogen_have_their_masses(species, masses):
    np.testing.assert_allclose(to_atoms(structure(species)).get_masses(), masses)


def test_deuterium_shifts_the_heat_capacity_by_its_mass():
    """C_V(T) of one element with the mass m is that of the mass m₀ at T √(m/m₀)."""

    class Springs(EMT):
        """Copper's forces between atoms of hydrogen."""

        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            copper = atoms.copy()
            copper.numbers[:] = 29
            copper.set_masses(None)
            super().calculate(copper, list(properties), ["positions", "numbers", "cell", "pbc"])
            self.atoms = atoms.copy()

    crystal = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.59), ["D"], [[0, 0, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ph = phonons(to_atoms(crystal), Springs(), (2, 2, 2))
        copper = phonons(bulk("Cu", cubic=True), EMT(), (2, 2, 2))
    ratio = np.sqrt(2.014102 / bulk("Cu").get_masses()[0])
    heavy = harmonic(copper, temperatures=np.array([300.0 * ratio]))
    assert harmonic(ph, temperatures=np.array([300.0])).heat_capacity[0] == pytest.approx(
        heavy.heat_capacity[0], rel=1e-4
    )


def test_site_properties_spins_vectors_and_charges_of_pymatgen():
    atoms = to_atoms(structure(["Fe", "Fe"], magmom=[2, -2], charge=[0.1, -0.1], tags=[1, 2], own=[3, 4]))
    np.testing.assert_allclose(atoms.get_initial_magnetic_moments(), [2, -2])
    np.testing.assert_allclose(atoms.get_initial_charges(), [0.1, -0.1])
    assert atoms.get_tags().tolist() == [1, 2] and atoms.arrays["own"].tolist() == [3, 4]
    vectors = [[0.0, 1.0, 2.0], [0.0, 1.0, 0.0]]
    for moments in (vectors, [Magmom(one) for one in vectors]):
        found = to_atoms(structure(["Fe", "Fe"], magmom=moments)).get_initial_magnetic_moments()
        np.testing.assert_allclose(found, vectors)
    collinear = to_atoms(structure(["Fe", "Fe"], magmom=[Magmom(2), Magmom(-2)]))
    np.testing.assert_allclose(collinear.get_initial_magnetic_moments(), [2, -2])
    spins = to_atoms(structure([Species("Fe", 2, spin=4), Species("Fe", 3, spin=-5)]))
    np.testing.assert_allclose(spins.get_initial_magnetic_moments(), [4, -5])
    assert to_atoms(Structure(CUBE, ["Fe", "Fe"], PLACES, charge=2)).info["charge"] == 2
    assert "charge" not in to_atoms(structure([Species("Fe", 2), Species("Fe", 2)])).info
    with pytest.raises(ValueError, match="'magmom' on some of the sites alone"):
        to_atoms(structure(["Fe", "Fe"], magmom=[2, None]))


def test_the_featurizer_tells_deuterium_from_hydrogen(tmp_path):
    """Kept rows too: the folder of one is no answer for the other."""
    rows = []
    for mass in (63.546, 80.0):
        copper = bulk("Cu")
        copper.set_masses([mass])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            featurizer = ThermalFeaturizer(EMT(), supercell=5.0, expansion=False, folder=tmp_path)
            rows.append(featurizer.featurize(copper)[0])
    assert rows[1] > rows[0] + 0.1


def everything():
    atoms = bulk("Cu", cubic=True)
    atoms.set_tags([1, 2, 3, 4])
    atoms.set_masses([63.0, 64.0, 65.0, 66.0])
    atoms.set_initial_charges([0.1, 0.2, 0.3, 0.4])
    atoms.set_initial_magnetic_moments(np.arange(12.0).reshape(4, 3))
    atoms.set_momenta(np.ones((4, 3)))
    atoms.set_array("site", np.array(["ab", "c", "d", "e"]))
    atoms.info |= {"charge": 3, "spin": 2, "phase": "layered"}
    return atoms


def test_a_trajectory_holds_all_labels_or_says_what_not(tmp_path):
    atoms = everything()
    atoms.set_constraint(FixAtoms([0]))
    write_frames(tmp_path / "x.extxyz", [atoms])
    (found,) = read_frames(tmp_path / "x.extxyz")
    for name, array in atoms.arrays.items():
        assert np.array_equal(found.arrays[name], array) or np.allclose(found.arrays[name], array), name
    assert found.info == atoms.info
    assert found.constraints[0].index.tolist() == [0]
    atoms.set_constraint([FixedPlane(2, (0, 0, 1)), FixCom()])
    with pytest.warns(UserWarning, match="cannot hold FixCom, FixedPlane"):
        write_frames(tmp_path / "x.extxyz", [atoms])


def test_phonopys_file_says_which_labels_it_does_not_hold(tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.set_tags([1, 1, 2, 2])
    atoms.info["charge"] = 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ph = phonons(atoms, EMT(), (2, 2, 2))
        magnetic = bulk("Cu", cubic=True)
        magnetic.set_initial_magnetic_moments([2, 2, -2, -2])
        spins = phonons(magnetic, EMT(), (2, 2, 2))
    with pytest.warns(UserWarning, match="p.yaml does not hold what else is on the atoms: tags, charge"):
        save_phonons(ph, tmp_path / "p.yaml")
    found = load_phonons(tmp_path / "p.yaml")
    np.testing.assert_allclose(found.force_constants, ph.force_constants, atol=1e-10)
    assert list(found.unitcell.symbols) == ["Cu1", "Cu1", "Cu2", "Cu2"]
    assert len(found.primitive) == len(ph.primitive)
    weights = [one.run_mesh((3, 3, 3), is_gamma_center=True).weights for one in (found, ph)]
    np.testing.assert_array_equal(*weights)  # those of the tetragonal layers, not of cubic copper
    save_phonons(spins, tmp_path / "m.yaml")
    np.testing.assert_allclose(load_phonons(tmp_path / "m.yaml").unitcell.magnetic_moments, [2, 2, -2, -2])
