import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from tiny import tiny_potential

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.checkpoints import published, read_checkpoint
from ase_mlx.adapters.distillation import errors_of_labels
from ase_mlx.descriptors.bond_classes import CLASSES, bond_class
from ase_mlx.learn.cards import CARD
from ase_mlx.learn.files import load_model, save_model
from ase_mlx.models.against_dft import LINE, MEASURED, AgainstDFT
from ase_mlx.models.predict import predict

NEQUIX = Path(__file__).parents[2] / "reference" / "data" / "nequix" / "plain.nqx"
WIDTHS = {
    "energy": {"width": 0.01, "count": 50},
    "forces": {"width": 0.04, "share": 0.1, "count": 50},
    "stress": {"width": 0.002, "share": 0.3, "count": 50},
}
TABLE = AgainstDFT("a teacher", "0" * 64, {name: WIDTHS for name in CLASSES}, {"energy": 2.5})


def taught(members=4, **widths):
    model = tiny_potential(elements=(1, 8, 13, 14, 32, 79), members=members)
    classes = {name: {**WIDTHS, "energy": {"width": widths.get(name.split(",")[0], 0.01)}} for name in CLASSES}
    model.against_dft = AgainstDFT("a teacher", "0" * 64, classes)
    return model


def crystals():
    several = [bulk("Si", cubic=True), bulk("Al", cubic=True), bulk("Si", cubic=True), bulk("Au", cubic=True)]
    several[2].symbols[3] = "Ge"
    several[1].symbols[0] = "O"
    for k, atoms in enumerate(several):
        atoms.rattle(0.05 * k, seed=k)
    return several


@pytest.mark.parametrize(
    ("symbols", "name"),
    [
        ("Cu", "metals"), ("Al Ni", "metals"), ("Si", "covalent"), ("C Si", "covalent"), ("H O", "covalent"),
        ("Fe O", "oxides, fluorides with U"), ("Co F Li O", "oxides, fluorides with U"), ("Fe S", "chalcogenides"),
        ("Mg O", "oxides"), ("O Pb S", "oxides"), ("F O Y", "halides"), ("Cl Na", "halides"), ("Cl Fe", "halides"),
        ("S Zn", "chalcogenides"), ("As Ga", "pnictides, carbides"), ("C Ti", "pnictides, carbides"),
        ("B Mg", "others of metals"), ("H Li", "others of metals"), ("In Sb", "others of metals"),
        ("Ir Te", "others of metals"),
    ],
)  # fmt: skip
def test_classes_by_rule(symbols, name):
    assert bond_class(symbols.split()) == bond_class(reversed(symbols.split() * 2)) == name


def test_bars_against_dft_are_never_below_those_against_labels():
    for atoms, p in zip(crystals(), predict(taught(), crystals()), strict=True):
        assert set(p.std_dft) == set(MEASURED) <= set(p.std)
        for name in MEASURED:
            assert p.std_dft[name].shape == p[name].shape and np.all(p.std_dft[name] > p.std[name])
        labels = np.sqrt(p.std_dft["energy"] ** 2 - p.std["energy"] ** 2)
        assert labels == pytest.approx(0.01 * len(atoms))
        parts = np.sqrt(p.std_dft["forces"] ** 2 - p.std["forces"] ** 2)
        assert parts == pytest.approx(np.hypot(0.04, 0.1 * np.sqrt((p["forces"] ** 2).mean())), rel=1e-6)
        full = np.append(p["stress"], p["stress"][3:])
        parts = np.sqrt(p.std_dft["stress"] ** 2 - p.std["stress"] ** 2)
        assert parts == pytest.approx(np.hypot(0.002, 0.3 * np.sqrt((full**2).mean())), rel=1e-6)


def test_a_batch_has_the_bars_of_each_structure_alone_and_of_its_own_class():
    model = taught(covalent=0.02, metals=0.03, oxides=0.04)
    for atoms, p, width in zip(crystals(), predict(model, crystals()), (0.02, 0.04, 0.02, 0.03), strict=True):
        alone = predict(model, atoms)
        for name in MEASURED:
            np.testing.assert_allclose(p.std_dft[name], alone.std_dft[name], rtol=1e-4)
        assert np.sqrt(p.std_dft["energy"] ** 2 - p.std["energy"] ** 2) == pytest.approx(width * len(atoms))


