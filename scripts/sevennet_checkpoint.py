"""A small random checkpoint of SevenNet and what its own code says of three structures: tests/reference/data/sevennet.

    python benchmarks/peers/environments.py sevenn
    .venvs/sevenn/bin/python scripts/sevennet_checkpoint.py

Run with sevenn 0.13.0, e3nn 0.6.0. Weights are random numbers of their initial sizes. The structures are those of
`scripts/nequix_checkpoints.py`, read from its reference.
"""

import copy
import json
from pathlib import Path

import numpy as np
import sevenn
import torch
from ase import Atoms
from sevenn import _const
from sevenn.calculator import SevenNetCalculator
from sevenn.model_build import build_E3_equivariant_model

DATA = Path(__file__).resolve().parents[1] / "tests" / "reference" / "data"
SPECIES = ["Cl", "Cu", "H", "Na", "O"]
NUMBERS = [17, 29, 1, 11, 8]
SIZES = {
    "chemical_species": SPECIES, "_number_of_species": 5, "_type_map": {z: k for k, z in enumerate(NUMBERS)},
    "channel": 12, "lmax": 2, "is_parity": False, "cutoff": 4.5, "num_convolution_layer": 3,
    "irreps_manual": ["12x0e", "12x0e+6x1e+4x2e", "12x0e+6x1e+4x2e", "12x0e"],
    "radial_basis": {"radial_basis_name": "bessel", "bessel_basis_num": 6},
    "cutoff_function": {"cutoff_function_name": "XPLOR", "cutoff_on": 4.0},
    "weight_nn_hidden_neurons": [12, 12], "act_radial": "silu", "act_scalar": {"e": "silu", "o": "tanh"},
    "act_gate": {"e": "silu", "o": "tanh"}, "self_connection_type": "linear", "interaction_type": "nequip",
    "use_bias_in_linear": False, "readout_as_fcn": False, "conv_denominator": [6.0] * 3, "train_denominator": False,
    "train_shift_scale": False, "_normalize_sph": True, "shift": [-1.0, -2.0, -0.5, -1.5, -3.0],
    "scale": [1.5, 1.4, 1.3, 1.2, 1.1], "version": sevenn.__version__, "_model_type": "E3_equivariant_model",
}  # fmt: skip


def main() -> None:
    """Write the checkpoint and the original code's energies, forces and stresses."""
    torch.manual_seed(5)
    config = copy.deepcopy(_const.DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG) | SIZES
    model = build_E3_equivariant_model(config)
    folder = DATA / "sevennet"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "small.pth"
    torch.save({"model_state_dict": model.state_dict(), "config": config, "epoch": 0}, path)
    reference = {"made_by": "scripts/sevennet_checkpoint.py with sevenn 0.13.0", "units": "eV, eV/Å, eV/Å³ (Voigt)"}
    reference["small"] = []
    calculator = SevenNetCalculator(str(path), device="cpu", file_type="checkpoint")
    for one in json.loads((DATA / "nequix" / "reference.json").read_text())["structures"]:
        atoms = Atoms(**one)
        atoms.calc = calculator
        values = {"energy": float(atoms.get_potential_energy()), "forces": np.asarray(atoms.get_forces()).tolist()}
        reference["small"].append(values | {"stress": np.asarray(atoms.get_stress()).tolist()})
    (folder / "reference.json").write_text(json.dumps(reference, indent=1) + "\n")


if __name__ == "__main__":
    main()
