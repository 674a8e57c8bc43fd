"""Force constants of our own models without a finite step: exact Hessian-vector products, spread by phonopy's symmetry.

Source: ours.
"""

import copy

import numpy as np
from jaxtyping import Float
from phonopy import Phonopy

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy.cells import to_ase
from ase_mlx.graph import from_atoms
from ase_mlx.models.hessian import hessian_products
from ase_mlx.models.potential import Potential
from ase_mlx.progress import Steps

Constants = Float[np.ndarray, "primitive supercell 3 3"]


def hessian_force_constants(
    ph: Phonopy, calculator, members: bool = False, progress: Steps | None = None
) -> Constants | tuple[Constants, Float[np.ndarray, "members primitive supercell 3 3"]]:
    """Second derivatives of the supercell's energy, as phonopy's displacements of vanishing size would give them.

    One product for each displacement that the space group leaves; phonopy solves and distributes as it does for forces.

    Args:
        ph: its supercell in Å; nothing in it is changed, nor need it have displacements.
        calculator: ours, in float64, eV and Å.
        members: also the force constants of every member of the ensemble, none where the model has no members.
        progress: called with the products done and in all.

    Returns:
        Compact force constants in eV/Å², space group and sum rule within rounding, not yet projected; with members also
        theirs, member axis first.

    Raises:
        ValueError: a calculator that is not ours or in single precision, or an element that its model does not know.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 3, for the symmetry; the products are ours.
    """
    model = getattr(calculator, "model", None)
    if not isinstance(calculator, Calculator) or not isinstance(model, Potential):
        raise ValueError(
            f"The Hessian route differentiates one of our potentials, got {type(calculator).__name__}"
            f"{'' if model is None else f' of a {type(model).__name__}'}. Finite displacements serve every calculator."
        )
    linear = copy.copy(ph)  # cells and symmetry are never changed in place; dataset and force constants are replaced
    # Along ±d a linear response is the same but for its sign: one of the two will do.
    linear.generate_displacements(distance=1.0, is_plusminus=False)
    graph = from_atoms(to_ase(ph.supercell), model.cutoff).to(calculator.device)
    directions = np.zeros((len(linear.dataset["first_atoms"]), len(ph.supercell), 3))
    for direction, first in zip(directions, linear.dataset["first_atoms"], strict=True):
        direction[first["number"]] = first["displacement"]
    products = hessian_products(model, graph, directions, members, progress)
    if not members:
        return _distribute(linear, products)
    mean, ensemble = (_distribute(linear, products[0]), [_distribute(linear, each) for each in products[1]])
    return mean, np.array(ensemble).reshape(-1, *mean.shape)


def _distribute(linear: Phonopy, products: np.ndarray) -> np.ndarray:
    linear.forces = -products
    linear.produce_force_constants(calculate_full_force_constants=False, fc_calculator="traditional", show_drift=False)
    return linear.force_constants.copy()
