"""Electron densities of many structures in one small file: rounded plane-wave coefficients.

A density of plane-wave DFT has no waves beyond its cutoff, so its coefficients, rounded so that the density keeps an
rms error of `RMS`, take a twelfth of the bytes of the grid in float32.

Source: ours.
"""

import hashlib
import io
import lzma
import math
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from jaxtyping import Float

from ase_mlx.quantities import SYMBOLS
from ase_mlx.reading import reason
from ase_mlx.whole import whole_file

RMS = 1e-5
"""e/Å³; error of a packed density, 0.004 % of the electrons of silicon."""

NEGLIGIBLE = 1e-9
"""e/Å³; waves below this lie beyond the cutoff of the calculation."""


ALWAYS, POINTS_A_BYTE = 2**24, 200
"""Points of a grid that any file may ask memory for, and how many more a byte of its own: eight is common."""


@dataclass(frozen=True)
class DensityFrame:
    """One structure (Å) and its density on the grid of its cell (e/Å³, numpy order, no end points).

    Source: ours.
    """

    name: str
    atoms: Atoms
    density: Float[np.ndarray, "n1 n2 n3"]
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def electrons(self) -> float:
        """Integral of the density over the cell (electrons)."""
        return float(self.density.mean(dtype=np.float64) * self.atoms.cell.volume)


def pack(density: Float[np.ndarray, "n1 n2 n3"], cell: Float[np.ndarray, "3 3"], rms: float = RMS) -> dict[str, Any]:
    """Round the plane-wave coefficients of a density (e/Å³; cell in Å) so that its rms error is `rms`.

    Returns:
        Arrays and numbers that `unpack` understands.

    Source: ours.
    """
    shape = density.shape
    waves = np.fft.rfftn(np.asarray(density, dtype=np.float64), norm="forward")
    square = _squares(shape, cell)
    significant = np.abs(waves) > NEGLIGIBLE
    cutoff = float(square[significant].max(initial=0.0)) * (1 + 1e-9)
    order = _order(square, cutoff)
    step = rms / np.sqrt(2 * len(order) / 6)
    numbers = np.round(waves.reshape(-1)[order] / step)
    flat = np.stack([numbers.real, numbers.imag], 1).astype("<i4").reshape(-1)
    planes = np.ascontiguousarray(flat.view(np.uint8).reshape(-1, 4).T).tobytes()
    packed = np.frombuffer(lzma.compress(planes, preset=9 | lzma.PRESET_EXTREME), dtype=np.uint8)
    mean = np.array(float(waves[0, 0, 0].real))
    return {
        "shape": np.array(shape),
        "step": np.array(step),
        "cutoff": np.array(cutoff),
        "mean": mean,
        "packed": packed,
    }


