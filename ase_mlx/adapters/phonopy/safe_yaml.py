"""Yaml of phonopy and phono3py as plain numbers, words, lists and tables: nothing in it is ever run.

phonopy and phono3py read their files by PyYAML's unsafe loader, which runs what a tag `!!python/object/apply` asks for:
files are parsed here first, and only what came out of that is handed on.

Source: ours.
"""

import re
from pathlib import Path

import numpy as np
import yaml

from ase_mlx.reading import reading, unpacked

PACKED = 4 * 2**20
"""Bytes that any packed file may hold; beyond, 200 bytes a byte of its own."""

MOST = 256 * 2**20
"""Bytes of yaml, packed or not: a minute and several GB of memory for each 20 of these MiB."""

DEEPEST = 100
"""Nested brackets or indents: libyaml overruns its stack at some ten thousand, phonopy has eight."""

EXPANDED = 100
"""Values that aliases may make of each byte."""

SAVED = {
    "phonopy": "the yaml that Phonopy.save writes",
    "phono3py": "the yaml that Phono3py.save writes, with forces in it or FORCES_FC3 beside it",
}

CELL = re.compile(rb"^(unit_cell|supercell|primitive_cell|lattice)[ \t]*:", re.MULTILINE)
STACKED = re.compile(rb"(?:[-?][ \t]+){%d}" % DEEPEST)
INDENTED = re.compile(rb"^ {%d}[ ]*[-?\w]" % (20 * DEEPEST), re.MULTILINE)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """PyYAML's safe loader, which refuses a key that is there twice."""

    def construct_mapping(self, node, deep=False):
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) != len(names):
            twice = next(name for k, name in enumerate(names) if name in names[:k])
            raise ValueError(f"got {twice!r} twice in one table (line {node.start_mark.line + 1}), expected it once")
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path, program: str) -> dict:
    """Read a yaml of phonopy's or phono3py's, packed or not, by a safe loader.

    Args:
        path: the file.
        program: "phonopy" or "phono3py".

    Raises:
        FileNotFoundError: no such file.
        ValueError: no yaml of a crystal, one with tags that would run code, one nested or repeated without end, or one
            that unpacks to more than a file of numbers can.

    Source: ours.
    """
    path = Path(path)
    what = SAVED[program]
    if not path.exists():
        raise FileNotFoundError(f"got {str(path)!r}, expected an existing {program}_params.yaml; check the path")
    with reading(path, what):
        with unpacked(path, PACKED) as stream:
            data = stream.read(MOST + 1)
        if len(data) > MOST:
            raise ValueError(f"got {str(path)!r}, more than {MOST // 2**20} MiB of yaml, expected less: split it")
        _check(path, data, program)
        try:
            table = yaml.load(data, Loader=_Loader)
        except yaml.constructor.ConstructorError as error:
            tag = re.search(r"tag '(?:tag:yaml\.org,2002:)?([^']*)'", str(error))
            if tag is None:
                raise
            line = error.problem_mark.line + 1 if error.problem_mark else "?"
            raise ValueError(
                f"got {str(path)!r} with the tag !!{tag[1].lstrip('!')} (line {line}), expected plain values: such a "
                f"tag would run code in {program} itself; nothing was run. Delete the line if the rest is yours"
            ) from error
        if not isinstance(table, dict):
            raise ValueError(f"got {str(path)!r}, which is no table of names and values, expected {program}'s yaml")
        if b"&" in data:
            _check_aliases(path, table, EXPANDED * len(data))
    return table


def _check(path: Path, data: bytes, program: str) -> None:
    if not CELL.search(data):
        raise ValueError(
            f"got {str(path)!r}, which {program} cannot read: no unit_cell, supercell or lattice is in it; expected "
            f"{SAVED[program]}; check the path"
        )
    signs = np.frombuffer(data, dtype=np.uint8)
    steps = np.isin(signs, (ord("["), ord("{"))).astype(np.int32) - np.isin(signs, (ord("]"), ord("}")))
    depth = np.cumsum(steps)
    deepest = int((depth - np.minimum.accumulate(depth)).max(initial=0))
    if deepest > DEEPEST or STACKED.search(data) or INDENTED.search(data):
        raise ValueError(f"got {str(path)!r}, nested more than {DEEPEST} deep, expected a file of phonopy's")


def _check_aliases(path: Path, table: dict, most: int) -> None:
    """Count the values that aliases stand for, each shared table or list once, so that a bomb costs its own size."""
    sizes: dict[int, int | None] = {}

    def size(value) -> int:
        if not isinstance(value, dict | list):
            return 1
        if id(value) in sizes:
            counted = sizes[id(value)]
            if counted is None:
                raise ValueError(f"got {str(path)!r}, in which a list holds itself, expected a file of phonopy's")
            return counted
        sizes[id(value)] = None
        total = 1 + sum(size(part) for part in (value.values() if isinstance(value, dict) else value))
        if total > most:
            raise ValueError(
                f"got {str(path)!r}, whose aliases repeat values without end, expected a file of phonopy's"
            )
        sizes[id(value)] = total
        return total

    size(table)
