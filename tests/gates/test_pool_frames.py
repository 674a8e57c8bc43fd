"""Candidates for labels: what they are made of, and what EMT says of them."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list

from ase_mlx.adapters.ase.pool_frames import alloys, liquid, sheared, snapshots, stacking_faults, surfaces, vacancies
from ase_mlx.adapters.ase.supercells import kind

ALUMINIUM = bulk("Al", a=3.995)  # of EMT
CUBIC = bulk("Al", a=3.995, cubic=True)


def energy(atoms):
    return EMT().get_property("energy", atoms)


def test_a_vacancy_for_each_element():
    salt = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    holed = vacancies(salt, (2, 1, 1))
    assert [a.get_chemical_formula() for a in holed] == ["Cl8Na7", "Cl7Na8"]
    assert {a.info["kind"] for a in holed} == {"vacancy"}


def test_surfaces_cost_energy_in_the_order_of_fcc():
    slabs = surfaces(CUBIC, layers=4, vacuum=10.0)
    assert [a.info["kind"] for a in slabs] == ["surface 100", "surface 110", "surface 111"]
    assert all(kind(a) == "slab" and a.pbc.all() for a in slabs)
    per_area = []
    for atoms in slabs:
        area = np.linalg.norm(np.cross(*atoms.cell[:2]))
        per_area.append((energy(atoms) - len(atoms) * energy(ALUMINIUM)) / area / 2)
    assert 0 < per_area[2] < per_area[0] < per_area[1]


def test_the_intrinsic_stacking_fault_is_close_packed_and_the_way_to_it_costs_more():
    half, whole = stacking_faults(ALUMINIUM, layers=6)
    nearest = 3.995 / np.sqrt(2)
    counts = np.bincount(neighbor_list("i", whole, 1.1 * nearest), minlength=len(whole))
    assert (counts == 12).all() and neighbor_list("d", whole, 1.1 * nearest).min() == pytest.approx(nearest, abs=1e-6)
    perfect = 6 * energy(ALUMINIUM)
    assert 0 < energy(whole) - perfect < energy(half) - perfect
    silicon = stacking_faults(bulk("Si", a=5.43), layers=3, shares=(1.0,))[0]
    counts = np.bincount(neighbor_list("i", silicon, 2.6), minlength=len(silicon))
    assert (counts == 4).all(), "the glide set leaves every atom its four bonds"
    with pytest.raises(ValueError, match="primitive cell of an fcc lattice"):
        stacking_faults(CUBIC)


def test_shear_stays_within_its_bounds():
    frames = sheared(ALUMINIUM, 20, np.random.default_rng(0))
    volumes = [a.get_volume() / ALUMINIUM.get_volume() - 1 for a in frames]
    assert max(map(abs, volumes)) <= 0.05 + 1e-9 and max(volumes) > 0.02 > -0.02 > min(volumes)
    for atoms in frames:
        deformation = np.linalg.solve(ALUMINIUM.cell.array, atoms.cell.array)
        deformation /= np.linalg.det(deformation) ** (1 / 3)
        assert 0.005 < np.abs(deformation - np.eye(3)).max() < 0.055
        assert np.allclose(deformation, deformation.T, atol=1e-12)


def test_alloys_reach_the_corners():
    lengths = {"Si": 5.47, "Ge": 5.78, "Sn": 6.65}
    frames = alloys(bulk("Si", a=5.47, cubic=True), lengths, 4, np.random.default_rng(0))
    assert len(frames) == 15 and all(len(a) == 8 for a in frames)
    pure = {a.get_chemical_formula(): a.cell[0, 0] for a in frames if len(set(a.symbols)) == 1}
    assert pure == pytest.approx({"Si8": 5.47, "Ge8": 5.78, "Sn8": 6.65})
    middle = next(a for a in frames if a.get_chemical_formula() == "Ge4Si4")
    assert middle.cell[0, 0] == pytest.approx((5.47 + 5.78) / 2)


def test_snapshots_keep_their_kind_and_a_liquid_flows():
    rng = np.random.default_rng(0)
    hot = snapshots(vacancies(CUBIC, (2, 2, 1)), EMT(), 600.0, rng, steps=40)
    assert [a.info["kind"] for a in hot] == ["vacancy"] * 2 and hot[0].info["temperature_K"] == 600.0
    assert np.abs(EMT().get_property("forces", hot[1])).max() > 0.1
    frames = liquid(CUBIC, EMT(), 1500.0, rng, steps=150, count=2)
    assert [a.info["kind"] for a in frames] == ["liquid"] * 2 and len(frames[0]) == 32
    sites = CUBIC.repeat(2).positions * 1.06 ** (1 / 3)
    moved = frames[-1].positions - sites
    moved -= moved.mean(axis=0)
    assert np.sqrt(np.square(moved).sum(axis=1).mean()) > 0.2 * 3.995 / np.sqrt(2), "beyond Lindemann's 0.12"
