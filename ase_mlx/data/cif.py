"""Crystals of CIFs, with what ASE's reader passes over seen: cells and sites that are missing, formulas, volumes.

Source: S. R. Hall, F. H. Allen and I. D. Brown, Acta Cryst. A 47, 655 (1991), for the format; `ase.io.cif` reads it.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from io import BytesIO

import ase.io.cif
from ase import Atoms

OCCUPANCY, FORMULA, VOLUME = "_atom_site_occupancy", "_chemical_formula_sum", "_cell_volume"
LOST = r"Wrong number .* of tokens|Duplicated loop tags|Badly formed number"
"""Warnings of ASE where it leaves out what it could not read."""

VOLUME_OFF = 0.01
"""Relative; a volume that is stated and one of a, b, c, α, β, γ that is further off contradict each other."""


def read_cifs(content: bytes) -> Iterator[Atoms]:
    """Read the crystals of a CIF (Å); occupancies are in `info["occupancy"]`, unknown ones (? and .) are 1.

    Raises:
        ValueError: no CIF, fractional coordinates without a whole cell, lines that do not fit, or sites and cell that
            contradict the formula or the volume in the same file.

    Source: ours, on `ase.io.cif`.
    """
    if not re.search(rb"^\s*data_", content, re.MULTILINE | re.IGNORECASE):
        start = content.strip()[:40].decode("latin-1")
        raise ValueError(f"got {start!r} …, which is no CIF, expected its text, with a line that begins with data_")
    count = 0
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=LOST)
        for block in ase.io.cif.parse_cif(BytesIO(content)):
            if block.has_structure():
                count += 1
                yield _crystal(block)
    if not count:
        raise ValueError("got a CIF without atom sites, expected _atom_site_label and coordinates; save it again")


def _crystal(block: ase.io.cif.CIFBlock) -> Atoms:
    lacking = [tag for tag in block.cell_tags if not isinstance(block.get(tag), int | float)]
    if lacking and "_atom_site_fract_x" in block:
        raise ValueError(
            f"got a CIF of fractional coordinates without numbers for {', '.join(lacking)}, expected the whole cell"
        )
    if OCCUPANCY in block:
        block._tags[OCCUPANCY] = [_occupancy(value) for value in block[OCCUPANCY]]
    with warnings.catch_warnings():
        if "_cell_length_a" in block:  # ASE says of each crystal system that it goes by the operations
            warnings.filterwarnings("ignore", message="crystal system .* is not interpreted")
        atoms = block.get_atoms()
    if OCCUPANCY not in block or min(block[OCCUPANCY]) == 1:
        _check_formula(block.get(FORMULA), atoms)
    volume = block.get(VOLUME)
    if isinstance(volume, int | float) and abs(atoms.cell.volume - volume) > VOLUME_OFF * volume:
        raise ValueError(
            f"got a CIF with a cell of {atoms.cell.volume:.2f} Å³ that says {volume} Å³, expected the same; one of the "
            "lengths, angles or the volume is wrong"
        )
    return atoms


def _occupancy(value: str | int | float) -> float:
    if value in ("?", "."):
        return 1.0
    if not isinstance(value, int | float) or not 0 <= value <= 1 + 1e-3:
        raise ValueError(f"got an occupancy of {value!r}, expected a number from 0 to 1, or ? where it is not known")
    return min(float(value), 1.0)


def _check_formula(formula: str | None, atoms: Atoms) -> None:
    """Whole cells hold a whole number of formulas, where all sites are occupied and the formula has whole numbers."""
    units = re.findall(r"([A-Z][a-z]?)(\d*)", formula or "")
    if not units or "".join(s + n for s, n in units) != re.sub(r"\s", "", formula):
        return
    sums, sites = Counter(), Counter(atoms.get_chemical_symbols())
    for symbol, number in units:
        sums["H" if symbol == "D" else symbol] += int(number or 1)
    ratios = {sites[symbol] / number for symbol, number in sums.items() if number}
    if set(sums) != set(sites) or len(ratios) != 1 or ratios.pop() % 1:
        raise ValueError(
            f"got a CIF of {formula.strip()} whose sites make {atoms.get_chemical_formula()}, expected a whole number "
            "of formulas in the cell; atoms are missing, doubled or of another element, or the formula is wrong"
        )
