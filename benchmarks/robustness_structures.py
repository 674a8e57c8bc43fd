"""Files of structures, tables and settings to damage, and the calls that read them."""

from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Door(ValueError):
    """A structure that the graph refuses after it was read."""


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
