"""Columns of the Hessian: in frames, batches, loss, metrics and a whole training run."""

import dataclasses

import numpy as np
import pytest
import torch
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from tiny import labelled, tiny_potential

from ase_mlx.data.graph_batches import GraphBatches
from ase_mlx.data.io import read_frames, write_frames
from ase_mlx.data.samples import Sample, batches, sample
from ase_mlx.graph import from_atoms
from ase_mlx.learn.config import FitConfig
from ase_mlx.learn.files import parameters_equal
from ase_mlx.learn.fit import Stage, fit
from ase_mlx.learn.methods import network
from ase_mlx.learn.metrics import errors
from ase_mlx.learn.recipes.potential import (
    LabelledData,
    PotentialFit,
    PotentialRecipe,
    PotentialTraining,
    potential_loss,
)
from ase_mlx.learn.recipes.potential_errors import collect
from ase_mlx.learn.run import run
from ase_mlx.learn.uncertainty import responses
from ase_mlx.nn.terms import counts, value

CUTOFF = 4.0


def displaced(base, seed=0, size=0.02):
    """A frame with all atoms moved, labelled by EMT, with both arrays that make it a column."""
    step = size * np.random.default_rng(seed).standard_normal((len(base), 3))
    atoms = base.copy()
    atoms.positions += step
    atoms.calc = EMT()
    results = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "stress")}
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.set_array("displacement", step)
    atoms.set_array("force_change", results["forces"] - base.get_forces())
    atoms.info["config_name"] = f"{base.info['config_name']} moved"
    return atoms


def samples_of(frames):
    return [sample(a, CUTOFF, a.info["config_name"]) for a in frames]


def fresh(**changes):
    sizes = {"members": 0, "reference_energies": (0.0, 0.0)} | changes
    return tiny_potential(elements=(13, 79), cutoff=CUTOFF, **sizes)


@pytest.fixture(scope="module")
def plain():
    return labelled(6)


@pytest.fixture(scope="module")
def mixed(plain):
    """Plain and displaced frames, one of another number of atoms."""
    pair = plain[2].repeat((2, 1, 1))
    pair.info = {"config_name": "pair"}
    pair.calc = SinglePointCalculator(pair, forces=np.tile(plain[2].get_forces(), (2, 1)))
    return [plain[0], displaced(plain[0]), plain[1], displaced(pair, seed=1), plain[3]]


def test_a_sample_has_a_column_where_both_arrays_are(plain):
    atoms = displaced(plain[0])
    s = sample(atoms, CUTOFF, "moved")
    assert float(s.weight["hessian"]) == 1
    assert s.targets["displacement"].numpy() == pytest.approx(atoms.arrays["displacement"])
    assert s.targets["force_change"].numpy() == pytest.approx(atoms.arrays["force_change"])
    base = from_atoms(plain[0], CUTOFF)
    assert torch.allclose(s.base.positions, base.positions, atol=1e-12)
    assert torch.equal(s.base.center, base.center)
    assert torch.equal(s.base.neighbor, base.neighbor)
    del atoms.arrays["force_change"]
    without = sample(atoms, CUTOFF, "moved")
    assert without.base is None
    assert float(without.weight["hessian"]) == 0
    assert not without.targets["displacement"].any()


def test_files_keep_the_arrays(plain, tmp_path):
    frames = [plain[1], displaced(plain[0])]
    write_frames(tmp_path / "frames.extxyz.xz", frames)
    back = samples_of(read_frames(tmp_path / "frames.extxyz.xz"))
    assert [float(s.weight["hessian"]) for s in back] == [0, 1]
    assert back[1].targets["force_change"].numpy() == pytest.approx(frames[1].arrays["force_change"], abs=1e-8)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("displacement", np.zeros((4, 3)), "displacement of zero in odd"),
        ("displacement", np.full((4, 3), np.nan), "finite numbers an atom"),
        ("force_change", np.full((4, 3), np.inf), "finite numbers an atom"),
        ("force_change", np.ones(4), r"force_change of shape \(4,\) in odd"),
    ],
)
def test_broken_columns_are_refused(plain, name, value, said):
    atoms = displaced(plain[0])
    atoms.arrays[name] = value
    with pytest.raises(ValueError, match=said):
        sample(atoms, CUTOFF, "odd")


