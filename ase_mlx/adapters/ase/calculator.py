"""Any model as an ASE calculator.

Source: ours, after the rules of ASE 3.29 (`ase.outputs`, `ase.calculators.calculator`).
"""

import copy
import functools
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator as _Base
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.outputs import all_outputs

from ase_mlx.adapters.ase.extras import AGAINST_DFT, UNSAVED, bars_against_dft, depth, described, refusal, save_extras
from ase_mlx.adapters.ase.generator import Generator
from ase_mlx.adapters.ase.labels import THERMAL
from ase_mlx.adapters.ase.vibrations import Vibrations
from ase_mlx.adapters.checkpoints import load_named
from ase_mlx.adapters.choice import Choice, choose
from ase_mlx.graph import Graph, from_atoms, grid
from ase_mlx.models import Field, Prediction, Predicts
from ase_mlx.models.extrapolation import warn
from ase_mlx.models.foundation import Foundation
from ase_mlx.models.large import distances, large_density, predict_large
from ase_mlx.models.predict import ask, split
from ase_mlx.processes import expect_device
from ase_mlx.progress import LOG
from ase_mlx.structure import net_charge
from ase_mlx.threads import after_fork

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def _alone(method: Callable) -> Callable:
    """Let one thread at a time compute, also in a forked process and within somebody's `inference_mode` or autocast."""

    @functools.wraps(method)
    def locked(self, *args, **options):
        after_fork()
        if self._process != os.getpid():  # a thread of the process that was forked may hold the lock for ever
            self._process, self._lock = os.getpid(), threading.RLock()
        kind = torch.device(self.device).type
        with self._lock, torch.inference_mode(False), torch.autocast(kind, enabled=False):
            return method(self, *args, **options)

    return locked


