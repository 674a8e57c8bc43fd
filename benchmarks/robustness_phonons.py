"""Files of phonons, of kept work and of labels to damage, and the calls that read them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from robustness_structures import ROOT, Reason, crystal


def phonons_of(atoms=None):
    import numpy as np
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    atoms = atoms or bulk("Al", a=4.0)
    cell = PhonopyAtoms(symbols=list(atoms.symbols), cell=atoms.cell.array, positions=atoms.positions)
    ph = Phonopy(cell, supercell_matrix=2 * np.eye(3, dtype=int), primitive_matrix="P", log_level=0)
    ph.generate_displacements(distance=0.03)
    ph.forces = [_forces(c, EMT()) for c in ph.supercells_with_displacements]
    return ph


def _forces(cell, calculator):
    from ase import Atoms

    atoms = Atoms(list(cell.symbols), cell=cell.cell, positions=cell.positions, pbc=True)
    atoms.calc = calculator
    return atoms.get_forces()


def make_phonopy(folder: Path) -> Path:
    ph = phonons_of()
    ph.produce_force_constants()
    ph.save(folder / "phonopy_params.yaml", settings={"force_constants": True})
    return folder / "phonopy_params.yaml"


def make_phonopy_with(kind: str) -> Callable[[Path], Path]:
    """NaCl of the references, whose forces (FORCE_SETS) and charges (BORN) lie beside the yaml."""

    def make(folder: Path) -> Path:
        source = ROOT / "tests" / "reference" / "data" / "phonopy-nacl"
        for name in ("phonopy_disp.yaml", "FORCE_SETS", "BORN"):
            shutil.copy(source / name, folder / name)
        return folder / kind

    return make


def read_phonopy(path: Path) -> list:
    from ase_mlx.adapters.phonopy.files import load_phonons

    here = path if path.suffix == ".yaml" else path.with_name("phonopy_disp.yaml")
    before = os.getcwd()
    os.chdir(path.parent)
    try:
        ph = load_phonons(here)
    finally:
        os.chdir(before)
    charges = ph.nac_params or {}
    return [ph.force_constants, ph.primitive.cell, ph.primitive.positions, ph.primitive.masses, ph.supercell.cell,
            *(charges[k] for k in ("born", "dielectric", "factor") if k in charges)]  # fmt: skip


def make_phono3py(packed: bool, constants: bool = False) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import lzma

        import numpy as np
        from ase.build import bulk
        from ase.calculators.emt import EMT
        from phono3py import Phono3py
        from phono3py.file_IO import write_fc2_to_hdf5, write_fc3_to_hdf5
        from phonopy.structure.atoms import PhonopyAtoms

        atoms = bulk("CuAu", "zincblende", a=5.6)  # no inversion: symfc fails where all fc3 vanish
        cell = PhonopyAtoms(symbols=list(atoms.symbols), cell=atoms.cell.array, positions=atoms.positions)
        ph = Phono3py(cell, supercell_matrix=np.diag([2, 2, 1]), primitive_matrix="P", log_level=0)
        ph.generate_displacements(distance=0.03)
        ph.forces = [_forces(c, EMT()) for c in ph.supercells_with_displacements]
        if constants:
            ph.produce_fc3(symmetrize_fc3r=True)
            ph.produce_fc2(symmetrize_fc2=True)
            write_fc3_to_hdf5(ph.fc3, filename=folder / "fc3.hdf5", p2s_map=ph.primitive.p2s_map)
            write_fc2_to_hdf5(ph.fc2, filename=folder / "fc2.hdf5", p2s_map=ph.primitive.p2s_map)
            ph.save(folder / "phono3py_disp.yaml", settings={"force_sets": False, "displacements": True})
            return folder / "fc2.hdf5"
        path = folder / "phono3py_params.yaml"
        ph.save(path)
        if packed:
            data = lzma.compress(path.read_bytes())
            path.unlink()
            path = path.with_name(path.name + ".xz")
            path.write_bytes(data)
        return path

    return make


def read_phono3py(path: Path) -> list:
    from ase_mlx.adapters.phono3py import load_third_order

    here = path.with_name("phono3py_disp.yaml") if path.suffix == ".hdf5" else path
    ph = load_third_order(here)
    return [ph.fc2, ph.fc3, ph.primitive.cell, ph.primitive.positions, ph.primitive.masses]


def make_store(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import numpy as np
        from ase.calculators.emt import EMT

        from ase_mlx.adapters.phonopy.store import Store

        store = Store(folder / "work", EMT())
        store.keep("forces", crystal(), {"forces": np.arange(24.0).reshape(8, 3), "energy": np.array(-3.0)})
        return next((folder / "work").glob(name))

    return make


def read_store(path: Path) -> list:
    """What was kept, or nothing: damaged work is computed anew."""
    import warnings

    from ase.calculators.emt import EMT

    from ase_mlx.adapters.phonopy.store import Store

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        arrays = Store(path.parent, EMT()).fetch("forces", crystal())
    if arrays is None:
        return [Reason(str(caught[0].message) if caught else "got nothing kept, computed anew")]
    return [sorted(arrays), *(arrays[name] for name in sorted(arrays))]


def make_tensor(folder: Path) -> Path:
    import numpy as np
    from ase.build import bulk

    from ase_mlx.adapters.ase.supercells import symmetry_of
    from ase_mlx.phonons.compressed import CompressedTensor, Orbit
    from ase_mlx.phonons.orbits import SpaceGroup
    from ase_mlx.phonons.tensor_files import save_tensor
    from ase_mlx.phonons.tensor_fit import kinds

    atoms = bulk("NaCl", "rocksalt", a=5.6)
    found = symmetry_of(atoms, 1e-5)
    group = SpaceGroup(atoms.cell.array, atoms.get_scaled_positions(), found.rotations, found.translations)
    orbits, random = [], np.random.default_rng(0)
    for kind in kinds(group, 3.0, 3):
        made = kind.orbit(random.normal(size=(2, kind.patterns.shape[-1])))
        orbits.append(Orbit(made.sites, made.functions, made.operations, np.ones(2)))
    save_tensor(CompressedTensor(3, group, tuple(orbits)), folder / "tensor.safetensors")
    return folder / "tensor.safetensors"


def read_tensor(path: Path) -> list:
    from ase_mlx.phonons.tensor_files import load_tensor

    tensor = load_tensor(path)
    group = tensor.group
    orbits = [x for o in tensor.orbits for x in (o.sites, o.functions, o.operations, o.signs)]
    return [tensor.order, group.lattice, group.positions, group.rotations, group.translations, *orbits]


def make_journal(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from io import StringIO

        import ase.io
        from tiny import labelled

        from ase_mlx.data.journal import Journal

        with Journal(folder / "out.extxyz", "teacher", "identity") as journal:
            for k, atoms in enumerate(labelled(6)):
                atoms.info["label_key"], text = f"{k:020x}", StringIO()
                ase.io.write(text, atoms, format="extxyz")
                journal.add(atoms.info["label_key"], f"frame {k}", text.getvalue(), "", 1.0)
            journal.add(f"{9:020x}", "frame 9", None, "it failed", 1.0)
        return folder / name

    return make


def read_journal(path: Path) -> list:
    """Which frames are done and failed; no opening may shorten the file of labels by more than its last frame."""
    from ase_mlx.data.journal import Journal

    out = path.parent / "out.extxyz"
    before = out.read_bytes()
    try:
        with Journal(out, "teacher", "identity") as journal:
            return [sorted(journal.done), sorted(journal.failed.items())]
    finally:
        lost = before[len(out.read_bytes()) :]
        if b"\n4\n" in lost:
            raise RuntimeError(f"labels lost: {len(lost)} bytes")
