"""`ase-mlx import` and what becomes of the folder: an ordinary model at every door."""

import importlib.metadata
import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from commands import call

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.checkpoints import folders, import_checkpoint, listed, read_checkpoint, torch_zip
from ase_mlx.adapters.identity import identity
from ase_mlx.adapters.matminer import ModelFeaturizer
from ase_mlx.adapters.phonopy import harmonic, members, phonons
from ase_mlx.data.io import write_frames
from ase_mlx.graph import from_atoms
from ase_mlx.learn.cards import read_card
from ase_mlx.models import foundation
from ase_mlx.nn.repulsion import covalent_radii, zbl

DATA = Path(__file__).parents[1] / "reference" / "data" / "nequix"
PLAIN = DATA / "plain.nqx"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported") / "nequix"
    import_checkpoint(PLAIN, folder)
    return folder


def said(done):
    return " ".join(done.stderr.replace("│", " ").split())


def salt():
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.rattle(0.05, seed=2)
    return atoms


def test_the_command_writes_a_folder_and_says_what_is_in_it(tmp_path):
    done = call(tmp_path, "import", PLAIN, "-o", "model", "--json", "card.json")
    assert done.returncode == 0
    assert all(words in done.stdout for words in ("5, H to Cu", "NOT one of the published", "none: this potential"))
    card, written = json.loads((tmp_path / "card.json").read_text()), read_card(tmp_path / "model")
    assert card["origin"] == written["origin"] and written["origin"]["file"] == "plain.nqx"
    assert written["elements"] == ["H", "O", "Na", "Cl", "Cu"] and written["kind"] == "nequix"
    assert call(tmp_path, "import", PLAIN, "-o", "model").returncode == 0  # an earlier import is replaced
    shutil.copytree(am.pretrained.find("al"), tmp_path / "al")
    again = call(tmp_path, "import", PLAIN, "-o", "al")
    assert again.returncode == 2 and "holds a model that was not imported" in said(again)
    over = call(tmp_path, "import", PLAIN, "-o", "card.json")
    assert over.returncode == 2 and "which is a file, expected a folder" in said(over)


def test_the_list_says_where_files_come_from(tmp_path):
    done = call(tmp_path, "import", "--list", "--json", "list.json")
    rows = json.loads((tmp_path / "list.json").read_text())
    assert done.returncode == 0 and rows == listed()
    assert all(f"{row['sha256']}" in done.stdout and len(row["sha256"]) == 64 for row in rows)
    assert {row["name"] for row in rows} >= {"nequix-oam-1-pft", "nequix-mp-1-pft"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "got no checkpoint"),
        (("none.nqx", "-o", "x"), "none.nqx"),
        (("nequix-oam-2", "-o", "x"), "did you mean nequix-oam-1?"),
    ],
)
def test_a_call_that_lacks_something_says_what(tmp_path, arguments, words):
    done = call(tmp_path, "import", *arguments)
    assert done.returncode == 2 and words in done.stderr
    assert not (tmp_path / "x").exists()


def test_the_folder_is_a_model_like_any_other(folder):
    atoms = salt()
    p = am.predict(am.load(folder), atoms)
    atoms.calc = Calculator(folder)
    assert atoms.get_potential_energy() == pytest.approx(float(p["energy"]))
    assert atoms.get_forces() == pytest.approx(p["forces"]) and atoms.get_stress() == pytest.approx(p["stress"])
    assert identity(Calculator(folder)).key == identity(Calculator(folder)).key
    with pytest.raises(KeyError, match="came from a checkpoint without error bars"):
        p.std["energy"]
    assert "without error bars" in repr(p)
    with pytest.raises(FileNotFoundError, match="or a folder of `ase-mlx train` or `ase-mlx import`"):
        Calculator(folder.parent / "none")


