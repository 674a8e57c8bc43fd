"""Folded fourth-order force constants: against their direct contraction, phono3py's own, and the tensor they are of."""

import itertools

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones
from phono3py.phonon4.file_IO import write_fc4_to_hdf5
from phono3py.phonon4.real_to_reciprocal import RealToReciprocalFc4
from phonopy.structure.cells import get_primitive, get_supercell
from typer.testing import CliRunner

from ase_mlx.adapters.phono3py import conductivity, learned, load_third_order, third_order
from ase_mlx.adapters.phono3py.crystal import crystal_of
from ase_mlx.adapters.phono3py.learned import _contracted, supercell_of
from ase_mlx.adapters.phonopy.cells import to_phonopy
from ase_mlx.cli import app
from ase_mlx.phonons import four_phonon, lattice_sum
from ase_mlx.phonons.brillouin import Mesh
from ase_mlx.phonons.certificate import certify
from ase_mlx.phonons.compressed import CompressedTensor, Orbit
from ase_mlx.phonons.force_fit import ForceSample, force_error
from ase_mlx.phonons.four_phonon import four_phonon_linewidths
from ase_mlx.phonons.fourth_order import FoldedQuartic, FourthOrder
from ase_mlx.phonons.lattice_sum import phased
from ase_mlx.phonons.modes import occupation
from ase_mlx.phonons.supercell import thermal_displacements
from ase_mlx.phonons.tensor_fit import kinds
from ase_mlx.phonons.transport import LOWEST, relaxation_times


def shared_by(primitive):
    vectors, images = primitive.get_smallest_vectors()
    atoms = np.array([primitive.p2p_map[k] for k in primitive.s2p_map])
    return atoms, vectors, np.ascontiguousarray(images[:, :, ::-1]), primitive.scaled_positions, primitive.masses


class Direct:
    """Squared elements quartet by quartet, the first atom in the home cell, by phono3py's own transform."""

    def __init__(self, constants, primitive, mesh, amplitudes):
        self.transform = RealToReciprocalFc4(constants, primitive, is_compact_fc=True)
        self.mesh, self.amplitudes, self.positions = mesh, amplitudes, primitive.scaled_positions

    def order(self, point, quartets):
        return np.arange(len(quartets))

    def __call__(self, point, quartets):
        squared = np.empty((len(quartets), *4 * self.amplitudes.shape[2:]))
        for t, quartet in enumerate(quartets):
            numbers = [point, *quartet]
            points = self.mesh.points[numbers]
            whole = (
                self.transform.run(points)
                * np.exp(2j * np.pi * points.sum(axis=0) @ self.positions.T)[
                    :, None, None, None, None, None, None, None
                ]
            )
            size = 3 * len(self.positions)
            whole = whole.transpose(0, 4, 1, 5, 2, 6, 3, 7).reshape(4 * (size,))
            a, b, c, d = self.amplitudes[numbers]
            element = np.einsum("wxyz,wi,xj,yk,zl->ijkl", whole, a, b, c, d, optimize=True)
            squared[t] = np.abs(element) ** 2
        return squared


def random_constants(n, atoms, random):
    """Numbers with no symmetry but that of exchanges of the last three atoms."""
    half = random.normal(size=(n, 3, *3 * (atoms, 3)))
    orders = (sum(((2 + 2 * k, 3 + 2 * k) for k in order), (0, 1)) for order in itertools.permutations(range(3)))
    even = sum(half.transpose(order) for order in orders)
    return np.ascontiguousarray(even.transpose(0, 2, 4, 6, 1, 3, 5, 7))


@pytest.mark.parametrize("few", [0, 10**6])
@pytest.mark.parametrize("loops", [0, 12])
def test_elements_are_those_of_the_direct_contraction(few, loops, monkeypatch):
    monkeypatch.setattr(lattice_sum, "FEW", few)
    monkeypatch.setattr(lattice_sum, "LOOPS", loops)  # 0: as on a GPU
    cell = get_supercell(to_phonopy(bulk("Si")), np.diag([2, 2, 1]))
    primitive, random = get_primitive(cell, np.linalg.inv(np.diag([2, 2, 1]))), np.random.default_rng(0)
    constants = random_constants(len(primitive), len(cell), random)
    mesh = Mesh((2, 3, 4), np.eye(3, dtype=int)[None])
    amplitudes = random.normal(size=(24, 6, 6)) + 1j * random.normal(size=(24, 6, 6))
    amplitudes += amplitudes[mesh.index(-mesh.addresses)].conj()  # those of -q are conjugate
    amplitudes = phased(primitive.scaled_positions, -mesh.points, amplitudes)
    ours = FoldedQuartic(FourthOrder(constants, *shared_by(primitive)), mesh, amplitudes)
    direct = Direct(constants, primitive, mesh, amplitudes)
    for point in mesh.irreducible[0][::5].tolist():
        second, third = np.random.default_rng(point).integers(24, size=(2, 40))
        fourth = mesh.index(-(mesh.addresses[point] + mesh.addresses[second] + mesh.addresses[third]))
        quartets = np.column_stack([second, third, fourth])
        expected = direct(point, quartets)
        assert np.abs(ours(point, quartets) - expected).max() < 1e-12 * expected.max()


