"""Potentials: labelled frames, a robust loss of energies, forces, stresses and Hessian columns, a shallow ensemble.

Source: ours.
"""

import functools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ase_mlx.data.graph_batches import GraphBatches
from ase_mlx.data.io import read_frames
from ase_mlx.data.samples import Sample, elements_of, name_of, sample, symbols
from ase_mlx.data.shards import INDEX, Shards, is_shards
from ase_mlx.models import Model
from ase_mlx.models.foundation import Foundation
from ase_mlx.models.labelled import hessian_column, moved_atoms
from ase_mlx.models.potential import Potential, PotentialConfig
from ase_mlx.models.ranges import WHOLE, expect_ranges
from ase_mlx.nn.terms import Term
from ase_mlx.reading import reading

from ..cards import read_card
from ..config import FitConfig, build
from ..files import load_model
from ..fit import Stage
from ..methods import network
from ..metrics import Residuals, errors
from ..recipe import Recipe
from ..uncertainty import set_uncertainty
from ..validation import validation_notes
from .labelled_frames import LabelledFrames, labelled_frames
from .potential_errors import QUANTITIES, collect


@dataclass(frozen=True)
class LabelledData:
    """Which labelled structures to learn from.

    `validation` is the fraction (dimensionless) held out where no frame has `info["part"]`. `energy`, `forces` and
    `stress` are the names that labels (eV, eV/Å, eV/Å³) have in the file; empty: those of ASE. `references` are the
    elements' energies: fitted to all training frames, or those of the free atoms among these.

    Source: ours.
    """

    file: str
    validation: float = 0.1
    energy: str = ""
    forces: str = ""
    stress: str = ""
    references: Literal["fitted", "free atoms"] = "fitted"
    title: str = ""
    level_of_theory: str = "not stated"
    licence: str = "not stated"
    origin: str = "not stated"

    def __post_init__(self):
        """Refuse a fraction that leaves nothing to train on."""
        expect_ranges(self, "data.", validation=(1e-6, 0.99))


