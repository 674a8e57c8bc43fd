"""Elastic constants of a crystal from the stress of strained cells, with error bars.

Source: ours; D. C. Wallace, Thermodynamics of Crystals (1972).
"""

from dataclasses import dataclass, fields

import numpy as np
from ase import Atoms
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from ase_mlx.adapters.ase.job import property_or_none, spread
from ase_mlx.adapters.ase.job import relax as relax_structure
from ase_mlx.adapters.ase.labels import keeping, reads_labels
from ase_mlx.adapters.ase.supercells import kind, symmetry_of
from ase_mlx.adapters.choice import settled
from ase_mlx.models.error_bars import widening
from ase_mlx.models.extrapolation import once, see
from ase_mlx.models.predict import predict
from ase_mlx.phonons.elasticity import (
    Moduli,
    elastic_debye_temperature,
    moduli,
    relaxed_ions,
    sound_velocities,
    stiffness_eigenvalues,
    strain_matrix,
    symmetrised,
)
from ase_mlx.units import EV_PER_A3_IN_GPA

RELAXED = 1e-4
"""eV/Å: forces left by the relaxation."""

STRAIN = 2e-3
"""Dimensionless: the first strain; halved while twice as much gives other constants."""

LINEAR = 0.01
"""Dimensionless: what constants may change, of the largest, between a strain and twice the same."""

HALVINGS = 2

SOFTEST = 1e-3
"""eV/Å²: ions in a flatter well do not follow a strain in proportion."""

RESIDUAL_STRESS = 0.5
"""GPa: above it the constants are those of a crystal under stress, and that is said."""


@dataclass(frozen=True)
class Elastic:
    """Elastic constants of a crystal at rest; a std over the model's members is None, never zero, where it is unknown.

    `tensor` has the ions follow the strain, `clamped` holds their scaled positions: GPa, Voigt's order xx yy zz yz xz
    xy, in the axes of the input. `eigenvalues` in GPa: the crystal is stable where none is negative (Born). `moduli`
    (GPa) and `debye_temperature` (K, the limit T → 0) are None where it is not. `density` in amu/Å³; `strain` is the
    dimensionless one of the differences, `nonlinearity` in GPa what the tensor changes by from it to twice as much.

    Source: D. C. Wallace, Thermodynamics of Crystals (1972).
    """

    tensor: Float[np.ndarray, "6 6"]
    std: Float[np.ndarray, "6 6"] | None
    clamped: Float[np.ndarray, "6 6"]
    members: Float[np.ndarray, "members 6 6"] | None
    eigenvalues: Float[np.ndarray, " 6"]
    eigenvalues_std: Float[np.ndarray, " 6"] | None
    moduli: Moduli | None
    moduli_std: Moduli | None
    debye_temperature: float | None
    debye_temperature_std: float | None
    density: float
    strain: float
    nonlinearity: float
    notes: tuple[str, ...] = ()

    @property
    def stable(self) -> bool:
        """Whether every strain costs energy.

        Source: F. Mouhat and F.-X. Coudert, Phys. Rev. B 90, 224104 (2014).
        """
        return bool(self.eigenvalues[0] > 0)

    def sound_velocities(self, directions: ArrayLike) -> Float[np.ndarray, "directions 3"]:
        """Velocities in km/s of the three sound waves along directions (dimensionless, three numbers each), ascending.

        Source: D. C. Wallace, Thermodynamics of Crystals (1972), section 3.
        """
        return sound_velocities(self.tensor, self.density, np.asarray(directions, dtype=float))

    def constants(self) -> dict[str, tuple[float, float | None]]:
        """Name the tensor's distinct entries, such as C11, with value and std in GPa; zeros are left out.

        Source: J. F. Nye, Physical Properties of Crystals (1985), chapter VIII.
        """
        named: dict[str, tuple[float, float | None]] = {}
        small = 1e-4 * np.abs(self.tensor).max()
        for i, j in zip(*np.triu_indices(6), strict=True):
            value = float(self.tensor[i, j])
            if abs(value) > small and all(abs(abs(value) - abs(other)) > small for other, _ in named.values()):
                named[f"C{i + 1}{j + 1}"] = value, None if self.std is None else float(self.std[i, j])
        return named


