"""Crystals of a table as graphs with targets: what networks of crystals' properties learn from.

Source: ours.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ase_mlx.data.samples import Sample
from ase_mlx.graph import Graph

from ..anomaly.crystals import STRUCTURE_COLUMNS, graph_of, reduced_formula, split

METALLIC = 1e-3
"""eV: a crystal with a smaller gap is a metal, where no column says so."""


def read_table(
    file: Path, properties: Mapping[str, str], cutoff: float, targets: tuple[str, ...] = ()
) -> tuple[list[Sample], np.ndarray]:
    """Read crystals as graphs with edges up to `cutoff` (Å), their targets (eV/atom, eV, GPa), and their parts.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column is missing, or a crystal cannot be read; its place is named.

    Source: ours.
    """
    if not file.is_file():
        raise FileNotFoundError(f"got data.file = {str(file)!r}, expected an existing parquet file")
    frame = pd.read_parquet(file)
    if missing := [c for c in (*STRUCTURE_COLUMNS, *filter(None, properties.values())) if c not in frame.columns]:
        raise ValueError(
            f"got a table without {', '.join(missing)}, expected them; its columns are {', '.join(frame.columns)}"
        )
    columns = {name: frame[column].to_numpy(dtype=float) for name, column in properties.items() if column}
    if "metal_probability" in properties and not properties["metal_probability"]:
        if "band_gap" not in columns:
            raise ValueError('got metal_probability = "" without a column of band_gap, expected one of both')
        gap = columns["band_gap"]
        columns["metal_probability"] = np.where(np.isfinite(gap), (gap < METALLIC).astype(float), np.nan)
    samples = []
    for row, place in enumerate(frame.index):
        try:
            graph = graph_of(*(frame[name].iat[row] for name in STRUCTURE_COLUMNS), cutoff)
        except ValueError as error:
            raise ValueError(f"row {place}: {error}") from error
        labels = {name: values[row] for name, values in columns.items()}
        samples.append(labelled_crystal(graph, labels, targets or tuple(properties), f"row {place}"))
    if "part" in frame:
        return samples, frame["part"].to_numpy(dtype=str)
    formulas = np.array([reduced_formula(np.asarray(n)) for n in frame["numbers"]])
    return samples, split(formulas, "formula", None)


def labelled_crystal(graph: Graph, labels: Mapping[str, float], targets: tuple[str, ...], name: str) -> Sample:
    """Put targets (eV/atom, eV, GPa) to a crystal's graph; what is no number has no weight.

    Source: ours.
    """
    values = torch.tensor([labels.get(target, np.nan) for target in targets], dtype=torch.float64)
    weight = torch.isfinite(values).to(torch.float64)
    finite = torch.nan_to_num(values)
    each = [{t: x[k : k + 1] for k, t in enumerate(targets)} for x in (finite, weight)]
    return Sample(graph, *each, (name,))
