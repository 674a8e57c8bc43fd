"""Lines of long work that nobody listens to."""

import logging

from ase.build import bulk
from ase.calculators.emt import EMT

from ase_mlx import progress
from ase_mlx.adapters.ase.job import relax
from ase_mlx.adapters.phonopy import phonons
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
