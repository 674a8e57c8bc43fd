"""Tables of crystals from files: parquet, csv, any format of ASE, ASE's databases, folders of those.

Whatever the file is, out come data frames with structures as array columns: `lattice` (nine numbers, Å), `numbers`,
`frac_coords`. What cannot be read keeps its row and says why in the column `problem`.

Source: ours, on pyarrow, pandas and ASE.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from ase import Atoms

from ase_mlx.data.io import each_frame, read_cif, read_frames

STRUCTURE = ("lattice", "numbers", "frac_coords")
DESCRIBED = ("numbers", "descriptors")
"""Columns of parquet that serve in place of structures, as `learn.anomaly.screen.described` makes them."""

PROBLEM = "problem"


@dataclass(frozen=True)
class CrystalTable:
    """A table on disk that can be read again and again, in the same order.

    Attributes:
        path: the file or folder.
        kind: parquet, csv, database, frames or files.
        parts: the files that it is made of.
        count: rows, those of damaged parts not among them (dimensionless).
        columns: names, apart from the structure's.
        problems: damaged parts and why.

    Source: ours.
    """

    path: Path
    kind: str
    parts: tuple[Path, ...]
    count: int
    columns: tuple[str, ...]
    problems: dict[str, str]

    def identity(self) -> dict[str, Any]:
        """Say which files these are, by size (bytes) and time of change: another answer is another table."""
        stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in self.parts]
        return {"path": str(self.path.resolve()), "kind": self.kind, "files": stats}

    def chunks(self, size: int) -> Iterator[pd.DataFrame]:
        """Read the table in data frames of `size` rows (structures in Å), always the same."""
        waiting: list[pd.DataFrame] = []
        have = 0
        for frame in READERS[self.kind](self):
            while len(frame):
                part, frame = frame.iloc[: size - have], frame.iloc[size - have :]
                waiting.append(part)
                have += len(part)
                if have == size:
                    yield pd.concat(waiting, ignore_index=True) if len(waiting) > 1 else part.reset_index(drop=True)
                    waiting, have = [], 0
        if waiting:
            yield pd.concat(waiting, ignore_index=True)


def open_table(path: str | Path) -> CrystalTable:
    """Look at a table of crystals (Å): what it is, how many rows, which columns.

    Args:
        path: a parquet or csv file, a database of ASE (.db), any other file that ASE reads, a folder of parquet files,
            or a folder of structure files.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an empty table, no structures in it, or nothing that can be read.

    Source: ours.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"got {str(path)!r}, expected an existing file or folder of structures; check the path")
    if path.is_dir():
        parts = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith((".", "_")))
        tables = [p for p in parts if p.suffix == ".parquet"]
        table = _parquet(path, tables) if tables else CrystalTable(path, "files", tuple(parts), len(parts), ("id",), {})
    elif path.suffix == ".parquet":
        table = _parquet(path, [path])
    elif path.suffix == ".csv":
        table = _csv(path)
    elif path.suffix == ".db":
        with ase.db.connect(path) as database:
            table = CrystalTable(path, "database", (path,), database.count(), ("id",), {})
    else:
        table = _frames(path)
    if not table.count:
        said = "; ".join(f"{name}: {why}" for name, why in table.problems.items())
        raise ValueError(f"got {str(path)!r} without a single row{f' ({said})' if said else ''}, expected crystals")
    return table


def _parquet(path: Path, files: list[Path]) -> CrystalTable:
    good, problems, count, columns = [], {}, 0, None
    for file in files:
        try:
            with pq.ParquetFile(file) as opened:
                names = tuple(opened.schema_arrow.names)
                rows = opened.metadata.num_rows
                opened.read_row_group(0) if rows else None
        except (pa.ArrowException, OSError) as error:
            problems[file.name] = f"damaged ({str(error).splitlines()[0]}); copy this part again"
            continue
        if columns is not None and names != columns:
            problems[file.name] = "other columns than the first part; give it the same"
            continue
        columns = names
        good.append(file)
        count += rows
    if not set(DESCRIBED) <= set(columns or ()):
        _expect_structures(columns or STRUCTURE, path)
    rest = tuple(name for name in columns or () if name not in STRUCTURE)
    return CrystalTable(path, "parquet", tuple(good), count, rest, problems)


def _csv(path: Path) -> CrystalTable:
    try:
        columns = tuple(pd.read_csv(path, nrows=0).columns)
        count = sum(len(chunk) for chunk in pd.read_csv(path, usecols=[0], chunksize=100_000))
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"got {str(path)!r}, which is no table with commas ({error}); export it again") from error
    if "cif" not in columns and "structure" not in columns:
        _expect_structures(columns, path)
    rest = tuple(name for name in columns if name not in (*STRUCTURE, "cif", "structure"))
    return CrystalTable(path, "csv", (path,), count, rest, {})


def _frames(path: Path) -> CrystalTable:
    try:
        count = sum(1 for _ in each_frame(path))
    except Exception as error:
        raise ValueError(
            f"got {str(path)!r}, which ASE cannot read ({type(error).__name__}: {error}); expected parquet, csv, "
            "extxyz, an ASE database, a folder, or another format of ASE"
        ) from error
    return CrystalTable(path, "frames", (path,), count, ("id",), {})


