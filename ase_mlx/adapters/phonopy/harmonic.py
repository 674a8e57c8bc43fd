"""Modes and thermal functions with error bars, in phonopy's units.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from phonopy import Phonopy
from phonopy.physical_units import get_physical_units

from ase_mlx.adapters.ase.elastic_constants import Elastic
from ase_mlx.adapters.ase.job import spread
from ase_mlx.adapters.phonopy.born import NO_BORN, may_be_polar
from ase_mlx.adapters.phonopy.members import narrowed
from ase_mlx.adapters.phonopy.sound import elastic_of
from ase_mlx.adapters.phonopy.stability import OnImaginary, Stability, acoustic_modes, judge, stability
from ase_mlx.phonons.thermal import thermal_functions


@dataclass(frozen=True)
class Harmonic:
    """Modes and thermal functions of a crystal; `std` holds the arrays' error bars by name, and lacks those unknown.

    Frequencies in THz, temperatures in K, free and zero-point energy in kJ/mol, entropy and heat capacity in J/(K mol),
    per primitive cell of `natoms` atoms. The Debye temperature, in K, is that of the sound waves of the `elastic`
    constants, the limit of low temperature; it is None where these are not known. What needs stable modes is None where
    imaginary ones were only reported. `members` counts the ensemble behind the error bars, `displacement` is that of
    the force constants in Å (None without displacements).

    Source: ours.
    """

    natoms: int
    stability: Stability
    qpoints: Float[np.ndarray, "q 3"]
    weights: Float[np.ndarray, " q"]
    frequencies: Float[np.ndarray, "q bands"]
    gamma: Float[np.ndarray, " bands"]
    temperatures: Float[np.ndarray, " t"]
    members: int
    displacement: float | None
    debye_temperature: float | None = None
    elastic: Elastic | None = None
    zero_point_energy: float | None = None
    free_energy: Float[np.ndarray, " t"] | None = None
    entropy: Float[np.ndarray, " t"] | None = None
    heat_capacity: Float[np.ndarray, " t"] | None = None
    std: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def harmonic(
    ph: Phonopy,
    ensemble: Sequence[Phonopy] = (),
    temperatures: Float[np.ndarray, " t"] | None = None,
    mesh: float | tuple[int, int, int] = 60.0,
    on_imaginary: OnImaginary = "error",
    tolerance: float = 0.05,
    elastic: Elastic | None = None,
) -> Harmonic:
    """Modes on a mesh and the thermal functions of the harmonic crystal; with error bars where there are members.

    Args:
        ph: from `phonons`.
        ensemble: from `members`, for the error bars; force constants in eV/Å².
        temperatures: in K; 0 to 1000 in steps of 10 if not given.
        mesh: three numbers, or a length in Å, of a Γ-centred mesh.
        on_imaginary: "error", or "report": a warning, and no thermal functions.
        tolerance: frequencies in THz above minus this pass as noise; those below zero leave the sums, with a note.
        elastic: elastic constants (GPa) for the Debye temperature; of phonons that `phonons` made they are computed
            with its calculator: 24 strained unit cells and six displacements of each kind of atom.

    Returns:
        Frequencies in THz; free energy in kJ/mol, entropy and heat capacity in J/(K mol) per primitive cell.

    Raises:
        ImaginaryModesError: as `phonons`.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 6; error bars ours.
    """
    temperatures = np.arange(0.0, 1001.0, 10.0) if temperatures is None else np.asarray(temperatures, dtype=float)
    modes, grid = stability(ph, mesh), ph.mesh
    judge(modes, on_imaginary, tolerance)
    stable = modes.lowest >= -tolerance
    mean = _modes(ph, grid.frequencies)
    near, factor = narrowed(ph, ensemble)
    rows = [_modes(one, one.run_mesh(mesh, is_gamma_center=True).frequencies) for one in near]
    std = _spread(rows, tuple(mean), factor)
    notes = [f"Left out of the thermal sums as noise: {modes}."] if stable and modes.weight else []
    notes += _polar(ph)
    if stable:
        mean |= _thermal(grid.qpoints, grid.weights, mean["frequencies"], temperatures)
        more, reasons = _error_bars(rows, grid, temperatures, tolerance, factor)
        elastic, remarks = (elastic, elastic.notes) if elastic is not None else elastic_of(ph)
        std, notes = std | more | _debye_std(elastic), [*notes, *reasons, *remarks]
    return Harmonic(
        natoms=len(ph.primitive),
        stability=modes,
        qpoints=grid.qpoints,
        weights=grid.weights.astype(float),
        temperatures=temperatures,
        members=len(rows),
        displacement=_displacement(ph),
        std=std,
        notes=tuple(notes),
        elastic=elastic,
        debye_temperature=elastic.debye_temperature if stable and elastic is not None else None,
        **mean,
    )


def _modes(ph: Phonopy, frequencies: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "frequencies": frequencies.copy(),
        "gamma": ph.run_qpoints([[0, 0, 0]]).frequencies[0].copy(),
    }


def _debye_std(elastic: Elastic | None) -> dict[str, np.ndarray]:
    std = None if elastic is None else elastic.debye_temperature_std
    return {} if std is None else {"debye_temperature": np.asarray(std)}


def _polar(ph: Phonopy) -> list[str]:
    """Say, of a crystal with Born charges, what its frequencies at Γ are and are not; of one without, what may lack."""
    if ph.nac_params is None:
        return [NO_BORN] if may_be_polar(ph.primitive.symbols) else []
    axes = [ph.run_qpoints([[0, 0, 0]], nac_q_direction=axis).frequencies[0, -1] for axis in np.eye(3)]
    return [
        "Frequencies at Γ are those without a macroscopic field (transverse); as q → 0 along the reciprocal axes the "
        f"highest is {min(axes):.3f} to {max(axes):.3f} THz (longitudinal)."
    ]


def _displacement(ph: Phonopy) -> float | None:
    if ph.dataset is None:
        return None
    if "first_atoms" in ph.dataset:
        return float(np.linalg.norm(ph.dataset["first_atoms"][0]["displacement"]))
    return float(np.linalg.norm(ph.dataset["displacements"][0], axis=1).max())


def _error_bars(rows, grid, temperatures, tolerance: float, factor: float) -> tuple[dict[str, np.ndarray], list[str]]:
    if not rows:
        return {}, []
    lowest = min(_lowest(grid.qpoints, row["frequencies"]) for row in rows)
    if lowest < -tolerance:
        return {}, [f"No error bars on the thermal functions: a member has modes down to {lowest:.3f} THz."]
    sums = [_thermal(grid.qpoints, grid.weights, row["frequencies"], temperatures) for row in rows]
    return _spread(sums, tuple(sums[0]), factor), []


def _spread(members: list[dict], names: tuple[str, ...], factor: float) -> dict[str, np.ndarray]:
    return {n: factor * spread(np.stack([member[n] for member in members])) for n in names} if members else {}


def _thermal(qpoints, weights, frequencies, temperatures) -> dict[str, np.ndarray]:
    counted = ~acoustic_modes(qpoints, frequencies) & (frequencies > 0)
    sums = thermal_functions(frequencies, weights, np.append(temperatures, 0.0), counted)
    kilojoule = get_physical_units().EvTokJmol
    return {
        "free_energy": sums.free_energy[:-1] * kilojoule,
        "entropy": sums.entropy[:-1] * kilojoule * 1000,
        "heat_capacity": sums.heat_capacity[:-1] * kilojoule * 1000,
        "zero_point_energy": sums.free_energy[-1] * kilojoule,
    }


def _lowest(qpoints: np.ndarray, frequencies: np.ndarray) -> float:
    return float(frequencies[~acoustic_modes(qpoints, frequencies)].min())
