"""Elements of folded force constants on a mesh, against their direct contraction with three phonons."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from phono3py import Phono3py
from phonopy.structure.atoms import PhonopyAtoms

from ase_mlx.adapters.phono3py import load_third_order
from ase_mlx.adapters.phono3py.crystal import crystal_of
from ase_mlx.phonons import lattice_sum, transport
from ase_mlx.phonons.brillouin import Mesh
from ase_mlx.phonons.compression import compress
from ase_mlx.phonons.folded import fold, fold_products
from ase_mlx.phonons.interaction import Interaction, ProductInteraction, interaction_of
from ase_mlx.phonons.orbits import SpaceGroup
from ase_mlx.phonons.third_order import ThirdOrder
from ase_mlx.phonons.transport import LOWEST, relaxation_times

DATA = Path(__file__).parent / "data"


class Direct(ProductInteraction):
    """Strengths by `ThirdOrder.elements`, triplet by triplet."""

    def __init__(self, crystal, mesh, amplitudes, tensor=None, device="cpu", threads=1):
        self.batch = 16
        self.third, self.mesh, self.amplitudes = crystal.third, mesh, amplitudes

    def strengths(self, point, triplets):
        whole = np.column_stack([np.full(len(triplets), point), triplets])
        used, index = np.unique(whole, return_inverse=True)
        return (
            np.abs(self.third.elements(self.mesh.points[used], self.amplitudes[used], index.reshape(whole.shape))) ** 2
        )


@pytest.fixture(scope="module", params=["si", "nacl", "znte"])
def crystal(request):
    return crystal_of(load_third_order(DATA / f"phono3py-{request.param}" / "phono3py_params.yaml.xz"))


@pytest.fixture(scope="module")
def silicon():
    return crystal_of(load_third_order(DATA / "phono3py-si" / "phono3py_params.yaml.xz"))


@pytest.fixture(scope="module")
def tensor(silicon):
    return compress(silicon, 48).tensor


def far(crystal, mesh, amplitudes, device="cpu"):
    """The largest difference between elements squared of the two routes, over the largest of them."""
    ours, direct = (kind(crystal, mesh, amplitudes, device=device) for kind in (interaction_of, Direct))
    found, largest = 0.0, 0.0
    for point in mesh.irreducible[0].tolist():
        triplets = mesh.triplets(point)[0]
        expected = direct.strengths(point, triplets)
        found = max(found, float(np.abs(ours.strengths(point, triplets) - expected).max()))
        largest = max(largest, float(expected.max()))
    return found / largest


def amplitudes_of(crystal, mesh):
    return crystal.modes(mesh.points, False).amplitudes(crystal.masses, LOWEST)


@pytest.mark.parametrize("few", [0, 10**6])
def test_elements_are_those_of_the_direct_contraction(crystal, few, monkeypatch):
    monkeypatch.setattr(lattice_sum, "FEW", few)
    mesh = Mesh((4, 4, 4), crystal.group.rotations)
    assert far(crystal, mesh, amplitudes_of(crystal, mesh)) < 1e-13


def test_linewidths_and_conductivity_are_those_of_the_direct_contraction(crystal, monkeypatch):
    temperatures = np.array([100.0, 300.0])
    ours = relaxation_times(crystal, (7, 7, 7), temperatures)
    monkeypatch.setattr(transport, "interaction_of", Direct)
    direct = relaxation_times(crystal, (7, 7, 7), temperatures)
    np.testing.assert_allclose(ours.gamma, direct.gamma, rtol=1e-10)
    np.testing.assert_allclose(ours.kappa[:, :3], direct.kappa[:, :3], rtol=1e-12)


def test_several_threads_give_what_one_gives(silicon):
    one = relaxation_times(silicon, (7, 7, 7), np.array([300.0]), couplings=True)
    before, steps = torch.get_num_threads(), []
    try:
        torch.set_num_threads(3)
        three = relaxation_times(
            silicon,
            (7, 7, 7),
            np.array([300.0]),
            couplings=True,
            progress=lambda done, total: steps.append((done, total)),
        )
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(three.gamma, one.gamma, rtol=1e-12)
    for ours, theirs in zip(three.couplings, one.couplings, strict=True):
        np.testing.assert_array_equal(ours.second, theirs.second)
        np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-9)
    assert steps[-1] == (20, 20) and len(steps) > 3 and steps == sorted(steps)


@pytest.mark.parametrize("few", [0, 10**6])
def test_numbers_without_any_symmetry_on_a_mesh_of_three_lengths(silicon, few, monkeypatch):
    monkeypatch.setattr(lattice_sum, "FEW", few)
    random = np.random.default_rng(0)
    third = replace(silicon.third, constants=random.normal(size=silicon.third.constants.shape))
    group = SpaceGroup(silicon.group.lattice, silicon.group.positions, np.eye(3, dtype=int)[None], np.zeros((1, 3)))
    mesh = Mesh((3, 4, 5), group.rotations)
    assert far(replace(silicon, third=third, group=group), mesh, amplitudes_of(silicon, mesh)) < 1e-13


@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_eight_atoms_in_the_primitive_cell(silicon, device, monkeypatch):
    if device == "torch":  # what a GPU computes, here on the processor
        monkeypatch.setattr(lattice_sum, "LOOPS", 0)
    cells = np.array(np.meshgrid(*[(0, 1)] * 3)).reshape(3, -1).T
    atoms = PhonopyAtoms(
        ["Si"] * 8, cell=np.diag([5.4, 5.6, 5.9]), scaled_positions=0.5 * cells + 0.02 * cells[:, ::-1]
    )
    ph = Phono3py(atoms, np.diag([2, 2, 1]), primitive_matrix=np.eye(3), is_symmetry=False, log_level=0)
    random, primitive = np.random.default_rng(1), ph.primitive
    vectors, images = primitive.get_smallest_vectors()
    atom = np.array([primitive.p2p_map[k] for k in primitive.s2p_map])
    constants = random.normal(size=(8, 32, 32, 3, 3, 3))
    places = primitive.scaled_positions, primitive.masses
    third = ThirdOrder(constants, atom, vectors, np.ascontiguousarray(images[:, :, ::-1]), *places)
    mesh = Mesh((2, 3, 1), np.eye(3, dtype=int)[None])
    amplitudes = random.normal(size=(6, 24, 24)) + 1j * random.normal(size=(6, 24, 24))
    assert far(replace(silicon, third=third), mesh, amplitudes) < 1e-13


def test_torch_gives_what_compiled_loops_give(silicon, monkeypatch):
    mesh = Mesh((5, 5, 5), silicon.group.rotations)
    monkeypatch.setattr(lattice_sum, "LOOPS", 0)
    assert far(silicon, mesh, amplitudes_of(silicon, mesh)) < 1e-13


@pytest.mark.slow
def test_random_displacements_with_second_order_in_a_larger_supercell_are_read():
    ph = load_third_order(DATA / "phono3py-mgo" / "phono3py_params.yaml.xz")
    assert ph.fc2.shape[1] == 512 and ph.fc3.shape[1] == 64
    assert relaxation_times(crystal_of(ph), (5, 5, 5), np.array([300.0])).kappa[0, 0] > 10


def test_cells_without_force_constants_are_left_out(silicon):
    whole = fold(silicon.third)
    near = np.where(np.abs(silicon.third.constants) > 0.1, silicon.third.constants, 0.0)
    cut = fold(replace(silicon.third, constants=near))
    assert len(cut.blocks) < 0.1 * len(whole.blocks) and len(cut.second) < len(whole.second)
    mesh = Mesh((3, 3, 3), silicon.group.rotations)
    assert (
        far(replace(silicon, third=replace(silicon.third, constants=near)), mesh, amplitudes_of(silicon, mesh)) < 1e-13
    )


@pytest.mark.slow
def test_a_compressed_tensor_written_out_has_the_elements_of_its_products(silicon, tensor):
    mesh = Mesh((3, 3, 3), silicon.group.rotations)
    amplitudes = amplitudes_of(silicon, mesh)
    written, products = (
        Interaction(fold_products(tensor), mesh, amplitudes),
        ProductInteraction(tensor, mesh, amplitudes),
    )
    for point in mesh.irreducible[0].tolist():
        triplets = mesh.triplets(point)[0]
        expected = products.strengths(point, triplets)  # single precision
        np.testing.assert_allclose(written.strengths(point, triplets), expected, atol=1e-5 * expected.max())
    random = np.random.default_rng(0)
    q = random.random((2, 3))
    q = np.concatenate([q, -q.sum(axis=0, keepdims=True)])
    a, b, c = tensor.transform(q)
    exact = np.einsum("r,ir,jr,kr->ijk", tensor.signs, a, b, c)
    folded = fold_products(tensor)
    amplitudes = folded.phased(q, np.broadcast_to(np.eye(6, dtype=complex), (3, 6, 6)))
    series = folded.series(q[:1], amplitudes[:1])[0].reshape(len(folded.second), -1)
    half = (np.exp(2j * np.pi * q[1] @ folded.second.T) @ series).reshape(6, 6, 6)
    found = np.einsum("iab,aj,bk->ijk", half, amplitudes[1], amplitudes[2])
    assert np.abs(found - exact).max() < 1e-13 * np.abs(exact).max()


def test_a_tensor_is_written_out_where_that_pays(silicon, tensor):
    for n, kind in ((3, ProductInteraction), (15, Interaction)):
        mesh = Mesh((n, n, n), silicon.group.rotations)
        assert type(interaction_of(silicon, mesh, amplitudes_of(silicon, mesh), tensor)) is kind
