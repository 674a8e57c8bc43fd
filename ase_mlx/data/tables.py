"""Tables of crystals from files: parquet, csv, any format of ASE, ASE's databases, folders of those.

Whatever the file is, out come data frames with structures as array columns: `lattice` (nine numbers, Å), `numbers`,
`frac_coords`. What cannot be read keeps its row and says why in the column `problem`.

Source: ours, on pyarrow, pandas and ASE.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.db
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from ase import Atoms

from ase_mlx.data.csv_columns import column_types, text_chunks, typed
from ase_mlx.data.io import each_frame, read_cif, read_frames
from ase_mlx.occupancy import check_occupancy, partial_sites, refusal
from ase_mlx.reading import parsed_json, reading, reason

STRUCTURE = ("lattice", "numbers", "frac_coords")
DESCRIBED = ("numbers", "descriptors")
"""Columns of parquet that serve in place of structures, as `screen.described` makes them."""

PROBLEM, DATABASE = "problem", "an ASE database (SQLite)"


TEXTS = ("material_id", "id", "name", "formula")
"""Columns by which people know a crystal, the best first: texts, even where they look like numbers."""

NAMED, NUMBERED = pa.schema([("id", pa.string())]), pa.schema([("id", pa.int64())])


@dataclass(frozen=True)
class CrystalTable:
    """A table on disk that can be read again and again, in the same order.

    Attributes:
        path: the file or folder.
        kind: parquet, described (parquet with descriptors for structures), csv, database, frames or files.
        parts: the files that it is made of.
        count: rows, those of damaged parts not among them.
        schema: names and types of the columns, apart from the structure's.
        problems: damaged parts and why.

    Source: ours.
    """

    path: Path
    kind: str
    parts: tuple[Path, ...]
    count: int
    schema: pa.Schema
    problems: dict[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, apart from the structure's."""
        return tuple(self.schema.names)

    @property
    def described(self) -> bool:
        """Whether descriptors take the place of structures."""
        return self.kind == "described"

    @property
    def kept(self) -> pa.Schema:
        """Names and types of the columns that are handed on to results (units as they came)."""
        return pa.schema([field for field in self.schema if field.name not in (*STRUCTURE, *DESCRIBED, PROBLEM)])

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

    def others(self) -> Iterator[tuple[int, pa.Table]]:
        """Read the columns `kept` (units as they came), row by row as `chunks`: numbers of rows, and their columns.

        The number is given since there may be no columns.
        """
        names = self.kept.names
        if self.kind in ("parquet", "described"):
            for part in self.parts:
                for batch in batches(part, names or [DESCRIBED[0]]):
                    yield len(batch), batch.select(names).cast(self.kept)
            return
        for frame in READERS[self.kind](self):
            yield len(frame), pa.Table.from_pandas(frame[names], self.kept, preserve_index=False)


