"""The gate to phonopy: force constants from any ASE calculator, spectra and thermal functions with error bars.

Phonopy's units are kept: THz, kJ/mol, J/(K mol), all per primitive cell.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
"""

from ase_mlx.adapters.phonopy.force_constants import phonons
from ase_mlx.adapters.phonopy.harmonic import Harmonic, harmonic
from ase_mlx.adapters.phonopy.stability import ImaginaryModesError, ImaginaryModesWarning, Stability, judge, stability

__all__ = [
    "Harmonic",
    "ImaginaryModesError",
    "ImaginaryModesWarning",
    "Stability",
    "harmonic",
    "judge",
    "phonons",
    "stability",
]
