"""OpenMM-ML with our calculator: its `ase` potential."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk

from ase_mlx.adapters.ase import Calculator

EV = units.kJ / units.mol
"""1 kJ/mol in eV."""


@pytest.fixture
def simulation():
    """Gives a started simulation of a rattled crystal, and the crystal in ASE."""
    openmm = pytest.importorskip("openmm")
    potentials = pytest.importorskip("openmmml", reason="pip install openmmml")
    atoms = bulk("Si", cubic=True) * (2, 2, 2)
    atoms.rattle(0.05, seed=2)
    atoms.calc = Calculator("sigesn", dtype="float64")
    topology = openmm.app.Topology()
    residue = topology.addResidue("SI", topology.addChain())
    for symbol in atoms.symbols:
        topology.addAtom(symbol, openmm.app.Element.getBySymbol(symbol), residue)
    topology.setPeriodicBoxVectors(atoms.cell.array * 0.1 * openmm.unit.nanometer)
    calculator = Calculator("sigesn", dtype="float64")
    system = potentials.MLPotential("ase").createSystem(topology, calculator=calculator)
    integrator = openmm.VerletIntegrator(1 * openmm.unit.femtosecond)
    platform = openmm.Platform.getPlatformByName("Reference")
    running = openmm.app.Simulation(topology, system, integrator, platform)
    running.context.setPositions(atoms.positions * 0.1 * openmm.unit.nanometer)
    return running, atoms, openmm


def total(running, openmm):
    state = running.context.getState(energy=True)
    energies = (state.getPotentialEnergy(), state.getPotentialEnergy() + state.getKineticEnergy())
    return [EV * one.value_in_unit(openmm.unit.kilojoule_per_mole) for one in energies]


def test_openmm_has_our_energies_and_forces(simulation):
    running, atoms, openmm = simulation
    state = running.context.getState(energy=True, forces=True)
    unit = openmm.unit.kilojoule_per_mole
    assert EV * state.getPotentialEnergy().value_in_unit(unit) == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    forces = EV / 10 * state.getForces(asNumpy=True).value_in_unit(unit / openmm.unit.nanometer)
    np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-8)


@pytest.mark.slow
def test_dynamics_of_openmm_conserve_the_energy(simulation):
    running, atoms, openmm = simulation
    running.context.setVelocitiesToTemperature(300 * openmm.unit.kelvin, 1)
    running.step(5)
    potential, before = total(running, openmm)
    running.step(50)
    later, after = total(running, openmm)
    assert abs(later - potential) > 0.05  # eV: it moved
    assert after == pytest.approx(before, abs=0.05)  # of leapfrog, whose velocities are half a step behind
