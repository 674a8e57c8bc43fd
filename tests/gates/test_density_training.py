import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from tiny_density import aluminium, tiny_density

import ase_mlx as am
from ase_mlx.data.densities import DensityFrame, write_densities
from ase_mlx.graph import Points, at, from_atoms, grid
from ase_mlx.learn.config import FitConfig
from ase_mlx.learn.density.errors import calibrate, compare, density_errors
from ase_mlx.learn.density.posterior import NormalEquations, design, normal_equations, solve
from ase_mlx.learn.density.samples import density_sample
from ase_mlx.learn.files import save_model
from ase_mlx.learn.recipes.density import (
    EQUATIONS,
    DensityData,
    DensityRecipe,
    DensityTraining,
    density_loss,
    with_density,
)
from ase_mlx.learn.run import run
from ase_mlx.models import density_field
from ase_mlx.models.density import DensityConfig
from ase_mlx.nn.terms import value

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def frames():
    return aluminium(ROOT, count=4)


@pytest.fixture
def model():
    return tiny_density(elements=(13,))


def test_design_is_the_derivative_of_the_density_by_the_head(model, frames):
    sample = density_sample(model, frames[0], 50)
    density = model.density
    psi = design(density, sample)
    features = density.features(sample.graph, sample.graph.vectors().float(), sample.first, sample.species)
    by_head = sample.pairs.evaluate(density.coefficients(features, sample.species, density.head))
    assert psi.shape == (50, density.head.numel())
    assert (psi @ density.head.reshape(-1)).detach().numpy() == pytest.approx(by_head.detach().numpy(), abs=1e-6)


def test_posterior_is_that_of_ridge_regression_and_fits_the_data(model, frames):
    samples = [density_sample(model, f, 400) for f in frames[:2]]
    equations = normal_equations(model.density, samples)
    found = solve(model.density, equations)
    matrix = found["prior"] ** -2 * np.eye(len(equations.vector)) + found["noise"] ** -2 * equations.matrix
    mean = np.linalg.solve(matrix, found["noise"] ** -2 * equations.vector)
    assert model.density.head.detach().numpy().reshape(-1) == pytest.approx(mean, rel=1e-3, abs=1e-4)
    assert 0 < found["determined"] < found["weights"]
    many = tiny_density(elements=(13,), members=4000)
    solve(many.density, equations)
    draws = many.density.deviations.reshape(4000, -1).numpy().astype(float)
    probe = np.random.default_rng(0).standard_normal((len(mean), 5))
    expected = np.einsum("ak,ab,bk->k", probe, np.linalg.inv(matrix), probe)
    assert np.square(draws @ probe).mean(0) == pytest.approx(expected, rel=0.1)


def test_more_structures_are_an_update_and_files_keep_it(model, frames, tmp_path):
    samples = [density_sample(model, f, 200) for f in frames]
    first, second = normal_equations(model.density, samples[:3]), normal_equations(model.density, samples[3:])
    joint = normal_equations(model.density, samples)
    (first + second).save(tmp_path / EQUATIONS)
    again = NormalEquations.load(tmp_path / EQUATIONS)
    for found in (first + second, again):
        assert found.matrix == pytest.approx(joint.matrix, rel=1e-6, abs=1e-8)
        assert found.vector == pytest.approx(joint.vector, rel=1e-6, abs=1e-8)
        assert (found.square, found.points) == (pytest.approx(joint.square), 800)
    (tmp_path / EQUATIONS).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged"):
        NormalEquations.load(tmp_path / EQUATIONS)
    with pytest.raises(FileNotFoundError):
        NormalEquations.load(tmp_path / "none")


def test_loss_of_a_batch_is_the_mean_of_its_structures(model, frames):
    one, two = density_sample(model, frames[0], 60), density_sample(model, frames[2], 90)
    alone = [value([density_loss(model.density, s)])[0].item() for s in (one, two)]
    joined = one.join([one, two])
    assert value([density_loss(model.density, joined)])[0].item() == pytest.approx(np.mean(alone), rel=1e-5)
    assert joined.names == (frames[0].name, frames[2].name)


def test_sample_of_all_points_knows_the_superposed_atoms(model, frames):
    frame = frames[0]
    sample = density_sample(model, frame, frame.density.size)
    reference = frame.density.sum() - float(sample.difference.sum())
    volume = frame.atoms.cell.volume / frame.density.size
    assert reference * volume == pytest.approx(12, abs=0.01)
    assert float(sample.share[0]) == pytest.approx(1 / np.square(frame.density).sum(), rel=1e-6)


def wrong(frame, what):
    density = {"unit": frame.density * 0.148, "nan": np.where(frame.density > 0.2, np.nan, frame.density)}[what]
    return DensityFrame("bad", frame.atoms, density, frame.info)


@pytest.mark.parametrize(("what", "says"), [("unit", "ρ·V"), ("nan", "finite")])
def test_densities_without_their_electrons_are_refused(model, frames, what, says):
    with pytest.raises(ValueError, match=says):
        density_sample(model, wrong(frames[0], what))


