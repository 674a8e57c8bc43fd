"""One file of many labelled frames, each reached in a few small reads.

A file is safetensors with a checksum (`keep.pack_tensors`). Of all its frames, one after another:

    numbers (atoms), positions, forces (atoms, 3)                  in Å, eV/Å; `first_atom` says where a frame begins
    cell (frames, 3, 3), pbc, energy, stress (frames, 6)           in Å, eV, eV/Å³; NaN where there is no stress
    text, `first_byte`                                             JSON: info, constraints, further results, words
    array NAME, `first NAME`                                       further numbers of atoms; −1: a frame has none
    row NAME                                                       what the index has of each frame

Source: ours; the format is safetensors' (Hugging Face).
"""

import json
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from jaxtyping import Shaped

from ase_mlx.data.label import BUILDERS
from ase_mlx.data.labels import labels_of
from ase_mlx.data.samples import column_of, weight_of
from ase_mlx.keep import check_tensors, pack_tensors
from ase_mlx.keep.tensors import SUM
from ase_mlx.reading import reading
from ase_mlx.structure import check

PARTS = ("", "train", "val", "test")
"""Parts by their number in an index; any other word is one more."""

WHAT = "shards of labelled frames as `ase-mlx data` writes them"
META = "ase_mlx"
DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}
_OWN = ("numbers", "positions", "forces")
_LABELS = ("energy", "free_energy", "forces", "stress")


@dataclass(frozen=True)
class Record:
    """One labelled frame as plain arrays: Å, eV, eV/Å, eV/Å³.

    `row` is what the index repeats of it.

    Source: ours.
    """

    atoms: Mapping[str, np.ndarray]
    frame: Mapping[str, np.ndarray | np.generic]
    text: bytes
    arrays: Mapping[str, np.ndarray]
    row: Mapping[str, np.ndarray | np.generic]

    @property
    def size(self) -> int:
        """Count the bytes."""
        values = (*self.atoms.values(), *self.frame.values(), *self.arrays.values(), *self.row.values())
        return len(self.text) + sum(value.nbytes for value in values)


def record(atoms: Atoms, name: str, origin: int = 0) -> Record:
    """Take all that is on a labelled frame: Å, eV, eV/Å, eV/Å³; `origin` is the number of the file that it is from.

    Raises:
        ValueError: labels are missing or no physics, or something on the frame cannot be held.

    Source: ours.
    """
    energy, forces, stress = labels_of(atoms, name)
    try:
        positions, numbers, cell, pbc = check(atoms)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    text, arrays = _rest(atoms, name)
    bulk = abs(np.linalg.det(cell)) > 1e-6
    kinds, counts = np.unique(numbers.astype(np.uint8), return_counts=True)
    row = {
        "atoms": np.int32(len(numbers)),
        "energy": np.float64(energy),
        "energy_weight": np.float64(weight_of(atoms, "energy_weight", name)),
        "stress_weight": np.float64(weight_of(atoms, "stress_weight", name) if stress is not None else 0.0),
        "part": np.uint8(_part(atoms)),
        "origin": np.int32(origin),
        "bulk": np.bool_(bulk),
        "column": np.bool_(column_of(atoms, name)[0].any()),
        "force_squares": np.float64(np.square(forces).sum()),
        "force_largest": np.float64(np.sqrt(np.square(forces).sum(1).max())),
        "stress_largest": np.float64(0.0 if stress is None else np.abs(stress).max()),
        "kinds": np.int32(len(kinds)),
    }
    return Record(
        {"numbers": numbers.astype(np.uint8), "positions": positions, "forces": forces},
        {
            "cell": cell,
            "pbc": pbc,
            "energy": np.float64(energy),
            "stress": np.full(6, np.nan) if stress is None else stress,
        },
        text,
        arrays,
        row | {"elements": kinds, "counts": counts.astype(np.int32)},
    )


def _part(atoms: Atoms) -> int:
    word = str(atoms.info.get("part", ""))
    return PARTS.index(word) if word in PARTS else len(PARTS)


