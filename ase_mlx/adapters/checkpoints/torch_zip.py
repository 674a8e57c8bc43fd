"""The zip files that torch.save writes, read as data: their pickle may name containers and arrays, and nothing else.

Source: the format is torch's; the reader is ours.
"""

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LARGEST_PICKLE, LARGEST_FILE = 16 * 2**20, 2 * 2**30
"""Bytes of the pickle within, and of the whole: a hundred times what is known."""


class Inert:
    """Stands for an object that is not looked at, such as numpy's arrays in the settings of a training.

    Source: ours.
    """

    def __init__(self, *arguments: Any):
        """Take what it would have been made of, and forget it."""

    def __setstate__(self, state: Any) -> None:
        """Take what it would have held, and forget it."""


class _Stored:
    """A storage by its key in the zip."""

    def __init__(self, key: str, count: int):
        self.key, self.count = key, count


def _tensor(storage: _Stored, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any) -> "_Tensor":
    return _Tensor(storage, offset, tuple(size), tuple(stride))


class _Tensor:
    """A tensor before its numbers are read."""

    def __init__(self, storage: _Stored, offset: int, size: tuple[int, ...], stride: tuple[int, ...]):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def read(self, archive: zipfile.ZipFile, root: str) -> np.ndarray:
        content = archive.read(f"{root}/data/{self.storage.key}")
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        numbers = [self.offset, *self.size, *self.stride]
        if not all(type(n) is int and n >= 0 for n in numbers) or 4 * last >= max(len(content), 1):
            raise ValueError(
                f"got a tensor of shape {self.size} in {len(content)} bytes, expected float32 numbers that all lie in "
                "them"
            )
        if 4 * math.prod(self.size) > len(content):
            raise ValueError(
                f"got a tensor of shape {self.size} that repeats numbers of {len(content)} bytes, expected each once"
            )
        flat = np.frombuffer(content, dtype="<f4", count=len(content) // 4)[self.offset :]
        return np.lib.stride_tricks.as_strided(flat, self.size, [4 * step for step in self.stride]).copy()


KNOWN: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch", "FloatStorage"): _Stored,
    ("torch", "device"): Inert,
    ("numpy", "ndarray"): Inert,
    ("numpy", "dtype"): Inert,
    ("numpy.core.multiarray", "_reconstruct"): Inert,
    ("numpy._core.multiarray", "_reconstruct"): Inert,
    ("_codecs", "encode"): Inert,
}
"""What a pickle may name, and what stands for it here."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable:
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        raise ValueError(
            f"got a pickle that asks for {module}.{name}, expected arrays and settings alone: it may want to run "
            "code; do not use the file"
        )

    def persistent_load(self, pid: Any) -> _Stored:
        kind, storage, key, _, count = pid
        if kind != "storage" or storage is not _Stored or type(key) is not str or not key.isdigit():
            raise ValueError(f"got a storage {pid!r:.80}, expected one of float32")
        return _Stored(key, int(count))


def read_torch_zip(path: str | Path) -> dict[str, Any]:
    """Read what torch.save wrote: dictionaries, lists and numbers, tensors as numpy arrays (units: the writer's).

    Raises:
        ValueError: no such zip, a pickle that names anything but containers and arrays, arrays that are not there.

    Source: ours.
    """
    with zipfile.ZipFile(path) as archive:
        if sum(one.file_size for one in archive.infolist()) > LARGEST_FILE:
            raise ValueError(f"got a zip that unpacks to more than {LARGEST_FILE} bytes, expected a checkpoint")
        names = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(names) != 1 or archive.getinfo(names[0]).file_size > LARGEST_PICKLE:
            raise ValueError(f"got a zip with {len(names)} files data.pkl, expected one, as torch.save writes it")
        content = _Unpickler(io.BytesIO(archive.read(names[0]))).load()
        if not isinstance(content, dict):
            raise ValueError(f"got a {type(content).__name__}, expected a dictionary of settings and arrays")
        return _filled(content, archive, names[0].split("/")[0])


def _filled(value: Any, archive: zipfile.ZipFile, root: str) -> Any:
    if isinstance(value, _Tensor):
        return value.read(archive, root)
    if isinstance(value, dict):
        return {key: _filled(one, archive, root) for key, one in value.items()}
    return value