@dataclass(frozen=True)
class _Responses:
    """Stress (eV/Å³) and forces (eV/Å) of several structures; first the mean's, then those of each member."""

    stress: Float[np.ndarray, "rows structures 6"]
    forces: Float[np.ndarray, "rows structures atoms 3"]


@once()
def elastic(atoms: Atoms, calculator, relax: bool = True, displacement: float = 0.01) -> Elastic:
    """All 21 elastic constants of a crystal, ions relaxed, from centred differences of stress and forces.

    The ions' part comes from the forces under strain and the Hessian of the cell, not from relaxations: one displaced
    atom of each kind that symmetry leaves, three directions. Of an insulator they hold without an electric field.

    Args:
        atoms: a crystal periodic in three directions, Å; it is not changed.
        calculator: any ASE calculator with a stress, eV and Å, in double precision; with members for error bars.
        relax: bring positions and cell to a minimum first; otherwise they are those of the structure as it is.
        displacement: of the atoms, in Å.

    Returns:
        The constants in GPa, in the axes of the input (of the relaxed cell, which keeps them).

    Raises:
        ValueError: a slab, wire or molecule, atoms that are held fixed, a calculator without stress, or ions that are
            not at a minimum.
        RuntimeError: the relaxation did not converge.

    Source: D. C. Wallace, Thermodynamics of Crystals (1972), section 7; members ours.
    """
    sort = kind(atoms)
    if sort != "crystal":
        raise ValueError(f"Elastic constants need a crystal periodic in three directions, got a {sort}.")
    if atoms.constraints:
        raise ValueError(
            f"Elastic constants need atoms that are free to move, got {type(atoms.constraints[0]).__name__}; clear it "
            "with atoms.set_constraint()."
        )
    calculator = settled(calculator, atoms)
    if relax:
        relaxed = relax_structure(atoms, calculator, fmax=RELAXED)
        if not relaxed.converged:
            raise RuntimeError(f"{relaxed.notes[-1]} Relax it yourself, then call with relax=False.")
        start, atoms = atoms, atoms.copy()
        atoms.set_cell(relaxed.atoms.cell)
        atoms.positions = relaxed.atoms.positions
        if kind(atoms) != "crystal":
            raise RuntimeError(f"Relaxed, the crystal of {start.symbols} fell apart into a {kind(atoms)}.")
    notes = _residual(atoms, calculator)
    distance = property_or_none(calculator, "distance", atoms)
    see(distance)
    symmetry = _Symmetry.of(atoms, reads_labels(calculator))
    hessian = _hessian(atoms, calculator, displacement, symmetry)
    tensors, clamped, strain, change = _stiffness(atoms, calculator, hessian, symmetry)
    if change > LINEAR * np.abs(tensors[0]).max():
        notes.append(
            f"Not linear: from a strain of {strain:g} to twice as much the constants change by up to "
            f"{change * EV_PER_A3_IN_GPA:.2g} GPa."
        )
    factor = getattr(getattr(calculator, "model", None), "hessian_scale", 1.0)  # as `members` of the phonons
    tensors = np.concatenate([tensors[:1], tensors[:1] + factor * (tensors[1:] - tensors[:1])]) * EV_PER_A3_IN_GPA
    wider = widening(distance, tensors[0], (tensors[1:] - tensors[0]) / np.sqrt(max(len(tensors) - 2, 1)))
    density = float(atoms.get_masses().sum() / atoms.get_volume())
    return _collect(
        tensors, clamped[0] * EV_PER_A3_IN_GPA, density, len(atoms) / atoms.get_volume(), strain,
        change * EV_PER_A3_IN_GPA, notes, wider,
    )  # fmt: skip


