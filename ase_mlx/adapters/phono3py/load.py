"""Reading phono3py's files, of any calculator, into eV and Å, with what may be wrong in them said aloud.

Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015); A. Seko and A. Togo, Phys. Rev. B 110,
214302 (2024), for symfc.
"""

import logging
import warnings
from pathlib import Path

import h5py
import numpy as np
from phono3py import Phono3py
from phono3py.interface.phono3py_yaml import Phono3pyYamlData, load_phono3py_yaml
from phonopy.file_IO import check_force_constants_indices

from ase_mlx.adapters.phono3py.displaced_pairs import displaced, has_forces, read_forces
from ase_mlx.adapters.phono3py.kept import read_once
from ase_mlx.adapters.phono3py.symmetry import LabelledPhono3py, produce_third
from ase_mlx.adapters.phonopy.beside import contradict, read_force_constants
from ase_mlx.adapters.phonopy.born import born_charges, checked
from ase_mlx.adapters.phonopy.consistency import check_finite, check_force_sets, check_residuals
from ase_mlx.adapters.phonopy.files import check_cell
from ase_mlx.adapters.phonopy.physical_units import FileUnits
from ase_mlx.adapters.phonopy.safe_yaml import SAVED, read_yaml
from ase_mlx.adapters.phonopy.symmetry import FastPhonopy
from ase_mlx.reading import reading

LOG = logging.getLogger(__name__)

BROKEN, RUINED = 1e-3, 0.7
"""Relative violations of permutation symmetry or sum rule above which force constants are called broken, or refused."""

PACKINGS = ("", ".xz", ".gz", ".bz2")


class ReadPhono3py(LabelledPhono3py):
    """phono3py's object in eV, Å and amu, with `sources`: which files its numbers were taken from.

    `fc4` are fourth-order force constants in eV/Å⁴, where they were asked for and there.

    Source: ours.
    """

    sources: tuple[str, ...] = ()
    fc4: np.ndarray | None = None


def load_third_order(
    path: str | Path,
    symmetrize: bool = False,
    born: str | Path | dict | None = None,
    *,
    folder: str | Path | None = None,
    third: bool = True,
    fourth: bool = False,
) -> Phono3py:
    """Read phono3py's yaml of any calculator into eV and Å.

    Forces inside count. Only where it has none are FORCES_FC3 and FORCES_FC2, else fc3.hdf5 and fc2.hdf5, taken from
    its own folder, never from the working one; BORN likewise where it has no Born charges. Files there that say
    something else are passed over with a warning. The object's `sources` name what was taken.

    Args:
        path: phono3py_params.yaml or phono3py_disp.yaml, packed or not.
        symmetrize: project force constants that were read onto those with all symmetries, by symfc.
        born: Born charges (e) and dielectric tensor that take the place of all others: a BORN file or `nac_params`.
        folder: force constants are kept there: another call on the same files starts from them, and its object has no
            forces and displacements.
        third: whether force constants of the third order have to be there.
        fourth: take force constants of the fourth order (eV/Å⁴) from fc4.hdf5 beside it, where there is one.

    Returns:
        The `phono3py.Phono3py` with force constants in eV/Å² and eV/Å³.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of phono3py's, one that would run code, a truncated one, no forces, or forces or force
            constants that cannot be.

    Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
    """
    path = Path(path)
    if folder is None or fourth or not path.is_file():
        return _read(path, symmetrize, born, third, fourth)
    charges = Path(born).read_bytes() if isinstance(born, str | Path) else born
    return read_once(path, folder, lambda: _read(path, symmetrize, born, third), (symmetrize, charges), ReadPhono3py)


def _read(
    path: Path, symmetrize: bool, born: str | Path | dict | None, third: bool, fourth: bool = False
) -> ReadPhono3py:
    LOG.info("%s: reading", path)
    table = read_yaml(path, "phono3py")
    with reading(path, SAVED["phono3py"]):
        data = load_phono3py_yaml(table)
        units = FileUnits.of(data.calculator)
        ph = _crystal(path, data, units)
        sources = _take_born(path, data, units, ph, born) + _take_forces(path, data, units, ph)
        if fourth and path.with_name("fc4.hdf5").is_file():
            ph.fc4 = _read_hdf5(path.with_name("fc4.hdf5"), ph, 4)
            sources.append(f"fourth order in fc4.hdf5 beside {path.name}")
        if (third and ph.fc3 is None) or ph.fc2 is None:
            missing = "second" if ph.fc2 is None else "third"
            raise ValueError(
                f"got {str(path)!r} without forces of the {missing} order, and no FORCES_FC3 or fc3.hdf5 and fc2.hdf5 "
                "beside it; expected either. Compute the displaced supercells first (phono3py-init), or give a "
                "structure and a calculator."
            )
        if symmetrize:
            if ph.fc3 is not None:
                ph.symmetrize_fc3(use_symfc_projector=True)
            ph.symmetrize_fc2(use_symfc_projector=True)
    if data.calculator is not None and units != FileUnits():
        sources.append(f"units of {data.calculator} brought to eV and Å")
    for name, constants in (("third", ph.fc3), ("fourth", ph.fc4)):
        if constants is not None:
            _check_symmetry(path, name, constants)
    ph.sources = tuple(sources)
    LOG.info("%s: %s", path, "; ".join(sources))
    return ph


