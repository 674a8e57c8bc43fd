"""Lines of long work that nobody listens to."""

import logging
import warnings

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from tiny import tiny_potential

from ase_mlx import progress
from ase_mlx.adapters.ase.job import relax
from ase_mlx.adapters.phono3py import conductivity, third_order
from ase_mlx.adapters.phonopy import phonons
from ase_mlx.graph import from_atoms
from ase_mlx.models.hessian import hessian_products
from ase_mlx.progress import logged


def test_a_line_every_five_seconds_says_what_is_left(monkeypatch, caplog):
    clock = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: clock[0])
    with caplog.at_level(logging.INFO, "ase_mlx.progress"):
        tell = logged("supercells")
        for done in range(20, 41):  # the first twenty were kept
            tell(done, 60)
            clock[0] += 2.0
    assert [r.getMessage() for r in caplog.records][:2] == [
        "supercells: 23 of 60, 74 s to go at this pace",
        "supercells: 26 of 60, 68 s to go at this pace",
    ]
    assert len(caplog.records) == 6


def test_relaxations_and_supercells_that_nobody_listens_to_are_logged(monkeypatch, caplog):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    atoms = bulk("Cu", a=3.7)
    with caplog.at_level(logging.INFO, "ase_mlx.progress"):
        relax(atoms, EMT())
        phonons(atoms, EMT(), supercell=(2, 2, 2), on_imaginary="report")
        told = len(caplog.records)
        relax(atoms, EMT(), progress=lambda done, total: None)
    assert {r.getMessage().split(":")[0] for r in caplog.records} == {"supercells", "steps of a relaxation, at most"}
    assert len(caplog.records) == told


def test_every_stage_of_a_conductivity_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    ph = third_order(bulk("CuAu", "rocksalt", a=5.2), EMT(), supercell=(2, 2, 2))
    with caplog.at_level(logging.INFO, "ase_mlx.progress"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        caplog.clear()  # where an earlier test turned the level up
        conductivity(ph, mesh=(3, 3, 3), temperatures=[300.0], rank=24, solver="iterative", tolerance=9.0)
    assert {r.getMessage().split(":")[0] for r in caplog.records} == {
        "steps of a tensor's fit, at most",
        "points of the mesh",
        "wave vectors of a certificate",
        "temperatures of the Boltzmann equation",
    }


def test_products_with_the_hessian_are_logged(monkeypatch, caplog):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    model = tiny_potential(elements=(13, 79), cutoff=4.0).double()
    with caplog.at_level(logging.INFO, "ase_mlx.progress"):
        hessian_products(model, from_atoms(bulk("Al"), 4.0), np.eye(3)[:, None])
    assert caplog.records[-1].getMessage().startswith("products with the Hessian: 3 of 3")
