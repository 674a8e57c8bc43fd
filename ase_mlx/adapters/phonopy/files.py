"""Reading phonopy's files back, with what may be wrong in them said aloud.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
"""

import copy
import warnings
from pathlib import Path

import numpy as np
import phonopy
import yaml
from phonopy import Phonopy
from phonopy.file_IO import parse_FORCE_SETS
from phonopy.structure.cells import PrimitiveMatrixAutoDefaultWarning

from ase_mlx.adapters.phonopy.labelled import warn_of_lost_labels
from ase_mlx.adapters.phonopy.symmetry import produce
from ase_mlx.whole import whole_file

FIRST_VERSION = 3
"""Of phonopy: files of earlier ones are read, but flagged."""


def save_phonons(ph: Phonopy, path: str | Path) -> Path:
    """Write cells, displacements (Å), forces (eV/Å) and compact force constants (eV/Å²) for phonopy and `load_phonons`.

    Returns:
        The path.

    Raises:
        OSError: the file cannot be written.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
    """
    warn_of_lost_labels(ph, Path(path).name)
    kept = copy.copy(ph)  # full force constants of 216 atoms are 12 MB of text, compact ones 2 of 216 rows
    constants = ph.force_constants
    if constants.shape[0] == constants.shape[1]:
        kept.force_constants = constants[ph.primitive.p2s_map]
    with whole_file(path) as part:
        kept.save(part, settings={"force_constants": True})
    return Path(path)


def load_phonons(path: str | Path) -> Phonopy:
    """Read phonopy's yaml with forces or force constants (eV, Å), packed or not, or with a FORCE_SETS beside it.

    Returns:
        The `phonopy.Phonopy` with force constants in eV/Å², symmetric if they were made here from forces.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no phonopy file, or one with displacements whose forces are missing or not finite.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"got {str(path)!r}, expected an existing phonopy.yaml")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrimitiveMatrixAutoDefaultWarning)  # told below, where it matters
            ph = phonopy.load(path, produce_fc=False, log_level=0)
            beside = path.with_name("FORCE_SETS")
            if ph.force_constants is None and ph.dataset is not None and _missing(ph) and beside.exists():
                ph.dataset = parse_FORCE_SETS(natom=len(ph.supercell), filename=beside)
    except (TypeError, KeyError, AttributeError, RuntimeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(
            f"got {str(path)!r}, which phonopy {phonopy.__version__} cannot read ({type(error).__name__}: {error}), "
            "expected the yaml that Phonopy.save writes"
        ) from error
    _check_version(path, ph)
    if ph.force_constants is not None:
        return ph
    if ph.dataset is None:
        raise ValueError(f"got {str(path)!r} without displacements or force constants, expected either; run phonons")
    missing = _missing(ph)
    if missing:
        raise ValueError(
            f"got {str(path)!r} with {len(ph.supercells_with_displacements)} displacements, of which {missing} have no "
            "finite forces, expected forces for all; set ph.forces, or run phonons again with the same folder"
        )
    produce(ph)
    return ph


def _missing(ph: Phonopy) -> int:
    """Count the displacements without finite forces."""
    if "first_atoms" in ph.dataset:
        sets = [entry.get("forces") for entry in ph.dataset["first_atoms"]]
    else:
        sets = list(ph.dataset.get("forces", [None] * len(ph.dataset["displacements"])))
    return sum(forces is None or not np.isfinite(forces).all() for forces in sets)


def _check_version(path: Path, ph: Phonopy) -> None:
    opened = phonopy.interface.phonopy_yaml.read_phonopy_yaml(path)
    version = str(getattr(opened, "version", None) or "")
    major = version.split(".")[0]
    if major.isdigit() and int(major) < FIRST_VERSION:
        warnings.warn(
            f"{path.name} was written by phonopy {version}: what it leaves open is now phonopy {phonopy.__version__}'s "
            f"choice (a primitive cell of {len(ph.primitive)} of {len(ph.unitcell)} atoms, symmetric force constants): "
            "numbers may differ from those of its time.",
            stacklevel=3,
        )