def unpack(packed: dict[str, Any], cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "n1 n2 n3"]:
    """Restore the density (e/Å³) that `pack` was given; cell in Å.

    Raises:
        ValueError: numbers that `pack` does not make.

    Source: ours.
    """
    shape = tuple(int(n) for n in packed["shape"])
    points = math.prod(shape)
    if len(shape) != 3 or min(shape) < 1 or points > max(ALWAYS, POINTS_A_BYTE * packed["packed"].nbytes):
        raise ValueError(f"got a grid of {shape} points for {packed['packed'].nbytes} bytes of waves")
    step, cutoff, mean = (float(packed[name]) for name in ("step", "cutoff", "mean"))
    if not (np.isfinite([step, cutoff, mean]).all() and step > 0 and cutoff >= 0):
        raise ValueError(f"got step {step}, cutoff {cutoff}, mean {mean}, expected finite numbers")
    order = _order(_squares(shape, cell), cutoff)
    size = 8 * len(order)
    content = lzma.LZMADecompressor().decompress(packed["packed"].tobytes(), max_length=size + 1)
    if len(content) != size:
        raise ValueError(f"got {len(content)} bytes of waves, expected {size}")
    planes = np.frombuffer(content, dtype=np.uint8)
    flat = np.ascontiguousarray(planes.reshape(4, -1).T).view("<i4").reshape(-1, 2)
    waves = np.zeros((shape[0], shape[1], shape[2] // 2 + 1), dtype=np.complex128)
    waves.reshape(-1)[order] = (flat[:, 0] + 1j * flat[:, 1]) * step
    waves[0, 0, 0] = mean  # the electrons are not rounded
    return np.fft.irfftn(waves, s=shape, axes=(0, 1, 2), norm="forward")


def write_densities(path: str | Path, frames: Iterable[DensityFrame]) -> None:
    """Write structures (Å) with their densities (e/Å³) to one file, whole or not at all.

    Raises:
        ValueError: two frames of one name.
        OSError: the file cannot be written; what was there is untouched.

    Source: ours.
    """
    names: set[str] = set()
    with whole_file(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for frame in frames:
            if frame.name in names:
                raise ValueError(f"got two frames of the name {frame.name!r}, expected distinct names")
            names.add(frame.name)
            atoms = frame.atoms
            arrays = {
                "numbers": atoms.numbers.astype(np.int16),
                "positions": atoms.positions,
                "cell": atoms.cell.array,
                "pbc": atoms.pbc,
                **{f"info {k}": np.array(v) for k, v in frame.info.items()},
                **pack(frame.density, atoms.cell.array),
            }
            arrays["sha256"] = _checksum(arrays)
            for key, array in arrays.items():
                entry = zipfile.ZipInfo(f"{frame.name}/{key}.npy")  # a fixed date: the same input, the same bytes
                with archive.open(entry, "w") as stream:
                    np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)


def read_densities(path: str | Path) -> Iterator[DensityFrame]:
    """Read structures (Å) and their densities (e/Å³), one at a time, in the order of the file.

    Of a folder, as `ase-mlx label --densities` leaves it, all files by name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such archive, or a damaged one.

    Source: ours.
    """
    path = Path(path)
    if path.is_dir():
        for file in sorted(path.glob("*.npz")):
            yield from read_densities(file)
        return
    if not path.is_file():
        raise FileNotFoundError(f"got {str(path)!r}, expected a file of densities; check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            members: dict[str, dict[str, zipfile.ZipInfo]] = {}
            for member in archive.infolist():
                name, _, key = member.filename.removesuffix(".npy").rpartition("/")
                members.setdefault(name, {})[key] = member
            if not members:
                raise ValueError("got an archive without a single density")
            for name, entries in members.items():
                yield _frame(name, {key: _array(archive, entry, path) for key, entry in entries.items()})
    except Exception as error:  # zipfile, numpy and lzma have a dozen kinds
        text = str(error) if str(error).startswith("got ") else reason(error)
        raise ValueError(
            f"got {str(path)!r}, which is no whole file of densities ({text}); copy or build it again"
        ) from error


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """One array, whose size is looked at before memory is asked for."""
    if entry.file_size > max(ALWAYS, POINTS_A_BYTE * path.stat().st_size):
        raise ValueError(f"got {entry.file_size} bytes of {entry.filename!r} in a file of {path.stat().st_size}")
    content = io.BytesIO(archive.read(entry))
    version = np.lib.format.read_magic(content)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if header is None:
        raise ValueError(f"got {entry.filename!r} of version {version} of numpy's format, expected 1 or 2")
    shape, _, dtype = header(content)
    rest = len(content.getbuffer()) - content.tell()
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != rest or min(shape, default=1) < 0:
        raise ValueError(f"got {entry.filename!r}, {rest} bytes for {shape} values of {dtype}, expected as many as fit")
    content.seek(0)
    return np.lib.format.read_array(content, allow_pickle=False)


def _checksum(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """SHA-256 of names, types, shapes and bytes; the archive's own checksum is of each file alone, and of 32 bits."""
    digest = hashlib.sha256()
    for key in sorted(arrays):
        array = np.asarray(arrays[key])
        digest.update(f"{key} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
    return np.frombuffer(digest.digest(), dtype=np.uint8)


def _frame(name: str, arrays: dict[str, np.ndarray]) -> DensityFrame:
    missing = sorted({"numbers", "positions", "cell", "pbc", "shape", "step", "cutoff", "mean", "packed"} - set(arrays))
    if missing:
        raise ValueError(f"got {name!r} without {', '.join(missing)}")
    checksum = arrays.pop("sha256", None)  # files of earlier versions have none
    if checksum is not None and not np.array_equal(checksum, _checksum(arrays)):
        raise ValueError(f"got {name!r} with another content than its checksum says")
    numbers, positions, cell = (arrays[key] for key in ("numbers", "positions", "cell"))
    n, kinds = len(numbers), {"numbers": "iu", "positions": "f", "cell": "f", "pbc": "b", "shape": "iu", "packed": "iu"}
    shapes = {"numbers": (n,), "positions": (n, 3), "cell": (3, 3), "pbc": (3,), "shape": (3,)}
    for key, array in arrays.items():
        if key in kinds and array.dtype.kind not in kinds[key] or array.shape != shapes.get(key, array.shape):
            raise ValueError(f"got {key!r} of {name!r} as {array.shape} values of {array.dtype}")
        if key.startswith("info ") and array.ndim:
            raise ValueError(f"got {key!r} of {name!r} of shape {array.shape}, expected one value")
    if n == 0 or numbers.min() < 1 or numbers.max() >= len(SYMBOLS):
        raise ValueError(f"got atomic numbers {sorted(set(numbers.tolist()))[:9]} in {name!r}")
    if not (np.isfinite(positions).all() and np.isfinite(cell).all() and abs(np.linalg.det(cell)) > 1e-6):
        raise ValueError(f"got positions or a cell of {name!r} that are not finite, or a cell without volume")
    atoms = Atoms(numbers, positions, cell=cell, pbc=arrays["pbc"])
    info = {key[5:]: array.item() for key, array in arrays.items() if key.startswith("info ")}
    return DensityFrame(name, atoms, unpack(arrays, cell), info)


def _squares(shape: tuple[int, ...], cell: np.ndarray) -> np.ndarray:
    """|G|² (1/Å²) of the waves of a real FFT."""
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    first, second = (np.fft.fftfreq(n, 1 / n) for n in shape[:2])
    index = np.stack(np.meshgrid(first, second, np.arange(shape[2] // 2 + 1), indexing="ij"), -1)
    return np.square(index @ reciprocal).sum(-1)


def _order(square: np.ndarray, cutoff: float) -> np.ndarray:
    """Places of the waves inside the cutoff, by length; ties and round-off are broken by place."""
    inside = np.flatnonzero(square.reshape(-1) <= cutoff)
    return inside[np.argsort(np.round(square.reshape(-1)[inside], 4), kind="stable")]
