"""torch-sim's own contract, and its optimiser and dynamics, on our potentials."""

import sys

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from ase.stress import voigt_6_to_full_3x3_stress

from ase_mlx.adapters.ase import Calculator

CPU = torch.device("cpu")


def test_without_torch_sim_the_gate_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_sim", None)
    monkeypatch.delitem(sys.modules, "ase_mlx.adapters.torch_sim", raising=False)
    monkeypatch.delitem(sys.modules, "torch_sim.models.interface", raising=False)
    with pytest.raises(ModuleNotFoundError, match="ase-mlx\\[torch-sim\\]"):
        import ase_mlx.adapters.torch_sim  # noqa: F401


@pytest.fixture
def ts():
    return pytest.importorskip("torch_sim", reason="pip install 'ase-mlx[torch-sim]'")


def model(name="sigesn", **options):
    from ase_mlx.adapters.torch_sim import AseMlxModel

    return AseMlxModel(name, **options)


def crystals():
    """Two strained, rattled crystals of different size and shape."""
    silicon, alloy = bulk("Si", cubic=True), bulk("SiGe", "zincblende", 5.55) * (2, 1, 1)
    for k, atoms in enumerate((silicon, alloy)):
        atoms.rattle(0.04, seed=k)
        atoms.set_cell(atoms.cell.array @ [[1, 0.02, 0.01], [0, 1.01, 0.03], [0, 0, 0.98]], scale_atoms=True)
    return silicon, alloy


@pytest.mark.filterwarnings("ignore:Extrapolation")
def test_the_contract_of_torch_sim_holds(ts):
    from torch_sim.models.interface import validate_model_outputs

    for dtype in (torch.float64, torch.float32):
        validate_model_outputs(model("universal", dtype=dtype), CPU, dtype)


def test_a_batch_gives_what_the_calculator_gives(ts):
    batch = crystals()
    state = ts.initialize_state(list(batch), CPU, torch.float64)
    results = model(compute_std=True)(state)
    first = 0
    for k, atoms in enumerate(batch):
        atoms.calc = Calculator("sigesn", dtype="float64")
        last = first + len(atoms)
        assert results["energy"][k].item() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(results["forces"][first:last], atoms.get_forces(), atol=1e-9)
        np.testing.assert_allclose(results["stress"][k], atoms.get_stress(voigt=False), atol=1e-9)
        for name in ("energy_std", "forces_std", "stress_std", "distance"):
            expected = atoms.calc.get_property(name, atoms)
            expected = voigt_6_to_full_3x3_stress(expected) if name == "stress_std" else expected
            value = results[name][first:last] if name in ("forces_std", "distance") else results[name][k]
            np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-9)
        first = last


def test_forces_are_those_of_a_state_that_needs_no_gradient(ts):
    state = ts.initialize_state(list(crystals()), CPU, torch.float64)
    ours = model()
    expected = ours(state)["forces"]
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            assert torch.equal(ours(state)["forces"], expected)


@pytest.mark.filterwarnings("ignore:Extrapolation")
def test_cells_without_a_volume_have_no_stress(ts):
    water = molecule("H2O")
    state = ts.SimState(
        positions=torch.tensor(water.positions), masses=torch.tensor(water.get_masses()), pbc=False,
        cell=torch.zeros(1, 3, 3, dtype=torch.float64), atomic_numbers=torch.tensor(water.numbers),
    )  # fmt: skip
    with pytest.raises(ValueError, match="compute_stress=False"):
        model("universal")(state)
    assert set(model("universal", compute_stress=False)(state)) >= {"energy", "forces"}


def test_wrong_models_are_refused(ts):
    with pytest.raises(ValueError, match="expected a potential"):
        model("formation_energy")
    with pytest.raises(ValueError, match="float32 or torch.float64"):
        model(dtype=torch.float16)
    with pytest.raises(ValueError, match="knows Si, Ge, Sn only"):
        model()(ts.initialize_state([bulk("Al")], CPU, torch.float64))


@pytest.mark.slow
def test_cells_relax_to_what_ase_finds(ts):
    started = [bulk("Si", a=5.6), bulk("Ge", a=5.5)]
    if hasattr(ts, "frechet_cell_fire"):  # 0.3
        how = {"optimizer": ts.frechet_cell_fire}
    else:
        how = {"optimizer": ts.Optimizer.fire, "init_kwargs": {"cell_filter": ts.CellFilter.frechet}}
    converged = ts.generate_force_convergence_fn(1e-4, include_cell_forces=True)
    relaxed = ts.optimize(started, model(), max_steps=500, convergence_fn=converged, **how).to_atoms()
    for atoms, theirs in zip(started, relaxed, strict=True):
        atoms.calc = Calculator("sigesn", dtype="float64")
        FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-4)
        assert theirs.get_volume() == pytest.approx(atoms.get_volume(), rel=1e-4)


@pytest.mark.slow
def test_dynamics_conserve_the_energy(ts):
    from torch_sim.quantities import calc_kinetic_energy

    integrator = ts.nve if hasattr(ts, "nve") else ts.Integrator.nve
    atoms, seen = bulk("Si", cubic=True), []
    for steps in (1, 60):
        state = ts.initialize_state([atoms], CPU, torch.float64)
        torch.manual_seed(0)
        end = ts.integrate(state, model(), integrator=integrator, n_steps=steps, temperature=600, timestep=0.001)
        kinetic = calc_kinetic_energy(masses=end.masses, momenta=end.momenta)
        seen.append((end.energy.item(), kinetic.item()))
    assert abs(seen[1][0] - seen[0][0]) > 0.05  # eV: it moved
    assert sum(seen[1]) == pytest.approx(sum(seen[0]), abs=0.002)
