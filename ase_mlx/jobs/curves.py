"""Phonon bands and thermal functions as CSV: what `run` and `phonons` write beside their pictures.

Source: ours.
"""

from collections.abc import Iterable, Sequence
from math import isnan
from pathlib import Path

import numpy as np

from ase_mlx.whole.tables import write_csv

BANDS, THERMAL = "bands.csv", "thermal.csv"


def write_bands(path: Path, lines) -> None:
    """Write a `Spectrum`'s bands: distance along the path in 1/Å, frequency and std of each band in THz, named points.

    Raises:
        OSError: the file cannot be written.

    Source: ours.
    """
    std = lines.std.get("bands", np.full(lines.bands.shape, np.nan))
    bands = range(lines.bands.shape[1])
    header = ["distance_1/A", *(f"band{k + 1}{end}_THz" for k in bands for end in ("", "_std")), "point"]
    points = [""] * len(lines.distances)
    for place, label in lines.ticks:
        points[int(np.argmin(np.abs(lines.distances - place)))] = label
    columns = zip(lines.distances, lines.bands, std, points, strict=True)
    _write(path, header, ([x, *np.stack([f, s], axis=1).ravel(), name] for x, f, s, name in columns))


def write_curves(path: Path, waves, expansion=None) -> None:
    """Write functions of temperature (K) of a `Harmonic` and a `QuasiHarmonic` with their std, per mole of atoms.

    Raises:
        OSError: the file cannot be written.

    Source: ours.
    """
    columns = {"temperature_K": waves.temperatures}

    def add(label: str, source, name: str, per: float = 1.0) -> None:
        values, std = getattr(source, name), source.std.get(name)
        for end, array in (("", values), ("_std", std)):
            full = np.full(len(waves.temperatures), np.nan)
            if array is not None:
                where = np.searchsorted(waves.temperatures, source.temperatures)
                full[where] = array / per
            columns[label + end] = full

    if waves.heat_capacity is not None:
        add("F_kJ/(mol atom)", waves, "free_energy", waves.natoms)
        add("S_J/(K mol atom)", waves, "entropy", waves.natoms)
        add("C_V_J/(K mol atom)", waves, "heat_capacity", waves.natoms)
    if expansion is not None:
        add("V_A3/atom", expansion, "volume", expansion.natoms)
        add("alpha_V_1/K", expansion, "expansion")
        add("B_GPa", expansion, "bulk_modulus")
        add("C_p_J/(K mol atom)", expansion, "heat_capacity_p", expansion.natoms)
        add("G_kJ/(mol atom)", expansion, "gibbs_energy", expansion.natoms)
    _write(path, list(columns), zip(*columns.values(), strict=True))


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    write_csv(
        path, header, ([x if isinstance(x, str) else "" if isnan(x) else f"{x:.8g}" for x in row] for row in rows)
    )