def _collect(
    tensors, clamped, density: float, atoms: float, strain: float, change: float, notes: list[str], wider: float
) -> Elastic:
    """All that follows; spreads are `wider` times those of the members, which stay where they are stable."""
    members = tensors[1:] if len(tensors) > 1 else None
    eigenvalues = stiffness_eigenvalues(tensors)
    stable = eigenvalues[:, 0] > 0
    if not stable[0]:
        notes.append(
            f"Elastically unstable: a strain has the stiffness {eigenvalues[0, 0]:.3g} GPa (Born's criterion: above "
            "zero), so there are no moduli of a polycrystal and no Debye temperature."
        )
    elif not stable.all():
        notes.append(
            f"No error bars on moduli and Debye temperature: {np.count_nonzero(~stable)} of {len(members)} members are "
            "elastically unstable."
        )
    bars = members is not None and stable.all()
    debye = [elastic_debye_temperature(one, density, atoms) for one in tensors[: len(tensors) if bars else 1]]
    return Elastic(
        tensor=tensors[0],
        std=None if members is None else wider * spread(members),
        clamped=clamped,
        members=None if members is None else tensors[0] + wider * (members - tensors[0]),
        eigenvalues=eigenvalues[0],
        eigenvalues_std=None if members is None else wider * spread(eigenvalues[1:]),
        moduli=moduli(tensors[0]) if stable[0] else None,
        moduli_std=_spread(moduli(members), wider) if bars else None,
        debye_temperature=debye[0] if stable[0] else None,
        debye_temperature_std=wider * float(np.std(debye[1:], ddof=1)) if bars else None,
        density=density,
        strain=strain,
        nonlinearity=change,
        notes=tuple(notes),
    )


def _spread(values: Moduli, wider: float) -> Moduli:
    return Moduli(**{one.name: wider * float(spread(getattr(values, one.name))) for one in fields(values)})


def _residual(atoms: Atoms, calculator) -> list[str]:
    """Say where the cell is held by a stress; refuse calculators that have none."""
    stress = property_or_none(calculator, "stress", atoms)
    if stress is None:
        raise ValueError(
            "Elastic constants are derivatives of the stress, got a calculator without one "
            f"({type(calculator).__name__})."
        )
    largest = np.abs(stress).max() * EV_PER_A3_IN_GPA
    if largest < RESIDUAL_STRESS:
        return []
    return [
        f"The cell feels up to {largest:.3g} GPa: the constants are those between stress and strain of a crystal held "
        "by force. Use relax=True."
    ]


@dataclass(frozen=True)
class _Symmetry:
    """Orthogonal matrices of a space group, what each makes of the atoms, and one atom of each orbit."""

    rotations: Float[np.ndarray, "operations 3 3"]
    images: Int[np.ndarray, "operations atoms"]
    independent: Int[np.ndarray, " kinds"]

    @classmethod
    def of(cls, atoms: Atoms, labels: bool) -> "_Symmetry":
        dataset, count = symmetry_of(atoms, labels=labels), len(atoms)
        if dataset is None:
            return cls(np.eye(3)[None], np.arange(count)[None], np.arange(count))
        cell, scaled = atoms.cell.array, atoms.get_scaled_positions()
        rotations, images = [], []
        for turn, shift in zip(dataset.rotations, dataset.translations, strict=True):
            left, _, right = np.linalg.svd(cell.T @ turn @ np.linalg.inv(cell.T))  # the cell is symmetric to 1e-3 Å
            rotations.append(left @ right)
            apart = (scaled @ turn.T + shift)[:, None] - scaled[None]
            images.append(np.argmin(np.linalg.norm((apart - np.rint(apart)) @ cell, axis=-1), axis=1))
        rotations, images = np.array(rotations), np.array(images)
        if labels:
            kept = keeping(atoms, dataset.rotations, images)
            rotations, images = rotations[kept], images[kept]
        return cls(rotations, images, np.unique(images.min(axis=0)))


