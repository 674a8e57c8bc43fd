"""A third order learned straight from forces of random displacements: DFT's of MgO (phono3py's example), EMT's."""

from pathlib import Path

import numpy as np
import phono3py
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from phonopy.structure.atoms import PhonopyAtoms

from ase_mlx.adapters.phono3py import learned
from ase_mlx.adapters.phono3py.crystal import crystal_of
from ase_mlx.adapters.phono3py.learned import _random_displacements
from ase_mlx.phonons.transport import relaxation_times

YAML = Path(__file__).parent / "data" / "phono3py-mgo" / "phono3py_params.yaml.xz"


def test_random_displacements_lose_their_harmonic_forces():
    """What is learned from are the forces of the third order, as symfc has it, and next to nothing else."""
    copper = bulk("Cu", cubic=True)
    cell = PhonopyAtoms(copper.get_chemical_symbols(), cell=copper.cell.array, positions=copper.positions)
    ph = phono3py.Phono3py(cell, np.eye(3) * 2, primitive_matrix="F", log_level=0)
    ph.generate_displacements(number_of_snapshots=20, distance=0.03, random_seed=1)
    moved = [Atoms(c.symbols, c.positions, cell=c.cell, pbc=True) for c in ph.supercells_with_displacements]
    ph.forces = np.array([EMT().get_property("forces", atoms) for atoms in moved])
    ph.produce_fc3(fc_calculator="symfc")
    moves, forces = _random_displacements(ph, 3)
    cubic = np.einsum("ijkabc,mjb,mkc->mia", ph.fc3, moves, moves) / -2
    rows = forces[:, ph.primitive.p2s_map] if len(ph.fc3) == len(ph.primitive) else forces
    assert np.linalg.norm(rows - cubic) < 0.1 * np.linalg.norm(cubic)
    assert np.linalg.norm(forces) < 0.1 * np.linalg.norm(ph.forces)


@pytest.mark.slow
def test_random_displacements_of_dft_give_the_third_order():
    options = {"fc_calculator": "symfc", "fc_calculator_options": "| cutoff=4.0"}
    ph = phono3py.load(YAML, log_level=0, **options)
    made = learned(ph, None, 3)
    assert made.held_out < 0.1
    crystal = crystal_of(ph)
    exact, found = (relaxation_times(crystal, (5, 5, 5), np.array([300.0]), t).kappa[0, 0] for t in (None, made.tensor))
    assert found == pytest.approx(exact, rel=0.15)
