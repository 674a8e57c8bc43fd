"""Reading phonopy's files back, with what may be wrong in them said aloud.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
"""

import copy
import logging
import lzma
import warnings
from pathlib import Path

import numpy as np
import phonopy
from phonopy import Phonopy
from phonopy.interface.phonopy_yaml import PhonopyYamlData, load_phonopy_yaml
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import PrimitiveMatrixAutoDefaultWarning
from phonopy.structure.dataset import forces_in_dataset, get_displacements_and_forces

from ase_mlx.adapters.phonopy.beside import contradict, read_force_constants, read_force_sets
from ase_mlx.adapters.phonopy.born import born_charges, checked
from ase_mlx.adapters.phonopy.consistency import check_force_constants, check_force_sets, check_residuals
from ase_mlx.adapters.phonopy.labelled import warn_of_lost_labels
from ase_mlx.adapters.phonopy.physical_units import FileUnits
from ase_mlx.adapters.phonopy.safe_yaml import SAVED, read_yaml
from ase_mlx.adapters.phonopy.symmetry import FastPhonopy, produce
from ase_mlx.reading import reading
from ase_mlx.whole import whole_file

LOG = logging.getLogger(__name__)

FIRST_VERSION = 3
"""Of phonopy: files of earlier ones are read, but flagged."""

SAME_CELL = 1e-3
"""Å: the supercell that a file holds and the one made from its unit cell agree to this."""

CONSTANTS = ("FORCE_CONSTANTS", "force_constants.hdf5")


class ReadPhonopy(FastPhonopy):
    """phonopy's object in eV, Å and amu, with `sources`: which files its numbers were taken from.

    Source: ours.
    """

    sources: tuple[str, ...] = ()


def save_phonons(ph: Phonopy, path: str | Path) -> Path:
    """Write cells, displacements (Å), forces (eV/Å) and compact force constants (eV/Å²) for phonopy and `load_phonons`.

    What `ph` has not is left out; a name that ends in `.xz` is packed.

    Returns:
        The path.

    Raises:
        ValueError: neither displacements nor force constants.
        OSError: the file cannot be written.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
    """
    path, kept = Path(path), copy.copy(ph)
    warn_of_lost_labels(ph, path.name)
    constants = ph.force_constants
    if constants is None and ph.dataset is None:
        raise ValueError("got a Phonopy without displacements or force constants, expected either; run phonons first")
    if constants is not None and constants.shape[0] == constants.shape[1]:
        kept.force_constants = constants[ph.primitive.p2s_map]  # full ones of 216 atoms are 12 MB of text
    with whole_file(path) as part:
        kept.save(part, settings={"force_constants": constants is not None})
        if path.suffix == ".xz":
            part.write_bytes(lzma.compress(part.read_bytes()))
    return path


def load_phonons(path: str | Path, born: str | Path | dict | None = None) -> Phonopy:
    """Read phonopy's yaml, packed or not, of any calculator, into eV and Å.

    What is inside counts: force constants first, else forces. Only where it has neither are FORCE_SETS, else
    FORCE_CONSTANTS or force_constants.hdf5, taken from its own folder, never from the working one; BORN likewise where
    it has no Born charges. Files there that say something else are passed over with a warning. The object's `sources`
    name what was taken.

    Args:
        path: phonopy_params.yaml or phonopy_disp.yaml.
        born: Born charges (e) and dielectric tensor that take the place of all others: a BORN file or `nac_params`.

    Returns:
        The `phonopy.Phonopy` with force constants in eV/Å², symmetric if they were made here from forces.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no phonopy file, one that would run code, or one whose forces or force constants are missing, not
            finite, or cannot be.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
    """
    path = Path(path)
    table = read_yaml(path, "phonopy")
    with reading(path, SAVED["phonopy"]):
        if "displacement_pairs" in table or "phono3py" in table:
            raise ValueError(f"got {str(path)!r}, a file of phono3py's, expected phonopy's; see load_third_order")
        data = load_phonopy_yaml(table)
        units = FileUnits.of(data.calculator)
        ph = _crystal(path, data, units)
        sources = [_take_forces(path, data, units, ph)]
        if (charges := _take_born(path, data, units, ph, born)) is not None:
            sources.append(charges)
        if data.calculator is not None and units != FileUnits():
            sources.append(f"units of {data.calculator} brought to eV and Å")
    _check_version(path, data, ph)
    ph.sources = tuple(sources)
    LOG.info("%s: %s", path, "; ".join(sources))
    return ph


def _crystal(path: Path, data: PhonopyYamlData, units: FileUnits) -> ReadPhonopy:
    if data.unitcell is None:
        raise ValueError(f"got {str(path)!r} without a unit cell, expected one")
    shape = np.eye(3, dtype=int) if data.supercell_matrix is None else data.supercell_matrix
    primitive = "auto" if data.primitive_matrix is None else data.primitive_matrix
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrimitiveMatrixAutoDefaultWarning)  # told below, where it matters
        ph = ReadPhonopy(units.cell(data.unitcell), shape, primitive_matrix=primitive)
    if data.supercell is not None:
        check_cell(units.cell(data.supercell), ph.supercell, path)
    return ph


