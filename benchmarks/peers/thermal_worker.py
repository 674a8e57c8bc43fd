"""Phonons and thermal functions of a list of crystals, by matcalc or by ours, timed one by one.

Both run in .venvs/matcalc on CHGNet; ours also in its own environment on its own potential.
"""

import contextlib
import functools
import io
import logging
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import measure
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import read
from phonopy import Phonopy
from phonopy.harmonic.force_constants import compact_fc_to_full_fc

torch.set_num_threads(1)
DISPLACEMENT, SYMPREC = 0.01, 1e-5  # Å
MESH = 100.0  # Å: matcalc 0.7 takes phonopy's default and has no option for it
TOLERANCE = 0.05  # THz
KELVIN = 300
QUANTITIES = ("heat_capacity", "entropy", "free_energy")
VERSIONS = ("torch", "numpy", "ase", "phonopy", "symfc", "spglib", "pymatgen", "chgnet", "matcalc", "ase-mlx")


@dataclass
class Clock:
    """Calls of a function, and the CPU seconds spent in them."""

    calls: int = 0
    cpu_s: float = 0.0


def timed(owner, name: str) -> Clock:
    """Put a clock on a method of an object or class."""
    function, clock = getattr(owner, name), Clock()

    @functools.wraps(function)
    def call(*args, **kwargs):
        before = time.process_time()
        result = function(*args, **kwargs)
        clock.calls, clock.cpu_s = clock.calls + 1, clock.cpu_s + time.process_time() - before
        return result

    setattr(owner, name, call)
    return clock


def chgnet():
    """CHGNet's released calculator, float32 as it comes, and the clock on its calls."""
    from chgnet.model.dynamics import CHGNetCalculator

    calculator = CHGNetCalculator(use_device="cpu")
    return calculator, timed(calculator, "calculate")


def sigesn():
    """Our shipped potential in double precision, and the clock on its network, which takes supercells in batches."""
    from ase_mlx.adapters.ase import Calculator

    calculator = Calculator("sigesn", dtype="float64")
    return calculator, timed(calculator.model, "forward")


def by_matcalc(atoms: Atoms, matrix: np.ndarray, calculator) -> dict:
    """matcalc's PhononCalc with our displacement and supercell; nothing relaxed, nothing written."""
    from matcalc import PhononCalc

    calc = PhononCalc(
        calculator,
        atom_disp=DISPLACEMENT,
        supercell_matrix=matrix,
        relax_structure=False,
        imaginary_freq_tol=-TOLERANCE,
        on_imaginary_modes="warn",
        symprec=SYMPREC,
        write_phonon=False,
    )
    return calc.calc(atoms)


def by_ours(atoms: Atoms, matrix: np.ndarray, calculator):
    """The same by `phonons` and `harmonic`: the one place to adapt when their arguments change."""
    from ase_mlx.adapters.phonopy import harmonic, phonons

    report = {"on_imaginary": "report", "tolerance": TOLERANCE}
    ph = phonons(atoms, calculator, matrix, DISPLACEMENT, relax=False, symprec=SYMPREC, **report)
    return ph, harmonic(ph, temperatures=np.arange(0.0, 1001.0, 10.0), mesh=MESH, **report)


def summary_of_matcalc(result: dict) -> tuple:
    """Phonopy object, whether imaginary modes were reported, thermal functions at 300 K."""
    thermal = result["thermal_properties"]
    row = thermal["temperatures"].tolist().index(KELVIN)
    values = {name: float(thermal[name][row]) for name in QUANTITIES}
    return result["phonon"], bool((result["frequencies"] < -TOLERANCE).any()), values


def summary_of_ours(result: tuple) -> tuple:
    """The same; no thermal functions where modes are imaginary."""
    ph, found = result
    flagged = found.stability.lowest < -TOLERANCE
    row = found.temperatures.tolist().index(KELVIN)
    names = () if flagged else QUANTITIES
    return ph, bool(flagged), {name: float(getattr(found, name)[row]) for name in names}


def describe(ph, flagged: bool, values: dict) -> dict:
    """What is compared: first the results as they come, then from the phonopy object by the same calls for all sides.

    `alike` are phonopy's sums without imaginary and Γ's acoustic modes, `symmetric` the same once phonopy has imposed
    sum rule, permutation symmetry and space group on the force constants.
    """
    full = ph.force_constants  # of matcalc; ours are compact
    full = full if full.shape[0] == full.shape[1] else compact_fc_to_full_fc(ph.primitive, full)
    rule = float(max(np.abs(full.sum(axis=axis)).max() for axis in (0, 1)))
    alike = spectrum(ph)
    ph.symmetrize_force_constants(use_symfc_projector=True)
    return {
        "flagged": flagged,
        "values": values,
        "alike": alike,
        "symmetric": spectrum(ph),
        "sum_rule_eV_A2": rule,
        "mesh": np.asarray(ph.mesh.mesh_numbers).tolist(),
        "primitive_atoms": len(ph.primitive),
        "supercell_atoms": len(ph.supercell),
        "displacements": len(ph.supercells_with_displacements),
    }


def spectrum(ph) -> dict[str, float]:
    """Lowest mode, largest of Γ's acoustic frequencies, thermal functions at 300 K."""
    mesh = ph.run_mesh(MESH)
    acoustic = np.zeros(mesh.frequencies.shape, dtype=bool)
    for q in np.flatnonzero(np.abs(mesh.qpoints).max(axis=1) < 1e-8):
        acoustic[q, np.argsort(np.abs(mesh.frequencies[q]))[:3]] = True
    thermal = ph.run_thermal_properties(temperatures=[KELVIN], exclude_gamma_acoustic=True)
    return {
        "lowest_THz": float(mesh.frequencies[~acoustic].min()),
        "gamma_acoustic_THz": float(np.abs(mesh.frequencies[acoustic]).max()),
        **{name: float(getattr(thermal, name)[0]) for name in QUANTITIES},
    }


def run(package: str, potential: str, structures: str, matrices: list, chosen: list[int]) -> dict:
    """Seconds (CPU and wall) and results for each chosen structure, after one small crystal that warms up."""
    logging.getLogger("matcalc").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    method, summary = {"matcalc": (by_matcalc, summary_of_matcalc), "ours": (by_ours, summary_of_ours)}[package]
    with contextlib.redirect_stdout(io.StringIO()):
        calculator, forces = {"chgnet": chgnet, "sigesn": sigesn}[potential]()
    dos = timed(Phonopy, "run_total_dos")
    method(bulk("Si"), 2 * np.eye(3, dtype=int), calculator)
    frames, rows = read(structures, ":"), []
    for k in chosen:
        forces.calls, forces.cpu_s, dos.cpu_s = 0, 0.0, 0.0
        matrix = np.array(matrices[k])
        before = time.perf_counter(), time.process_time()
        result = method(frames[k], matrix, calculator)
        spent = {"wall_s": time.perf_counter() - before[0], "cpu_s": time.process_time() - before[1]}
        spent |= {"force_calls": forces.calls, "force_cpu_s": forces.cpu_s, "dos_cpu_s": dos.cpu_s}
        rows.append({**spent, **describe(*summary(result))})
    return {"rows": rows, "threads": torch.get_num_threads(), "versions": _versions()}


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


if __name__ == "__main__":
    measure.serve({"run": run})
