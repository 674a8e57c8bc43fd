"""Mode Grüneisen parameters from phonons at three volumes, with error bars.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 6.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from jaxtyping import Float
from phonopy import Phonopy, PhonopyGruneisen

from ase_mlx.adapters.ase.job import spread
from ase_mlx.adapters.choice import settled
from ase_mlx.adapters.phonopy.born import NO_BORN, may_be_polar
from ase_mlx.adapters.phonopy.cells import Supercell, check_crystal
from ase_mlx.adapters.phonopy.force_constants import phonons, relaxed
from ase_mlx.adapters.phonopy.forces import ResidualWarning
from ase_mlx.adapters.phonopy.members import members
from ase_mlx.adapters.phonopy.sampled_cells import stretched
from ase_mlx.adapters.phonopy.stability import OnImaginary, acoustic_modes
from ase_mlx.adapters.phonopy.store import Store
from ase_mlx.models.extrapolation import once
from ase_mlx.phonons.thermal import mode_heat_capacity


@dataclass(frozen=True)
class Gruneisen:
    """Mode Grüneisen parameters γ = −∂ln ω/∂ln V on a mesh; `std` holds error bars by name.

    Frequencies in THz, all else dimensionless; NaN for Γ's acoustic modes. `mean` weighs all modes alike, `thermal` by
    their heat capacity at 300 K. `notes` say what may be missing in them.

    Source: ours.
    """

    qpoints: Float[np.ndarray, "q 3"]
    weights: Float[np.ndarray, " q"]
    frequencies: Float[np.ndarray, "q bands"]
    gamma: Float[np.ndarray, "q bands"]
    mean: float
    thermal: float
    std: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@once()
def gruneisen(
    atoms: Atoms,
    calculator,
    supercell: Supercell = "auto",
    displacement: float = 0.01,
    strain: float = 0.01,
    mesh: float | tuple[int, int, int] = 40.0,
    *,
    on_imaginary: OnImaginary = "error",
    error_bars: bool = True,
    born: str | Path | dict | None = None,
    folder: str | Path | None = None,
) -> Gruneisen:
    """Mode Grüneisen parameters of a crystal by phonons at its volume and at two others, all else relaxed at each.

    Args:
        atoms: a crystal, Å; relaxed first.
        calculator: any ASE calculator, eV and Å, in double precision; with members for error bars.
        supercell: as in `phonons`.
        displacement: in Å.
        strain: relative change of volume to both sides, dimensionless.
        mesh: three numbers, or a length in Å, of a Γ-centred mesh.
        on_imaginary: "error" or "report".
        error_bars: False leaves the members out, which cost as much as all else and more.
        born: Born charges (e) and dielectric tensor, as in `phonons`; those of one volume serve for all.
        folder: finished work is kept there, as in `phonons`.

    Returns:
        Dimensionless parameters; frequencies in THz.

    Raises:
        ValueError, ImaginaryModesError, ForcesError: as `phonons`.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 6.
    """
    check_crystal(atoms)
    calculator = settled(calculator, atoms)
    store = Store(folder, calculator)
    atoms = relaxed(atoms, calculator, store)
    phs: list[Phonopy] = []
    for change in (0.0, strain, -strain):
        scaled = relaxed(stretched(atoms, change), calculator, store, cell="shape") if change else atoms
        shape = phs[0].supercell_matrix if phs else supercell
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResidualWarning)  # a strained crystal is under stress by intent
            options = {"relax": False, "on_imaginary": on_imaginary, "born": born, "folder": folder}
            phs.append(phonons(scaled, calculator, shape, displacement, **options))
    ensembles = [members(ph, calculator, folder) if error_bars else () for ph in phs]
    return mode_gruneisen(*phs, list(zip(*ensembles, strict=True)), mesh)


def mode_gruneisen(
    ph: Phonopy,
    plus: Phonopy,
    minus: Phonopy,
    ensemble: Sequence[tuple[Phonopy, Phonopy, Phonopy]] = (),
    mesh: float | tuple[int, int, int] = 40.0,
) -> Gruneisen:
    """Mode Grüneisen parameters from phonons (eV/Å²) at a volume, at a larger, and at a smaller one.

    Args:
        ph: at the volume in question.
        plus: at the larger volume.
        minus: at the smaller volume.
        ensemble: the same three for each member.
        mesh: three numbers, or a length in Å, of a Γ-centred mesh.

    Returns:
        Dimensionless parameters; frequencies in THz.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 6.
    """
    numbers = ph.run_mesh(mesh, is_gamma_center=True).mesh_numbers
    rows = [_run(three, numbers) for three in [(ph, plus, minus), *ensemble]]
    names = ("frequencies", "gamma", "mean", "thermal")
    std = {name: spread(np.stack([row[name] for row in rows[1:]])) for name in names} if ensemble else {}
    polar = ph.nac_params is None and may_be_polar(ph.primitive.symbols)
    return Gruneisen(**rows[0], std=std, notes=(NO_BORN,) * polar)


def _run(three: tuple[Phonopy, Phonopy, Phonopy], numbers: np.ndarray) -> dict[str, np.ndarray]:
    run = PhonopyGruneisen(*three)
    run.set_mesh(numbers, is_gamma_center=True)
    qpoints, weights, frequencies, _, gamma = run.get_mesh()
    moving = ~acoustic_modes(qpoints, frequencies)
    gamma = np.where(moving, gamma, np.nan)
    share = np.where(moving, np.asarray(weights, dtype=float)[:, None], 0.0)
    thermal = share * mode_heat_capacity(np.where(moving & (frequencies > 0), frequencies, 1.0), 300.0)
    return {
        "qpoints": qpoints,
        "weights": np.asarray(weights, dtype=float),
        "frequencies": frequencies,
        "gamma": gamma,
        "mean": float(np.nansum(share * gamma) / share.sum()),
        "thermal": float(np.nansum(thermal * gamma) / thermal.sum()),
    }
