"""Columns of a csv as what they are over the whole file: words stay words, whole numbers keep all their digits.

Source: ours, on pandas and pyarrow.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ase_mlx.reading import reading, unpacked

WHAT = "a table with commas, in UTF-8"

GAPS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "<NA>", "#N/A")
"""What stands for a missing number; in a column of words only the empty field is one."""

WHOLE, REAL = r"-?(?:0|[1-9]\d*)", r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf|Inf|Infinity)"
PADDED = r"[+-]?0\d+"
"""Numbers of articles, not of things: 00123 is a word."""

TRUTHS = {"True": True, "False": False, "true": True, "false": False, "TRUE": True, "FALSE": False}

EXACT = 2**53
"""Above it float64 leaves out whole numbers."""


def text_chunks(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    """Read a csv in pieces of `rows` rows, every field as the words that stand there; None: empty.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no table with commas.

    Source: pandas.
    """
    with reading(path, WHAT, "export it again"):
        with unpacked(path) as stream:
            for number, line in enumerate(stream, 1):
                if b"\0" in line:
                    raise ValueError(f"got a zero byte in line {number}, expected text; the file is damaged")
        with unpacked(path) as stream:
            settings = {"dtype": str, "keep_default_na": False, "na_values": [""], "chunksize": rows}
            yield from pd.read_csv(stream, **settings)


def column_types(path: Path, names: list[str], words: Iterable[str]) -> tuple[int, pa.Schema]:
    """Count the rows and find the types of columns (units are the file's) over all rows; `words` are texts anyway.

    Source: ours.
    """
    count, kinds = 0, {name: set() for name in names}
    for frame in text_chunks(path, 8192):
        count += len(frame)
        for name in names:
            kinds[name] |= _kinds(frame[name])
    words = set(words)
    types = {name: pa.string() if name in words else _type(kinds[name]) for name in names}
    return count, pa.schema([(name, types[name]) for name in names])


def _kinds(column: pd.Series) -> set[str]:
    texts = column.dropna().str.strip()
    texts = texts[~texts.isin(GAPS)]
    truths, padded = texts.isin(TRUTHS), texts.str.fullmatch(PADDED)
    whole = texts.str.fullmatch(WHOLE)
    real = texts.str.fullmatch(REAL) & ~padded & ~whole
    kinds = {"word"} if not (truths | whole | real).all() else set()
    kinds |= {"truth"} if truths.any() else set()
    kinds |= {"real"} if real.any() else set()
    if whole.any():
        largest = max(map(abs, map(int, texts[whole])))
        kinds |= {"whole", "long"} if largest > EXACT else {"whole"}
        kinds |= {"word"} if largest >= 2**63 else set()
    return kinds


def _type(kinds: set[str]) -> pa.DataType:
    if kinds in ({"whole"}, {"whole", "long"}):
        return pa.int64()
    if kinds in ({"real"}, {"real", "whole"}):
        return pa.float64()
    return pa.bool_() if kinds == {"truth"} else pa.string()


def typed(column: pd.Series, kind: pa.DataType) -> pd.Series:
    """Turn the words of a column into its type (units are the file's), gaps into missing values.

    Source: ours.
    """
    if pa.types.is_string(kind):
        return column
    texts = column.str.strip()
    texts = texts.where(~texts.isin(GAPS))
    if pa.types.is_floating(kind):
        return texts.astype(np.float64)
    if pa.types.is_boolean(kind):
        return texts.map(TRUTHS).astype("boolean")
    return pd.Series([None if pd.isna(x) else int(x) for x in texts], index=column.index, dtype="Int64")
