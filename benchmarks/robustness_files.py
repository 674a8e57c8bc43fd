"""The readers of robustness_readers.py: for each a small whole file, the call that reads it, and what its format shows.

`shows` names the damages after which another value is a fault, since the format lets one see them: a checksum shows
all, a text with counts its lost and extra lines; numbers that are not finite are a fault everywhere.
"""

import hashlib
import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MEMORY = 10 * 2**30
"""Bytes of address space of a worker, so that a flood ends in MemoryError and not in the machine's."""

NUMBERS = frozenset(("nan", "inf", "1e400"))
WRONG = NUMBERS | {"kind", "empty", "zeroed"}
"""What any text of numbers shows."""

COUNTED = WRONG | {"truncated", "deleted", "doubled"}
SUMMED = COUNTED | {"bytes", "bits", "swapped"}
"""Of files with a checksum."""


class Door(ValueError):
    """A structure that the graph refuses after it was read."""


@dataclass(frozen=True)
class Reader:
    """A file to damage and how it is read; `mended` puts checksums right again after the damage."""

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    shows: frozenset[str] = WRONG
    text: bool = True
    mended: Callable[[Path, bytes], None] = lambda path, data: path.write_bytes(data)
    part: Callable[[bytes], bytes] = lambda data: data


def crystal():
    from ase.build import bulk

    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.positions[1] += 0.05
    return atoms


def structures(frames) -> list:
    from ase_mlx.graph import from_atoms

    out = []
    for atoms in frames:
        try:
            from_atoms(atoms, 5.0)
        except ValueError as error:
            raise Door(str(error)) from error
        out += [atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc]
    return out


def frames_of(path: Path) -> list:
    from ase_mlx.data.io import read_frames

    return structures(read_frames(path))


def write_as(name: str, count: int = 1, **options) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import ase.io

        frames = []
        for k in range(count):
            frames.append(crystal())
            frames[-1].positions[0, 0] += 0.01 * k
        ase.io.write(folder / name, frames if count > 1 else frames[0], **options)
        return folder / name

    return make


def make_cif(folder: Path) -> Path:
    from pymatgen.core import Structure
    from pymatgen.io.cif import CifWriter

    atoms = crystal()
    structure = Structure(atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions())
    (folder / "a.cif").write_text(str(CifWriter(structure)))
    return folder / "a.cif"


def make_labels(folder: Path) -> Path:
    from tiny import labelled

    from ase_mlx.data.io import write_frames

    write_frames(folder / "a.extxyz", labelled(8))
    return folder / "a.extxyz"


def read_labels(path: Path) -> list:
    from ase_mlx.learn.recipes.potential import LabelledData, PotentialRecipe, PotentialTraining

    sizes = {"channels": 4, "latent": 4, "members": 0, "layers": 1, "cutoff": 4.0}
    recipe = PotentialRecipe(PotentialTraining(LabelledData(str(path)), sizes))
    samples = [s for part in recipe.samples.values() for s in part]
    return [
        *(getattr(s.graph, k).numpy() for s in samples for k in ("numbers", "positions", "cell")),
        *(s.targets[k].numpy() for s in samples for k in ("energy", "forces", "stress")),
    ]


def table_frame(rows: int = 6):
    import pandas as pd

    atoms, found = crystal(), []
    for k in range(rows):
        lattice = (atoms.cell.array * (1 + 0.01 * k)).ravel().round(6).tolist()
        fractional = atoms.get_scaled_positions().ravel().round(6).tolist()
        found.append({"material_id": f"m-{k}", "energy": -1.5 - k, "lattice": lattice,
                      "numbers": atoms.numbers.tolist(), "frac_coords": fractional})  # fmt: skip
    return pd.DataFrame(found)


def make_csv(folder: Path) -> Path:
    table_frame().to_csv(folder / "a.csv", index=False)
    return folder / "a.csv"


def make_csvcif(folder: Path) -> Path:
    text = make_cif(folder).read_text()
    (folder / "a.cif").unlink()
    table_frame(3)[["material_id", "energy"]].assign(cif=text).to_csv(folder / "a.csv", index=False)
    return folder / "a.csv"


def make_parquet(folder: Path) -> Path:
    table_frame().to_parquet(folder / "a.parquet", index=False)
    return folder / "a.parquet"


