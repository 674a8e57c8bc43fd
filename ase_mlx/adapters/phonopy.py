"""The gate to phonopy: force constants from any ASE calculator, spectra and thermal functions with error bars.

Phonopy's units are kept: THz, kJ/mol, J/(K mol), all per primitive cell.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
"""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from ase import Atoms
from ase.cell import Cell
from jaxtyping import Float, Num
from phonopy import Phonopy
from phonopy.interface.symfc import SymfcFCSolver
from phonopy.physical_units import get_physical_units
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import guess_primitive_matrix

from ase_mlx.adapters.ase.job import property_or_none, spread
from ase_mlx.adapters.ase.job import relax as relax_structure
from ase_mlx.adapters.ase.supercells import kind, supercell_matrix
from ase_mlx.phonons.thermal import thermal_functions

Imaginary = Literal["raise", "report"]

RESIDUAL_FORCE = 0.02
"""eV/Å: above this the structure is not at a stationary point and its harmonic expansion is in doubt."""


class ImaginaryModesError(ValueError):
    """The crystal is not at a minimum of energy: some of its frequencies are imaginary.

    Source: ours.
    """


class ImaginaryModesWarning(UserWarning):
    """What `ImaginaryModesError` says, where the caller asked for a report.

    Source: ours.
    """


@dataclass(frozen=True)
class Stability:
    """The lowest mode of a mesh, Γ's acoustic ones apart: frequency in THz (negative: imaginary), q dimensionless.

    `weight` is the dimensionless share of all modes that lie below zero.

    Source: ours.
    """

    lowest: float
    qpoint: tuple[float, float, float]
    weight: float

    def __str__(self) -> str:
        """Say it in one line."""
        q = ", ".join(f"{x:.3g}" for x in self.qpoint)
        return f"lowest {self.lowest:.3f} THz at q = ({q}), {100 * self.weight:.2g} % of the modes below zero"


@dataclass(frozen=True)
class Harmonic:
    """Spectrum and thermal functions of a crystal; `std` holds the arrays' error bars by name, and lacks those unknown.

    Frequencies in THz, `distances` along the path in 1/Å, `dos` in states/THz, temperatures in K, free energy in
    kJ/mol, entropy and heat capacity in J/(K mol), per primitive cell of `natoms` atoms. The thermal
    functions are None where imaginary modes were only reported.

    Source: ours.
    """

    natoms: int
    stability: Stability
    qpoints: Float[np.ndarray, "q 3"]
    weights: Float[np.ndarray, " q"]
    frequencies: Float[np.ndarray, "q bands"]
    gamma: Float[np.ndarray, " bands"]
    distances: Float[np.ndarray, " path"]
    ticks: tuple[tuple[float, str], ...]
    bands: Float[np.ndarray, "path bands"]
    dos_frequencies: Float[np.ndarray, " grid"]
    dos: Float[np.ndarray, " grid"]
    temperatures: Float[np.ndarray, " t"]
    free_energy: Float[np.ndarray, " t"] | None = None
    entropy: Float[np.ndarray, " t"] | None = None
    heat_capacity: Float[np.ndarray, " t"] | None = None
    std: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def phonons(
    atoms: Atoms,
    calculator,
    supercell: str | Sequence[int] | Num[np.ndarray, "3 3"] = "auto",
    displacement: float = 0.01,
    relax: bool = True,
    imaginary: Imaginary = "raise",
    tolerance: float = 0.05,
    symprec: float = 1e-5,
) -> Phonopy:
    """Second-order force constants by finite displacements, the acoustic sum rule and the space group imposed exactly.

    Args:
        atoms: a crystal periodic in three directions, Å; masses and magnetic moments are kept. It is not changed.
        calculator: any ASE calculator, eV and Å, in double precision.
        supercell: three multiples, a 3×3 matrix (columns, as in phonopy), or "auto": at least 10 Å in each direction.
        displacement: of one atom at a time, in Å.
        relax: bring positions and cell to a minimum first.
        imaginary: "raise", or "report" for a warning only.
        tolerance: frequencies in THz above minus this pass as numerical noise.
        symprec: tolerance of the symmetry search in Å.

    Returns:
        The `phonopy.Phonopy` with force constants in eV/Å² and a Γ-centred mesh in THz.

    Raises:
        ValueError: not a crystal, a supercell of another shape, or a calculator in single precision.
        RuntimeError: the relaxation did not converge.
        ImaginaryModesError: naming the lowest frequency, where it lies, and the share of modes below zero.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 3; K. Parlinski et al.,
        Phys. Rev. Lett. 78, 4063 (1997).
    """
    _check(atoms, calculator, imaginary)
    if relax:
        relaxed = relax_structure(atoms, calculator, fmax=1e-4)
        if not relaxed.converged:
            raise RuntimeError(f"{relaxed.notes[-1]} Relax it yourself, then call phonons(..., relax=False).")
        atoms = relaxed.atoms
    unitcell = _to_phonopy(atoms)
    ph = Phonopy(
        unitcell,
        _matrix(atoms, supercell, symprec),
        primitive_matrix=guess_primitive_matrix(unitcell, symprec=symprec),
        symprec=symprec,
    )
    ph.generate_displacements(distance=displacement)
    residual = np.linalg.norm(calculator.get_property("forces", _to_ase(ph.supercell)), axis=1).max()
    if residual > RESIDUAL_FORCE:
        warnings.warn(
            f"The undisplaced atoms feel up to {residual:.3g} eV/Å: no stationary point, so the frequencies are those "
            "of a crystal held by force. Use relax=True.",
            stacklevel=2,
        )
    ph.forces = _displacement_forces(ph, calculator, "forces")
    _produce(ph, _projector(ph))
    judge(stability(ph), imaginary, tolerance)
    return ph


