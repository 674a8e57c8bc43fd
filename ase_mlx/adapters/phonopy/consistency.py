"""Forces and force constants that cannot be: sums, sizes and what a harmonic crystal would answer are looked at.

Source: ours.
"""

import warnings

import numpy as np
from jaxtyping import Float
from phonopy import Phonopy
from phonopy.harmonic.force_constants import compact_fc_to_full_fc
from phonopy.structure.cells import Primitive

from ase_mlx.adapters.phonopy.physical_units import FileUnits
from ase_mlx.adapters.phonopy.symmetry import symmetric

Sets = Float[np.ndarray, "sets atoms 3"]

STIFFEST = 500.0
"""eV/Å²: the stretch of N₂ has 143, diamond 54."""

NET_WARNED, NET_REFUSED = 0.05, 0.5
"""Of the largest force: the sum over a supercell. It is zero in VASP's and some percent in codes with an egg-box."""

RESIDUAL_WARNED, RESIDUAL_REFUSED = 0.1, 0.35
"""Of a supercell's forces, what its harmonic crystal does not answer: 0.006 to 0.055 in eight sets of DFT forces, 0.13
and more where one of their numbers or lines was wrong."""

SMALL, FOREIGN = 0.1, 0.9
"""Å: displacements beyond it may leave the harmonic crystal, and so may a rough potential's: such forces are refused
from 0.9 on alone."""

LOOK, ROUGH = (
    "look at numbers, lines and order of atoms there",
    "the calculator's forces are rough on this scale, and so is all that follows from them; try another displacement=",
)
"""What to do about forces that were read, and about computed ones."""

BROKEN_WARNED, BROKEN_REFUSED = 0.02, 0.3
"""Of force constants, what sum rule and permutation symmetry take away: below 0.003 in DFT's."""


class SuspectForcesWarning(UserWarning):
    """Forces or force constants break what every crystal keeps by more than numerical noise.

    Source: ours.
    """


def check_force_sets(displacements: Sets, forces: Sets, what: str) -> None:
    """Look at the forces (eV/Å) of displaced supercells (displacements in Å): shape, size, sum, and repetition.

    Args:
        displacements: in Å, of all atoms.
        forces: in eV/Å, on all atoms.
        what: they are, for the sentence: "forces of FORCE_SETS".

    Raises:
        ValueError: forces that cannot be.

    Source: Newton's third law; ours.
    """
    if forces.shape != displacements.shape:
        raise ValueError(f"got {what} of shape {forces.shape}, expected {displacements.shape}: three for each atom")
    for name, array in (("displacements", displacements), ("forces", forces)):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            k, atom = bad[0][:2] + 1
            raise ValueError(
                f"got {what} with {len(bad)} {name} that are not finite, the first in supercell {k} on atom {atom}, "
                "expected numbers: compute that supercell again"
            )
    moved, largest = (np.linalg.norm(array, axis=2).max(axis=1) for array in (displacements, forces))
    sums = np.linalg.norm(forces.sum(axis=1), axis=1)
    for k in np.flatnonzero((moved == 0) | (largest == 0)):
        kind = "displacement" if moved[k] == 0 else "force"
        raise ValueError(f"got {what} without any {kind} in supercell {k + 1} of {len(forces)}, expected one")
    stiff = int(np.argmax(largest / moved))
    if largest[stiff] > STIFFEST * moved[stiff]:
        raise ValueError(
            f"got {what} up to {largest[stiff]:.3g} eV/Å in supercell {stiff + 1} of {len(forces)}, whose atoms "
            f"moved by {moved[stiff]:.3g} Å: {largest[stiff] / moved[stiff]:.3g} eV/Å², expected below {STIFFEST:g}; "
            "look at its numbers and units"
        )
    net = int(np.argmax(sums / largest))
    text = (
        f"{what} that sum to {sums[net]:.3g} eV/Å over supercell {net + 1} of {len(forces)}, whose largest is "
        f"{largest[net]:.3g}"
    )
    if sums[net] > NET_REFUSED * largest[net]:
        raise ValueError(f"got {text}, expected a sum of zero: a number is wrong there; compute that supercell again")
    if sums[net] > NET_WARNED * largest[net]:
        _warn(f"Got {text}; the sum should be zero.")
    _check_repetition(displacements, forces, what)


def _check_repetition(displacements: Sets, forces: Sets, what: str) -> None:
    seen: dict[bytes, int] = {}
    for k, one in enumerate(forces):
        first = seen.setdefault(one.tobytes(), k)
        if first != k and not np.allclose(displacements[first], displacements[k], atol=1e-6):
            raise ValueError(
                f"got {what} that are the same in supercells {first + 1} and {k + 1} of {len(forces)}, whose atoms "
                "moved differently, expected each its own: one was written twice"
            )