def test_bars_turn_with_the_crystal_and_grow_with_it():
    model, atoms = taught().double(), crystals()[3]
    turned = atoms.copy()
    turned.rotate(35, (1, 2, 3), rotate_cell=True)
    both = [predict(model, a) for a in (atoms, turned, atoms.repeat((2, 1, 1)))]
    widths = [{n: np.sqrt(p.std_dft[n] ** 2 - p.std[n] ** 2) for n in MEASURED} for p in both]
    for name in MEASURED:
        np.testing.assert_allclose(widths[1][name], widths[0][name], rtol=1e-6)
    assert widths[2]["energy"] == pytest.approx(2 * widths[0]["energy"])
    assert widths[2]["stress"] == pytest.approx(widths[0]["stress"], rel=1e-6)


def test_what_is_not_known_is_absent():
    without, model = tiny_potential(), taught()
    for p in (
        predict(without, bulk("Si")),
        predict(model, bulk("Si"), std=False),
        predict(model, molecule("H2O")),
        predict(model, bulk("Si"), blocks=True),
    ):
        assert not p.std_dft
        with pytest.raises(KeyError, match="got 'energy'.*not known here.*errors_against_dft"):
            p.std_dft["energy"]
    assert not am.predict("sigesn", bulk("Si")).std_dft
    assert not predict(taught(members=0), bulk("Si")).std_dft


def test_a_potential_that_made_the_labels_has_bars_against_dft_alone():
    model = read_checkpoint(NEQUIX)
    model.against_dft = TABLE
    assert not predict(model, bulk("Cu")).std_dft  # its own error against these labels is not known
    model.against_dft = replace(TABLE, own=True)
    p = predict(model, bulk("Cu", cubic=True))
    assert not p.std and p.std_dft["energy"] == pytest.approx(0.04)
    calculator = Calculator(model)
    assert calculator.get_property("energy_std_dft", bulk("Cu", cubic=True)) == pytest.approx(0.04)


def test_the_card_holds_the_table_and_a_table_with_holes_is_refused(tmp_path):
    folder = save_model(tiny_potential(), tmp_path / "model", {LINE: TABLE.line()})
    assert load_model(folder).against_dft == TABLE
    itself = save_model(tiny_potential(), tmp_path / "itself", {LINE: TABLE.line(), "origin": {"sha256": "0" * 64}})
    assert load_model(itself).against_dft == replace(TABLE, own=True)
    assert copy.deepcopy(load_model(folder)).against_dft.tail["energy"] == 2.5
    card = json.loads((folder / CARD).read_text("utf-8"))
    card[LINE]["classes"]["oxides"].pop("forces")
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ValueError, match="'oxides', expected positive ones"):
        load_model(folder)
    assert load_model(save_model(tiny_potential(), tmp_path / "other", {})).against_dft is None


def test_extras_of_the_calculator():
    atoms = crystals()[3]
    atoms.calc = calculator = Calculator(taught())
    bars = {name: calculator.get_property(f"{name}_std_dft", atoms) for name in MEASURED}
    assert isinstance(bars["energy"], float) and bars["energy"] > calculator.get_property("energy_std", atoms)
    calculator.save_extras(atoms)
    assert atoms.info["energy_std_dft"] == bars["energy"] and atoms.info["stress_std_dft"].shape == (6,)
    assert np.array_equal(atoms.arrays["forces_std_dft"], bars["forces"])
    atoms.calc = calculator = Calculator(tiny_potential(elements=(79, 14)))
    with pytest.raises(NotImplementedError, match="energy_std_dft.*errors_against_dft"):
        calculator.get_property("energy_std_dft", atoms)


def test_students_get_the_errors_of_the_potential_that_was_measured_alone():
    line = TABLE.line()
    own = {LINE: line, "origin": {"sha256": "0" * 64}}
    assert errors_of_labels(own) == {LINE: {**line, "tail": {}}}
    assert errors_of_labels({LINE: line, "origin": {"file": "labels of its teacher"}}) == {}
    assert errors_of_labels({"title": "no table"}) == {}


def test_the_shipped_tables_are_whole_and_those_of_the_shipped_student():
    tables = json.loads(published.TABLES.read_text("utf-8"))
    assert tables
    for name in tables:
        table = AgainstDFT(**published.measured(name))
        assert table.labels == name and table.sha256 == published.named(name).sha256
        assert set(table.tail) == set(MEASURED) and min(table.tail.values()) > 1
    assert published.measured("sevennet-l3i5") is None
    student = am.load("universal").against_dft
    own = AgainstDFT(**published.measured(student.labels))
    assert student.classes == own.classes and student.tail != own.tail
