"""Small random checkpoints of Nequix and what its own code says of three structures: tests/reference/data/nequix.

    python -m venv VENV
    VENV/bin/pip install jax equinox e3nn-jax jraph optax matscipy ase pyyaml tqdm h5py cloudpickle
    VENV/bin/pip install --no-deps nequix==0.4.5
    JAX_PLATFORMS=cpu VENV/bin/python scripts/nequix_checkpoints.py

`plain.nqx` is of the architecture of the published files; `species.nqx` has matrices of each element and no norm.
Run with nequix 0.4.5, jax 0.10.2, e3nn-jax 0.21.0. Weights are random numbers of their initial sizes.
"""

import json
from pathlib import Path

import jax
import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from nequix.calculator import NequixCalculator
from nequix.model import Nequix, save_model

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "reference" / "data" / "nequix"
COMMON = {
    "atomic_numbers": [1, 8, 11, 17, 29], "radial_basis_size": 8, "radial_mlp_size": 16, "radial_mlp_layers": 2,
    "radial_polynomial_p": 6.0, "mlp_init_scale": 4.0, "scale": 0.8, "shift": -1.25, "avg_n_neighbors": 31.5,
}  # fmt: skip
CONFIGS = {
    "plain": {
        "cutoff": 5.0, "hidden_irreps": "12x0e + 8x1o + 4x2e + 4x3o", "lmax": 3, "n_layers": 3, "index_weights": False,
        "layer_norm": True,
    },
    "species": {
        "cutoff": 4.5, "hidden_irreps": "8x0e + 8x1o + 4x2e", "lmax": 2, "n_layers": 2, "index_weights": True,
        "layer_norm": False,
    },
}  # fmt: skip


def structures() -> list[Atoms]:
    """A strained rattled crystal, copper with one atom in a skew cell, and water in a box with a hydrogen far away."""
    salt = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    salt.rattle(0.1, seed=1)
    salt.set_cell(salt.cell @ (np.eye(3) + [[0.03, 0.02, 0.01], [0, -0.02, 0.015], [0, 0, 0.01]]), scale_atoms=True)
    copper = bulk("Cu", a=3.6)
    copper.set_cell(copper.cell @ (np.eye(3) + [[0.02, 0.04, 0], [0, -0.03, 0.01], [0, 0, 0.02]]), scale_atoms=True)
    water = molecule("H2O", vacuum=7.0, pbc=True)
    water.append("H")
    water.positions[-1] = [0.5, 0.5, 0.5]
    return [salt, copper, water]


def main() -> None:
    """Write both checkpoints, the structures and the original code's energies, forces and stresses."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    reference = {"made_by": "scripts/nequix_checkpoints.py with nequix 0.4.5", "units": "Å, eV, eV/Å, eV/Å³ (Voigt)"}
    frames = structures()
    reference["structures"] = [
        {
            "numbers": a.numbers.tolist(),
            "positions": a.positions.tolist(),
            "cell": a.cell.tolist(),
            "pbc": a.pbc.tolist(),
        }
        for a in frames
    ]
    for name, sizes in CONFIGS.items():
        config = COMMON | sizes
        energies = -0.5 - 0.25 * np.arange(len(config["atomic_numbers"]), dtype=np.float32)
        arguments = {k: v for k, v in config.items() if k != "atomic_numbers"}
        model = Nequix(key=jax.random.key(7), n_species=len(energies), atom_energies=energies.tolist(), **arguments)
        path = FOLDER / f"{name}.nqx"
        save_model(path, model, config)
        reference[name] = []
        for atoms in frames:
            atoms.calc = NequixCalculator(model_path=path, use_kernel=False)
            values = {"energy": float(atoms.get_potential_energy()), "forces": np.asarray(atoms.get_forces()).tolist()}
            reference[name].append(values | {"stress": np.asarray(atoms.get_stress()).tolist()})
    (FOLDER / "reference.json").write_text(json.dumps(reference, indent=1) + "\n")


if __name__ == "__main__":
    main()