def _rest(atoms: Atoms, name: str) -> tuple[bytes, dict[str, np.ndarray]]:
    """Everything on a frame beside structure and labels: as JSON, and numbers of atoms as arrays."""
    arrays, words, results = {}, {}, {}
    for key, value in atoms.arrays.items():
        if key in ("numbers", "positions"):
            continue
        (arrays if value.dtype.str in DTYPES.values() else words)[key] = value
    for key, value in ({} if atoms.calc is None else atoms.calc.results).items():
        if key in _LABELS or value is None:
            continue
        array = np.asarray(value)
        per_atom = array.ndim > 0 and len(array) == len(atoms) and array.dtype.str in DTYPES.values()
        if per_atom:
            arrays[f"result {key}"] = array
        else:
            results[key] = value
    rest = {
        "info": {str(key): value for key, value in atoms.info.items() if key not in BUILDERS},
        "constraints": [constraint.todict() for constraint in atoms.constraints],
        "results": results,
        "words": words,
    }
    try:
        text = json.dumps({key: value for key, value in rest.items() if value}, default=_plain, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"got {name} with something in info, constraints or results that no file can hold ({error}), expected "
            "numbers, text, lists and mappings of them; take it off"
        ) from error
    return text.encode(errors="surrogatepass"), {key: np.ascontiguousarray(value) for key, value in arrays.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return {"array": value.tolist(), "dtype": value.dtype.str}
    raise TypeError(f"a {type(value).__name__}")


def _array(value: dict[str, Any]) -> Any:
    return np.array(value["array"], dtype=value["dtype"]) if value.keys() == {"array", "dtype"} else value


def pack(records: Sequence[Record], meta: Mapping[str, Any]) -> bytes:
    """Make a file's bytes of frames (Å, eV, eV/Å, eV/Å³) and a few words about it.

    Source: ours.
    """
    first = lambda sizes: np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)  # noqa: E731
    tensors = {
        "first_atom": first([len(r.atoms["numbers"]) for r in records]),
        "first_byte": first([len(r.text) for r in records]),
        "text": np.frombuffer(b"".join(r.text for r in records), dtype=np.uint8),
    }
    tensors |= {name: np.concatenate([r.atoms[name] for r in records]) for name in _OWN}
    tensors |= {name: np.stack([r.frame[name] for r in records]) for name in records[0].frame}
    for name, value in records[0].row.items():
        tensors[f"row {name}"] = (np.concatenate if np.ndim(value) else np.stack)([r.row[name] for r in records])
    for name in sorted({name for r in records for name in r.arrays}):
        having = [r.arrays[name] for r in records if name in r.arrays]
        starts, places = iter(first(list(map(len, having)))), [name in r.arrays for r in records]
        tensors[f"array {name}"] = np.concatenate(having)
        tensors[f"first {name}"] = np.array([next(starts) if has else -1 for has in places], dtype=np.int64)
    return pack_tensors(tensors, {META: json.dumps(meta, ensure_ascii=False)})


class ShardFile:
    """A file of frames, read in pieces.

    Args:
        path: the file.
        checksum: that it must have, where it is known.
        whole: whether all of it is compared with its checksum first.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or another one than its `checksum` says.

    Source: ours.
    """

    def __init__(self, path: Path, checksum: str = "", whole: bool = True):
        self.path = path
        with reading(path, WHAT, "copy it again from where it was whole, or make the shards anew"):
            if whole:
                check_tensors(path.read_bytes(), must=True)
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(size))
            words = header.pop("__metadata__")
            self.checksum, self.meta = words[SUM], json.loads(words[META])
            if checksum not in ("", self.checksum):
                raise ValueError(f"got {str(path)!r}, which is whole but not the one that belongs to this index")
        self._places = {
            name: (DTYPES[entry["dtype"]], entry["shape"], 8 + size + entry["data_offsets"][0])
            for name, entry in header.items()
        }
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        self.arrays = [name.removeprefix("array ") for name in header if name.startswith("array ")]
        self._first = {name: self.whole(name) for name in header if name.startswith("first")}

    def whole(self, name: str) -> Shaped[np.ndarray, "..."]:
        """Read a whole array of the file, in the units of the format."""
        return self.rows(name, 0, self._places[name][1][0])

    def rows(self, name: str, start: int, stop: int) -> Shaped[np.ndarray, "..."]:
        """Read rows of an array of the file, in the units of the format.

        Raises:
            ValueError: the file has become shorter.
        """
        dtype, shape, offset = self._places[name]
        width = np.dtype(dtype).itemsize * int(np.prod(shape[1:], dtype=np.int64))
        data = os.pread(self._descriptor, (stop - start) * width, offset + start * width)
        if len(data) != (stop - start) * width:
            raise ValueError(f"got {str(self.path)!r}, which became shorter while it was read; make the shards anew")
        return np.frombuffer(data, dtype=dtype).reshape(stop - start, *shape[1:])

    def row_columns(self) -> dict[str, Shaped[np.ndarray, "..."]]:
        """Read what the index has of each frame (eV, eV/Å, eV/Å³)."""
        names = [name for name in self._places if name.startswith("row ")]
        return {name.removeprefix("row "): self.whole(name) for name in names}

    def frame(self, k: int) -> Atoms:
        """Read one frame (Å) with its labels (eV, eV/Å, eV/Å³) and all that is on it."""
        start, stop = self._first["first_atom"][k : k + 2].tolist()
        own = {name: self.rows(name, start, stop) for name in _OWN}
        one = {name: self.rows(name, k, k + 1)[0] for name in ("cell", "pbc", "energy", "stress")}
        rest = json.loads(
            self.rows("text", *self._first["first_byte"][k : k + 2].tolist()).tobytes(), object_hook=_array
        )
        atoms = Atoms(own["numbers"].astype(np.int64), own["positions"], cell=one["cell"], pbc=one["pbc"])
        results = {"energy": float(one["energy"]), "free_energy": float(one["energy"]), "forces": own["forces"]}
        if not np.isnan(one["stress"]).any():
            results["stress"] = one["stress"]
        more = rest.get("results", {})
        for name in self.arrays:
            at = int(self._first[f"first {name}"][k])
            if at >= 0 and name.startswith("result "):
                more[name.removeprefix("result ")] = self.rows(f"array {name}", at, at + stop - start).copy()
            elif at >= 0:
                atoms.set_array(name, self.rows(f"array {name}", at, at + stop - start))
        for name, value in rest.get("words", {}).items():
            atoms.set_array(name, value)
        atoms.info |= rest.get("info", {})
        from ase.constraints import dict2constraint  # here, because it brings all of ase.spacegroup along

        atoms.set_constraint([dict2constraint(words) for words in rest.get("constraints", ())])
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.calc.results |= more
        return atoms