def _expect_structures(columns: tuple[str, ...], path: Path) -> None:
    missing = [name for name in STRUCTURE if name not in columns]
    if missing:
        raise ValueError(
            f"got {str(path)!r} without the columns {', '.join(missing)}, expected lattice (nine numbers, Å), numbers "
            f"and frac_coords, or in a csv a column `cif` or `structure`; it has {', '.join(columns)}"
        )


def _read_parquet(table: CrystalTable) -> Iterator[pd.DataFrame]:
    for part in table.parts:
        with pq.ParquetFile(part) as opened:
            for batch in opened.iter_batches(8192):
                yield batch.to_pandas()


def _read_csv(table: CrystalTable) -> Iterator[pd.DataFrame]:
    for frame in pd.read_csv(table.path, chunksize=2048):
        if "cif" in frame.columns:
            yield _arrays(frame.drop(columns="cif"), [_reader(read_cif, text) for text in frame["cif"]])
        elif "structure" in frame.columns:
            yield _arrays(frame.drop(columns="structure"), [_reader(_dictionary, text) for text in frame["structure"]])
        else:
            lists = [_reader(_lists, texts) for texts in zip(*(frame[name] for name in STRUCTURE), strict=True)]
            yield _arrays(frame.drop(columns=list(STRUCTURE)), lists)


def _read_database(table: CrystalTable) -> Iterator[pd.DataFrame]:
    with ase.db.connect(table.path) as database:
        rows = [(row.id, _reader(lambda row: row.toatoms(), row)) for row in database.select()]
    yield _arrays(pd.DataFrame({"id": [name for name, _ in rows]}), [found for _, found in rows])


def _read_frames(table: CrystalTable) -> Iterator[pd.DataFrame]:
    names, found = [], []
    for k, atoms in enumerate(each_frame(table.path)):
        names.append(str(atoms.info.get("id", atoms.info.get("material_id", k))))
        found.append(atoms)
    yield _arrays(pd.DataFrame({"id": names}), found)


def _read_files(table: CrystalTable) -> Iterator[pd.DataFrame]:
    for start in range(0, len(table.parts), 512):
        parts = table.parts[start : start + 512]
        yield _arrays(
            pd.DataFrame({"id": [p.name for p in parts]}),
            [_reader(lambda p: read_frames(p)[-1], p) for p in parts],
        )


READERS: dict[str, Callable[[CrystalTable], Iterator[pd.DataFrame]]] = {
    "parquet": _read_parquet,
    "csv": _read_csv,
    "database": _read_database,
    "frames": _read_frames,
    "files": _read_files,
}


def _reader(read: Callable, given: Any) -> Any:
    """What was read, or the reason why not."""
    try:
        return read(given)
    except Exception as error:
        return f"could not be read ({type(error).__name__}: {error}); mend or leave out this entry"


def _dictionary(text: str) -> Atoms:
    """A structure as pymatgen's `as_dict` writes it, as JSON."""
    found = json.loads(text)
    if any(len(site["species"]) != 1 or site["species"][0]["occu"] != 1 for site in found["sites"]):
        raise ValueError("partial occupancy, expected one whole atom a site")
    symbols = [site["species"][0]["element"].rstrip("+-0123456789") for site in found["sites"]]
    fractional = [site["abc"] for site in found["sites"]]
    return Atoms(symbols, cell=found["lattice"]["matrix"], scaled_positions=fractional, pbc=True)


def _lists(texts: tuple[Any, ...]) -> tuple[list, list, list]:
    lattice, numbers, fractional = (json.loads(str(text).replace("(", "[").replace(")", "]")) for text in texts)
    return np.ravel(lattice).tolist(), numbers, np.ravel(fractional).tolist()


def _arrays(frame: pd.DataFrame, found: list[Any]) -> pd.DataFrame:
    """Put array columns, and the reasons of what failed, beside the other columns."""
    columns: dict[str, list] = {name: [] for name in (*STRUCTURE, PROBLEM)}
    for entry in found:
        values, problem = (None, None, None), None
        if isinstance(entry, str):
            problem = entry
        elif isinstance(entry, tuple):
            values = entry
        else:
            problem = _disorder(entry)
            values = values if problem else _of_atoms(entry)
        for name, value in zip(columns, (*values, problem), strict=True):
            columns[name].append(value)
    return frame.reset_index(drop=True).assign(**{name: pd.Series(v, dtype=object) for name, v in columns.items()})


def _of_atoms(atoms: Atoms) -> tuple[Any, Any, Any]:
    return atoms.cell.array.ravel(), atoms.numbers, atoms.get_scaled_positions(wrap=False).ravel()


def _disorder(atoms: Atoms) -> str | None:
    if not atoms.pbc.all() or not abs(atoms.cell.volume) > 0:
        return (
            f"got pbc={atoms.pbc.tolist()} and cell {atoms.cell.lengths().tolist()} Å, expected a crystal, periodic in "
            "three directions"
        )
    sites = atoms.info.get("occupancy") or {}
    if any(len(kinds) > 1 or min(kinds.values()) < 1 for kinds in sites.values()):
        return "got sites with partial occupancy, expected one whole atom a site; choose an ordered structure"
    return None