def test_its_energies_and_features_become_columns(folder):
    featurizer = ModelFeaturizer(folder, pooled=True)
    labels, n = featurizer.feature_labels(), am.load(folder).config.channels[0]
    assert labels[:4] == ["energy_per_atom", "energy_per_atom_std", "distance_max", "feature_mean_0"]
    rows = np.array(featurizer.featurize_many([salt(), bulk("Cu")], pbar=False))
    p = am.predict(am.load(folder).double(), salt())
    assert rows.shape == (2, len(labels)) == (2, 3 + 2 * n) and np.isnan(rows[:, 1:3]).all()
    assert rows[0, 0] == pytest.approx(p["energy"] / 2, abs=1e-6)
    assert rows[0, 3 : 3 + n] == pytest.approx(p["features"].mean(0), abs=1e-6)
    assert "batzner2022" in featurizer.citations()[0]


@pytest.mark.filterwarnings("ignore:The undisplaced atoms", "ignore:The supercell is")
@pytest.mark.filterwarnings("ignore::ase_mlx.adapters.phonopy.ImaginaryModesWarning")  # random weights
def test_phonons_and_thermal_functions_come_without_error_bars(folder):
    calculator = Calculator(folder, dtype="float64")
    ph = phonons(bulk("Cu", a=3.6), calculator, (2, 2, 2), relax=False, on_imaginary="report")
    assert members(ph, calculator) == () and harmonic(ph, (), np.array([300.0]), on_imaginary="report").std == {}


def test_it_is_evaluated_on_labelled_frames(folder, tmp_path):
    frames = []
    for scale in (0.98, 1.0, 1.02):
        atoms = salt()
        atoms.set_cell(scale * atoms.cell, scale_atoms=True)
        atoms.calc = Calculator(folder)
        values = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **values | {"forces": values["forces"] + 0.01})
        frames.append(atoms)
    write_frames(tmp_path / "frames.extxyz", frames)
    done = call(tmp_path, "evaluate", folder, "frames.extxyz", "--json", "errors.json")
    assert done.returncode == 0, done.stderr
    errors = json.loads((tmp_path / "errors.json").read_text())["errors"]
    assert errors["forces"]["mae"] == pytest.approx(10, rel=1e-3) and errors["energy"]["mae"] < 1e-3
    assert "inside_68" not in errors["forces"]


def test_an_element_that_the_checkpoint_lacks_is_named(folder):
    with pytest.raises(ValueError, match="got Si, but this model knows H, O, Na, Cl, Cu only"):
        Calculator(folder).get_potential_energy(bulk("Si"))


CONTENT = PLAIN.read_bytes()
LINE = CONTENT.index(b"\n")


def changed(**settings):
    line = json.loads(CONTENT[:LINE]) | settings
    return json.dumps({k: v for k, v in line.items() if v is not None}).encode() + CONTENT[LINE:]


def array(number):
    """Where the numbers of an array begin."""
    start = -1
    for _ in range(number + 1):
        start = CONTENT.index(b"\x93NUMPY", start + 1)
    return CONTENT.index(b"\n", start) + 1


