from dataclasses import replace

import numpy as np
import pytest
import torch

from ase_mlx.models.field import AtomField, planes, planes_of_all, whole
from ase_mlx.nn.angular import spherical_harmonics
from ase_mlx.nn.collocation_torch import collocate_torch
from ase_mlx.nn.primitives import primitives

RANGE = 2.0
CELLS = {
    "skewed": (np.array([[4.1, 0.6, 0], [1.2, 3.9, 0], [0, -0.8, 5.0]]), (22, 19, 24)),
    "smaller than the range": (np.array([[1.1, 0.2, 0], [0, 1.3, 0.1], [0.3, 0, 1.2]]), (6, 5, 7)),
    "left-handed": (np.array([[0, 4.0, 0], [3.6, 0, 0], [0, 0.5, 4.4]]), (16, 18, 15)),
}


def setup(name, n=4, l_max=4, pbc=(True, True, True), seed=0):
    cell, shape = CELLS[name]
    rng = np.random.default_rng(seed)
    basis = primitives(5, l_max, RANGE)
    positions = rng.uniform(-1, 2, (n, 3)) @ cell
    coefficients = rng.standard_normal((n, (l_max + 1) ** 2, 5))
    degrees = np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)
    tables = np.einsum("mnkp,amn->amkp", basis.pieces[degrees], coefficients)
    field = AtomField(positions, cell, np.array(pbc), RANGE, lambda atoms: (torch.from_numpy(tables[atoms]), None))
    return field, shape, basis, coefficients, degrees


def directly(field, shape, basis, coefficients, degrees):
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1).reshape(-1, 3)
    points, out = index / np.array(shape) @ field.cell, np.zeros(len(index))
    across = np.linalg.norm(np.linalg.inv(field.cell), axis=0)  # 1/Å: an axis over the distance of its faces
    count = np.where(field.pbc, np.ceil(RANGE * across).astype(int) + 1, 0)
    shifts = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in count], indexing="ij"), -1).reshape(-1, 3)
    scaled = field.positions @ np.linalg.inv(field.cell)
    inside = (scaled - np.where(field.pbc, np.floor(scaled), 0)) @ field.cell
    for position, c in zip(inside, coefficients, strict=True):
        for shift in shifts @ field.cell:
            vector = torch.from_numpy(points - position - shift)
            r = vector.norm(dim=1)
            near = r < RANGE
            if near.any():
                y = spherical_harmonics(int(degrees[-1]), vector[near] / r[near, None]).numpy()
                radial = basis(r[near]).numpy()[:, degrees]
                out[near.numpy()] += np.einsum("pmn,pm,mn->p", radial, y, c)
    return out.reshape(shape)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, True, False)], ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_grid_is_the_direct_sum(name, pbc):
    made = setup(name, pbc=pbc)
    assert whole(made[0], made[1]) == pytest.approx(directly(*made), abs=1e-10)


@pytest.mark.parametrize("l_max", range(4))
def test_lower_degrees_are_the_direct_sum(l_max):
    made = setup("skewed", l_max=l_max)
    assert whole(made[0], made[1]) == pytest.approx(directly(*made), abs=1e-10)


def test_planes_at_a_time_threads_and_axes_do_not_matter(monkeypatch):
    field, shape, *_ = setup("skewed", n=90)
    expected = whole(field, shape)
    assert whole(field.turned, shape[::-1]).transpose() == pytest.approx(expected, abs=1e-10)
    monkeypatch.setattr("ase_mlx.models.field.POINTS_AT_A_TIME", 3 * shape[1] * shape[2])
    monkeypatch.setattr("ase_mlx.models.field.ATOMS_AT_A_TIME", 70)
    parts = list(planes(field, shape, threads=2))
    assert [start for start, _, _ in parts] == list(range(0, shape[0], 3))
    assert np.concatenate([values for _, values, _ in parts]) == pytest.approx(expected, abs=1e-10)
    single = np.concatenate([values for _, values, _ in planes(field, shape, np.float32)])
    assert single.dtype == np.float32
    assert single == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("at_once", [4_000_000, 1000])
