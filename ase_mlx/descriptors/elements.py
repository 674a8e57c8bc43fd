"""What is known of the elements: one table, read once.

Source: elements.csv, written by scripts/element_table.py: Magpie's tables as matminer ships them (L. Ward et al., npj
Comput. Mater. 2, 16028 (2016)), pymatgen's common oxidation states and X-ray scattering parameters (S. P. Ong et al.,
Comput. Mater. Sci. 68, 314 (2013)). Licences of these tables: matminer, modified BSD (copyright 2015, The Regents of
the University of California, through Lawrence Berkeley National Laboratory); pymatgen, MIT.
"""

import csv
import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float

TABLE = Path(__file__).with_name("elements.csv")
LAST = 94
"""The last atomic number that the table knows."""


@functools.cache
def _lines() -> tuple[dict[str, str], ...]:
    with TABLE.open(newline="", encoding="utf-8") as stream:
        return tuple(csv.DictReader(stream))


@functools.cache
def element_property(name: str) -> Float[np.ndarray, " elements"]:
    """Give one property of all elements, by atomic number; what is unknown is the mean of the known ones.

    Args:
        name: a column of the table, in its unit (CovalentRadius pm, GSvolume_pa Å³, MeltingT K, AtomicWeight amu …).

    Returns:
        95 numbers, in the unit of the column; the first, of no element, is NaN.

    Source: see the module.
    """
    values = np.array([float(line[name] or "nan") for line in _lines()])
    values[np.isnan(values)] = np.nanmean(values)
    return np.concatenate([[np.nan], values])


@functools.cache
def oxidation_states(number: int) -> tuple[int, ...]:
    """List the common oxidation states of an element (charges); zero alone where none are known.

    Source: pymatgen.
    """
    return tuple(int(q) for q in _lines()[number - 1]["oxidation_states"].split()) or (0,)


@functools.cache
def scattering() -> Float[np.ndarray, "elements 4 2"]:
    """Give the parameters a (Å) and b (Å²) of the elements' X-ray form factors, by atomic number.

    Source: pymatgen, after L.-M. Peng et al., Acta Cryst. A 52, 257 (1996).
    """
    table = [np.array(line["scattering"].split(), dtype=float).reshape(4, 2) for line in _lines()]
    return np.stack([np.full((4, 2), np.nan), *table])