BAD = {
    "empty": (b"", "begins with b''"),
    "pickle": (b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.", "begins with"),
    "safetensors": (b"\x08\x00\x00\x00\x00\x00\x00\x00{}", "begins with"),
    "no line": (b"{" + b" " * 2**21, "begins with"),
    "no JSON": (b"{nonsense\n" + CONTENT[LINE + 1 :], "cannot be read as"),
    "other JSON": (b'{"model": "mace"}\n', "got atomic_numbers = None in the JSON line, expected a list"),
    "line only": (CONTENT[: LINE + 1], "ends before the elements' energies"),
    "half": (CONTENT[: len(CONTENT) // 2], "copy the file again"),
    "last number missing": (CONTENT[:-4], "truncated"),
    "a header cut": (CONTENT[: LINE + 20], "cannot be read as"),
    "more at the end": (CONTENT + b"12345678", "got 8 bytes after the readout"),
    "NaN": (CONTENT[: array(2)] + np.float32(np.nan).tobytes() + CONTENT[array(2) + 4 :], "not finite"),
    "wider": (changed(radial_mlp_size=32), "expected float32 of shape (8, 32)"),
    "deeper": (changed(n_layers=4), "expected float32 of shape"),
    "other degrees": (changed(hidden_irreps="12x0e + 8x1e + 4x2e"), "natural parity"),
    "more of a higher degree": (changed(hidden_irreps="12x0e + 16x1o"), "no more of a degree than of a lower one"),
    "endless": (changed(n_layers=10**9), "layers"),
    "no cutoff": (changed(cutoff=None), "cutoff = None"),
    "infinite": (changed(scale=float("inf")), "scale = inf"),
    "an element twice": (changed(atomic_numbers=[1, 1, 11, 17, 29]), "distinct atomic numbers"),
    "a huge array": (CONTENT[: LINE + 1] + CONTENT[LINE + 1 :].replace(b"(5,)", b"(10000000000,)", 1), "of shape"),
    "objects": (CONTENT[: LINE + 1] + CONTENT[LINE + 1 :].replace(b"'<f4'", b"'|O' ", 1), "expected float32"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_whole_checkpoint_is_refused_by_a_sentence(tmp_path, name):
    content, words = BAD[name]
    path = tmp_path / "bad.nqx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="got ") as refusal:
        import_checkpoint(path, tmp_path / "model")
    assert words in str(refusal.value) and not (tmp_path / "model").exists()


SMALL = DATA.parent / "sevennet" / "small.pth"


def zipped(path, change=lambda name, content: content):
    with zipfile.ZipFile(SMALL) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return path


def pickled(what):
    return lambda name, content: pickle.dumps(what) if name.endswith("data.pkl") else content


class Runs:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/ase_mlx_was_run"),))


def replaced(old, new):
    assert len(old) == len(new)
    return lambda name, content: content.replace(old, new) if name.endswith("data.pkl") else content


BAD_ZIPS = {
    "runs code": (pickled({"config": Runs()}), "asks for pathlib"),
    "no dictionary": (pickled([1, 2]), "got a list, expected a dictionary"),
    "nothing known": (pickled({"weights": 1}), "expected config and model_state_dict"),
    "shorter arrays": (lambda name, c: c[:-64] if "/data/" in name and len(c) > 64 else c, "that all lie in them"),
    "another architecture": (replaced(b"E3_equivariant_model", b"E4_equivariant_model"), "got _model_type"),
    "other channels": (replaced(b"12x0e+6x1e+4x2e", b"12x0e+6x1e+5x2e"), "by the settings"),
    "parity": (replaced(b"12x0e+6x1e+4x2e", b"12x0e+6x1o+4x2e"), "expected degrees 0, 1"),
}  # fmt: skip


@pytest.mark.parametrize(("size", "stride"), [((10**9, 10**9), (0, 0)), ((2,), (0,))])
def test_a_small_storage_that_pretends_to_a_large_shape_is_refused(tmp_path, size, stride):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/data/0", np.float32(1).tobytes())
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, pytest.raises(ValueError, match="repeats numbers of 4 bytes"):
        torch_zip._tensor(torch_zip._Stored("0", 1), 0, size, stride).read(archive, "a")


def test_close_atoms_repel_whatever_the_network_says(folder):
    model = am.load(folder).double()
    distances = np.array([0.62, 0.58, 0.5, 0.4, 0.3, 0.2, 0.1])  # Å; half the sum of the radii is 0.66
    pairs = [Atoms("O2", [[0, 0, 0], [0, 0, d]], cell=[9, 9, 9], pbc=True) for d in distances]
    predictions = am.predict(model, pairs)
    energies = np.array([float(p["energy"]) for p in predictions])
    assert (np.diff(energies) > 0).all() and energies[-1] > 1000
    h = 1e-5
    shifted = [Atoms("O2", [[0, 0, 0], [0, 0, 0.5 + s]], cell=[9, 9, 9], pbc=True) for s in (-h, h)]
    low, high = (float(p["energy"]) for p in am.predict(model, shifted))
    assert predictions[2]["forces"][1, 2] == pytest.approx((low - high) / (2 * h), rel=1e-5)
    far = Atoms("O2", [[0, 0, 0], [0, 0, 0.67]], cell=[9, 9, 9], pbc=True)
    graph = from_atoms(far, model.cutoff)
    assert not foundation._cores(graph, graph.vectors().norm(dim=1)).any()


def test_heavy_elements_have_a_radius():
    radii = covalent_radii(torch.zeros(0))
    assert len(radii) == 119 and radii[118] == radii[96] > 1.6
    zbl(torch.tensor([0.5]), torch.tensor([103]), torch.tensor([118]))


def test_other_types_are_refused_and_leave_the_model_as_it_was(folder):
    model, expected = am.load(folder), am.predict(am.load(folder), salt())["energy"]
    with pytest.raises(ValueError, match="got a model in torch.float16, expected torch.float32 or torch.float64"):
        model.to(torch.float16)
    assert float(am.predict(model, salt())["energy"]) == float(expected)


@pytest.mark.parametrize("name", BAD_ZIPS)
def test_what_is_no_whole_checkpoint_of_sevennet_is_refused_by_a_sentence(tmp_path, name):
    change, words = BAD_ZIPS[name]
    with pytest.raises(ValueError, match="got ") as refusal:
        import_checkpoint(zipped(tmp_path / "bad.pth", change), tmp_path / "model")
    assert words in str(refusal.value) and not (tmp_path / "model").exists()
    assert not Path("/tmp/ase_mlx_was_run").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", SMALL.read_bytes()[:20000], CONTENT], ids=range(4))
def test_what_is_no_zip_is_refused(tmp_path, content):
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as a SevenNet checkpoint"):
        read_checkpoint(tmp_path / "bad.pth")


def test_a_zip_that_was_packed_again_is_the_same_model(tmp_path):
    import_checkpoint(zipped(tmp_path / "again.pth"), tmp_path / "model")
    one, other = am.predict(am.load(tmp_path / "model"), salt()), am.predict(read_checkpoint(SMALL), salt())
    assert np.array_equal(one["forces"], other["forces"]) and read_card(tmp_path / "model")["kind"] == "sevennet"


def test_settings_after_the_arrays_are_passed_over(tmp_path):
    stream = io.BytesIO()
    for setting in (np.float64(6.0), np.bool_(True), np.int64(4)):
        np.save(stream, setting, allow_pickle=False)
    (tmp_path / "more.nqx").write_bytes(CONTENT + stream.getvalue())
    one, other = (am.predict(read_checkpoint(path), salt()) for path in (tmp_path / "more.nqx", PLAIN))
    assert np.array_equal(one["forces"], other["forces"])
    np.save(stream, np.zeros(3))
    (tmp_path / "more.nqx").write_bytes(CONTENT + stream.getvalue())
    with pytest.raises(ValueError, match="bytes after the readout"):
        read_checkpoint(tmp_path / "more.nqx")


def test_a_changed_number_changes_the_folder_or_is_refused(tmp_path):
    (tmp_path / "bad.nqx").write_bytes(CONTENT[: array(3)] + np.float32(1.5).tobytes() + CONTENT[array(3) + 4 :])
    import_checkpoint(tmp_path / "bad.nqx", tmp_path / "model")
    card = read_card(tmp_path / "model")
    assert not card["origin"]["known"] and card["licence"].startswith("not stated")


def test_other_packages_bring_readers(monkeypatch, tmp_path):
    (tmp_path / "a.other").write_bytes(CONTENT)
    with pytest.raises(ValueError, match=r"expected a checkpoint that ends in \.nqx, \.pth"):
        read_checkpoint(tmp_path / "a.other")
    entry = importlib.metadata.EntryPoint(
        ".other", "ase_mlx.adapters.checkpoints.nequix:read_nequix", "ase_mlx.checkpoints"
    )
    monkeypatch.setattr(folders, "entry_points", lambda group: [entry] if group == entry.group else [])
    assert read_checkpoint(tmp_path / "a.other").elements == (1, 8, 11, 17, 29)