def test_several_fields_of_the_same_atoms_are_each_of_them(at_once, monkeypatch):
    fields = [setup("skewed", n=40, seed=0)[0], setup("skewed", n=40, seed=1)[0]]
    field, shape = replace(fields[0], positions=fields[1].positions), setup("skewed")[1]
    single = [whole(one, shape) for one in (field, fields[1])]
    monkeypatch.setattr("ase_mlx.models.field.POINTS_AT_A_TIME", at_once)
    both = replace(field, tables=lambda i: (torch.stack([one.tables(i)[0] for one in fields], 2), None), count=2)
    parts = [values for _, values, _ in planes_of_all(both, shape, threads=2)]
    assert np.concatenate(parts, axis=1) == pytest.approx(np.stack(single), abs=1e-10)


@pytest.mark.parametrize("points", [(40, 36, 48), (9, 8, 10)], ids=["fine", "coarse"])
def test_electrons_are_restored_on_any_grid(points):
    field, _, basis, coefficients, _ = setup("skewed")
    electrons = coefficients[:, 0] @ basis.charges
    counted = replace(field, tables=lambda atoms: (field.tables(atoms)[0], torch.as_tensor(electrons)[atoms]))
    found = list(planes(counted, points))
    volume = abs(np.linalg.det(field.cell))
    total = np.concatenate([values for _, values, _ in found])
    assert total.mean() * volume == pytest.approx(electrons.sum(), rel=1e-12, abs=1e-10)
    plain = whole(field, points).mean() * volume
    assert abs(plain - electrons.sum()) <= found[-1][2] + 1e-9
    assert (found[-1][2] < 0.05) == (points[0] == 40)


def in_torch(monkeypatch):
    """Fill grids by the road of accelerators, on the CPU."""

    def road(window, plane0, centers, tables, electrons, axes, length, periodic, threads):
        arrays = (torch.from_numpy(window[0]), plane0, centers, torch.from_numpy(tables[:, :, 0]))
        counted = None if electrons is None else torch.from_numpy(electrons)
        return collocate_torch(*arrays, counted, axes, length, periodic)

    monkeypatch.setattr("ase_mlx.models.field.collocate", road)
    monkeypatch.setattr("ase_mlx.nn.collocation_torch.PAIRS_AT_A_TIME", 5000)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, True, False)], ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_the_road_of_accelerators_is_the_kernel(name, pbc, monkeypatch):
    field, shape, basis, coefficients, _ = setup(name, pbc=pbc)
    electrons = torch.from_numpy(coefficients[:, 0] @ basis.charges)
    counted = replace(field, tables=lambda atoms: (field.tables(atoms)[0], torch.as_tensor(electrons)[atoms]))
    expected = [whole(field, shape), *zip(*planes(counted, shape), strict=True)]
    single = whole(field, shape, np.float32)
    in_torch(monkeypatch)
    assert whole(field, shape) == pytest.approx(expected[0], abs=1e-10)
    found = [*zip(*planes(counted, shape), strict=True)]
    assert np.concatenate(found[1]) == pytest.approx(np.concatenate(expected[2]), abs=1e-10)
    assert found[2][-1] == pytest.approx(expected[3][-1], abs=1e-9)
    assert whole(field, shape, np.float32) == pytest.approx(single, abs=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CELLS)
def test_an_accelerator_fills_the_same_grid(name):
    field, shape, *_ = setup(name)
    tables = lambda atoms: (field.tables(atoms)[0].cuda(), None)  # noqa: E731
    on_device = replace(field, tables=tables, device=torch.device("cuda"))
    assert whole(on_device, shape) == pytest.approx(whole(field, shape), abs=1e-10)