@dataclass(frozen=True)
class PotentialFit(FitConfig):
    """How to fit; weights multiply errors of energy per atom, forces, stress and Hessian columns (dimensionless).

    A step has `batch_size` frames, or as many as have `batch_edges` edges together where that is given. Where
    `forces_floor` (eV/Å) is given, errors of forces count relative to the size of the force and this together.

    Source: ours.
    """

    batch_edges: int = 0
    energy_weight: float = 4.0
    forces_weight: float = 1.0
    stress_weight: float = 0.1
    hessian_weight: float = 0.0
    forces_floor: float = 0.0

    def __post_init__(self):
        """Refuse numbers that cannot train anything."""
        super().__post_init__()
        weights = [f"{name}_weight" for name in QUANTITIES]
        expect_ranges(self, "fit.", batch_edges=WHOLE, forces_floor=(0, 1e3), **dict.fromkeys(weights, (0, 1e9)))

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each quantity (dimensionless)."""
        return {name: getattr(self, f"{name}_weight") for name in QUANTITIES}


@dataclass(frozen=True)
class PotentialTraining:
    """A training: `[data]`, `[model]` (keys of `PotentialConfig`, cutoff in Å) and `[fit]` of a TOML file.

    `start` is the folder of a potential whose weights the training begins with; sizes and cutoff are then its own.

    Source: ours.
    """

    data: LabelledData
    model: dict[str, Any] = field(default_factory=dict)
    fit: PotentialFit = field(default_factory=PotentialFit)
    kind: Literal["potential"] = "potential"
    start: str = ""
    dtype: Literal["float32", "float64"] = "float32"


class PotentialRecipe(Recipe):
    """How potentials are taught.

    Source: ours.
    """

    Config = PotentialTraining
    model: Potential

    def __init__(self, config: PotentialTraining):
        """Read and check the data, and build a model whose scales (eV, eV/Å) come from the training part.

        Raises:
            FileNotFoundError: no data file.
            ValueError: frames without labels, mixed units, too few frames, wrong settings.
        """
        self.config = config
        start = _start(config)
        data = config.data
        cutoff = start.cutoff if start else float(config.model.get("cutoff", PotentialConfig.cutoff))
        names = (data.energy, data.forces, data.stress)
        self.data = labelled_frames(data.file, names, cutoff, config.fit.seed, data.validation)
        self.samples = self.data.samples
        self._check_parts()
        torch.manual_seed(config.fit.seed)
        model = _adapted(start, config, self.data) if start else _untrained(config, self.data)
        self.model = model.to(getattr(torch, config.dtype))

    def _check_parts(self) -> None:
        unseen = sorted(set(self.data.elements(*self.samples)) - set(self.data.elements("train")))
        if unseen:
            raise ValueError(
                f"got {symbols(tuple(unseen))} in validation or test but not in training frames; move some frames"
            )
        weight = self.config.fit.hessian_weight
        if weight > 0 and not self.data.columns:
            raise ValueError(
                f"got fit.hessian_weight = {weight}, but no training frame has the arrays displacement "
                "(Å) and force_change (eV/Å); expected at least one; add them, or leave the weight out"
            )

    def stages(self) -> Iterator[Stage]:
        """Fit all weights, the readout's deviations left out."""
        fit = self.config.fit
        size, edges = (0, fit.batch_edges) if fit.batch_edges else (fit.batch_size, 0)
        train = GraphBatches(self.samples["train"], size, edges, fit.seed)
        val = GraphBatches(self.samples["val"], 4 * fit.batch_size)
        loss = functools.partial(potential_loss, **fit.weights, floor=fit.forces_floor)
        yield Stage(self.model, loss, train, network(fit), val, start=str(self._origin()), settings=asdict(fit))

    def finish(self) -> dict[str, Any]:
        """Set members, error bars and distance score; give the card's lines (errors in meV/atom, meV/Å, MPa)."""
        chosen = self.data.chosen
        calibration = set_uncertainty(self.model, chosen["train"], chosen["val"], self.config.fit.seed)
        if chosen is not self.samples:  # rare pairs of elements are in frames that were not chosen
            for s in self.samples["train"]:
                self.model.distance.see(s.graph, self.model.species_index[s.graph.numbers])
        part = "test" if chosen["test"] else "val"
        return self._description() | self._origin() | {
            "calibration": calibration,
            "errors": errors(collect(self.model, chosen[part])),
            "errors_on": part,
            "epochs": self.epochs[""],
            "notes": validation_notes(chosen, self.data.frames),
        }  # fmt: skip

    def _origin(self) -> dict[str, Any]:
        if not self.config.start:
            return {}
        return {"started_from": {key: read_card(self.config.start).get(key) for key in ("title", "sha256")}}

    def _description(self) -> dict[str, Any]:
        data, names = self.config.data, {p: [n for s in ss for n in s.names] for p, ss in self.data.chosen.items()}
        return {
            "title": data.title or Path(data.file).name,
            "level_of_theory": data.level_of_theory,
            "licence": data.licence,
            "elements": list(symbols(self.model.elements)),
            "units": {"length": "Å", "energy": "eV", "forces": "eV/Å", "stress": "eV/Å³, Voigt xx yy zz yz xz xy"},
            "training_data": {
                "file": Path(data.file).name,
                "origin": data.origin,
                "frames": {p: len(each) for p, each in self.samples.items()},
                "atoms": self.data.atoms,
                "test_frames": names["test"],
                "validation_frames": names["val"],
            },
            "fit": asdict(self.config.fit),
        }

    @classmethod
    def read(cls, model: Potential | Foundation, path: Path, part: str = "all") -> list[Sample]:
        """Read labelled frames (eV, Å)."""
        stored = Shards(path) if is_shards(path) else read_frames(path)
        frames = [a for a in stored if part in ("all", str(a.info.get("part")))]
        if not frames:
            raise ValueError(f"got no frame of part {part!r} in {path}, expected at least one; try --part all")
        elements, present = symbols(model.elements), symbols(elements_of(frames))
        if foreign := [s for s in present if s not in elements]:
            raise ValueError(
                f"got {', '.join(foreign)} in {path}, but this model knows {', '.join(elements)} only; choose another "
                "model or leave these frames out"
            )
        file = path / INDEX if is_shards(path) else path
        with reading(file, "labelled frames", "mend or leave out these frames"):
            return [sample(a, model.cutoff, name_of(a, k)) for k, a in enumerate(frames)]

    @classmethod
    def residuals(cls, model: Potential | Foundation, data: list[Sample]) -> dict[str, Residuals]:
        """Compare energies per atom (eV), forces (eV/Å), stresses (eV/Å³), Hessian columns (eV/Å²)."""
        return collect(model, data)

    @classmethod
    def evaluates(cls, model: Model, path: Path) -> bool:
        """Take files of frames, for potentials."""
        return isinstance(model, Potential | Foundation) and path.suffix != ".npz"