def _crystal(path: Path, data: Phono3pyYamlData, units: FileUnits) -> ReadPhono3py:
    if data.unitcell is None:
        raise ValueError(f"got {str(path)!r} without a unit cell, expected one")
    shape = np.eye(3, dtype=int) if data.supercell_matrix is None else data.supercell_matrix
    primitive = "auto" if data.primitive_matrix is None else data.primitive_matrix
    ph = ReadPhono3py(
        units.cell(data.unitcell),
        shape,
        primitive_matrix=primitive,
        phonon_supercell_matrix=data.phonon_supercell_matrix,
    )
    for written, built in ((data.supercell, ph.supercell), (data.phonon_supercell, ph.phonon_supercell)):
        if written is not None and built is not None:
            check_cell(units.cell(written), built, path)
    return ph


def _take_born(path: Path, data: Phono3pyYamlData, units: FileUnits, ph: ReadPhono3py, born) -> list[str]:
    """Give `ph` its Born charges; say where they are from."""
    beside = path.with_name("BORN")
    if born is not None:
        ph.nac_params = born_charges(born, ph.primitive)
        return ["Born charges as given" if isinstance(born, dict) else f"Born charges from {Path(born).name}, as named"]
    if data.nac_params is not None:
        ph.nac_params = checked(units.born(data.nac_params, path.name), ph.primitive, path.name)
        return [f"Born charges from {path.name}"]
    if beside.is_file():
        ph.nac_params = born_charges(beside, ph.primitive, units)
        return [f"Born charges from BORN beside {path.name}"]
    return []


def _take_forces(path: Path, data: Phono3pyYamlData, units: FileUnits, ph: ReadPhono3py) -> list[str]:
    """Give `ph` its force constants, from forces where there are any; say where they are from."""
    apart = data.phonon_supercell_matrix is not None
    third = _dataset(path, data.dataset, "FORCES_FC3", ph.supercell, units)
    second = _dataset(path, data.phonon_dataset, "FORCES_FC2", ph.phonon_supercell, units) if apart else None
    sources = []
    ph.dataset = None if third is None else third[0]
    if apart:
        ph.phonon_dataset = None if second is None else second[0]
    if third is not None and has_forces(third[0]):
        _check_sets(ph.dataset, ph.supercell, third[1])
        solver = _solver(ph.dataset)
        LOG.info("%s: third order from %s", path, third[1])
        produce_third(ph, solver)
        if solver is None:
            ph.symmetrize_fc3(use_symfc_projector=True)
            if not apart:
                ph.symmetrize_fc2(use_symfc_projector=True)
        sources.append(third[1])
    if apart and second is not None and has_forces(second[0]):
        _check_sets(ph.phonon_dataset, ph.phonon_supercell, second[1])
        solver = _solver(ph.phonon_dataset)
        LOG.info("%s: second order from %s", path, second[1])
        ph.produce_fc2(is_compact_fc=True, fc_calculator=solver)
        if solver is None:
            ph.symmetrize_fc2(use_symfc_projector=True)
        sources.append(second[1])
    sources += _take_constants(path, ph)
    _check_answers(ph, third, second)
    return sources


def _dataset(path: Path, inside: dict | None, name: str, supercell, units: FileUnits) -> tuple[dict, str] | None:
    """Displacements in Å and forces in eV/Å, and where the forces are from."""
    if inside is not None and has_forces(inside):
        return units.dataset(inside), f"forces in {path.name}"
    for ending in PACKINGS:
        beside = path.with_name(name + ending)
        if beside.is_file():
            return units.dataset(
                read_forces(beside, inside, len(supercell))
            ), f"forces in {beside.name} beside {path.name}"
    return None if inside is None else (units.dataset(inside), f"displacements in {path.name}")


def _solver(dataset: dict) -> str | None:
    return "symfc" if "displacements" in dataset else None


def _check_sets(dataset: dict, supercell, what: str) -> None:
    check_force_sets(*displaced(dataset, len(supercell)), what)