def array_of(tensor, supercell, rows):
    """The whole of a compressed tensor in a supercell, for atoms `rows`."""
    whole = np.zeros((3 * len(rows), *3 * (3 * len(supercell.sites),)))
    for orbit in tensor.orbits:
        for operation in orbit.operations:
            sites = tensor.group.move(int(operation), np.zeros(3, dtype=int), orbit.sites)
            turned = orbit.functions @ tensor.group.cartesian[operation].T
            for cell in supercell.translations:
                shifted = sites + np.append(cell, 0)
                functions = np.zeros((len(turned), len(supercell.sites), 3))
                np.add.at(functions, (slice(None), supercell.index(shifted)), turned)
                own, all_ = functions[:, rows].reshape(len(turned), -1), functions.reshape(len(turned), -1)
                pairs = np.einsum("rb,rc->rbc", all_, all_).reshape(len(turned), -1)
                left = np.einsum("r,ra,rb->abr", orbit.signs, own, all_).reshape(-1, len(turned))
                whole += (left @ pairs).reshape(whole.shape)
    n, atoms = len(rows), len(supercell.sites)
    return np.ascontiguousarray(whole.reshape(n, 3, atoms, 3, atoms, 3, atoms, 3).transpose(0, 2, 4, 6, 1, 3, 5, 7))


@pytest.fixture(scope="module")
def argon():
    """A crystal with one atom in its primitive cell, held force constants of order two and three, and a fourth."""
    ph = third_order(bulk("Ar", a=5.3), LennardJones(sigma=3.4, epsilon=0.0104, rc=8.0, smooth=True), (3, 3, 3))
    group, random, orbits = crystal_of(ph).group, np.random.default_rng(0), []
    for kind in kinds(group, 3.9, 4):
        orbit = kind.orbit(0.17 * random.normal(size=(2, kind.patterns.shape[-1])))
        orbits.append(Orbit(orbit.sites, orbit.functions, orbit.operations, np.array([1.0, -1.0])))
    tensor = CompressedTensor(4, group, tuple(orbits))
    ph.fc4 = array_of(tensor, supercell_of(ph), ph.primitive.p2s_map)
    return ph, tensor


@pytest.mark.slow
def test_linewidths_are_those_of_the_direct_contraction(argon):
    ph, _ = argon
    crystal = crystal_of(ph)
    mesh = Mesh((4, 4, 4), crystal.group.rotations)
    modes = crystal.modes(mesh.points, True)
    amplitudes, temperatures = modes.amplitudes(crystal.masses, LOWEST), np.array([20.0, 60.0])
    occupations = occupation(modes.frequencies, temperatures, LOWEST)
    ours, direct = (
        four_phonon_linewidths(mesh, modes, crystal.group, occupations, squares, LOWEST).gamma
        for squares in (
            FoldedQuartic(crystal.fourth, mesh, amplitudes),
            Direct(ph.fc4, ph.primitive, mesh, amplitudes),
        )
    )
    assert direct.max() > 0
    np.testing.assert_allclose(ours, direct, rtol=1e-8, atol=1e-12 * direct.max())