class Calculator(_Base):
    """Any ase_mlx model in ASE's units: energy (eV), forces (eV/Å), stress (eV/Å³), and all else by `get_property`.

    `results` holds names registered in ASE only; of a model with a density also Hirshfeld `charges` (e), when they are
    asked for. `get_property` also serves what else a model gives (distance per atom, dimensionless, 1 = edge of the
    training data; features; formation_energy in eV/atom; novelty; …), error bars `NAME_std`, the members `NAME_members`
    of an ensemble, member axis first, the `reasons` of a model of anomalies, and thermal functions of potentials.

    It pickles and deep-copies. Threads that share it wait for each other; `results` then belong to whoever came last,
    what `get_property` and the methods of `Atoms` return to the structure asked for. A fork computes with one thread.

    Source: ours.
    """

    ignores_labels = True
    """Models see elements, places, cell and periodicity: moments, charges or tags need not lower symmetry."""

    def __init__(
        self,
        model: torch.nn.Module | Generator | str | Path,
        device: str = "cpu",
        dtype: str | None = None,
        skin: float = 0.0,
        also: Sequence[torch.nn.Module | str | Path] = (),
        blocks: bool = False,
        **kwargs: Any,
    ):
        """Wrap a model.

        Args:
            model: a model, a shipped name such as "sigesn", a trained model's folder, an imported name, or "auto": what
                `ase_mlx.adapters.choice.choose` finds for the first structure; `name` says which, `choice` why.
            device: "cpu" or a torch device such as "cuda".
            dtype: "float32" or "float64" (wanted for phonons and tight relaxations); None: "float32" for potentials and
                densities, "float64" for models of whole crystals.
            skin: Å added to the neighbour list, kept until an atom has moved half of it; results do not change.
            also: models whose numbers go along: asked for by name, and kept in `atoms.info` and `atoms.arrays` whenever
                a property of the structure is computed, from where trajectories and files take them.
            blocks: compute structures block by block, of any size, on the CPU; without error bars.
            **kwargs: passed to ASE's base class (directory, label, atoms).

        Raises:
            ValueError: an unknown dtype or device, a negative skin, a model that predicts nothing, two models that give
                the same, or blocks for a model that is no potential or on another device.
            FileNotFoundError: no shipped model and no folder of that name.
        """
        if dtype is not None and dtype not in DTYPES:
            raise ValueError(
                f"got dtype={dtype!r}, expected one of {', '.join(DTYPES)}: fewer digits "
                "leave none in derivatives; leave it out, or take 'float64' for phonons"
            )
        if skin < 0:
            raise ValueError(f"got skin={skin} Å, expected zero or more")
        device = str(expect_device(device))
        super().__init__(**kwargs)
        self.model, self.device, self.dtype, self.skin, self.blocks = None, device, dtype, skin, blocks
        self.implemented_properties: list[str] = []
        self._extras: dict[str, Any] = {}
        self._warned, self._depth = False, 0
        self._process, self._lock = os.getpid(), threading.RLock()
        self._listed: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Graph] | None = None
        self._vibrations: Vibrations | None = None
        self._source = str(model) if isinstance(model, str | Path) else ""
        self.choice: Choice | None = None
        if self._source != "auto":
            self._take(model)
        elif kwargs.get("atoms") is not None:
            self.choose_for(kwargs["atoms"])
        self.also = tuple(Calculator(one, device) for one in also)
        self._check_names()

    def _take(self, model: torch.nn.Module | Generator | str | Path) -> None:
        with torch.inference_mode(False):
            model = load_named(model) if isinstance(model, str | Path) else model
        model = model.model if isinstance(model, Generator) else model
        if not isinstance(model, Predicts | Field):
            raise ValueError(f"got a {type(model).__name__}, which predicts nothing; expected a model with outputs")
        if not model.elements:
            raise ValueError(f"got a {type(model).__name__}, which is not of atoms; ask it by model.at(None, points)")
        outputs = {q.name for q in model.outputs}
        if self.blocks and not (hasattr(model, "core_slope") and self.device == "cpu"):
            raise ValueError(
                f"got blocks=True for a {type(model).__name__} on {self.device}, expected a potential on the CPU; "
                "leave it out"
            )
        self._source = self._source or type(model).__name__
        self.dtype = self.dtype or ("float32" if outputs & {"energy", "density"} else "float64")
        with torch.inference_mode(False), torch.autocast("cpu", enabled=False):
            self.model = copy.deepcopy(model).eval().to(device=self.device, dtype=DTYPES[self.dtype])
        outputs |= {"free_energy"} if "energy" in outputs else set()
        outputs |= {"charges"} if "density" in outputs else set()
        self.implemented_properties = [n for n in all_outputs if n in outputs]

    def choose_for(self, atoms: Atoms | None) -> None:
        """Take the model for a structure (Å) where "auto" was asked for and none was taken yet.

        Raises:
            ValueError: no structure, or nothing knows its elements.
        """
        if self.model is None and atoms is not None:
            self.choice = choose(atoms, others=False)
            self._source = self.choice.name
            self._take(self._source)
            LOG.info(str(self.choice))
        if self.model is None:
            raise ValueError("got no structure for Calculator('auto'), expected one to choose by; give atoms=atoms")

    def _check_names(self) -> None:
        owners: dict[str, str] = {}
        for one in (self, *self.also):
            outputs = () if one.model is None else one.model.outputs
            for name in (q.name for q in outputs if q.name not in UNSAVED):
                if name in owners:
                    raise ValueError(
                        f"got {owners[name]!r} and {one.name!r}, which both give {name}, expected models with "
                        "different outputs; leave one of them out"
                    )
                owners[name] = one.name

    def _get_name(self) -> str:
        """What ASE writes into trajectories and databases."""
        return self._source

    def __repr__(self) -> str:
        """Say which model this is, what it gives and how."""
        return described(self)

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what belongs to this process."""
        return {**self.__dict__, "_lock": None, "_listed": None, "_vibrations": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up the state of another process, or of the calculator that is copied."""
        self.__dict__.update(state)
        self._process, self._lock = os.getpid(), threading.RLock()

    def reset(self) -> None:
        """Forget results and extras of the last structure."""
        super().reset()
        self._extras, self._depth = {}, 0

    @property
    def extras(self) -> tuple[str, ...]:
        """Names that `get_property` serves beside those of ASE, in the units of the model's outputs."""
        if self.model is None:
            return ()
        outputs = [q.name for q in self.model.outputs if q.per != "point"]
        ends = ("",) if isinstance(self.model, Foundation) else ("", "_std", "_members")
        names = [name + end for name in outputs for end in ends if name + end not in all_outputs]
        names += ["reasons"] if hasattr(self.model, "novelty_reasons") else []
        names += [n for name in THERMAL for n in (name, f"{name}_std")] if "forces" in outputs else []
        return (*names, *bars_against_dft(self.model), *(n for one in self.also for n in one.extras))

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
        self.choose_for(atoms)
        super().calculate(atoms, properties or ["energy"], system_changes)
        self._depth = max(map(depth, properties or ("energy",)))
        if self.blocks:
            self._fill(predict_large(self.model, self.atoms))
        elif isinstance(self.model, Predicts):
            graph = self._graph(self.atoms)
            self._fill(split(self.model, ask(self.model, graph, self._depth > 0, self._depth > 1), graph)[0])
        if properties and "charges" in properties:
            self.results["charges"] = self._charges()
        if not self._warned and "distance" in self._extras:  # once: a run of dynamics asks a thousand times
            self._warned = warn(self._extras["distance"], stacklevel=4)

    def _charges(self) -> np.ndarray:
        """Hirshfeld charges (units of e) of the last structure, from its density on a grid of 0.2 Å."""
        from ase_mlx.fields.density_charges import charges_and_dipoles  # scipy.spatial, for those who ask

        return charges_and_dipoles(self.model, self._graph(self.atoms), charge=net_charge(self.atoms))[0]

    def _fill(self, p: Prediction) -> None:
        values = {n: v if np.ndim(v) else float(v) for n, v in p.items()}
        if "energy" in values:
            values["free_energy"] = values["energy"]
        self.results = {n: v for n, v in values.items() if n in self.implemented_properties}
        self._extras = {n: v for n, v in values.items() if n not in all_outputs}
        for end, bars in (("_std", p.std), (AGAINST_DFT, p.std_dft)):
            self._extras |= {f"{n}{end}": v if np.ndim(v) else float(v) for n, v in bars.items()}
        self._extras |= {f"{n}_members": v for n, v in p.members.items()}

    @_alone
    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True, **conditions: Any
    ) -> Any:
        """Return a property or an extra for `atoms`, in the units of the class's docstring.

        Args:
            name: of a property of ASE, or one of `extras`.
            atoms: Å; the last structure where None.
            allow_calculation: otherwise None where it is not computed yet.
            **conditions: of thermal functions: `temperature` in K, and arguments of `ase_mlx.adapters.phonopy.phonons`.

        Raises:
            PropertyNotImplementedError: the model does not give it, or stress was asked without a volume.
            ValueError: a condition without meaning, or "auto" without a structure.
        """
        self.choose_for(self.atoms if atoms is None else atoms)
        for one in self.also:
            if name in one.extras:
                return one.get_property(name, self.atoms if atoms is None else atoms, allow_calculation, **conditions)
        if name in self.extras and name.removesuffix("_std") in THERMAL:
            return self._thermal(name, atoms, allow_calculation, conditions)
        if conditions:
            raise ValueError(f"got {', '.join(conditions)} for {name}, which depends on the structure alone")
        if name in self.implemented_properties:
            self._check_volume(name, atoms)
            if name == "charges" and atoms and self.atoms and net_charge(atoms) != net_charge(self.atoms):
                self.reset()  # ASE compares atoms without their info
            value = super().get_property(name, atoms, allow_calculation)
            if atoms is not None and allow_calculation:
                for one in self.also:
                    one.save_extras(atoms)
            return value
        if name not in self.extras:
            raise PropertyNotImplementedError(refusal(self, name))
        return self._extra(name, self.atoms if atoms is None else atoms, allow_calculation)

    def _extra(self, name: str, atoms: Atoms, allow_calculation: bool) -> Any:
        if self.check_state(atoms):
            self.reset()
        if name not in self._extras and (name == "reasons" or not 0 < depth(name) <= self._depth):
            if not allow_calculation:
                return None
            if name != "reasons":
                self.calculate(atoms, [name], all_changes)
            else:
                self._extras or self.calculate(atoms, None, all_changes)
                self._extras[name] = self.model.novelty_reasons(self._graph(atoms))[0]
        if name not in self._extras:
            raise PropertyNotImplementedError(
                f"got a request for {name!r}, which this model does not give for this structure; it gives "
                f"{', '.join((*self.implemented_properties, *self._extras))} (stress_std needs a volume; error bars "
                "need a model trained with members, and no blocks)"
            )
        value = self._extras[name]
        return value.copy() if isinstance(value, np.ndarray) else value

    def _thermal(self, name: str, atoms: Atoms | None, allow_calculation: bool, conditions: dict[str, Any]) -> Any:
        self._vibrations = self._vibrations or Vibrations(Calculator(self.model, self.device, "float64"))
        return self._vibrations.get(name, self.atoms if atoms is None else atoms, allow_calculation, **conditions)

    def _check_volume(self, name: str, atoms: Atoms | None) -> None:
        atoms = self.atoms if atoms is None else atoms
        if name in ("stress", "stresses") and atoms is not None and atoms.cell.volume < 1e-6:
            raise PropertyNotImplementedError(
                "got a structure without a volume (a cell vector is zero), expected a cell of three independent "
                f"vectors for {name}, which divides by the volume; set atoms.cell, or ask for energy and forces only"
            )

    def get_pseudo_density(
        self, atoms: Atoms | None = None, spacing: float = 0.2, shape: tuple[int, int, int] | None = None
    ) -> np.ndarray:
        """Return the valence density (e/Å³) on the grid of the cell, with the charge that `info["charge"]` says (e).

        Args:
            atoms: the last structure where None.
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
        prediction = self._density(atoms, spacing, shape, std=True)
        if "density" not in prediction.std:
            raise ValueError("got a model without error bars of its density; train it with validation frames")
        return prediction.std["density"].numpy()

    @_alone
    def _density(
        self, atoms: Atoms | None, spacing: float, shape: tuple[int, int, int] | None, std: bool
    ) -> Prediction:
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise ValueError("got no structure, expected one: compute its energy first, or give atoms")
        self.choose_for(atoms)
        if not (isinstance(self.model, Field) and any(q.name == "density" for q in self.model.outputs)):
            names = ", ".join(q.name for q in self.model.outputs)
            raise ValueError(f"got a request for the density from a model that gives {names} only")
        points = grid(atoms, spacing if shape is None else None, shape)
        if not self._warned:
            self._warned = warn(distances(self.model, atoms), stacklevel=4)
        charge = net_charge(atoms)
        if self.blocks:
            return large_density(self.model, atoms, points, std, charge)
        return self.model.at(self._graph(atoms), points, std, **({"charge": charge} if charge else {}))

    def save_extras(
        self, atoms: Atoms, prefix: str = "", names: Sequence[str] | None = None, **conditions: Any
    ) -> dict[str, float | str]:
        """Copy error bars, distances and scores into `atoms.info` and `atoms.arrays`: extxyz keeps both, traj info.

        Args:
            atoms: the structure; computed if it is not the last one (units: those of the model's outputs).
            prefix: put before each name.
            names: what is wanted, with its error bar; all but members, features and thermal functions where None.
            **conditions: as of `get_property`, for thermal functions.

        Returns:
            Numbers (their units) and words of the whole structure, for ASE's databases: `db.write(atoms, **saved)`.

        Raises:
            PropertyNotImplementedError: one of `names` is none that the model gives for this structure.
        """
        self.choose_for(atoms)
        return save_extras(self, atoms, prefix, names, conditions)
