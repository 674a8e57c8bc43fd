"""matcalc's property calculators on our calculator, beside our own numbers."""

import numpy as np
import pytest
from ase.build import bulk

from ase_mlx.adapters.ase import Calculator, elastic
from ase_mlx.adapters.ase.job import relax
from ase_mlx.adapters.phonopy import harmonic, phonons

pytestmark = pytest.mark.filterwarnings("ignore")  # matcalc's own, of phonopy, ASE and pymatgen
GPA = 160.21766208
"""matcalc gives elastic constants in eV/Å³, as docs/programs.md says."""


@pytest.fixture(scope="module")
def crystal():
    """Silicon at rest, as ASE and as pymatgen have it, and the calculator."""
    pytest.importorskip("matcalc", reason="pip install matcalc")
    from pymatgen.io.ase import AseAtomsAdaptor

    calculator = Calculator("sigesn", dtype="float64")
    atoms = relax(bulk("Si"), calculator).atoms
    return atoms, AseAtomsAdaptor.get_structure(atoms), calculator


@pytest.mark.slow
def test_relaxation(crystal):
    from matcalc import RelaxCalc

    atoms, structure, calculator = crystal
    result = RelaxCalc(calculator, fmax=1e-3).calc(structure.copy().apply_strain(0.02))
    assert result["volume"] == pytest.approx(atoms.get_volume(), rel=1e-3)


@pytest.mark.slow
def test_elastic_moduli_and_equation_of_state(crystal):
    from matcalc import ElasticityCalc, EOSCalc

    atoms, structure, calculator = crystal
    ours = elastic(atoms, calculator).tensor
    bulk_modulus = (ours[0, 0] + 2 * ours[0, 1]) / 3
    theirs = ElasticityCalc(calculator, relax_structure=False).calc(structure)
    assert theirs["bulk_modulus_vrh"] * GPA == pytest.approx(bulk_modulus, rel=0.01)
    curve = EOSCalc(calculator, relax_structure=False).calc(structure)
    assert float(curve["bulk_modulus_bm"]) == pytest.approx(bulk_modulus, rel=0.06)  # ± 10 % in length


@pytest.mark.slow
def test_phonons(crystal):
    from matcalc import PhononCalc

    atoms, structure, calculator = crystal
    matrix = ((2, 0, 0), (0, 2, 0), (0, 0, 2))
    result = PhononCalc(
        calculator, relax_structure=False, write_phonon=False, supercell_matrix=matrix, atom_disp=0.01
    ).calc(structure)
    theirs = result["thermal_properties"]
    ours = harmonic(phonons(atoms, calculator, (2, 2, 2), relax=False), temperatures=np.array([300.0]))
    at_300 = list(theirs["temperatures"]).index(300)
    assert theirs["heat_capacity"][at_300] == pytest.approx(ours.heat_capacity[0], rel=0.005)