def open_table(path: str | Path) -> CrystalTable:
    """Look at a table of crystals (Å): what it is, how many rows, which columns.

    Args:
        path: a parquet or csv file, a database of ASE (.db), any other file that ASE reads, a folder of parquet files,
            or a folder of files with one structure each (of a trajectory, the last counts).

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
        table = _parquet(path, tables) if tables else CrystalTable(path, "files", tuple(parts), len(parts), NAMED, {})
    elif path.suffix == ".parquet":
        table = _parquet(path, [path])
    elif path.suffix == ".csv":
        table = _csv(path)
    elif path.suffix == ".db":
        table = _database(path)
    else:
        table = _frames(path)
    if not table.count:
        reasons = "; ".join(f"{name}: {why}" for name, why in table.problems.items())
        raise ValueError(
            f"got {str(path)!r} without a single row{f' ({reasons})' if reasons else ''}, expected crystals"
        )
    return table


def _parquet(path: Path, files: list[Path]) -> CrystalTable:
    good, problems, count, schema = [], {}, 0, None
    for file in files:
        try:
            with pq.ParquetFile(file) as opened:
                part_schema, rows = opened.schema_arrow.remove_metadata(), opened.metadata.num_rows
                opened.read_row_group(0) if rows else None
            if schema is None:
                schema = part_schema
            elif set(part_schema.names) != set(schema.names):
                problems[file.name] = "other columns than the first part; give it the same"
                continue
            schema = pa.unify_schemas([schema, part_schema], promote_options="permissive")
        except pa.ArrowTypeError as error:
            problems[file.name] = f"other types of columns than the first part ({error}); give it the same"
            continue
        except Exception as error:  # of arrow, of the operating system, of decoding
            problems[file.name] = _damaged(error)
            continue
        good.append(file)
        count += rows
    names = STRUCTURE if schema is None else schema.names
    described = has_descriptors(names)
    if not described:
        _expect_structures(names, path)
    rest = pa.schema([field for field in schema or () if field.name not in STRUCTURE])
    return CrystalTable(path, "described" if described else "parquet", tuple(good), count, rest, problems)


def has_descriptors(columns: Iterable[str]) -> bool:
    """Whether descriptors take the place of structures: no structures beside them, or made by `described`.

    Source: ours.
    """
    have = set(columns)
    return set(DESCRIBED) <= have and (PROBLEM in have or not set(STRUCTURE) <= have)


def _damaged(error: Exception) -> str:
    return f"damaged ({reason(error)}); copy this part again"


def _csv(path: Path) -> CrystalTable:
    """Look at all rows, since types are those of whole columns; names of crystals stay the texts they are."""
    columns = next((list(frame.columns) for frame in text_chunks(path, 1)), [])
    if "cif" not in columns and "structure" not in columns:
        _expect_structures(columns, path)
    rest = [name for name in columns if name not in (*STRUCTURE, "cif", "structure")]
    return CrystalTable(path, "csv", (path,), *column_types(path, rest, TEXTS), {})


def _frames(path: Path) -> CrystalTable:
    return CrystalTable(path, "frames", (path,), sum(1 for _ in each_frame(path)), NAMED, {})


def _database(path: Path) -> CrystalTable:
    with reading(path, DATABASE), ase.db.connect(path.absolute(), type="db") as database:
        return CrystalTable(path, "database", (path,), database.count(), NUMBERED, {})


def _expect_structures(columns: Sequence[str], path: Path) -> None:
    missing = [name for name in STRUCTURE if name not in columns]
    if missing:
        raise ValueError(
            f"got {str(path)!r} without the columns {', '.join(missing)}, expected lattice (nine numbers, Å), numbers "
            f"and frac_coords, or in a csv a column `cif` or `structure`; it has {', '.join(columns)}"
        )


def _read_parquet(table: CrystalTable) -> Iterator[pd.DataFrame]:
    for part in table.parts:
        for batch in batches(part):
            yield batch.to_pandas(ignore_metadata=True, integer_object_nulls=True)  # whole numbers beside a gap


def batches(part: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Read a part of parquet (units as they came); rows of a damaged group stay, with nothing in them but the reason.

    Source: ours.
    """
    with pq.ParquetFile(part) as opened:
        schema = opened.schema_arrow
        for k in range(opened.num_row_groups):
            left = opened.metadata.row_group(k).num_rows
            try:
                for batch in opened.iter_batches(8192, [k], columns):
                    left -= len(batch)
                    yield pa.Table.from_batches([batch]).replace_schema_metadata(None)
            except Exception as error:  # of arrow, of the operating system, of decoding
                empty = {field.name: pa.nulls(left, field.type) for field in schema}
                reason = f"{part.name}: {_damaged(error)}"
                yield pa.table({**empty, PROBLEM: pa.array([reason] * left, pa.string())})


def _read_csv(table: CrystalTable) -> Iterator[pd.DataFrame]:
    for words in text_chunks(table.path, 2048):
        yield csv_frame(table, words)


def csv_frame(table: CrystalTable, words: pd.DataFrame) -> pd.DataFrame:
    """Turn the texts of a csv's rows into columns of their types and structures (Å).

    Source: ours.
    """
    frame = words.assign(**{field.name: typed(words[field.name], field.type) for field in table.schema})
    if "cif" in frame.columns:
        return _arrays(frame.drop(columns="cif"), [_reader(_cif, text) for text in frame["cif"]])
    if "structure" in frame.columns:
        return _arrays(frame.drop(columns="structure"), [_reader(_dictionary, text) for text in frame["structure"]])
    lists = [_reader(_lists, texts) for texts in zip(*(frame[name] for name in STRUCTURE), strict=True)]
    return _arrays(frame.drop(columns=list(STRUCTURE)), lists)