def _hessian(atoms: Atoms, calculator, displacement: float, symmetry: _Symmetry) -> np.ndarray:
    """Second derivatives (rows atoms 3 atoms 3) of the cell's energy in eV/Å², for the mean and every member."""
    count = len(atoms)
    cells = []
    for atom in symmetry.independent:
        for axis in range(3):
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[atom, axis] += sign * displacement
                cells.append(moved)
    if count == 1:  # its image moves along: no force
        rows = len(_evaluate(calculator, [atoms]).stress)
        return np.zeros((rows, 1, 3, 1, 3))
    forces = _evaluate(calculator, cells).forces
    slopes = (forces[:, ::2] - forces[:, 1::2]) / (-2 * displacement)
    slopes = slopes.reshape(len(slopes), len(symmetry.independent), 3, count, 3)  # row, moved atom and axis, atom, axis
    hessian, times = np.zeros((len(slopes), count, 3, count, 3)), np.zeros(count)
    for turn, image in zip(symmetry.rotations, symmetry.images, strict=True):
        turned = np.einsum("ab,rkbjc,dc->rkajd", turn, slopes, turn, optimize=True)
        for k, atom in enumerate(symmetry.independent):
            hessian[:, image[atom], :, image] += turned[:, k].transpose(2, 0, 1, 3)
            times[image[atom]] += 1
    return hessian / times[None, :, None, None, None]


def _stiffness(atoms: Atoms, calculator, hessian: np.ndarray, symmetry: _Symmetry):
    """Tensors with relaxed and clamped ions (rows 6 6) in eV/Å³, the strain, and what twice as much changes."""
    strain = STRAIN
    larger = _at_strain(atoms, calculator, hessian, symmetry, 2 * strain)
    best = None
    for _ in range(HALVINGS + 1):
        smaller = _at_strain(atoms, calculator, hessian, symmetry, strain)
        change = float(np.abs(smaller[0][0] - larger[0][0]).max())
        if best is None or change < best[3]:
            best = (*smaller, strain, change)
        if change <= LINEAR * np.abs(smaller[0][0]).max():
            break
        larger, strain = smaller, strain / 2
    return best


def _at_strain(atoms: Atoms, calculator, hessian: np.ndarray, symmetry: _Symmetry, strain: float):
    cells = []
    for component in range(6):
        for sign in (1, -1):
            cell = atoms.copy()
            cell.set_cell(atoms.cell.array @ (np.eye(3) + strain_matrix(component, sign * strain)), scale_atoms=True)
            cells.append(cell)
    responses = _evaluate(calculator, cells)
    clamped = np.moveaxis(responses.stress[:, ::2] - responses.stress[:, 1::2], 1, -1) / (2 * strain)
    coupling = np.moveaxis(responses.forces[:, ::2] - responses.forces[:, 1::2], 1, -1) / (2 * strain)
    tensors, wells = relaxed_ions(clamped, coupling, hessian, atoms.get_volume())
    if wells.shape[-1] and wells[0, 0] < SOFTEST:
        raise ValueError(
            f"The ions are not at a minimum: a motion of theirs has the curvature {wells[0, 0]:.3g} eV/Å². Follow it "
            'first (phonons with on_imaginary="follow").'
        )
    return symmetrised(tensors, symmetry.rotations), symmetrised(clamped, symmetry.rotations)


def _evaluate(calculator, cells: list[Atoms]) -> _Responses:
    """Stress and forces of the mean, then of every member; our models take all structures together."""
    from ase_mlx.adapters.ase.calculator import Calculator

    if isinstance(calculator, Calculator):
        predictions = predict(calculator.model, cells, members=True)
        stress, forces = ([p[name] for p in predictions] for name in ("stress", "forces"))
        ensembles = [[p.members.get(name) for p in predictions] for name in ("stress", "forces")]
    else:
        stress, forces = ([property_or_none(calculator, name, cell) for cell in cells] for name in ("stress", "forces"))
        names = ("stress_members", "forces_members")
        ensembles = [[property_or_none(calculator, name, cell) for cell in cells] for name in names]
    parts = []
    with_members = all(one is not None for ensemble in ensembles for one in ensemble)
    for mean, ensemble in zip((stress, forces), ensembles, strict=True):
        rows = np.asarray(mean, dtype=float)[None]
        parts.append(np.concatenate([rows, np.stack(ensemble, axis=1)]) if with_members else rows)
    if not all(np.isfinite(part).all() for part in parts):
        raise ValueError("The calculator gave a stress or forces that are not finite numbers.")
    return _Responses(*parts)
