"""What a model of F(V, T) begins from: the spectra of phonons at several volumes, and the static energies.

Source: ours.
"""

import numpy as np

from ase_mlx.adapters.phonopy.quasi_harmonic import QuasiHarmonic
from ase_mlx.adapters.phonopy.stability import acoustic_modes
from ase_mlx.models.free_energy import QuasiHarmonicPrior
from ase_mlx.models.free_energy.prior import OSCILLATORS
from ase_mlx.phonons.equation_of_state import fit_vinet
from ase_mlx.units import EV_PER_A3_IN_GPA


def free_energy_prior(curves: QuasiHarmonic, mesh: float = 60.0, oscillators: int = OSCILLATORS) -> QuasiHarmonicPrior:
    """Make the prior of a model of F(V, T) from phonons at several volumes.

    Imaginary modes and the acoustic ones of Γ stay out, as in `quasi_harmonic`.

    Args:
        curves: as `quasi_harmonic` gives them, with the phonons of its volumes.
        mesh: length in Å of the Γ-centred mesh, the same numbers at every volume.
        oscillators: how many stand for a spectrum.

    Returns:
        Static curve and oscillators per atom: Å³, GPa, THz, eV.

    Raises:
        ValueError: the static energy has no minimum inside the volumes.

    Source: ours; the static curve is P. Vinet's, J. Phys. C 19, L467 (1986).
    """
    volumes, energies = curves.volumes / curves.natoms, curves.energies / curves.natoms
    curve = fit_vinet(volumes, energies)
    if not np.isfinite(curve.volume):
        raise ValueError(
            f"got static energies without a minimum between {volumes.min():.4g} and {volumes.max():.4g} Å³/atom, "
            "expected one inside; give `quasi_harmonic` strains on both sides of it"
        )
    numbers = curves.phonons[len(volumes) // 2].run_mesh(mesh, is_gamma_center=True).mesh_numbers
    spectra = []
    for ph in curves.phonons:
        grid = ph.run_mesh(numbers, is_gamma_center=True)
        counted = ~acoustic_modes(grid.qpoints, grid.frequencies) & (grid.frequencies > 0)
        weights = np.broadcast_to(np.asarray(grid.weights, dtype=float)[:, None], grid.frequencies.shape)
        spectra.append((grid.frequencies[counted], weights[counted]))
    minimum = (curve.volume, curve.bulk_modulus * EV_PER_A3_IN_GPA, curve.derivative, curve.energy)
    static = tuple(float(x) for x in minimum)
    return QuasiHarmonicPrior.of_spectra(static, np.log(volumes / curve.volume), spectra, oscillators)
