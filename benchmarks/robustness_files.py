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

from robustness_models import (
    first_member,
    header_of,
    make_anomaly,
    make_card,
    make_charge_density,
    make_checkpoint,
    make_densities,
    make_equations,
    make_model,
    make_volumetric,
    read_charge_density,
    read_checkpoint,
    read_densities,
    read_equations,
    read_model,
    read_volumetric,
    with_header,
    with_header_and_card,
    with_members,
    with_sum,
)
from robustness_phonons import (
    make_journal,
    make_phono3py,
    make_phonopy,
    make_phonopy_with,
    make_store,
    make_tensor,
    read_journal,
    read_phono3py,
    read_phonopy,
    read_store,
    read_tensor,
)
from robustness_structures import (
    CRYSTALS,
    ESPRESSO,
    POWDER,
    ROOT,
    TRAIN,
    Door,
    Reason,
    frames_of,
    make_cif,
    make_csv,
    make_csvcif,
    make_db,
    make_labels,
    make_parquet,
    make_text,
    read_crystals,
    read_espresso,
    read_labels,
    read_powder,
    read_table,
    read_train,
    write_as,
)

MEMORY = 10 * 2**30
"""Bytes of address space of a worker, so that a flood ends in MemoryError and not in the machine's."""

NUMBERS = frozenset(("nan", "inf", "1e400"))

WRONG = NUMBERS | {"kind", "empty", "zeroed"}
"""What any text of numbers shows."""

COUNTED = WRONG | {"truncated", "deleted", "doubled"}

SUMMED = COUNTED | {"bytes", "bits", "swapped"}
"""Of files with a checksum."""


@dataclass(frozen=True)
class Reader:
    """A file to damage and how it is read; `mended` puts checksums right again after the damage."""

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    shows: frozenset[str] = WRONG
    text: bool = True
    mended: Callable[[Path, bytes], None] = lambda path, data: path.write_bytes(data)
    part: Callable[[bytes], bytes] = lambda data: data


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