def make_db(folder: Path) -> Path:
    import ase.db

    with ase.db.connect(folder / "a.db") as database:
        for k in range(3):
            atoms = crystal()
            atoms.positions[0, 0] += 0.01 * k
            database.write(atoms)
    return folder / "a.db"


def read_table(path: Path) -> list:
    """Rows of a table; a row with a reason stands for itself."""
    import numpy as np
    import pandas as pd

    from ase_mlx.data.tables import open_table
    from ase_mlx.learn.anomaly.crystals import graph_of

    table, out = open_table(path), []
    for frame in table.chunks(1000):
        reasons = frame["problem"] if "problem" in frame else [None] * len(frame)
        for k, why in enumerate(reasons):
            row = frame.iloc[k]
            if isinstance(why, str) and why:
                out.append(Reason(why))
                continue
            structure = [row[name] for name in ("lattice", "numbers", "frac_coords")]
            try:
                graph_of(*structure)
            except (ValueError, TypeError, OverflowError) as error:  # as a screening keeps it with its reason
                out.append(Reason(str(error)))
                continue
            rest = {name: row[name] for name in table.columns if name != "problem"}
            out.append([*(np.asarray(x, dtype=float) for x in structure), [str(v) for v in rest.values()]])
    if isinstance(next(iter(table.problems.values()), None), str):
        out += [Reason(why) for why in table.problems.values()]
    others = pd.concat([part.to_pandas() for _, part in table.others()])
    return [*out, [str(others.to_dict("list"))]]


class Reason(str):
    """Why a row was not read."""


POWDER = "# 2theta intensity\n" + "".join(f"{10 + 0.1 * k:.3f} {100 + (37 * k) % 61:.2f}\n" for k in range(80))
TRAIN = """kind = "potential"
dtype = "float64"

[data]
file = "frames.extxyz"
validation = 0.2
title = "aluminium"

[model]
cutoff = 4.5
channels = 16
l_max = 2
layers = 1

[fit]
epochs = 30
batch_size = 4
learning_rate = 0.004
clip = 5.0
energy_weight = 2.0
"""
CRYSTALS = """kind = "anomaly"

[data]
file = "crystals.parquet"
split = "system"
title = "crystals"
properties = { formation_energy = "formation_energy_per_atom", hull_distance = "e_above_hull" }

[model]
members = 4
width = 32

[fit]
epochs = 20
batch_size = 64
learning_rate = 0.002
"""
ESPRESSO = """command = "cat"
pseudo_dir = "pseudo"
timeout_s = 600

[pseudopotentials]
Si = "Si.upf"

[settings]
ecut_Ry = 24
k_mesh = [4, 4, 4]
shifted = true
smearing_Ry = 0.01

[family.slab]
k_mesh = [4, 4, 1]
"""