def test_conditioning_keeps_every_number_of_electrons(frames):
    model = tiny_density(elements=(13,)).to(dtype=torch.float64)
    graph = from_atoms(frames[0].atoms, model.cutoff)
    for charge in (0.0, 1.0, -0.5):
        found = model.conditioned(graph, charge)
        assert found.electrons().sum() == pytest.approx(12 - charge, abs=1e-12)
        assert found.electrons(np.array([2])) == pytest.approx(found.electrons()[2:3])
        for k in range(1, 5):
            member = found.coefficients(k).detach().numpy()
            assert (member[:, 0] @ model.density.primitives.charges).sum() == pytest.approx(0, abs=1e-12)
    model.density.deviations.zero_()
    assert model.conditioned(graph, 2.0).electrons().sum() == pytest.approx(10, abs=1e-12)


def a_slab(frames):
    """Four atoms of a rattled crystal, wide apart along the third axis, which is not periodic."""
    atoms = frames[0].atoms.copy()
    atoms.rattle(0.1, seed=3)
    atoms.set_cell(np.diag([1.0, 1.0, 3.0]) @ np.diag(atoms.cell.lengths()))
    atoms.positions[:, 2] += 4.0
    atoms.pbc = (True, True, False)
    return atoms


def test_conditioning_keeps_a_slab_s_dipole(frames):
    model, atoms = tiny_density(elements=(13,)).to(dtype=torch.float64), a_slab(frames)
    graph, shape = from_atoms(atoms, model.cutoff), (24, 24, 72)
    heights = np.arange(shape[2]) / shape[2] * atoms.cell[2, 2]
    nuclei = 3 * atoms.positions[:, 2].sum()
    for dipole in (0.0, 0.4, -1.0):
        found = model.conditioned(graph, dipole=[0, 0, dipole])
        assert found.electrons().sum() == pytest.approx(12, abs=1e-12)
        for head in (0, 1, 3):
            field = density_field.whole(found.field(head), shape)
            moment = (field * heights).mean() * atoms.cell.volume
            assert (nuclei - moment if head == 0 else moment) == pytest.approx(dipole if head == 0 else 0.0, abs=2e-3)
    left = model.conditioned(graph)
    field = density_field.whole(left.field(), shape)
    assert abs(nuclei - (field * heights).mean() * atoms.cell.volume) > 0.01


def test_a_dipole_has_to_mean_something(frames):
    model, atoms = tiny_density(elements=(13,)), a_slab(frames)
    graph = from_atoms(atoms, model.cutoff)
    wrongs = (([0, 1, 0], 0.0, "periodic"), ([0, 0, 1], 1.0, "charge"), ([1.0], 0.0, "three numbers"))
    for dipole, charge, says in wrongs:
        with pytest.raises(ValueError, match=says):
            model.conditioned(graph, charge, dipole)
    symmetric = bulk("Al", cubic=True)
    symmetric.cell[2, 2], symmetric.pbc = 12.0, (True, True, False)
    with pytest.raises(ValueError, match="agree"):
        model.conditioned(from_atoms(symmetric[[0]], model.cutoff), 0.0, [0, 0, 0.5])


@pytest.mark.filterwarnings("ignore:got .* in values of the density below zero")  # of an untrained model
def test_standard_deviation_is_that_of_members_and_noise(frames):
    model = tiny_density(elements=(13,)).to(dtype=torch.float64)
    atoms = frames[0].atoms
    found = model.conditioned(from_atoms(atoms, model.cutoff))
    points = grid(atoms, 0.4)
    whole = density_field.at_points(found, points, std=True)
    mean, std = whole["density"], whole.std["density"]
    positions = np.stack(np.unravel_index(range(0, len(points), 7), points.shape), -1) / points.shape @ atoms.cell.array
    there = density_field.at_points(found, at(positions), std=True)
    assert mean.reshape(-1)[::7] == pytest.approx(there["density"], abs=1e-3)
    assert std.reshape(-1)[::7] == pytest.approx(there.std["density"], rel=2e-2, abs=1e-6)
    assert whole.noise["density"].reshape(-1)[::7] == pytest.approx(there.noise["density"], rel=2e-2, abs=1e-6)
    fine = density_field.at_points(found, Points(tuple(2 * n for n in points.shape)), std=True).std["density"]
    assert fine[::2, ::2, ::2] == pytest.approx(std, rel=1e-5)
    turned = np.concatenate([v for _, v in density_field.std_planes(found, fine.shape, turned=True)])
    assert turned.transpose() == pytest.approx(fine, rel=1e-5)
    model.density.std_scale.zero_()
    assert "density" not in density_field.at_points(found, points, std=True).std


def test_error_bars_fit_the_frames_that_set_them(frames):
    model = tiny_density(elements=(13,), calibrated=False)
    solve(model.density, normal_equations(model.density, [density_sample(model, f, 500) for f in frames[:2]]))
    found = calibrate(model, frames[2:])
    table = density_errors(model, frames[2:])
    assert table["inside_68"] == pytest.approx(0.683, abs=0.05)
    assert table["inside_95"] == pytest.approx(0.95, abs=0.02)
    assert found["scale"] > 0
    assert table["electrons"] < 1e-10


