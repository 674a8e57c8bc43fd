"""Born charges and dielectric tensor, read or given, looked at before they are used.

Source: phonopy's BORN file (A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023)).
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from phonopy.file_IO import parse_BORN_from_strings
from phonopy.structure.cells import Primitive

from ase_mlx.adapters.phonopy.physical_units import FileUnits
from ase_mlx.descriptors.bond_classes import NONMETALS
from ase_mlx.descriptors.composition import element_property
from ase_mlx.quantities import SYMBOLS
from ase_mlx.reading import reading, unpacked

LARGEST = 2**20
"""Bytes of a BORN file."""

NEUTRAL = 0.1
"""e an atom: Born charges sum to zero; DFT leaves some hundredths."""

POLAR = 0.2
"""Difference of Pauling's electronegativities from which a bond counts as polar: InSb 0.27, GaAs 0.37, SiGe 0.11."""

NO_BORN = (
    "No Born charges, and this may be a polar insulator: the splitting of longitudinal and transverse optical modes "
    "(LO-TO) is missing then, and the longitudinal ones are too low near Γ. Give phonopy's file of them: born=BORN."
)

NO_BORN_IN_EXPANSION = "The expansion is computed without Born charges, which this crystal has if it is an insulator."


def may_be_polar(symbols: Sequence[str]) -> bool:
    """Whether a crystal of these elements may be a polar insulator, as far as elements tell.

    A nonmetal is among them, and two differ by more than 0.2 in Pauling's electronegativity.

    Source: ours.
    """
    elements = {symbol.rstrip("0123456789") for symbol in symbols}  # phonopy's may be Cu1, Cu2 where labels differ
    chi = element_property("Electronegativity")[[SYMBOLS.index(element) for element in elements]]
    return bool(elements & NONMETALS) and float(np.nanmax(chi) - np.nanmin(chi)) > POLAR


def born_charges(born: str | Path | dict, primitive: Primitive, units: FileUnits | None = None) -> dict:
    """Give phonopy's `nac_params` from its BORN file or from themselves, the factor in eV Å.

    Args:
        born: the file, or a dict with "born" (e), "dielectric" and, where it is not e²/4πε₀ of `units`, "factor".
        primitive: phonopy's primitive cell.
        units: of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another number of atoms, values that are not finite, a dielectric tensor that is not positive.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 6.5.
    """
    units = units or FileUnits()
    if isinstance(born, dict):
        return checked(units.born(born, "nac_params"), primitive, "Born charges")
    path = Path(born)
    with reading(path, "phonopy's BORN"):
        with unpacked(path, LARGEST) as stream:
            text = stream.read(LARGEST).decode()
        return checked(units.born(parse_BORN_from_strings(text, primitive), path.name), primitive, path.name)


def checked(params: dict, primitive: Primitive, what: str) -> dict:
    """Refuse Born charges (e) and dielectric tensors that cannot be; say where charges do not sum to zero.

    Raises:
        ValueError: another number of atoms, values that are not finite, a dielectric tensor that is not positive.

    Source: R. M. Pick, M. H. Cohen and R. M. Martin, Phys. Rev. B 1, 910 (1970).
    """
    for key, shape in (("born", (len(primitive), 3, 3)), ("dielectric", (3, 3))):
        if key not in params:
            raise ValueError(f'got {what} without "{key}", expected it of shape {shape}')
        values = np.asarray(params[key], dtype=float)
        if values.shape != shape or not np.isfinite(values).all():
            raise ValueError(
                f"got {what} with {key} of shape {values.shape}, {np.count_nonzero(~np.isfinite(values))} of its "
                f"values not finite, expected {shape} numbers, one tensor an atom of the primitive cell"
            )
        params = params | {key: values}
    lowest = float(np.linalg.eigvalsh((params["dielectric"] + params["dielectric"].T) / 2)[0])
    if lowest <= 0:
        raise ValueError(f"got {what} with an eigenvalue {lowest:.3g} of the dielectric tensor, expected positive ones")
    excess = float(np.abs(params["born"].sum(axis=0)).max()) / len(primitive)
    if excess > NEUTRAL:
        warnings.warn(
            f"The Born charges of {what} sum to {excess:.2f} e an atom; a neutral crystal's sum to zero.", stacklevel=3
        )
    return params