def test_batches_of_mixed_frames(mixed):
    joined = Sample.join(samples_of(mixed))
    assert joined.weight["hessian"].tolist() == [0, 1, 0, 1, 0]
    assert joined.targets["displacement"].shape == joined.graph.positions.shape
    assert joined.base.n_atoms.tolist() == [4, 8]
    moved = (joined.weight["hessian"] > 0)[joined.graph.atom_graph]
    expected = (joined.graph.positions - joined.targets["displacement"])[moved]
    assert torch.allclose(joined.base.positions, expected, atol=1e-12)
    assert Sample.join(samples_of(mixed[:1])).base is None
    there = joined.to("cpu")
    assert there.base.n_graphs == 2
    assert there.names == joined.names


def by_hand(model, frames):
    """The column errors of frames one by one, from the model's forces at both places."""
    lengths, found = [], []
    for atoms in frames:
        if "displacement" not in atoms.arrays:
            continue
        base = atoms.copy()
        base.positions -= atoms.arrays["displacement"]
        ours = [model(from_atoms(a, CUTOFF))["forces"].detach().numpy() for a in (atoms, base)]
        size = np.sqrt(np.mean(atoms.arrays["displacement"] ** 2))
        error = (ours[0] - ours[1] - atoms.arrays["force_change"]) / size
        lengths.append(np.sqrt((error**2).sum(1) + 0.01))
        found.append(-error)
    return np.concatenate(lengths), np.concatenate(found)


def test_the_term_is_the_finite_difference_made_by_hand(mixed):
    model = fresh().to(torch.float64).train()
    joined = Sample.join(samples_of(mixed))
    without, parts = value([potential_loss(model, joined)])
    total, more = value([potential_loss(model, joined, hessian=0.3)])
    expected = by_hand(model, mixed)[0].mean()
    assert more["hessian"] == pytest.approx(expected, rel=1e-9)
    assert float((total - without).detach()) == pytest.approx(0.3 * expected / model.config.energy_scale, rel=1e-9)
    assert {k: v for k, v in more.items() if k != "hessian"} == parts


def test_without_weight_or_without_columns_nothing_changes_by_a_bit(mixed, plain):
    bare = [a.copy() for a in mixed]
    for atoms, labels in zip(bare, mixed, strict=True):
        atoms.calc = SinglePointCalculator(atoms, **labels.calc.results)
        for name in ("displacement", "force_change"):
            atoms.arrays.pop(name, None)
    config = FitConfig(epochs=3, batch_size=2, learning_rate=0.01, warmup_steps=2)
    models = [fresh() for _ in range(2)]
    histories = [
        fit(
            Stage(
                model,
                potential_loss,
                GraphBatches(samples_of(f), 2),
                network(config),
                GraphBatches(samples_of(f[:2]), 8),
            )
        )
        for model, f in zip(models, (mixed, bare), strict=True)
    ]
    assert parameters_equal(*models)
    assert histories[0] == histories[1]
    joined = Sample.join(samples_of(plain))
    with_weight, parts = value([potential_loss(fresh().train(), joined, hessian=1.0)])
    assert torch.equal(with_weight, value([potential_loss(fresh().train(), joined)])[0])
    assert "hessian" not in parts


def test_the_gradient_lowers_the_error_of_columns(plain):
    model = fresh().train()
    joined = Sample.join(samples_of([displaced(a, k) for k, a in enumerate(plain[:3])]))

    def loss():
        return value([potential_loss(model, joined, energy=0.0, forces=0.0, stress=0.0, hessian=1.0)])[0]

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    first = loss()
    first.backward()
    moved = [name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0]
    assert {"head", "readout", "trunk.embedding"} <= set(moved)
    for _ in range(40):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert float(loss().detach()) < 0.6 * float(first.detach())