def _start(config: PotentialTraining) -> Potential | None:
    """Load the model that a training begins with, where the settings name one."""
    if not config.start:
        return None
    start = load_model(config.start)
    if not isinstance(start, Potential):
        raise ValueError(f"got start = {config.start!r}, a {type(start).__name__}; expected a potential's folder")
    sizes = build(PotentialConfig, asdict(start.config) | config.model, "model")
    changed = [key for key in config.model if getattr(sizes, key) != getattr(start.config, key)]
    if changed:
        raise ValueError(
            f"got {', '.join(changed)} in [model], expected those of the model to start from; leave these keys out, "
            "or leave out start"
        )
    return start


def _untrained(config: PotentialTraining, data: LabelledFrames) -> Potential:
    """Build a potential with random weights and the scales of training frames (eV, eV/Å)."""
    scales = {
        "elements": data.elements("train"),
        "reference_energies": _references(config, data),
        "energy_scale": max(data.rms_force, 1e-3),
        "neighbors": max(data.neighbors(), 1.0),
    }
    return Potential(build(PotentialConfig, scales | config.model, "model"))


def _references(config: PotentialTraining, data: LabelledFrames, start: Potential | None = None) -> tuple:
    """Energies of the elements (eV): of free atoms, or fitted to what a model leaves of the frames' energies."""
    if config.data.references == "free atoms":
        return data.free_atoms()
    interaction = start and np.array([float(start(s.graph)["energy"][0]) for s in data.samples["train"]])
    return data.references(interaction)


def _adapted(start: Potential, config: PotentialTraining, data: LabelledFrames) -> Potential:
    """Give a trained potential the elements of other frames, and reference energies (eV) that fit it to theirs."""
    _references(config, data)  # refuses mixed units
    # a density reads the trunk, which changes: it has to be trained anew
    model = Potential(
        replace(start.config, elements=data.elements("train"), reference_energies=(), density=None)
    ).eval()
    model.adopt(start)
    adapted = Potential(replace(model.config, reference_energies=_references(config, data, model)))
    adapted.adopt(model)
    return adapted


def potential_loss(
    model: Potential,
    sample: Sample,
    random: torch.Generator | None = None,
    energy: float = 4.0,
    forces: float = 1.0,
    stress: float = 0.1,
    hessian: float = 0.0,
    floor: float = 0.0,
) -> dict[str, Term]:
    """Robust loss: smoothed absolute errors of energy per atom, force vectors and stress times volume per atom.

    Errors are divided by the model's energy scale (the rms force of the training data times 1 Å), so the weights are
    dimensionless; a few extreme frames weigh by their error, not its square. Columns of the Hessian, where the sample
    has some, count times 1 Å².

    Args:
        model: the potential.
        sample: targets in eV, eV/Å, eV/Å³ and dimensionless weights per structure.
        random: not used.
        energy: weight, dimensionless.
        forces: weight, dimensionless.
        stress: weight, dimensionless.
        hessian: weight, dimensionless; 0 does not look at displacements.
        floor: eV/Å; where it is not 0, errors of forces are divided by |F| + floor in place of the energy scale.

    Source: ours; the L2-norm force loss is that of Liao et al., arXiv 2306.12059, the Hessian's from arXiv 2601.07742.
    """
    graph, target, weight = sample.graph, sample.targets, sample.weight
    p, n, scale = model(graph), graph.n_atoms.to(torch.float64), model.config.energy_scale
    d_energy = (p["energy"] - target["energy"]) / n
    d_forces = torch.sqrt((p["forces"] - target["forces"]).square().sum(-1) + 1e-2**2)
    if floor > 0:
        d_forces = d_forces * (scale / (torch.linalg.vector_norm(target["forces"], dim=-1) + floor))
    terms = {
        "energy": _term(torch.sqrt(d_energy.square() + 1e-3**2), weight["energy"], energy / scale),
        "forces": _term(d_forces, weight["forces"][graph.atom_graph], forces / scale),
    }
    if "stress" in p:
        d_stress = (p["stress"] - target["stress"]) * (graph.volume / n).unsqueeze(-1)
        terms["stress"] = _term(torch.sqrt(d_stress.square().sum(-1) + 1e-2**2), weight["stress"], stress / scale)
    if hessian > 0 and sample.base is not None:
        moved = moved_atoms(sample)
        d_change = p["forces"][moved] - model(sample.base)["forces"] - target["force_change"][moved]
        norm = torch.sqrt(hessian_column(sample, d_change).square().sum(-1) + 1e-1**2)
        terms["hessian"] = _term(norm, weight["hessian"][graph.atom_graph][moved], hessian / scale)
    return terms


def _term(values: Tensor, weight: Tensor, factor: float) -> Term:
    return Term((values * weight).sum(), float(weight.sum()), factor)
