"""The gate to phonopy: force constants from any ASE calculator, spectra and thermal functions with error bars.

Phonopy's units are kept: THz, kJ/mol, J/(K mol), all per primitive cell.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
"""

from ase_mlx.adapters.phonopy.anisotropic import AxialExpansion, axial_expansion
from ase_mlx.adapters.phonopy.convergence import change
from ase_mlx.adapters.phonopy.files import load_phonons, save_phonons
from ase_mlx.adapters.phonopy.force_constants import phonons
from ase_mlx.adapters.phonopy.forces import ForcesError, ResidualWarning
from ase_mlx.adapters.phonopy.free_energy import free_energy_prior
from ase_mlx.adapters.phonopy.gruneisen import Gruneisen, gruneisen, mode_gruneisen
from ase_mlx.adapters.phonopy.harmonic import Harmonic, harmonic
from ase_mlx.adapters.phonopy.members import members
from ase_mlx.adapters.phonopy.quasi_harmonic import QuasiHarmonic, quasi_harmonic
from ase_mlx.adapters.phonopy.spectra import (
    Property,
    Spectrum,
    group_velocities,
    projected_dos,
    spectrum,
    thermal_displacements,
)
from ase_mlx.adapters.phonopy.stability import ImaginaryModesError, ImaginaryModesWarning, Stability, judge, stability

__all__ = [
    "AxialExpansion",
    "Conductivity",
    "ForcesError",
    "Gruneisen",
    "Harmonic",
    "ImaginaryModesError",
    "ImaginaryModesWarning",
    "Property",
    "QuasiHarmonic",
    "ResidualWarning",
    "Spectrum",
    "Stability",
    "axial_expansion",
    "change",
    "conductivity",
    "free_energy_prior",
    "group_velocities",
    "gruneisen",
    "harmonic",
    "judge",
    "load_phonons",
    "members",
    "mode_gruneisen",
    "phonons",
    "projected_dos",
    "quasi_harmonic",
    "save_phonons",
    "spectrum",
    "stability",
    "thermal_displacements",
]


def __getattr__(name: str):
    """Give `conductivity` from the gate to phono3py, which is not imported for phonons alone."""
    if name in ("conductivity", "Conductivity"):
        from ase_mlx.adapters import phono3py

        return getattr(phono3py, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
