"""Measured powder diffraction patterns: text files of two columns.

Source: ours; .xy, .xye, .csv, .txt and .dat as diffractometers' programs export them.
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ase_mlx.reading import reading, unpacked

FEWEST = 3
"""Points without which there is no line in a pattern."""

COMMENTS = ("#", "!", ";")


def read_powder(path: str | Path) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Read a measured pattern: the angle 2θ and the intensity are the first two columns.

    Columns stand apart by commas, semicolons, tabs or spaces; a comma within a number of such columns is a decimal
    point. Comments (# ! ;), empty lines and a header of text are skipped, further columns are left out.

    Args:
        path: the file.

    Returns:
        Angles of 2θ in degrees and intensities in the unit of the file, in its order.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no numbers, one column alone, or a line among the numbers that is none of them.

    Source: ours.
    """
    path = Path(path)
    with reading(path, "a powder pattern of two columns", "export it as .xy or .csv from the diffractometer's program"):
        with unpacked(path) as stream:
            lines = stream.read().decode("utf-8-sig", errors="replace").splitlines()
        return _columns(lines, path)


def _columns(lines: list[str], path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows: list[list[float]] = []
    for count, line in enumerate(lines, 1):
        if "\0" in line:
            raise ValueError(f"got a zero byte in line {count} of {str(path)!r}, expected text; copy the file again")
        fields = _fields(line)
        if not fields:
            continue
        try:
            row = [float(field) for field in fields[:2]]
        except ValueError:
            row = []
        if len(row) > 1 and np.isfinite(row).all():
            rows.append(row)
        elif rows or len(row) > 1:
            raise ValueError(
                f"got {line.strip()[:60]!r} in line {count} of {str(path)!r}, expected an angle 2θ and an intensity; "
                "put text behind # and give two columns of finite numbers"
            )
    if len(rows) < FEWEST:
        raise ValueError(
            f"got {str(path)!r} with {len(rows)} lines of two numbers, expected two columns, 2θ in degrees and "
            "intensity, as text; export the pattern as .xy or .csv from the diffractometer's program"
        )
    angle, intensity = np.array(rows).T
    return angle, intensity


def _fields(line: str) -> list[str]:
    """The columns of a line; none where it is empty or a comment."""
    text = line.strip()
    if text.startswith(COMMENTS):
        return []
    text = re.split("[#!]", text.replace('"', ""))[0].strip()
    fields = [field for field in re.split(r"[;\s]+", text) if field]
    if len(fields) > 1 and not any(field.startswith(",") or field.endswith(",") for field in fields):
        return [field.replace(",", ".") for field in fields]
    return [field for field in re.split(r"[,;\s]+", text) if field]