def _check_answers(ph: ReadPhono3py, third, second) -> None:
    """Compare forces with those of the harmonic crystal that came out of them."""
    if ph.fc2 is None:
        return
    apart = ph.phonon_supercell_matrix is not None
    source, dataset = (second, ph.phonon_dataset) if apart else (third, ph.dataset)
    if source is not None and has_forces(source[0]):
        sets = displaced(dataset, len(ph.phonon_supercell))
        check_residuals(*sets, ph.fc2, ph.phonon_primitive, source[1])


def _take_constants(path: Path, ph: ReadPhono3py) -> list[str]:
    """Take fc3.hdf5 and fc2.hdf5 beside the yaml where forces gave none; warn of those that say something else."""
    taken, third, second = [], path.with_name("fc3.hdf5"), path.with_name("fc2.hdf5")
    if third.is_file():
        if ph.fc3 is None:
            ph.fc3 = _read_hdf5(third, ph, 3)
            taken.append(f"third order in fc3.hdf5 beside {path.name}")
        elif _other_fc3(third, ph):
            _pass_over(third, path)
    if second.is_file():
        options = {"primitive_matrix": ph.primitive_matrix, "symmetry": ph.phonon_supercell_symmetry}
        harmonic = FastPhonopy(ph.unitcell, _phonon_shape(ph), **options)
        if ph.fc2 is None:
            ph.fc2 = read_force_constants(second, harmonic, FileUnits())
            taken.append(f"second order in fc2.hdf5 beside {path.name}")
        else:
            harmonic.force_constants = ph.fc2
            if contradict(second, harmonic, FileUnits()):
                _pass_over(second, path)
    return taken


def _phonon_shape(ph: Phono3py):
    return ph.supercell_matrix if ph.phonon_supercell_matrix is None else ph.phonon_supercell_matrix


def _pass_over(other: Path, path: Path) -> None:
    warnings.warn(
        f"{other.name} beside {path.name} holds other values than the forces that were taken give, and is passed over: "
        "remove what is stale.",
        stacklevel=5,
    )


def _read_hdf5(path: Path, ph: Phono3py, order: int) -> np.ndarray:
    name = f"fc{order}"
    with reading(path, f"phono3py's {name}.hdf5, whole"), h5py.File(path, "r") as file:
        if name not in file:
            raise ValueError(f"got {str(path)!r} without {name}, expected it")
        rows, atoms = len(ph.primitive), len(ph.supercell)
        shapes = [(n, *(order - 1) * (atoms,), *order * (3,)) for n in (rows, atoms)]
        if file[name].shape not in shapes:
            raise ValueError(f"got {str(path)!r} of shape {file[name].shape}, expected {shapes[0]} or {shapes[1]}")
        constants = np.array(file[name], dtype=float)
        if "p2s_map" in file:
            check_force_constants_indices(constants.shape[:2], file["p2s_map"][:], ph.primitive.p2s_map, path.name)
        check_finite(constants, f"force constants in {path.name}")
    return constants


def _other_fc3(path: Path, ph: Phono3py) -> bool:
    try:
        other = _read_hdf5(path, ph, 3)
    except (ValueError, OSError):
        return True
    other = other if len(other) == len(ph.fc3) else other[ph.primitive.p2s_map]
    return bool(np.linalg.norm(other - ph.fc3) > 0.1 * np.linalg.norm(ph.fc3))


def _check_symmetry(path: Path, order: str, constants: np.ndarray) -> None:
    permutation, rule = broken_symmetry(constants)
    text = (
        f"{order}-order force constants of {path.name} break permutation symmetry by {100 * permutation:.3g} % and the "
        f"acoustic sum rule by {100 * rule:.3g} % of their size"
    )
    if max(permutation, rule) > RUINED:
        raise ValueError(f"got {str(path)!r}: the {text}, expected nearly none: numbers are wrong there")
    if max(permutation, rule) > BROKEN:
        warnings.warn(f"The {text}; symmetrize=True projects those of third order.", stacklevel=3)


def broken_symmetry(constants: np.ndarray) -> tuple[float, float]:
    """How far compact or full force constants (eV/Åⁿ, n = 3, 4) break permutation symmetry and acoustic sum rule.

    Returns:
        Norm of the difference under exchange of atoms other than the first over that of the constants, at most, and the
        largest sum over the last atom over the largest constant; dimensionless.

    Source: ours.
    """
    size, order = float(np.linalg.norm(constants)), constants.ndim // 2
    if size == 0:
        return 0.0, 0.0
    exchanges = (np.swapaxes(np.swapaxes(constants, k, k + 1), order + k, order + k + 1) for k in range(1, order - 1))
    permutation = max(float(np.linalg.norm(constants - exchanged)) for exchanged in exchanges) / size
    sums = np.abs(constants.sum(axis=order - 1)).max()
    return permutation, float(sums / np.abs(constants).max())