@pytest.mark.slow
def test_force_constants_beside_a_yaml_are_taken_without_a_calculator(argon, tmp_path):
    ph, _ = argon
    ph.save(tmp_path / "phono3py_params.yaml")
    with pytest.raises(ValueError, match="order=4 needs a calculator"):
        conductivity(tmp_path / "phono3py_params.yaml", mesh=(3, 3, 3), temperatures=[40.0], order=4)
    write_fc4_to_hdf5(ph.fc4, tmp_path / "fc4.hdf5", ph.primitive.p2s_map)
    read = load_third_order(tmp_path / "phono3py_params.yaml", fourth=True)
    np.testing.assert_array_equal(read.fc4, ph.fc4)
    assert "fourth order in fc4.hdf5" in " ".join(read.sources)
    assert load_third_order(tmp_path / "phono3py_params.yaml").fc4 is None
    found = conductivity(tmp_path / "phono3py_params.yaml", mesh=(3, 3, 3), temperatures=[40.0], order=4)
    held = conductivity(ph, mesh=(3, 3, 3), temperatures=[40.0], order=4)
    assert found.quartic is None and found.certificate is None and found.kappa_std is None
    assert found.kappa[0, 0] < 0.99 * found.modes.three_phonon_kappa[0, 0]
    np.testing.assert_allclose(found.kappa[0, 0], held.kappa[0, 0], rtol=1e-3)
    names = [str(tmp_path / "phono3py_params.yaml"), "--mesh", "3 3 3", "-t", "40", "--order", "4"]
    result = CliRunner().invoke(app, ["conductivity", *names, "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "fourth order exact" in result.output and (tmp_path / "out" / "kappa.hdf5").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["shape", "symmetry"])
def test_force_constants_that_cannot_be_are_refused(argon, tmp_path, broken):
    ph, _ = argon
    ph.save(tmp_path / "phono3py_params.yaml")
    wrong = ph.fc4[:, :-1] if broken == "shape" else np.random.default_rng(0).normal(size=ph.fc4.shape)
    write_fc4_to_hdf5(wrong, tmp_path / "fc4.hdf5", ph.primitive.p2s_map)
    with pytest.raises(ValueError, match="expected .1, 27" if broken == "shape" else "fourth-order.*permutation"):
        load_third_order(tmp_path / "phono3py_params.yaml", fourth=True)


def test_forces_of_held_force_constants_are_those_of_the_tensor(argon):
    ph, tensor = argon
    cell, crystal = supercell_of(ph), crystal_of(ph)
    along, probes = (thermal_displacements(crystal, cell, 40.0, 3, seed) for seed in (0, 1))
    assert force_error(tensor, cell, ForceSample(along, _contracted(ph, ph.fc4, along), probes)) < 1e-10


@pytest.fixture(scope="module")
def poor(argon):
    """Exact linewidths of two orders, and those of a fourth order that is off: this supercell is too small to fit."""
    ph, _ = argon
    crystal, wrong = crystal_of(ph), learned(ph, None, 4).tensor
    temperatures = np.array([20.0, 60.0])
    exact, off = (relaxation_times(crystal, (5, 5, 5), temperatures, quartic=x) for x in ("exact", wrong))
    return crystal, exact, off


def far(kappa, exact):
    return np.abs(kappa[:, :3].mean(axis=1) / exact.kappa[:, :3].mean(axis=1) - 1)


def test_a_poor_fourth_order_is_corrected_at_every_temperature(poor):
    crystal, exact, off = poor
    assert np.all(far(off.kappa, exact) > 0.02)
    found = certify(crystal, off, orders=(4,))
    assert found.triplets == 0 and found.quartets > 100 and f"{found.quartets} exact quartets" in str(found)
    assert found.half_widths.max() <= 0.01
    assert np.all(far(found.corrected, exact) <= 1.5 * found.half_widths)
    whole = certify(crystal, off, 10**6, orders=(4,))
    assert whole.exact
    np.testing.assert_allclose(whole.corrected[:, :3], exact.kappa[:, :3], rtol=1e-5)  # products are single precision


def test_intervals_of_quartets_hold_over_seeds(poor):
    crystal, exact, off = poor
    runs = [certify(crystal, off, 1000, 1e9, seed, orders=(4,)) for seed in range(8)]
    errors = np.array([far(run.corrected, exact) for run in runs])
    halves = np.array([run.half_widths for run in runs])
    assert np.mean(errors <= halves) > 0.85
    assert np.all(halves.mean(axis=0) < 8 * errors.mean(axis=0))


def test_both_orders_are_drawn_from_together(poor):
    crystal, exact, off = poor
    found = certify(crystal, off, 300, 1e9, orders=(3, 4))
    assert found.triplets > 20 and found.quartets > 20
    assert np.all(far(found.corrected, exact) < 0.05)


def test_a_draw_of_quartets_is_in_the_interval(poor, monkeypatch):
    crystal, exact, off = poor
    monkeypatch.setattr(four_phonon, "QUARTETS", 100)
    drawn = relaxation_times(crystal, (5, 5, 5), exact.temperatures, quartic="exact")
    std = drawn.drawn_std[:, 0] / drawn.kappa[:, 0]
    assert np.all(std > 0) and np.all(far(drawn.kappa, exact) < 4 * std)
    assert not exact.drawn_std.any()


@pytest.mark.slow
def test_a_rank_compresses_both_orders_and_is_corrected(argon):
    ph, _ = argon
    with pytest.warns(UserWarning, match="rank=48"):
        found = conductivity(ph, mesh=(5, 5, 5), temperatures=[40.0], order=4, rank=48)
    exact = conductivity(ph, mesh=(5, 5, 5), temperatures=[40.0], order=4)
    assert found.quartic.tensor.order == 4 and found.certificate.quartets > 0
    assert far(found.kappa, exact.modes)[0] < 0.02
