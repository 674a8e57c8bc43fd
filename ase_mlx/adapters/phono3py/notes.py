"""What is said of a conductivity that tensors of force constants stood in for.

Source: ours.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ase_mlx.phonons.certificate import Certificate
from ase_mlx.phonons.compression import Compression

WIDE = 7.0
"""Å: radius of a supercell's largest sphere above which a learned third order was found good to a few percent."""

SHORT = 60.0
"""Å: length of a mesh below which conductivities were seen to change by tens of percent with it."""

NOTABLE = 0.01
"""Of the conductivity: what the correction of a tensor changes is said from there on."""


def of_mesh(numbers: Sequence[int], lattice: Float[np.ndarray, "3 3"]) -> tuple[str, ...]:
    """Say that a mesh of these numbers of points, in a cell of these vectors (Å), is short; nothing where it is not.

    Source: ours; on ZnTe of phono3py's examples.
    """
    several = np.array(numbers) > 1  # of a layer there is one point across
    lengths = (np.array(numbers) / np.linalg.norm(np.linalg.inv(lattice), axis=0))[several]
    length = float(lengths.min(initial=np.inf))
    if length >= SHORT:
        return ()
    return (
        f"A mesh of {' × '.join(map(str, numbers))} points ({length:.0f} Å) may be far from enough: ZnTe has 28, 55 "
        "and 37 W/(m K) on meshes of 32, 53 and 74 Å; compare with a finer one.",
    )


def notes_of(
    compression: Compression | None,
    quartic: Compression | None,
    reach: float | None,
    certificate: Certificate | None,
    solver: str,
) -> tuple[str, ...]:
    """What a user should know of the tensors that stood for force constants.

    Args:
        compression: of the third order.
        quartic: of the fourth.
        reach: in Å, of the supercell that a third order was learned in, None if it was not.
        certificate: of the conductivity.
        solver: of the Boltzmann equation.

    Source: ours.
    """
    if certificate is not None:
        notes = _corrections(compression, certificate, solver)
    elif compression is not None and reach is None:
        notes = [
            "No third-order force constants are here, only a tensor of them: what it changes in the conductivity is "
            f"not known (it misses held-out elements by {100 * compression.held_out:.1f} %)."
        ]
    else:
        notes = [] if reach is None else _learning(compression, reach)
    if quartic is not None and not quartic.reached:
        notes.append(
            f"Held-out fourth-order forces are missed by {100 * quartic.held_out:.0f} %, more than "
            f"{100 * quartic.tolerance:g} %: four-phonon linewidths may be off by several percent."
        )
    return tuple(notes)


def _corrections(compression: Compression, certificate: Certificate, solver: str) -> list[str]:
    notes = []
    if notable(certificate):
        notes.append(f"The conductivity is not the tensor's: {certificate}.")
    if certificate.exact:
        return notes
    if solver == "iterative":
        notes.append("The iterative solution is corrected as relaxation times are, an estimate: it has no interval.")
    if not compression.reached:
        notes.append(
            f"Held-out elements are missed by {100 * compression.held_out:.1f} %, more than "
            f"{100 * compression.tolerance:g} %: the conductivity is corrected, linewidths are not; "
            "certificate.linewidth_errors says how far they may be off."
        )
    return notes


def notable(certificate: Certificate | None) -> bool:
    """Tell whether a correction changes the conductivity by more than `NOTABLE`.

    Source: ours.
    """
    return bool(np.abs(certificate.changes).max() > NOTABLE)


def _learning(compression: Compression, reach: float) -> list[str]:
    notes = []
    if reach < WIDE:
        notes.append(
            f"The third order was learned in a supercell that holds a sphere of {reach:.1f} Å alone; below {WIDE:g} Å "
            "the conductivity may be off by a tenth and more: take a supercell of 15 Å."
        )
    if not compression.reached:
        notes.append(
            f"Held-out third-order forces are missed by {100 * compression.held_out:.1f} %, more than "
            f"{100 * compression.tolerance:g} %: the conductivity may be off by more than a few percent."
        )
    return notes