def stability(ph: Phonopy, mesh: float | tuple[int, int, int] = 60.0) -> Stability:
    """Find the lowest mode on a Γ-centred mesh; Γ's acoustic modes, zero by the sum rule, do not count.

    Args:
        ph: with force constants, eV/Å².
        mesh: three numbers, or a length in Å (numbers = length times reciprocal vectors).

    Source: ours.
    """
    grid = ph.run_mesh(mesh, is_gamma_center=True)
    counted = ~_acoustic(grid.qpoints, grid.frequencies)
    frequencies = np.where(counted, grid.frequencies, np.inf)
    q = int(np.argmin(frequencies.min(axis=1)))
    below = grid.weights[:, None] * (frequencies < 0)
    return Stability(
        lowest=float(frequencies[q].min()),
        qpoint=tuple(float(x) for x in grid.qpoints[q]),
        weight=float(below.sum() / (grid.weights.sum() * frequencies.shape[1])),
    )


def judge(found: Stability, imaginary: Imaginary = "raise", tolerance: float = 0.05) -> None:
    """Raise, or warn where a report was asked for, when the lowest frequency lies below minus the tolerance (THz).

    Raises:
        ImaginaryModesError: naming frequency, place and weight.

    Source: ours.
    """
    if found.lowest >= -tolerance:
        return
    text = (
        f"Imaginary modes: {found} (tolerance -{tolerance:g} THz). The structure is no minimum of this potential: "
        "relax it in a larger cell along that mode, take a larger supercell, or pass "
        'imaginary="report" to look at the spectrum.'
    )
    if imaginary == "raise":
        raise ImaginaryModesError(text)
    warnings.warn(text, ImaginaryModesWarning, stacklevel=3)


