"""Force constants read and made symmetric once: reading forces takes as long as a conductivity.

Source: ours.
"""

import json
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
from phono3py import Phono3py
from phonopy.structure.atoms import PhonopyAtoms

from ase_mlx.keep import Entries, digest

KIND = "force-constants"
BESIDE = ("FORCES_FC3*", "FORCES_FC2*", "fc3.hdf5", "fc2.hdf5", "BORN")
"""What reading may take from the folder of a yaml."""

Read = TypeVar("Read", bound=Phono3py)


def read_once(path: Path, folder: str | Path, read: Callable[[], Phono3py], settings: tuple, empty: type[Read]) -> Read:
    """Give what `read` gives, without forces and displacements where an earlier call kept it; warnings come again.

    Args:
        path: of the yaml; it and the files beside it that may be read are the key, with the versions that read them.
        folder: where force constants (eV/Å², eV/Å³), cell (Å) and Born charges (e) are kept.
        read: reads the file.
        settings: of the reading.
        empty: class of the object that is made of what was kept.

    Raises:
        OSError: the folder cannot be written.

    Source: ours.
    """
    files = [path, *sorted(file for name in BESIDE for file in path.parent.glob(name) if file.is_file())]
    versions = [version(name) for name in ("ase_mlx", "phono3py", "phonopy", "symfc")]
    key = digest(*[(file.name, file.read_bytes()) for file in files], *versions, *settings)
    arrays = Entries(folder if Path(folder).is_dir() else None).fetch(KIND, key)
    if arrays is None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ph = read()
        sentences = [str(one.message) for one in caught if issubclass(one.category, UserWarning)]
        Entries(folder).keep(KIND, key, _arrays(ph, sentences))
        for one in caught:
            warnings.warn(one.message, one.category, stacklevel=3)
        return ph
    for sentence in json.loads(str(arrays["warnings"])):
        warnings.warn(sentence, stacklevel=3)
    return _restored(arrays, empty)


def _arrays(ph: Phono3py, sentences: list[str]) -> dict[str, np.ndarray]:
    cell = ph.unitcell
    arrays = {
        "symbols": np.array(cell.symbols), "cell": cell.cell, "positions": cell.scaled_positions,
        "masses": cell.masses, "supercell_matrix": ph.supercell_matrix, "primitive_matrix": ph.primitive_matrix,
        "fc2": ph.fc2, "fc3": ph.fc3, "sources": json.dumps(ph.sources), "warnings": json.dumps(sentences),
    }  # fmt: skip
    if ph.phonon_supercell_matrix is not None:
        arrays["phonon_supercell_matrix"] = ph.phonon_supercell_matrix
    if cell.magnetic_moments is not None:
        arrays["magnetic_moments"] = cell.magnetic_moments
    for name, value in (ph.nac_params or {}).items():
        arrays[f"nac {name}"] = value
    return arrays


def _restored(arrays: dict[str, np.ndarray], empty: type[Read]) -> Read:
    cell = PhonopyAtoms(
        symbols=arrays["symbols"].tolist(),
        cell=arrays["cell"],
        scaled_positions=arrays["positions"],
        masses=arrays["masses"],
        magnetic_moments=arrays.get("magnetic_moments"),
    )
    ph = empty(
        cell,
        arrays["supercell_matrix"],
        primitive_matrix=arrays["primitive_matrix"],
        phonon_supercell_matrix=arrays.get("phonon_supercell_matrix"),
    )
    charges = {name.removeprefix("nac "): value for name, value in arrays.items() if name.startswith("nac ")}
    if charges:
        ph.nac_params = {name: value if value.ndim else value.item() for name, value in charges.items()}
    ph.fc2, ph.fc3 = arrays["fc2"], arrays["fc3"]
    ph.sources = tuple(json.loads(str(arrays["sources"])))
    return ph