def test_errors_of_a_wrong_density_are_what_they_are():
    frame = DensityFrame("x", bulk("Al"), np.full((6, 6, 6), 3 / bulk("Al").cell.volume))
    found = compare(frame, frame.density * 1.02, 3)
    assert (found["nmae"], found["nrmse"], found["electrons"]) == pytest.approx((2.0, 2.0, 0.06))


def test_elements_without_a_reference_atom_are_refused():
    from tiny import tiny_potential

    with pytest.raises(ValueError, match="reference atom"):
        with_density(tiny_potential(elements=(8, 14)))
    with pytest.raises(ValueError, match="1 numbers of electrons for 2"):
        dataclasses.replace(tiny_potential(elements=(8, 14)).config, density=DensityConfig((6.0,)))
    for sizes in ({"range": 0.0}, {"l_max": 5}, {"members": 1}):
        with pytest.raises(ValueError, match="expected"):
            DensityConfig((6.0,), **sizes)


def test_a_new_density_knows_nothing_of_an_old_one():
    potential, sizes = am.load("al"), {"n_radial": 5}
    torch.manual_seed(3)
    first = with_density(potential, sizes).density
    assert not bool(first.head.any()) and not bool(first.deviations.any()) and float(first.std_scale) == 0
    torch.manual_seed(4)
    second = with_density(potential, sizes)
    assert not torch.equal(first.mix.weight, second.density.mix.weight)
    assert torch.equal(second.head, potential.head)


def test_models_without_a_density_say_so():
    from tiny import tiny_potential

    model, atoms = tiny_potential(elements=(13,)), bulk("Al")
    with pytest.raises(ValueError, match="docs/density.md"):
        am.predict(model, atoms, at=am.grid(atoms, 0.5))


def test_whole_run_writes_a_model_that_predicts(tmp_path):
    from tiny import tiny_potential

    save_model(tiny_potential(elements=(13,)), tmp_path / "start", {"title": "tiny", "errors": {}})
    sizes = {"range": 2.5, "n_radial": 4, "channels": 3, "radial_hidden": [8], "members": 4}
    fit = FitConfig(epochs=2, batch_size=4)
    few = [f for part, count in (("train", 8), ("val", 2), ("test", 2)) for f in aluminium(ROOT, part, count)]
    write_densities(tmp_path / "few.npz", few)
    config = DensityTraining(DensityData(str(tmp_path / "few.npz")), sizes, fit, start=str(tmp_path / "start"))
    model, card = run(DensityRecipe(config), tmp_path / "out")
    assert card["density"]["errors"]["nmae"] < 5
    assert card["density"]["errors_on"] == "test"
    loaded = am.load(tmp_path / "out")
    assert [q.name for q in loaded.outputs][-1] == "density"
    atoms = bulk("Al", cubic=True)
    p = am.predict(loaded, atoms, at=am.grid(atoms, spacing=0.4))
    assert p["density"].shape == p.std["density"].shape == am.grid(atoms, spacing=0.4).shape
    assert p["density"].mean() * atoms.cell.volume == pytest.approx(12, abs=1e-9)
    two = am.predict(loaded, [atoms, bulk("Al")], std=False, at=[am.grid(atoms, 0.5), am.grid(bulk("Al"), 0.5)])
    assert two[1]["density"].mean() * bulk("Al").cell.volume == pytest.approx(3, abs=1e-9)
    assert "density" not in two[0].std
    before = am.predict(am.load(tmp_path / "start"), atoms)
    assert p["energy"] == pytest.approx(before["energy"], rel=1e-7)
    with pytest.raises(ValueError, match="without a start"):
        DensityRecipe(dataclasses.replace(config, start=""))
    with pytest.raises(ValueError, match="points for 1 structures"):
        am.predict(loaded, [atoms, atoms], at=[am.grid(atoms, 0.5)])


def test_update_by_larger_cells_is_that_of_all_data(model, frames):
    from ase_mlx.learn.density.samples import POINTS, copies, density_samples
    from ase_mlx.learn.recipes.density import update_density

    first = normal_equations(model.density, [density_sample(model, f, 300) for f in frames[:2]])
    large = DensityFrame("large", frames[2].atoms.repeat((3, 1, 1)), np.tile(frames[2].density, (3, 1, 1)))
    assert len(large.atoms) == 12
    total = update_density(model, first, [large])
    assert copies(frames[2]) == 1 and copies(large) == 2
    assert total.points == 600 + 2 * POINTS
    head = model.density.head.detach().clone()
    samples = density_samples(model, [large])
    assert not torch.equal(samples[0].difference, samples[1].difference)
    more = normal_equations(model.density, samples)
    solve(model.density, first + more)
    assert torch.allclose(head, model.density.head, atol=1e-5)
    assert float(model.density.std_scale) > 0
