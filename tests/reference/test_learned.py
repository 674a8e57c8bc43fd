"""A third order learned straight from DFT forces of random displacements (phono3py's example of MgO)."""

from pathlib import Path

import numpy as np
import phono3py
import pytest

from ase_mlx.adapters.phono3py import learned
from ase_mlx.adapters.phono3py.crystal import crystal_of
from ase_mlx.phonons.transport import relaxation_times

YAML = Path(__file__).parent / "data" / "phono3py-mgo" / "phono3py_params.yaml.xz"


def test_random_displacements_of_dft_give_the_third_order():
    options = {"fc_calculator": "symfc", "fc_calculator_options": "| cutoff=4.0"}
    ph = phono3py.load(YAML, log_level=0, **options)
    made = learned(ph, None, 3)
    assert made.held_out < 0.1
    crystal = crystal_of(ph)
    exact, found = (relaxation_times(crystal, (5, 5, 5), np.array([300.0]), t).kappa[0, 0] for t in (None, made.tensor))
    assert found == pytest.approx(exact, rel=0.15)