def check_cell(written: PhonopyAtoms, repeated: PhonopyAtoms, path: Path) -> None:
    """Refuse a file whose supercell (Å) is another one than its unit cell and supercell matrix make.

    Raises:
        ValueError: atoms are missing, of another kind, in another order or at other places.

    Source: ours.
    """
    same = len(written) == len(repeated) and list(written.numbers) == list(repeated.numbers)
    if same:
        shift = written.scaled_positions - repeated.scaled_positions
        shift = (shift - np.rint(shift)) @ repeated.cell
        same = np.abs(shift).max() < SAME_CELL and np.abs(written.cell - repeated.cell).max() < SAME_CELL
    if not same:
        raise ValueError(
            f"got {str(path)!r}, whose supercell of {len(written)} atoms is not the one that its unit cell and "
            f"supercell matrix make ({len(repeated)} atoms), expected the same atoms at the same places in the same "
            "order: a line is wrong there"
        )


def _take_forces(path: Path, data: PhonopyYamlData, units: FileUnits, ph: ReadPhonopy) -> str:
    """Give `ph` its force constants; say where they are from."""
    if data.dataset is not None:
        ph.dataset = units.dataset(data.dataset)
    if data.force_constants is not None:
        constants = units.constants(data.force_constants)
        check_force_constants(constants, ph.primitive, len(ph.supercell), f"force constants in {path.name}")
        ph.force_constants = constants
        _pass_over(path, units, ph, (*CONSTANTS, "FORCE_SETS"))
        return f"force constants from {path.name}"
    if data.dataset is not None and forces_in_dataset(data.dataset):
        _produce(ph, f"forces in {path.name}")
        _pass_over(path, units, ph, ("FORCE_SETS", *CONSTANTS))
        return f"forces from {path.name}"
    beside = path.with_name("FORCE_SETS")
    if beside.is_file():
        ph.dataset = read_force_sets(beside, ph, units)
        _produce(ph, f"forces in {beside.name}")
        _pass_over(path, units, ph, CONSTANTS)
        return f"forces from {beside.name} beside {path.name}"
    for name in CONSTANTS:
        if path.with_name(name).is_file():
            ph.force_constants = read_force_constants(path.with_name(name), ph, units)
            _pass_over(path, units, ph, CONSTANTS[1:] if name == CONSTANTS[0] else ())
            return f"force constants from {name} beside {path.name}"
    if data.dataset is None:
        raise ValueError(
            f"got {str(path)!r} without displacements or force constants, and no FORCE_SETS, FORCE_CONSTANTS or "
            "force_constants.hdf5 beside it, expected either; run phonons"
        )
    missing = _missing(ph)
    raise ValueError(
        f"got {str(path)!r} with {len(ph.supercells_with_displacements)} displacements, of which {missing} have no "
        "finite forces, expected forces for all; set ph.forces, lay FORCE_SETS beside it, or run phonons again with "
        "the same folder"
    )


def _produce(ph: ReadPhonopy, what: str) -> None:
    if missing := _missing(ph):
        raise ValueError(f"got {what}, of which {missing} are missing or not finite, expected finite ones for all")
    displacements, forces = get_displacements_and_forces(ph.dataset)
    check_force_sets(displacements, forces, what)
    produce(ph)
    check_residuals(displacements, forces, ph.force_constants, ph.primitive, what)


def _pass_over(path: Path, units: FileUnits, ph: ReadPhonopy, names: tuple[str, ...]) -> None:
    """Warn of files beside a yaml that say something else than what was taken."""
    for name in names:
        other = path.with_name(name)
        if other.is_file() and contradict(other, ph, units):
            warnings.warn(
                f"{name} beside {path.name} holds other values than those that were taken, and is passed over: remove "
                "what is stale.",
                stacklevel=4,
            )


def _take_born(path: Path, data: PhonopyYamlData, units: FileUnits, ph: ReadPhonopy, born) -> str | None:
    """Give `ph` its Born charges; say where they are from."""
    beside = path.with_name("BORN")
    if born is not None:
        ph.nac_params = born_charges(born, ph.primitive)
        return "Born charges as given" if isinstance(born, dict) else f"Born charges from {Path(born).name}, as named"
    if data.nac_params is not None:
        ph.nac_params = checked(units.born(data.nac_params, path.name), ph.primitive, path.name)
        if beside.is_file():
            _compare_born(path, beside, units, ph)
        return f"Born charges from {path.name}"
    if beside.is_file():
        ph.nac_params = born_charges(beside, ph.primitive, units)
        return f"Born charges from BORN beside {path.name}"
    return None


def _compare_born(path: Path, beside: Path, units: FileUnits, ph: ReadPhonopy) -> None:
    try:
        other = born_charges(beside, ph.primitive, units)
    except (ValueError, OSError):
        other = None
    if other is None or any(not np.allclose(other[k], ph.nac_params[k], atol=1e-3) for k in ("born", "dielectric")):
        warnings.warn(f"BORN beside {path.name} holds other charges than {path.name}: it is passed over.", stacklevel=4)


def _missing(ph: Phonopy) -> int:
    """Count the displacements without finite forces."""
    if "first_atoms" in ph.dataset:
        sets = [entry.get("forces") for entry in ph.dataset["first_atoms"]]
    else:
        sets = list(ph.dataset.get("forces", [None] * len(ph.dataset["displacements"])))
    return sum(forces is None or not np.isfinite(forces).all() for forces in sets)


def _check_version(path: Path, data: PhonopyYamlData, ph: Phonopy) -> None:
    version = str(data.version or "")
    major = version.split(".")[0]
    if major.isdigit() and int(major) < FIRST_VERSION:
        warnings.warn(
            f"{path.name} was written by phonopy {version}: what it leaves open is now phonopy {phonopy.__version__}'s "
            f"choice (a primitive cell of {len(ph.primitive)} of {len(ph.unitcell)} atoms, symmetric force constants): "
            "numbers may differ from those of its time.",
            stacklevel=3,
        )
