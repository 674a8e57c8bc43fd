"""The gate to torch-sim: a potential as its `ModelInterface`, many structures in one call, with error bars.

    from ase_mlx.adapters.torch_sim import AseMlxModel
    state = torch_sim.integrate(list_of_atoms, AseMlxModel("sigesn"), integrator=torch_sim.nve, n_steps=100,
                                temperature=300, timestep=0.001)

Source: ours, after torch-sim's `torch_sim.models.interface`.
"""

import copy
from pathlib import Path
from typing import Any

import torch

from ase_mlx.adapters.checkpoints import load_named
from ase_mlx.graph import Graph, batch, from_atoms
from ase_mlx.models.extrapolation import warn
from ase_mlx.models.model import check_precision
from ase_mlx.models.predict import ask
from ase_mlx.structure import Structure
from ase_mlx.units import VOIGT

try:
    from torch_sim.models.interface import ModelInterface
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "ase_mlx.adapters.torch_sim needs torch-sim, which is not installed: pip install 'ase-mlx[torch-sim]'"
    ) from error


class AseMlxModel(ModelInterface):
    """Energies (eV), forces (eV/Å) and stresses (3 × 3, eV/Å³, tension positive) of a batched state of torch-sim.

    Beside torch-sim's three results it gives `energies` of the atoms, the `distance` score of each (dimensionless, 1 is
    the edge of the training data) where the model has one, and on demand `energy_std`, `forces_std` and `stress_std`.

    Source: ours.
    """

    def __init__(
        self,
        model: torch.nn.Module | str | Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
        compute_forces: bool = True,
        compute_stress: bool = True,
        compute_std: bool = False,
    ):
        """Wrap a potential.

        Args:
            model: a potential, a shipped name such as "sigesn", a trained model's folder, or an imported name.
            device: where it computes; states have to lie there.
            dtype: torch.float32 or torch.float64, of the network and the results.
            compute_forces: leave them out of the results otherwise.
            compute_stress: leave it out of the results otherwise, as molecules without a cell need it.
            compute_std: also the calibrated error bars, at two to three times the cost.

        Raises:
            ValueError: a model without energy and forces, another precision, or bars of a model that has none.
            FileNotFoundError: no shipped model and no folder of that name.
        """
        super().__init__()
        check_precision(dtype)
        with torch.inference_mode(False):
            potential = load_named(model) if isinstance(model, str | Path) else model
            names = [q.name for q in getattr(potential, "outputs", ())]
            if not {"energy", "forces"} <= set(names):
                raise ValueError(
                    f"got a {type(potential).__name__}, which gives {', '.join(names) or 'nothing'}, expected a "
                    "potential; take one that gives energy and forces, such as 'sigesn'"
                )
            self.potential = copy.deepcopy(potential).eval().to(device=device, dtype=dtype)
        self._device, self._dtype = torch.device(device), dtype
        self._compute_forces, self._compute_stress, self._compute_std = compute_forces, compute_stress, compute_std
        self._warned = False

    def forward(self, state: Any, **_: Any) -> dict[str, torch.Tensor]:
        """Compute a state of torch-sim, or the mapping of its fields: positions and cells (columns) in Å.

        Returns:
            energy (systems), eV; energies (atoms), eV; forces (atoms, 3), eV/Å; stress (systems, 3, 3), eV/Å³; distance
            (atoms), dimensionless; and error bars `NAME_std` in the same units.

        Raises:
            ValueError: an element that the model does not know, stress of cells without a volume, bars of a model that
                has none.
        """
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(self._device.type, enabled=False):
            prediction = ask(self.potential, self._graph(state), self._compute_std, False)
        if not self._warned and "distance" in prediction:
            self._warned = warn(prediction["distance"].detach().cpu().numpy(), stacklevel=3)
        quantities = ["energy", "forces"] if self._compute_forces else ["energy"]
        quantities += ["stress"] if self._compute_stress else []
        self._check(prediction, quantities)
        results = {name: prediction[name] for name in (*quantities, "energies", "distance") if name in prediction}
        results |= {f"{name}_std": prediction.std[name] for name in quantities if self._compute_std}
        return {name: self._shaped(name, value) for name, value in results.items()}

    def _graph(self, state: Any) -> Graph:
        """Build the graph of a state; systems are searched for neighbours one by one."""
        fields = state if isinstance(state, dict) else vars(state)
        positions, cells, numbers = (fields[n].detach().cpu() for n in ("positions", "cell", "atomic_numbers"))
        system = fields.get("system_idx")
        system = torch.zeros(len(numbers), dtype=torch.int64) if system is None else system.cpu()
        cells = cells.reshape(-1, 3, 3).mT.double().numpy()  # rows are lattice vectors from here on
        pbc = torch.as_tensor(fields.get("pbc", True)).cpu().expand(3).numpy()
        graphs = []
        for k, cell in enumerate(cells):
            here = system == k
            structure = Structure(numbers[here].numpy(), positions[here].double().numpy(), cell, pbc)
            graphs.append(from_atoms(structure, self.potential.cutoff))
        return batch(graphs).to(self._device)

    def _check(self, prediction: Any, quantities: list[str]) -> None:
        if "stress" in quantities and "stress" not in prediction:
            raise ValueError(
                "got cells without a volume, expected three independent vectors each for the stress, which divides by "
                "the volume; give cells, or compute_stress=False"
            )
        if self._compute_std and not set(quantities) <= set(prediction.std):
            raise ValueError(
                f"got compute_std=True for a {type(self.potential).__name__} without error bars, expected a potential "
                "trained with members; leave it out"
            )

    def _shaped(self, name: str, value: torch.Tensor) -> torch.Tensor:
        value = value.detach().to(self._dtype)
        if not name.startswith("stress"):
            return value
        full = value.new_zeros(len(value), 3, 3)
        rows, columns = VOIGT
        full[:, rows, columns] = full[:, columns, rows] = value
        return full
