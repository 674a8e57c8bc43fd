"""Compressed tensors as safetensors files: mode functions and space group, with a card in the file's own header.

Source: ours; the format is safetensors' (Hugging Face).
"""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from ase_mlx.keep import check_tensors, pack_tensors
from ase_mlx.phonons.compressed import CompressedTensor, Orbit
from ase_mlx.phonons.orbits import SpaceGroup
from ase_mlx.reading import parsed_json
from ase_mlx.whole import write_bytes

SCHEMA = "ase_mlx compressed tensor 1"

GROUP = ("lattice", "positions", "rotations", "translations")

ORBIT = ("sites", "functions", "operations", "signs")


def save_tensor(tensor: CompressedTensor, path: str | Path, card: dict | None = None) -> Path:
    """Write a tensor (mode functions in (eV/Åⁿ)^(1/n)), whole or not at all; `card` says what it was made from.

    Returns:
        The path.

    Raises:
        OSError: the file cannot be written.

    Source: ours.
    """
    header = {"schema": SCHEMA, "order": str(tensor.order), "card": json.dumps(card or {})}
    write_bytes(path, pack_tensors(arrays_of(tensor), header))
    return Path(path)


def load_tensor(path: str | Path) -> CompressedTensor:
    """Read a tensor written by `save_tensor`, mode functions in (eV/Åⁿ)^(1/n).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or a damaged one.

    Source: ours.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"got {str(path)!r}, expected a file that ase-mlx compress wrote")
    content = path.read_bytes()
    try:
        check_tensors(content)
        arrays, header = load(content), _header(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(
            f"got {str(path)!r}, which is damaged or no safetensors file ({error}); compress again"
        ) from error
    if header.get("schema") != SCHEMA:
        raise ValueError(f"got {str(path)!r} of {header.get('schema')!r}, expected {SCHEMA!r}; compress again")
    try:
        return tensor_of(arrays, int(header["order"]))
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ValueError(
            f"got {str(path)!r}, which lacks parts of a compressed tensor ({error}); compress again"
        ) from error


def read_card(path: str | Path) -> dict:
    """Read what `save_tensor` was given of a tensor's origin and errors.

    Raises:
        FileNotFoundError, ValueError: as `load_tensor`.

    Source: ours.
    """
    load_tensor(path)
    return json.loads(_header(Path(path).read_bytes())["card"])


def _header(content: bytes) -> dict[str, str]:
    return parsed_json(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})


def arrays_of(tensor: CompressedTensor) -> dict[str, np.ndarray]:
    """Take a tensor apart: space group in Å, mode functions in (eV/Åⁿ)^(1/n).

    Source: ours.
    """
    arrays = {name: getattr(tensor.group, name) for name in GROUP}
    for k, orbit in enumerate(tensor.orbits):
        arrays |= {f"{k}.{name}": getattr(orbit, name) for name in ORBIT}
    return arrays


def tensor_of(arrays: dict[str, np.ndarray], order: int) -> CompressedTensor:
    """Put a tensor of an order (dimensionless) together from what `arrays_of` gives, in the same units.

    Source: ours.
    """
    group = SpaceGroup(*(arrays[name] for name in GROUP))
    count = len({name.split(".")[0] for name in arrays if "." in name})
    orbits = tuple(Orbit(*(arrays[f"{k}.{name}"] for name in ORBIT)) for k in range(count))
    return CompressedTensor(order, group, orbits)