def _read_database(table: CrystalTable) -> Iterator[pd.DataFrame]:
    with reading(table.path, DATABASE), ase.db.connect(table.path.absolute(), type="db") as database:
        rows = [(row.id, _reader(lambda row: row.toatoms(), row)) for row in database.select()]
    yield _arrays(pd.DataFrame({"id": [name for name, _ in rows]}), [structure for _, structure in rows])


def _read_frames(table: CrystalTable) -> Iterator[pd.DataFrame]:
    names, structures = [], []
    for k, atoms in enumerate(each_frame(table.path)):
        names.append(str(atoms.info.get("id", atoms.info.get("material_id", k))))
        structures.append(atoms)
    yield _arrays(pd.DataFrame({"id": names}), structures)


def _read_files(table: CrystalTable) -> Iterator[pd.DataFrame]:
    for start in range(0, len(table.parts), 512):
        parts = table.parts[start : start + 512]
        yield _arrays(
            pd.DataFrame({"id": [p.name for p in parts]}),
            [_reader(_last, p) for p in parts],
        )


READERS: dict[str, Callable[[CrystalTable], Iterator[pd.DataFrame]]] = {
    "parquet": _read_parquet,
    "described": _read_parquet,
    "csv": _read_csv,
    "database": _read_database,
    "frames": _read_frames,
    "files": _read_files,
}


def _reader(read: Callable, entry: Any) -> Any:
    """What was read, or the reason why not."""
    try:
        return read(entry)
    except Exception as error:
        words = str(error) if str(error).startswith("got ") else reason(error)
        return f"could not be read ({words}); mend or leave out this entry"


def _last(path: Path) -> Atoms:
    """The only structure of a file, or the last one of its trajectory."""
    frames = read_frames(path)
    if any(len(a) != len(frames[-1]) or (a.numbers != frames[-1].numbers).any() for a in frames):
        raise ValueError(f"{len(frames)} different crystals in one file, expected one; screen this file by itself")
    return frames[-1]


def _cif(text: Any) -> Atoms:
    if not isinstance(text, str):
        raise ValueError("got an empty field, expected the text of a CIF; fill it in")
    return read_cif(text)


def _dictionary(text: Any) -> Atoms:
    """A structure as pymatgen's `as_dict` writes it, as JSON."""
    structure = _json(text, "a structure as json.dumps(structure.as_dict()) writes it, which str(...) does not")
    if not isinstance(structure, dict) or not {"sites", "lattice"} <= set(structure):
        raise ValueError("got JSON without sites and lattice, expected pymatgen's structure.as_dict()")
    sites = {k: {one["element"]: one["occu"] for one in site["species"]} for k, site in enumerate(structure["sites"])}
    check_occupancy(SimpleNamespace(info={"occupancy": sites}))
    symbols = [site["species"][0]["element"].rstrip("+-0123456789") for site in structure["sites"]]
    fractional = [site["abc"] for site in structure["sites"]]
    return Atoms(symbols, cell=structure["lattice"]["matrix"], scaled_positions=fractional, pbc=True)


def _lists(texts: tuple[Any, ...]) -> tuple[list, list, list]:
    lattice, numbers, fractional = (
        _json(str(text).replace("(", "[").replace(")", "]"), f"{name}, a list of numbers")
        for name, text in zip(STRUCTURE, texts, strict=True)
    )
    return np.ravel(lattice).tolist(), numbers, np.ravel(fractional).tolist()


def _json(text: Any, what: str) -> Any:
    try:
        return parsed_json(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"got {str(text)[:40]!r}, which is no JSON, expected {what}") from error


def _arrays(frame: pd.DataFrame, entries: list[Any]) -> pd.DataFrame:
    """Put array columns, and the reasons of what failed, beside the other columns."""
    columns: dict[str, list] = {name: [] for name in (*STRUCTURE, PROBLEM)}
    for entry in entries:
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
    shared = partial_sites(atoms)
    return refusal(shared.values()) if shared else None