def harmonic(
    ph: Phonopy,
    calculator=None,
    temperatures: Float[np.ndarray, " t"] | None = None,
    mesh: float | tuple[int, int, int] = 60.0,
    imaginary: Imaginary = "raise",
    tolerance: float = 0.05,
    points: int = 200,
) -> Harmonic:
    """Bands, density of states and thermal functions; each with its error bar where the calculator has members.

    The members' force constants come from the displaced supercells that `ph` holds; one call gives all members' forces.

    Args:
        ph: from `phonons`.
        calculator: the one used there, eV and Å, for the error bars.
        temperatures: in K; 0 to 1000 in steps of 10 if not given.
        mesh: three numbers, or a length in Å, of a Γ-centred mesh.
        imaginary: "raise", or "report": a warning, and no thermal functions.
        tolerance: frequencies in THz above minus this pass as noise; those below zero leave the sums, with a note.
        points: of the band path, dimensionless.

    Returns:
        Frequencies in THz; free energy in kJ/mol, entropy and heat capacity in J/(K mol) per primitive cell.

    Raises:
        ImaginaryModesError: as `phonons`.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 6; error bars ours.
    """
    temperatures = np.arange(0.0, 1001.0, 10.0) if temperatures is None else np.asarray(temperatures, dtype=float)
    found, q_mesh = stability(ph, mesh), ph.mesh
    judge(found, imaginary, tolerance)
    path = Cell(ph.primitive.cell).bandpath(npoints=points, eps=1e-3)
    distances, ticks, labels = path.get_linear_kpoint_axis()
    grid = np.linspace(0, 1.05 * max(1.0, q_mesh.frequencies.max()), 301)
    stable = found.lowest >= -tolerance
    mean = _spectrum(ph, mesh, path.kpts, grid, temperatures if stable else None)
    members = [_spectrum(member, mesh, path.kpts, grid, None) for member in _members(ph, calculator)]
    std, notes = _error_bars(members, q_mesh, temperatures if stable else None, tolerance)
    if stable and found.weight:
        notes.append(f"Left out of the thermal sums as noise: {found}.")
    return Harmonic(
        natoms=len(ph.primitive),
        stability=found,
        qpoints=q_mesh.qpoints,
        weights=q_mesh.weights.astype(float),
        distances=distances,
        ticks=tuple((float(x), label) for x, label in zip(ticks, labels, strict=True)),
        dos_frequencies=grid,
        temperatures=temperatures,
        std=std,
        notes=tuple(notes),
        **mean,
    )


def _spectrum(ph, mesh, path, grid, temperatures) -> dict[str, np.ndarray]:
    computed = ph.run_mesh(mesh, is_gamma_center=True)
    dos = ph.run_total_dos(freq_min=grid[0], freq_max=grid[-1] + 1e-9, freq_pitch=grid[1] - grid[0])
    spectrum = {
        "frequencies": computed.frequencies.copy(),
        "gamma": ph.run_qpoints([[0, 0, 0]]).frequencies[0].copy(),
        "bands": ph.run_qpoints(path).frequencies.copy(),
        "dos": np.interp(grid, dos.frequency_points, dos.dos),
    }
    if temperatures is None:
        return spectrum
    return spectrum | _thermal(computed.qpoints, computed.weights, computed.frequencies, temperatures)


def _error_bars(members, mesh, temperatures, tolerance: float) -> tuple[dict[str, np.ndarray], list[str]]:
    std = _spread(members, ("frequencies", "gamma", "bands", "dos"))
    if not members or temperatures is None:
        return std, []
    lowest = min(_without_acoustic(mesh.qpoints, member["frequencies"]).min() for member in members)
    if lowest < -tolerance:
        return std, [f"No error bars on the thermal functions: a member has modes down to {lowest:.3f} THz."]
    sums = [_thermal(mesh.qpoints, mesh.weights, member["frequencies"], temperatures) for member in members]
    return std | _spread(sums, tuple(sums[0])), []


def _spread(members: list[dict], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: spread(np.stack([member[name] for member in members])) for name in names} if members else {}


def _thermal(qpoints, weights, frequencies, temperatures) -> dict[str, np.ndarray]:
    counted = ~_acoustic(qpoints, frequencies) & (frequencies > 0)
    sums = thermal_functions(frequencies, weights, temperatures, counted)
    kilojoule = get_physical_units().EvTokJmol
    return {
        "free_energy": sums.free_energy * kilojoule,
        "entropy": sums.entropy * kilojoule * 1000,
        "heat_capacity": sums.heat_capacity * kilojoule * 1000,
    }