def make_text(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(text)
        if "upf" in text:
            (folder / "pseudo").mkdir()
            (folder / "pseudo" / "Si.upf").write_text("upf")
        return folder / name

    return make


def read_powder(path: Path) -> list:
    from ase_mlx.data.powder import read_powder as read

    return list(read(path))


def read_train(path: Path) -> list:
    from ase_mlx.learn.config import build
    from ase_mlx.learn.recipe import read_training
    from ase_mlx.models.potential import Potential, PotentialConfig
    from ase_mlx.reading import reading

    _, config = read_training(path)
    if config.kind != "potential":
        return [repr(config)]
    with reading(path, "a TOML file of settings"):  # as `ase-mlx train` does
        sizes = build(PotentialConfig, {"elements": (13,), "reference_energies": (-1.0,)} | config.model, "model")
        Potential(sizes)
    return [repr(config), repr(sizes)]


def read_crystals(path: Path) -> list:
    from ase_mlx.learn.config import build
    from ase_mlx.learn.recipe import read_training
    from ase_mlx.models.crystal_property import CrystalPropertyConfig
    from ase_mlx.reading import reading

    _, config = read_training(path)
    with reading(path, "a TOML file of settings"):
        sizes = {"targets": tuple(config.data.properties), "elements": (1,), **config.model}
        sizes = build(CrystalPropertyConfig, sizes, "model")
    return [repr(config), repr(sizes)]


def read_espresso(path: Path) -> list:
    from ase_mlx.adapters.teachers import teacher

    found = teacher("espresso", path)
    return [found.identity, repr(found.timeout)]


def make_model(folder: Path) -> Path:
    from tiny import tiny_potential

    from ase_mlx.learn.files import save_model

    save_model(tiny_potential(elements=(11, 17), cutoff=4.0), folder / "model", {"title": "tiny", "errors": {}})
    return folder / "model" / "model.safetensors"


def make_card(folder: Path) -> Path:
    return make_model(folder).with_name("card.json")


def make_anomaly(folder: Path) -> Path:
    from tiny_anomaly import save_tiny

    save_tiny(folder / "model")
    return folder / "model" / "model.safetensors"


def read_model(path: Path) -> list:
    from ase_mlx.learn.files import load_model, read_card

    model = load_model(path.parent)
    if hasattr(model, "cutoff") and not hasattr(model, "property"):
        from ase_mlx.models.predict import predict

        predict(model, crystal(), std=False)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return [repr(model.config), list(state), *state.values(), json.dumps(read_card(path.parent).get("errors"))]


def with_sum(path: Path, data: bytes) -> None:
    """Write weights and make the card's checksum theirs."""
    path.write_bytes(data)
    card = json.loads(path.with_name("card.json").read_text())
    card["sha256"] = hashlib.sha256(data).hexdigest()
    path.with_name("card.json").write_text(json.dumps(card))


def header_of(data: bytes) -> bytes:
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


def with_header(path: Path, header: bytes) -> None:
    """Write weights with another header, its length and the checksum put right."""
    data = path.read_bytes()
    with_sum(path, len(header).to_bytes(8, "little") + header + data[8 + len(header_of(data)) :])


def with_header_and_card(path: Path, header: bytes) -> None:
    """As `with_header`, and the card says of the model what the header says, where that can be read."""
    with_header(path, header)
    try:
        changed = json.loads(json.loads(header)["__metadata__"]["model"])
        card = json.loads(path.with_name("card.json").read_text())
        path.with_name("card.json").write_text(json.dumps(card | changed))
    except (ValueError, KeyError, TypeError, RecursionError):
        pass


def make_checkpoint(folder: Path) -> Path:
    from tiny import labelled, tiny_potential

    from ase_mlx.learn.fit import CHECKPOINT, fit

    fit(_stage(labelled(4), _small(tiny_potential)), folder)
    return folder / CHECKPOINT


def _stage(frames: list, model):
    from ase_mlx.data.graph_batches import GraphBatches
    from ase_mlx.data.samples import sample
    from ase_mlx.learn.config import FitConfig
    from ase_mlx.learn.fit import Stage
    from ase_mlx.learn.methods import network
    from ase_mlx.learn.recipes.potential import potential_loss

    samples = [sample(a, 4.0, f"frame {k}") for k, a in enumerate(frames)]
    train, val = GraphBatches(samples[:3], 5), GraphBatches(samples[3:], 20)
    return Stage(model, potential_loss, train, network(FitConfig(epochs=2)), val)


def _small(tiny_potential):
    return tiny_potential(l_max=1, elements=(13, 79), members=0, cutoff=4.0, reference_energies=(0.0, 0.0))


def read_checkpoint(path: Path) -> list:
    from tiny import labelled, tiny_potential

    from ase_mlx.learn.fit import fit

    model = _small(tiny_potential)
    history = fit(_stage(labelled(4), model), path.parent)
    return [history, *(tensor.numpy() for tensor in model.state_dict().values())]


def make_equations(folder: Path) -> Path:
    import numpy as np

    from ase_mlx.learn.density.posterior import NormalEquations

    vectors = np.random.default_rng(0).standard_normal((30, 6))
    NormalEquations(vectors.T @ vectors, vectors.sum(0), 3.0, 30).save(folder / "normal_equations.safetensors")
    return folder / "normal_equations.safetensors"


def read_equations(path: Path) -> list:
    from ase_mlx.learn.density.posterior import NormalEquations

    found = NormalEquations.load(path)
    return [found.matrix, found.vector, found.square, found.points]


def density():
    import numpy as np

    x = np.arange(8) / 8 * 2 * np.pi
    return 0.2 + 0.1 * np.cos(x)[:, None, None] * np.cos(2 * x)[None, :, None] * np.sin(x)[None, None, :]


def make_volumetric(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from ase_mlx.data import volumetric

        def planes(turned: bool):
            yield 0, density().transpose() if turned else density()

        volumetric.write(folder / name, crystal(), (8, 8, 8), planes)
        return folder / name

    return make


def read_volumetric(path: Path) -> list:
    from ase_mlx.data.read_volumetric import read_density

    frame = read_density(path)
    return [*structures([frame.atoms]), frame.density]


def make_densities(folder: Path) -> Path:
    from ase_mlx.data.densities import DensityFrame, write_densities

    frames = [DensityFrame(f"f{k}", crystal(), density() * (1 + 0.1 * k), {"part": "train"}) for k in range(2)]
    write_densities(folder / "a.npz", frames)
    return folder / "a.npz"


def read_densities(path: Path) -> list:
    from ase_mlx.data.densities import read_densities as read

    return [x for f in read(path) for x in (f.name, *structures([f.atoms]), f.density, sorted(f.info.items()))]


def first_member(data: bytes) -> bytes:
    """The stored members of the archive, one after another: what lies within whole entries."""
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


def with_members(path: Path, data: bytes) -> None:
    """Put damaged members into a right zip: each gets its share of the bytes."""
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        members = [(info, info.file_size) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for info, size in members:
            archive.writestr(zipfile.ZipInfo(info.filename), data[:size])
            data = data[size:]


def make_charge_density(folder: Path) -> Path:
    from ase_mlx.data.espresso_density import write_charge_density

    return write_charge_density(folder / "charge-density.dat", density(), crystal().cell.array, 1.0) or (
        folder / "charge-density.dat"
    )


def read_charge_density(path: Path) -> list:
    from ase_mlx.data.espresso_density import read_charge_density as read

    miller, waves = read(path)
    return [
        miller,
        waves.round(9) + 0,
    ]  # no minus zero; what rounding leaves of waves that symmetry makes zero is no value


def phonons_of(atoms=None):
    import numpy as np
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    atoms = atoms or bulk("Al", a=4.0)
    cell = PhonopyAtoms(symbols=list(atoms.symbols), cell=atoms.cell.array, positions=atoms.positions)
    ph = Phonopy(cell, supercell_matrix=2 * np.eye(3, dtype=int), primitive_matrix="P", log_level=0)
    ph.generate_displacements(distance=0.03)
    ph.forces = [_forces(c, EMT()) for c in ph.supercells_with_displacements]
    return ph


def _forces(cell, calculator):
    from ase import Atoms

    atoms = Atoms(list(cell.symbols), cell=cell.cell, positions=cell.positions, pbc=True)
    atoms.calc = calculator
    return atoms.get_forces()


def make_phonopy(folder: Path) -> Path:
    ph = phonons_of()
    ph.produce_force_constants()
    ph.save(folder / "phonopy_params.yaml", settings={"force_constants": True})
    return folder / "phonopy_params.yaml"


def make_phonopy_with(kind: str) -> Callable[[Path], Path]:
    """NaCl of the references, whose forces (FORCE_SETS) and charges (BORN) lie beside the yaml."""

    def make(folder: Path) -> Path:
        source = ROOT / "tests" / "reference" / "data" / "phonopy-nacl"
        for name in ("phonopy_disp.yaml", "FORCE_SETS", "BORN"):
            shutil.copy(source / name, folder / name)
        return folder / kind

    return make


def read_phonopy(path: Path) -> list:
    from ase_mlx.adapters.phonopy.files import load_phonons

    here = path if path.suffix == ".yaml" else path.with_name("phonopy_disp.yaml")
    before = os.getcwd()
    os.chdir(path.parent)
    try:
        ph = load_phonons(here)
    finally:
        os.chdir(before)
    charges = ph.nac_params or {}
    return [ph.force_constants, ph.primitive.cell, ph.primitive.positions, ph.primitive.masses, ph.supercell.cell,
            *(charges[k] for k in ("born", "dielectric", "factor") if k in charges)]  # fmt: skip


def make_phono3py(packed: bool, constants: bool = False) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import lzma

        import numpy as np
        from ase.build import bulk
        from ase.calculators.emt import EMT
        from phono3py import Phono3py
        from phono3py.file_IO import write_fc2_to_hdf5, write_fc3_to_hdf5
        from phonopy.structure.atoms import PhonopyAtoms

        atoms = bulk("CuAu", "zincblende", a=5.6)  # no inversion: symfc fails where all fc3 vanish
        cell = PhonopyAtoms(symbols=list(atoms.symbols), cell=atoms.cell.array, positions=atoms.positions)
        ph = Phono3py(cell, supercell_matrix=np.diag([2, 2, 1]), primitive_matrix="P", log_level=0)
        ph.generate_displacements(distance=0.03)
        ph.forces = [_forces(c, EMT()) for c in ph.supercells_with_displacements]
        if constants:
            ph.produce_fc3(symmetrize_fc3r=True)
            ph.produce_fc2(symmetrize_fc2=True)
            write_fc3_to_hdf5(ph.fc3, filename=folder / "fc3.hdf5", p2s_map=ph.primitive.p2s_map)
            write_fc2_to_hdf5(ph.fc2, filename=folder / "fc2.hdf5", p2s_map=ph.primitive.p2s_map)
            ph.save(folder / "phono3py_disp.yaml", settings={"force_sets": False, "displacements": True})
            return folder / "fc2.hdf5"
        path = folder / "phono3py_params.yaml"
        ph.save(path)
        if packed:
            data = lzma.compress(path.read_bytes())
            path.unlink()
            path = path.with_name(path.name + ".xz")
            path.write_bytes(data)
        return path

    return make


def read_phono3py(path: Path) -> list:
    from ase_mlx.adapters.phono3py import load_third_order

    here = path.with_name("phono3py_disp.yaml") if path.suffix == ".hdf5" else path
    ph = load_third_order(here)
    return [ph.fc2, ph.fc3, ph.primitive.cell, ph.primitive.positions, ph.primitive.masses]


def make_store(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import numpy as np
        from ase.calculators.emt import EMT

        from ase_mlx.adapters.phonopy.store import Store

        store = Store(folder / "work", EMT())
        store.keep("forces", crystal(), {"forces": np.arange(24.0).reshape(8, 3), "energy": np.array(-3.0)})
        return next((folder / "work").glob(name))

    return make


def read_store(path: Path) -> list:
    """What was kept, or nothing: damaged work is computed anew."""
    import warnings

    from ase.calculators.emt import EMT

    from ase_mlx.adapters.phonopy.store import Store

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        arrays = Store(path.parent, EMT()).fetch("forces", crystal())
    if arrays is None:
        return [Reason(str(caught[0].message) if caught else "got nothing kept, computed anew")]
    return [sorted(arrays), *(arrays[name] for name in sorted(arrays))]


def make_tensor(folder: Path) -> Path:
    import numpy as np
    from ase.build import bulk

    from ase_mlx.adapters.ase.supercells import symmetry_of
    from ase_mlx.phonons.compressed import CompressedTensor, Orbit
    from ase_mlx.phonons.orbits import SpaceGroup
    from ase_mlx.phonons.tensor_files import save_tensor
    from ase_mlx.phonons.tensor_fit import kinds

    atoms = bulk("NaCl", "rocksalt", a=5.6)
    found = symmetry_of(atoms, 1e-5)
    group = SpaceGroup(atoms.cell.array, atoms.get_scaled_positions(), found.rotations, found.translations)
    orbits, random = [], np.random.default_rng(0)
    for kind in kinds(group, 3.0, 3):
        made = kind.orbit(random.normal(size=(2, kind.patterns.shape[-1])))
        orbits.append(Orbit(made.sites, made.functions, made.operations, np.ones(2)))
    save_tensor(CompressedTensor(3, group, tuple(orbits)), folder / "tensor.safetensors")
    return folder / "tensor.safetensors"


def read_tensor(path: Path) -> list:
    from ase_mlx.phonons.tensor_files import load_tensor

    tensor = load_tensor(path)
    group = tensor.group
    orbits = [x for o in tensor.orbits for x in (o.sites, o.functions, o.operations, o.signs)]
    return [tensor.order, group.lattice, group.positions, group.rotations, group.translations, *orbits]


def make_journal(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from io import StringIO

        import ase.io
        from tiny import labelled

        from ase_mlx.data.journal import Journal

        with Journal(folder / "out.extxyz", "teacher", "identity") as journal:
            for k, atoms in enumerate(labelled(6)):
                atoms.info["label_key"], text = f"{k:020x}", StringIO()
                ase.io.write(text, atoms, format="extxyz")
                journal.add(atoms.info["label_key"], f"frame {k}", text.getvalue(), "", 1.0)
            journal.add(f"{9:020x}", "frame 9", None, "it failed", 1.0)
        return folder / name

    return make


def read_journal(path: Path) -> list:
    """Which frames are done and failed; no opening may shorten the file of labels by more than its last frame."""
    from ase_mlx.data.journal import Journal

    out = path.parent / "out.extxyz"
    before = out.read_bytes()
    try:
        with Journal(out, "teacher", "identity") as journal:
            return [sorted(journal.done), sorted(journal.failed.items())]
    finally:
        lost = before[len(out.read_bytes()) :]
        if b"\n4\n" in lost:
            raise RuntimeError(f"labels lost: {len(lost)} bytes")


READERS: dict[str, Reader] = {
    "born": Reader(make_phonopy_with("BORN"), read_phonopy),
    "force_sets": Reader(make_phonopy_with("FORCE_SETS"), read_phonopy, COUNTED),
    "phonopy_yaml": Reader(make_phonopy, read_phonopy, WRONG),
    "phono3py_yaml": Reader(make_phono3py(False), read_phono3py, WRONG),
    "phono3py_xz": Reader(make_phono3py(True), read_phono3py, SUMMED, text=False),
    "fc_hdf5": Reader(make_phono3py(False, True), read_phono3py, WRONG, text=False),
    "store": Reader(make_store("forces-*.npz"), read_store, SUMMED, text=False),
    "store_identity": Reader(make_store("*.json"), read_store),
    "tensor": Reader(make_tensor, read_tensor, SUMMED, text=False),
    "chgcar": Reader(make_volumetric("CHGCAR"), read_volumetric, COUNTED),
    "cube": Reader(make_volumetric("a.cube"), read_volumetric, COUNTED),
    "densities": Reader(make_densities, read_densities, SUMMED, text=False),
    "densities_in": Reader(make_densities, read_densities, WRONG, False, with_members, first_member),
    "charge_density": Reader(make_charge_density, read_charge_density, WRONG | {"truncated"}, text=False),
    "cif": Reader(make_cif, frames_of, COUNTED),
    "poscar": Reader(write_as("POSCAR", format="vasp"), frames_of, COUNTED),
    "extxyz": Reader(write_as("a.extxyz", 3, format="extxyz"), frames_of, WRONG | {"deleted", "doubled"}),
    "traj": Reader(write_as("a.traj", 3), frames_of, WRONG, text=False),
    "labels": Reader(make_labels, read_labels, WRONG | {"deleted", "doubled"}),
    "powder": Reader(make_text("a.xy", POWDER), read_powder, WRONG),
    "csv": Reader(make_csv, read_table, WRONG - NUMBERS),
    "csvcif": Reader(make_csvcif, read_table, WRONG - NUMBERS),
    "parquet": Reader(make_parquet, read_table, WRONG - NUMBERS, text=False),
    "db": Reader(make_db, read_table, WRONG - {"zeroed"}, text=False),
    "xyztable": Reader(write_as("a.extxyz", 4, format="extxyz"), read_table, WRONG | {"deleted", "doubled"}),
    "toml": Reader(make_text("a.toml", TRAIN), read_train, WRONG),
    "toml_crystals": Reader(make_text("a.toml", CRYSTALS), read_crystals, WRONG),
    "toml_espresso": Reader(make_text("a.toml", ESPRESSO), read_espresso, WRONG),
    "card": Reader(make_card, read_model, WRONG),
    "weights": Reader(make_model, read_model, SUMMED, text=False),
    "weights_sum": Reader(make_model, read_model, NUMBERS | {"kind", "empty"}, False, with_sum),
    "weights_header": Reader(make_model, read_model, WRONG, True, with_header, header_of),
    "weights_both": Reader(make_model, read_model, WRONG, True, with_header_and_card, header_of),
    "weights_anomaly": Reader(make_anomaly, read_model, WRONG, True, with_header_and_card, header_of),
    "checkpoint": Reader(make_checkpoint, read_checkpoint, SUMMED, text=False),
    "equations": Reader(make_equations, read_equations, SUMMED, text=False),
    "journal": Reader(make_journal("out.extxyz"), read_journal, frozenset()),  # a lost key is labelled again
    "journal_lines": Reader(make_journal("out.extxyz.journal.jsonl"), read_journal, frozenset()),
}


def serve() -> int:
    """Answer questions on standard input, one line each, until it ends."""
    sys.path[:0] = [str(ROOT / "tests")]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(1), "w")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    if "ASE_MLX_DEBUG" not in os.environ:
        os.dup2(quiet, 2)
    with tempfile.TemporaryDirectory() as folder:
        state = State(Path(folder))
        for line in sys.stdin:
            answers.write(json.dumps(state.answer(json.loads(line))) + "\n")
            answers.flush()
    return 0


class State:
    """The reader at work, its whole file and the value of that."""

    def __init__(self, folder: Path):
        self.whole, self.place, self.name = folder / "whole", folder / "here", ""

    def answer(self, question: dict) -> dict:
        reader = READERS[question["reader"]]
        if self.name != question["reader"]:
            try:
                self.begin(question["reader"], reader)
            except Exception:
                return {"class": "bare", "message": traceback.format_exc()}
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.whole, self.place)
        path = self.place / self.file
        if question["damage"] is not None:
            from robustness_readers import damaged

            data = damaged(reader.part(path.read_bytes()), question["damage"], question["seed"], reader.text)
            reader.mended(path, data)
        try:
            value = reader.read(path)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            return {"class": "refused" if ours(error, path) else "bare", "message": f"{type(error).__name__}: {error}"}
        return self.compare(value, reader, question["damage"])

    def begin(self, name: str, reader: Reader) -> None:
        shutil.rmtree(self.whole, ignore_errors=True)
        shutil.rmtree(self.place, ignore_errors=True)
        self.whole.mkdir()
        path = reader.make(self.whole)
        self.name, self.file = name, path.relative_to(self.whole)
        shutil.copytree(self.whole, self.place)
        self.value = reader.read(self.place / self.file)

    def compare(self, value: list, reader: Reader, damage: str | None) -> dict:
        if digest(value) == digest(self.value):
            return {"class": "same", "message": ""}
        rest = [x for x in value if not isinstance(x, Reason)]
        reasons = [x for x in value if isinstance(x, Reason)]
        if any(bare(x) for x in reasons):
            return {"class": "bare", "message": f"a row's reason: {next(x for x in reasons if bare(x))}"}
        known = {digest(x) for x in self.value}
        if reasons and all(digest(x) in known for x in rest[:-1]):
            return {"class": "refused", "message": str(reasons[0])}
        shows = (
            reader.shows if reader.text or reader.shows is SUMMED else reader.shows - NUMBERS
        )  # may be half a double
        taken = damage in shows or not finite(value)
        return {"class": "taken" if taken else "unseen", "message": difference(self.value, value)}


def ours(error: BaseException, path: Path) -> bool:
    """Whether an error is a sentence of ours that names the file."""
    text = str(error)
    if isinstance(error, Door):
        return text.startswith("got ")
    named = any(name in text for name in (path.name, str(path.parent), path.parent.name))
    return isinstance(error, ValueError | OSError) and "got " in text and named


def bare(reason: str) -> bool:
    """Whether a row's reason is but another library's words."""
    return not ("got " in reason or "could not be read" in reason or "damaged" in reason) or reason.endswith(": )")


def digest(value: Any) -> str:
    import numpy as np

    if isinstance(value, np.ndarray):
        return hashlib.sha256(repr((value.shape, value.dtype.kind)).encode() + np.ascontiguousarray(value).tobytes()
                              if value.dtype != object else repr(value.tolist()).encode()).hexdigest()  # fmt: skip
    if isinstance(value, list | tuple):
        return hashlib.sha256("".join(map(digest, value)).encode()).hexdigest()
    return hashlib.sha256(repr(value).encode()).hexdigest()


def finite(value: Any) -> bool:
    import numpy as np

    if isinstance(value, np.ndarray) and value.dtype.kind in "fc":
        return bool(np.isfinite(value).all())
    return all(map(finite, value)) if isinstance(value, list | tuple) else True


def difference(whole: list, value: list) -> str:
    """The first part that differs."""
    for k, (a, b) in enumerate(zip(whole, value, strict=False)):
        if digest(a) != digest(b):
            return f"part {k}: {str(a)[:400]!r} -> {str(b)[:400]!r}"
    return f"{len(whole)} parts -> {len(value)}"