def test_the_loss_of_parts_is_that_of_the_whole(plain):
    model = fresh().train()
    samples = samples_of([*plain[:4], displaced(plain[4])])

    def terms(some):
        return [potential_loss(model, g, hessian=1.0) for g in some]

    whole, means = value(terms([Sample.join(samples)]))
    for size in (1, 2, 4):
        loss, parts = value(terms(batches(samples, size)))
        assert float(loss.detach()) == pytest.approx(float(whole.detach()), rel=1e-6)
        assert parts == pytest.approx(means, rel=1e-6)
    shares = [terms(samples[:2]), terms(samples[2:])]  # of two processes, by common counts
    common = counts(shares[0] + shares[1])
    assert sum(float(value(share, common)[0].detach()) for share in shares) == pytest.approx(
        float(whole.detach()), rel=1e-6
    )


def test_errors_of_columns(mixed, plain):
    model = fresh().to(torch.float64)
    rows = collect(model, samples_of(mixed), batch_size=2)
    error = by_hand(model, mixed)[1]
    found = errors(rows)["hessian"]
    assert found["unit"] == "eV/Å²"
    assert found["count"] == error.size == 36
    assert found["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-6)
    assert found["relative"] == pytest.approx(found["mae"] / np.abs(rows["hessian"].reference).mean())
    assert set(found["mae_by_element"]) == {"Al", "Au"}
    assert set(errors(collect(model, samples_of(plain)))) == {"energy", "forces", "stress"}


def test_a_column_is_the_hessian_times_the_displacement():
    base = labelled(1)[0]
    atoms = displaced(base, size=1e-3)
    hessian, step = np.zeros((12, 12)), 1e-4
    for k in range(12):
        for sign in (1, -1):
            moved = base.copy()
            moved.positions.flat[k] += sign * step
            moved.calc = EMT()
            hessian[k] -= sign * moved.get_forces().ravel() / (2 * step)
    u = atoms.arrays["displacement"].ravel()
    reference = collect(fresh(), samples_of([atoms]))["hessian"].reference
    assert reference == pytest.approx(hessian @ u / np.sqrt(np.mean(u**2)), abs=0.02 * np.abs(reference).max())


def test_columns_of_members_are_the_change_of_their_forces(mixed):
    model = tiny_potential(elements=(13, 79), cutoff=CUTOFF, reference_energies=(3.0, 3.0)).to(torch.float64)
    found = responses(model, samples_of(mixed))["hessian"]
    rows = collect(model, samples_of(mixed))["hessian"]
    np.testing.assert_allclose(found.residual, rows.reference - rows.predicted, atol=1e-9)
    spread = (found.by_weight @ model.deviations.T.to(torch.float64)).std(dim=1) * model.hessian_scale
    np.testing.assert_allclose(rows.std, spread, rtol=1e-5, atol=1e-9)


def test_a_run_with_columns(plain, tmp_path):
    frames = [*plain, *(displaced(a, k) for k, a in enumerate(plain))]
    for k, atoms in enumerate(frames):
        atoms.info["part"] = ("train", "train", "val")[k % 3]
    write_frames(tmp_path / "frames.extxyz", frames)
    sizes = {"l_max": 1, "layers": 2, "channels": 6, "latent": 8, "members": 4, "radial_hidden": (8,), "cutoff": CUTOFF}
    fitted = PotentialFit(epochs=2, batch_size=2, warmup_steps=2, hessian_weight=0.05)
    config = PotentialTraining(LabelledData(str(tmp_path / "frames.extxyz")), sizes, fitted)
    reported = []
    _, info = run(PotentialRecipe(config), tmp_path / "model", report=reported.append)
    assert all(p.parts["hessian"] > 0 for p in reported)
    assert info["errors"]["hessian"]["relative"] > 0
    assert info["calibration"]["hessian"]["floor"] == 0 < info["calibration"]["hessian"]["scale"]
    assert 0 < info["errors"]["hessian"]["inside_68"] <= 1
    assert info["fit"]["hessian_weight"] == 0.05
    write_frames(tmp_path / "plain.extxyz", plain)
    with pytest.raises(ValueError, match="no training frame has the arrays displacement"):
        PotentialRecipe(dataclasses.replace(config, data=LabelledData(str(tmp_path / "plain.extxyz"))))
