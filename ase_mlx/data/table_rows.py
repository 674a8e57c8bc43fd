"""Some rows of a table of crystals, without reading the structures of all others where the file allows it.

Source: ours.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Int

from ase_mlx.data.csv_columns import text_chunks
from ase_mlx.data.tables import PROBLEM, READERS, STRUCTURE, CrystalTable, batches, csv_frame


def structures_at(table: CrystalTable, rows: Int[np.ndarray, " rows"]) -> pd.DataFrame:
    """Read the structures (Å) of some rows of a table: columns `row`, `lattice`, `numbers`, `frac_coords`.

    Rows whose structure cannot be read are left out. A table of descriptors has none.

    Source: ours.
    """
    wanted = np.unique(rows)
    if table.described or not len(wanted):
        return pd.DataFrame(columns=["row", *STRUCTURE])
    frame = pd.concat(list(_picked(table, wanted)), ignore_index=True).assign(row=wanted)
    if PROBLEM in frame:
        frame = frame[frame[PROBLEM].isna()]
    return frame[["row", *STRUCTURE]].dropna().reset_index(drop=True)


def _picked(table: CrystalTable, wanted: np.ndarray) -> Iterator[pd.DataFrame]:
    """Frames of the wanted rows, in their order."""
    if table.kind == "files":
        yield from READERS["files"](replace(table, parts=tuple(table.parts[k] for k in wanted)))
        return
    first = 0
    for frame in _pieces(table):
        here = wanted[(wanted >= first) & (wanted < first + len(frame))] - first
        first += len(frame)
        if len(here):
            picked = frame.iloc[here].reset_index(drop=True)
            yield csv_frame(table, picked) if table.kind == "csv" else picked


def _pieces(table: CrystalTable) -> Iterator[pd.DataFrame]:
    if table.kind == "parquet":
        names = [*STRUCTURE, *([PROBLEM] if PROBLEM in table.columns else [])]
        for part in table.parts:
            for batch in batches(part, names):
                yield batch.to_pandas(ignore_metadata=True)
    elif table.kind == "csv":
        yield from text_chunks(table.path, 2048)
    else:
        yield from READERS[table.kind](table)
