"""The Debye temperature of phonons: from elastic constants, not from the slope of interpolated frequencies.

Force constants that end at the supercell's wall do not give the velocities of sound: in 10 Å the slope at Γ misses
aluminium's Debye temperature by more than half.

Source: ours.
"""

from phonopy import Phonopy

from ase_mlx.adapters.ase.elastic_constants import Elastic, elastic
from ase_mlx.adapters.phonopy.labelled import unitcell_of

WITHOUT = "No Debye temperature: "


def elastic_of(ph: Phonopy) -> tuple[Elastic | None, tuple[str, ...]]:
    """Elastic constants (GPa) of the crystal whose force constants `phonons` made, by the same calculator.

    Returns:
        The constants, or None where there is no calculator or it gives none; and what is to be said of them.

    Source: ours.
    """
    calculator = getattr(ph, "ase_calculator", None)
    if calculator is None:
        return None, (
            f"{WITHOUT}it needs elastic constants, and only force constants are known here, whose slope at Γ is that "
            "of an interpolation. Give `harmonic` the result of `elastic(atoms, calculator)`.",
        )
    atoms = unitcell_of(ph)
    atoms.set_constraint()  # force constants move all atoms, too
    try:
        constants = elastic(atoms, calculator, relax=False)
    except (ValueError, NotImplementedError) as error:
        return None, (f"{WITHOUT}{error}",)
    return constants, constants.notes