def check_residuals(
    displacements: Sets, forces: Sets, constants, primitive: Primitive, what: str, computed: bool = False
) -> None:
    """Look at the share of each supercell's forces (eV/Å) that its harmonic crystal does not answer.

    A wrong number, line or order of atoms breaks the symmetry that force constants must have, so that they cannot give
    the forces back. Displacements are in Å, compact force constants in eV/Å². Where they were `computed` here, by a
    calculator that has its atoms in order, a potential may be rough: one is warned.

    Raises:
        ValueError: forces that no crystal of this symmetry gives.

    Source: ours.
    """
    share = residuals(displacements, forces, constants, primitive)
    k = int(np.argmax(share))
    moved = np.abs(displacements[k]).max()
    warned, refused = (RESIDUAL_WARNED, RESIDUAL_REFUSED) if moved <= SMALL else (0.5, FOREIGN)
    refused, advice = (FOREIGN, ROUGH) if computed else (refused, LOOK)
    text = (
        f"{what}, of which those of supercell {k + 1} of {len(forces)} are {100 * share[k]:.0f} % other than those "
        f"of any harmonic crystal of this symmetry (atoms moved by {moved:.3g} Å)"
    )
    if share[k] > refused:
        raise ValueError(f"got {text}, expected a few percent: {LOOK}")
    if share[k] > warned:
        _warn(f"Got {text}; a few percent are usual: {advice}.")


def residuals(displacements: Sets, forces: Sets, constants, primitive: Primitive) -> Float[np.ndarray, " sets"]:
    """Share (dimensionless) of each supercell's forces (eV/Å) that force constants (eV/Å²) do not answer.

    Source: ours.
    """
    full = constants if constants.shape[0] == constants.shape[1] else compact_fc_to_full_fc(primitive, constants)
    rows = full.transpose(0, 2, 1, 3).reshape(3 * len(full), -1)
    answer = -displacements.reshape(len(displacements), -1) @ rows.T
    acting = forces.reshape(len(forces), -1)
    return np.linalg.norm(acting - answer, axis=1) / np.linalg.norm(acting, axis=1)


def check_force_constants(constants, primitive: Primitive, atoms: int, what: str) -> None:
    """Look at force constants (eV/Å²) that were read: shape, size, sum rule and permutation symmetry.

    Args:
        constants: in eV/Å², compact or full.
        primitive: phonopy's primitive cell.
        atoms: of the supercell.
        what: they are, for the sentence.

    Raises:
        ValueError: force constants that cannot be.

    Source: M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), section 23.
    """
    shapes = [(rows, atoms, 3, 3) for rows in (len(primitive), atoms)]
    if constants.shape not in shapes:
        raise ValueError(f"got {what} of shape {constants.shape}, expected {shapes[0]} or {shapes[1]}")
    check_finite(constants, what)
    largest = np.abs(constants).max()
    if not 0 < largest <= STIFFEST:
        raise ValueError(f"got {what} up to {largest:.3g} eV/Å², expected more than 0 and at most {STIFFEST:g}")
    compact = constants if len(constants) == len(primitive) else constants[primitive.p2s_map]
    broken = np.linalg.norm(compact - symmetric(compact, primitive)) / np.linalg.norm(compact)
    text = f"{what} that break sum rule and permutation symmetry by {100 * broken:.2g} % of their size"
    if broken > BROKEN_REFUSED:
        raise ValueError(f"got {text}, expected nearly none: numbers are wrong there; make them anew")
    if broken > BROKEN_WARNED:
        _warn(f"Got {text}: taken as they are.")


def check_phonopy(ph: Phonopy) -> None:
    """Refuse an object of phonopy's that has no force constants, infinite ones, or units other than eV and Å.

    Raises:
        ValueError: naming which.

    Source: ours.
    """
    if ph.force_constants is None:
        raise ValueError(
            "got a Phonopy without force constants, expected them: run phonons, or produce_force_constants"
        )
    check_finite(ph.force_constants, "force constants")
    if FileUnits.of(ph.calculator) != FileUnits():
        raise ValueError(
            f"got a Phonopy in the units of {ph.calculator}, expected eV and Å: read its file with load_phonons, which "
            "converts it"
        )


def check_finite(constants: Float[np.ndarray, "..."], what: str) -> None:
    """Refuse force constants (eV/Å², eV/Å³) that are not finite.

    Raises:
        ValueError: naming how many.

    Source: ours.
    """
    bad = int(np.count_nonzero(~np.isfinite(constants)))
    if bad:
        raise ValueError(f"got {what} of which {bad} are not finite, expected numbers: make them anew")


def _warn(text: str) -> None:
    warnings.warn(text, SuspectForcesWarning, stacklevel=4)
