"""Files of models, of trainings and of densities to damage, and the calls that read them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from robustness_structures import crystal, structures


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