def _members(ph: Phonopy, calculator):
    sets = None if calculator is None else _displacement_forces(ph, calculator, "forces_members")
    if sets is None:
        return
    member, project = ph.replicate(), _projector(ph)
    member.dataset = copy.deepcopy(ph.dataset)
    for forces in np.moveaxis(sets, 1, 0):
        member.forces = forces
        _produce(member, project)
        yield member


def _displacement_forces(ph: Phonopy, calculator, name: str) -> np.ndarray | None:
    rest = property_or_none(calculator, name, _to_ase(ph.supercell))
    if rest is None:
        return None
    cells = (_to_ase(cell) for cell in ph.supercells_with_displacements)
    return np.stack([np.asarray(calculator.get_property(name, cell), dtype=float) - rest for cell in cells])


def _produce(ph: Phonopy, project: Callable[[np.ndarray], np.ndarray]) -> None:
    ph.produce_force_constants(fc_calculator="traditional", show_drift=False)
    ph.force_constants = project(ph.force_constants)


def _projector(ph: Phonopy) -> Callable[[np.ndarray], np.ndarray]:
    # phonopy's own `symmetrize_force_constants` builds this basis anew at each call: 0.5 s a member.
    basis = SymfcFCSolver(ph.supercell).compute_basis_set(orders=[2])[2]
    compress, blocks = basis.compression_matrix.tocsc(), basis.blocked_basis_set
    return lambda fc: (compress @ (blocks @ (blocks.T @ (compress.T @ fc.ravel())))).reshape(fc.shape)


def _acoustic(qpoints: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    chosen = np.zeros(frequencies.shape, dtype=bool)
    for q in np.flatnonzero(np.abs(qpoints).max(axis=1) < 1e-8):
        chosen[q, np.argsort(np.abs(frequencies[q]))[:3]] = True
    return chosen


def _without_acoustic(qpoints: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    return frequencies[~_acoustic(qpoints, frequencies)]


def _matrix(atoms: Atoms, supercell, symprec: float) -> np.ndarray:
    if isinstance(supercell, str):
        if supercell != "auto":
            raise ValueError(f'supercell: got "{supercell}", expected "auto", three integers or a 3×3 integer matrix.')
        return supercell_matrix(atoms, symprec=symprec)
    matrix = np.asarray(supercell)
    matrix = np.diag(matrix) if matrix.shape == (3,) else matrix
    if matrix.shape != (3, 3) or not np.array_equal(matrix, np.rint(matrix)) or round(np.linalg.det(matrix)) == 0:
        raise ValueError(f"supercell: got {supercell}, expected three integers or an integer 3×3 matrix with a volume.")
    return np.rint(matrix).astype(int)


def _check(atoms: Atoms, calculator, imaginary: str) -> None:
    sort = kind(atoms)
    if sort != "crystal":
        raise ValueError(f"Phonons need a crystal periodic in three directions, got a {sort}.")
    if imaginary not in ("raise", "report"):
        raise ValueError(f'imaginary: got "{imaginary}", expected "raise" or "report".')
    if str(getattr(calculator, "dtype", "float64")).endswith("float32"):
        raise ValueError(
            "Finite displacements need forces in double precision, got a float32 calculator; "
            'make it with dtype="float64".'
        )


def _to_phonopy(atoms: Atoms) -> PhonopyAtoms:
    moments = atoms.get_initial_magnetic_moments()
    return PhonopyAtoms(
        numbers=atoms.numbers,
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
        magnetic_moments=moments if np.any(moments) else None,
    )


def _to_ase(cell: PhonopyAtoms) -> Atoms:
    return Atoms(
        numbers=cell.numbers,
        cell=cell.cell,
        scaled_positions=cell.scaled_positions,
        masses=cell.masses,
        magmoms=cell.magnetic_moments,
        pbc=True,
    )
