"""Any model as an ASE calculator.

Source: ours, after the rules of ASE 3.29 (`ase.outputs`, `ase.calculators.calculator`).
"""

import copy
import difflib
import functools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator as _Base
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.outputs import all_outputs

from ase_mlx.graph import Graph, from_atoms, grid
from ase_mlx.learn.files import load_model
from ase_mlx.models import Model, Prediction
from ase_mlx.models.extrapolation import warn
from ase_mlx.models.large import distances
from ase_mlx.pretrained import find
from ase_mlx.quantities import SYMBOLS
from ase_mlx.threads import after_fork

EXTRAS = ("energy_std", "forces_std", "stress_std", "distance", "features")
MEMBERS = ("energy_members", "forces_members", "stress_members")
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def _alone(method: Callable) -> Callable:
    """Let one thread at a time compute, also in a forked process and within somebody's `torch.inference_mode`."""

    @functools.wraps(method)
    def locked(self, *args, **options):
        after_fork()
        if self._process != os.getpid():  # a thread of the process that was forked may hold the lock for ever
            self._process, self._lock = os.getpid(), threading.RLock()
        with self._lock, torch.inference_mode(False):
            return method(self, *args, **options)

    return locked


class Calculator(_Base):
    """Energy, forces, stress of any ase_mlx model in ASE's units (eV, Å); error bars through `get_property`.

    `results` holds names registered in ASE only; of a model with a density also Hirshfeld `charges` (e), when they are
    asked for. `get_property` also serves energy_std (eV), forces_std (eV/Å),
    stress_std (eV/Å³), distance (per atom, dimensionless, 1 = edge of the training data), features, and the ensemble
    members energy_members, forces_members and stress_members, member axis first.

    It pickles and deep-copies. Threads that share it wait for each other; `results` then belong to whoever came last,
    what `get_property` and the methods of `Atoms` return to the structure asked for. A fork computes with one thread.

    Source: ours.
    """

    ignores_labels = True
    """Models see elements, places, cell and periodicity: moments, charges or tags need not lower symmetry."""

    def __init__(
        self, model: Model | str | Path, device: str = "cpu", dtype: str = "float32", skin: float = 0.0, **kwargs: Any
    ):
        """Wrap a model.

        Args:
            model: a model, a shipped name such as "sigesn", or a trained model's folder.
            device: "cpu" or a torch device such as "cuda".
            dtype: "float32" or "float64" (wanted for phonons and tight relaxations).
            skin: Å added to the neighbour list, kept until an atom has moved half of it; results do not change.
            **kwargs: passed to ASE's base class (directory, label, atoms).

        Raises:
            ValueError: an unknown dtype, a negative skin, or a model that gives neither energies nor a density.
            FileNotFoundError: no shipped model and no folder of that name.
        """
        if dtype not in DTYPES:
            raise ValueError(f"got dtype={dtype!r}, expected one of {', '.join(DTYPES)}")
        if skin < 0:
            raise ValueError(f"got skin={skin} Å, expected zero or more")
        super().__init__(**kwargs)
        self._source = type(model).__name__ if isinstance(model, Model) else str(model)
        with torch.inference_mode(False):
            model = model if isinstance(model, Model) else load_model(find(model))
        names = {q.name for q in model.outputs}
        if not names & {"energy", "density"}:
            raise ValueError(
                f"got a {type(model).__name__}, which gives {', '.join(q.name for q in model.outputs)}, expected a "
                "potential or a density; ask am.predict, a featurizer or `ase-mlx screen` for properties of crystals"
            )
        with torch.inference_mode(False):
            self.model = copy.deepcopy(model).eval().to(device=device, dtype=DTYPES[dtype])
        self.device, self.dtype, self.skin = device, dtype, skin
        names |= {"free_energy"} if "energy" in names else set()
        names |= {"charges"} if "density" in names else set()
        self.implemented_properties = [n for n in all_outputs if n in names]
        self._extras: dict[str, np.ndarray] = {}
        self._warned = False
        self._process, self._lock = os.getpid(), threading.RLock()
        self._listed: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Graph] | None = None

    def __repr__(self) -> str:
        """Say which model this is, what it gives and how."""
        elements = " ".join(SYMBOLS[z] for z in self.model.elements[:12])
        more = f" and {len(self.model.elements) - 12} more" if len(self.model.elements) > 12 else ""
        outputs = ", ".join(q.name for q in self.model.outputs)
        skin = f", skin={self.skin:g} Å" if self.skin else ""
        return f"Calculator({self._source}: {outputs} of {elements}{more}; {self.dtype} on {self.device}{skin})"

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what belongs to this process."""
        return {**self.__dict__, "_lock": None, "_listed": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up the state of another process, or of the calculator that is copied."""
        self.__dict__.update(state)
        self._process, self._lock = os.getpid(), threading.RLock()

    def reset(self) -> None:
        """Forget results and extras of the last structure."""
        super().reset()
        self._extras = {}

    def _graph(self, atoms: Atoms) -> Graph:
        """Build the graph, or move the atoms of the last one while no atom has moved half the skin."""
        if self.skin == 0:
            return from_atoms(atoms, self.model.cutoff).to(self.device)
        cell, positions = np.array(atoms.cell), atoms.positions
        if self._listed is not None:
            numbers, old_cell, pbc, old, graph = self._listed
            if (
                np.array_equal(numbers, atoms.numbers)
                and np.array_equal(old_cell, cell)
                and np.array_equal(pbc, atoms.pbc)
                and np.square(positions - old).sum(1).max() < (0.5 * self.skin) ** 2
            ):  # fmt: skip
                moved = torch.as_tensor(positions, dtype=torch.float64, device=self.device)
                return graph.at(moved).within(self.model.cutoff)
        graph = from_atoms(atoms, self.model.cutoff + self.skin).to(self.device)
        self._listed = (atoms.numbers.copy(), cell, atoms.pbc.copy(), positions.copy(), graph)
        return graph.within(self.model.cutoff)

    @_alone
    def calculate(
        self, atoms: Atoms | None = None, properties: list[str] | None = None, system_changes: list[str] = all_changes
    ) -> None:
        """Fill `results` (eV, eV/Å, eV/Å³) for a structure; called by ASE.

        Raises:
            ValueError: a structure without physical meaning, or an element that the model does not know.
        """
        super().calculate(atoms, properties or ["energy"], system_changes)
        if properties and any(n.endswith(("_std", "_members")) for n in properties):
            self._fill(self.model.with_std(self._graph(self.atoms)))
        else:
            self._fill(self.model(self._graph(self.atoms)))
        if properties and "charges" in properties:
            self.results["charges"] = self._charges()
        if not self._warned and "distance" in self._extras:  # once: a run of dynamics asks a thousand times
            self._warned = warn(self._extras["distance"], stacklevel=4)

    def _charges(self) -> np.ndarray:
        """Hirshfeld charges (units of e) of the last structure, from its density on a grid of 0.2 Å."""
        from ase_mlx.fields.density_charges import charges_and_dipoles  # scipy.spatial, for those who ask

        return charges_and_dipoles(self.model, self._graph(self.atoms))[0]

    def _fill(self, p: Prediction) -> None:
        whole = {"energy", "stress"}
        values = {n: v.detach().cpu().numpy() for n, v in p.items()}
        values = {n: v[0] if n in whole else v for n, v in values.items()}
        if "energy" in values:
            values["energy"] = values["free_energy"] = float(values["energy"])
        self.results = {n: v for n, v in values.items() if n in self.implemented_properties}
        extras = {n: v for n, v in values.items() if n not in all_outputs}
        for n, v in p.std.items():
            extras[f"{n}_std"] = v.cpu().numpy()[0] if n in whole else v.cpu().numpy()
        for n, v in p.members.items():
            extras[f"{n}_members"] = v.cpu().numpy()[:, 0] if n in whole else v.cpu().numpy()
        if "energy_std" in extras:
            extras["energy_std"] = float(extras["energy_std"])
        self._extras = extras

    @_alone
    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """Return a property (eV, eV/Å, eV/Å³) or an extra of the class's docstring for `atoms`.

        Raises:
            PropertyNotImplementedError: the model does not give it, or stress was asked without a volume.
        """
        if name not in EXTRAS + MEMBERS:
            if name in ("stress", "stresses") and self._without_volume(atoms):
                raise PropertyNotImplementedError(
                    "got a structure without a volume (a cell vector is zero), expected a cell of three independent "
                    f"vectors for {name}, which divides by the volume; set atoms.cell, or ask for energy and forces "
                    "only"
                )
            self._check_name(name)
            return super().get_property(name, atoms, allow_calculation)
        atoms = self.atoms if atoms is None else atoms
        if self.check_state(atoms):
            self.reset()
        if name not in self._extras:
            if not allow_calculation:
                return None
            self.calculate(atoms, [name], all_changes)
        if name not in self._extras:
            raise PropertyNotImplementedError(
                f"got a request for {name!r}, which this model does not give for this structure; it gives "
                f"{', '.join((*self.implemented_properties, *self._extras))} (stress_std needs a volume; error bars "
                "need a model trained with members)"
            )
        value = self._extras[name]
        return value.copy() if isinstance(value, np.ndarray) else value

    def _check_name(self, name: str) -> None:
        """Suggest the nearest name where one is not known at all."""
        names = (*self.implemented_properties, *EXTRAS, *MEMBERS)
        if name in names or name in all_outputs:
            return
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise PropertyNotImplementedError(f"got a request for {name!r}, expected one of {', '.join(names)}{hint}")

    def get_pseudo_density(
        self, atoms: Atoms | None = None, spacing: float = 0.2, shape: tuple[int, int, int] | None = None
    ) -> np.ndarray:
        """Return the valence density (e/Å³) on the grid of the cell, of the last structure or of `atoms`.

        Args:
            atoms: the structure; the last one where None.
            spacing: largest distance of neighbouring points, Å.
            shape: numbers of points, in place of `spacing`.

        Raises:
            ValueError: a model without a density, a cell without volume, an unknown element.
        """
        return self._density(atoms, spacing, shape, std=False)["density"].numpy()

    def get_density_std(
        self, atoms: Atoms | None = None, spacing: float = 0.2, shape: tuple[int, int, int] | None = None
    ) -> np.ndarray:
        """Return the calibrated standard deviation of `get_pseudo_density` on the same grid (e/Å³).

        Raises:
            ValueError: a model without a density, or without error bars of it.
        """
        found = self._density(atoms, spacing, shape, std=True)
        if "density" not in found.std:
            raise ValueError("got a model without error bars of its density; train it with validation frames")
        return found.std["density"].numpy()

    @_alone
    def _density(
        self, atoms: Atoms | None, spacing: float, shape: tuple[int, int, int] | None, std: bool
    ) -> Prediction:
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise ValueError("got no structure, expected one: compute its energy first, or give atoms")
        if not hasattr(self.model, "density_at"):
            names = ", ".join(q.name for q in self.model.outputs)
            raise ValueError(f"got a request for the density from a model that gives {names} only")
        points = grid(atoms, spacing if shape is None else None, shape)
        if not self._warned:
            self._warned = warn(distances(self.model, atoms), stacklevel=4)
        return self.model.density_at(self._graph(atoms), points, std)

    def _without_volume(self, atoms: Atoms | None) -> bool:
        atoms = self.atoms if atoms is None else atoms
        return atoms is not None and bool(atoms.cell.volume < 1e-6)

    def save_extras(self, atoms: Atoms, prefix: str = "") -> None:
        """Copy error bars and the distance score into `atoms.info` and `atoms.arrays`: extxyz keeps both, traj info.

        Args:
            atoms: the structure; computed if it is not the last one (units: eV, eV/Å, eV/Å³, dimensionless).
            prefix: put before each name.
        """
        for name in ("energy_std", "forces_std", "stress_std", "distance"):
            try:
                value = self.get_property(name, atoms)
            except PropertyNotImplementedError:
                continue
            if name in ("forces_std", "distance"):
                atoms.set_array(prefix + name, value)
            else:
                atoms.info[prefix + name] = value
