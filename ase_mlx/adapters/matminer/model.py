"""What any model says of whole structures, as columns of a dataframe.

Source: ours, on matminer (L. Ward et al., Comput. Mater. Sci. 152, 60 (2018)).
"""

import copy
import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ase_mlx.adapters.matminer.one_process import Batched, ours
from ase_mlx.adapters.matminer.structures import to_atoms
from ase_mlx.graph import Graph, batch, from_atoms
from ase_mlx.learn.cards import CARD
from ase_mlx.models import Model
from ase_mlx.models.anomaly import DIGITS, AnomalyModel
from ase_mlx.models.crystal_property import CrystalProperty, check_crystals
from ase_mlx.models.extrapolation import see
from ase_mlx.models.foundation import Foundation
from ase_mlx.models.potential import Potential
from ase_mlx.models.predict import ATOMS_PER_BATCH
from ase_mlx.pretrained import find, load

WARD = """@article{ward2016,
  author = {Ward, Logan and Agrawal, Ankit and Choudhary, Alok and Wolverton, Christopher},
  title = {A General-Purpose Machine Learning Framework for Predicting Properties of Inorganic Materials},
  journal = {npj Comput. Mater.}, volume = {2}, pages = {16028}, year = {2016}, doi = {10.1038/npjcompumats.2016.28}
}"""
JAIN = """@article{jain2013,
  author = {Jain, Anubhav and Ong, Shyue Ping and Hautier, Geoffroy and Chen, Wei and Richards, William Davidson and
    Dacek, Stephen and Cholia, Shreyas and Gunter, Dan and Skinner, David and Ceder, Gerbrand and Persson, Kristin A.},
  title = {The Materials Project: A Materials Genome Approach to Accelerating Materials Innovation},
  journal = {APL Mater.}, volume = {1}, pages = {011002}, year = {2013}, doi = {10.1063/1.4812323}
}"""
SPGLIB = """@article{spglib2024,
  author = {Togo, Atsushi and Shinohara, Kohei and Tanaka, Isao},
  title = {Spglib: A Software Library for Crystal Symmetry Search},
  journal = {Sci. Technol. Adv. Mater. Methods}, volume = {4}, pages = {2384822}, year = {2024},
  doi = {10.1080/27660400.2024.2384822}
}"""
NETWORK = """@article{batzner2022,
  author = {Batzner, Simon and Musaelian, Albert and Sun, Lixin and Geiger, Mario and Mailoa, Jonathan P. and
    Kornbluth, Mordechai and Molinari, Nicola and Smidt, Tess E. and Kozinsky, Boris},
  title = {E(3)-Equivariant Graph Neural Networks for Data-Efficient and Accurate Interatomic Potentials},
  journal = {Nat. Commun.}, volume = {13}, pages = {2453}, year = {2022}, doi = {10.1038/s41467-022-29939-5}
}"""
ENSEMBLE = """@misc{kellner2024,
  author = {Kellner, Matthias and Ceriotti, Michele},
  title = {Uncertainty Quantification by Direct Propagation of Shallow Ensembles},
  year = {2024}, eprint = {2402.16621}, archiveprefix = {arXiv}
}"""

CRYSTALS = (WARD, JAIN, SPGLIB)
"""Whose descriptors, training data and symmetries the models of crystals are made of."""


class ModelFeaturizer(Batched):
    """What a model says of each structure, with error bars: energies of crystals, or potential energy and features.

    Features of a model of crystals' properties:
        formation_energy, hull_distance: eV/atom.
    Of a model of anomalies also:
        tail_margin: how far the formation energy lies below the threshold of its anion class, eV/atom.
        tail_probability: that it does, dimensionless.
        novelty, novelty_probability: mean surprise in nats a descriptor, and the share of crystals with less.
    Of a potential, also an imported one:
        energy_per_atom: potential energy by the atoms, eV/atom, on the scale of the model's own training data.
        distance_max: of the atom farthest from the training data, dimensionless, 1 is their edge; NaN where unknown.
        feature_mean_0 ..., feature_std_0 ...: with `pooled`, mean and standard deviation over the atoms of the
            network's invariant features, dimensionless.
    Of any other model its numbers per structure, in its units. Vectors and tensors, which turn with the crystal, are
    left out. Every number but a probability is followed by its standard deviation in a column `..._std`, NaN where
    unknown. Numbers are rounded to six decimals, and do not depend on which structures are evaluated together.

    Up to 256 structures are evaluated at once, in one process and double precision; a `MultipleFeaturizer` keeps that
    with `iterate_over_entries=False`, otherwise it asks for one structure at a time: the same numbers, but slower.

    Args:
        model: a shipped name, a model's folder, or a model (one in single precision is copied for every call).
        pooled: also the features of the network, for potentials.

    Source: ours; features of networks as columns after matminer's conventions.
    """

    def __init__(self, model: str | Path | Model = "formation_energy", pooled: bool = False):
        """Keep the arguments.

        Raises:
            ValueError: a model without numbers per structure, or with `pooled` one without features.
            FileNotFoundError: no such model.
        """
        self.model = model
        self.pooled = pooled
        self.check()

    def check(self) -> None:
        """Refuse a model without numbers per structure (any unit), and `pooled` for one without features.

        Raises:
            ValueError: naming it.

        Source: ours.
        """
        model = loaded(self.model)
        outputs = ", ".join(map(str, model.outputs))
        if self.pooled and not isinstance(model, Potential | Foundation):
            raise ValueError(
                f"got pooled=True for a {type(model).__name__}, which has no features of atoms to pool; expected a "
                "potential: give one, or leave out pooled"
            )
        if not _scalars(model):
            raise ValueError(
                f"got {self.model!r}, whose outputs are {outputs}; expected a model with a number per structure; for a "
                "density take DensityFeaturizer"
            )

    def feature_labels(self) -> list[str]:
        """Name the columns; the class says what they are and their units.

        Source: ours.
        """
        model = loaded(self.model)
        labels = []
        for name in _scalars(model):
            column = "energy_per_atom" if name == "energy" else name
            labels += [column, f"{column}_std"] if _has_std(name) else [column]
        if isinstance(model, Potential | Foundation):
            labels.append("distance_max")
            if self.pooled:
                count = model.config.latent if isinstance(model, Potential) else model.config.channels[0]
                labels += [f"feature_{which}_{k}" for which in ("mean", "std") for k in range(count)]
        return labels

    def citations(self) -> list[str]:
        """Cite what the model is made of, and this package, in BibTeX.

        Source: ours.
        """
        model = loaded(self.model)
        network = (NETWORK, ENSEMBLE) if isinstance(model, Potential) else ()
        network = (NETWORK,) if isinstance(model, Foundation) else network
        return [*(CRYSTALS if of_crystals(model) else network), ours()]

    @property
    def most_atoms(self) -> int:
        """Atoms that are evaluated at once: fewer for a network on the atoms.

        Source: ours.
        """
        return super().most_atoms if of_crystals(loaded(self.model)) else ATOMS_PER_BATCH

    def _prepare(self, structure: Any) -> tuple[Graph]:
        return (graph_for(loaded(self.model), structure),)

    def _evaluate(self, prepared: list[tuple[Graph]]) -> list[list]:
        model, graph = exact(loaded(self.model)), batch([item[0] for item in prepared])
        atoms = graph.n_atoms.numpy()
        prediction = model.with_std(graph if of_crystals(model) else graph.to(next(model.parameters()).device))
        unknown, columns = np.full(len(atoms), np.nan), []
        for name in _scalars(model):
            by = atoms if name == "energy" else 1
            columns.append(_array(prediction[name]) / by)
            if _has_std(name):
                columns.append(_array(prediction.std[name]) / by if name in prediction.std else unknown)
        if isinstance(model, Potential | Foundation):
            see(_array(prediction["distance"]) if "distance" in prediction else None)
            first = np.cumsum(atoms) - atoms
            columns.append(
                np.maximum.reduceat(_array(prediction["distance"]), first) if "distance" in prediction else unknown
            )
            if self.pooled:
                columns += _pooled(_array(prediction["features"]), first, atoms)
        return np.round(np.column_stack(columns), DIGITS).tolist()


def loaded(model: str | Path | Model) -> Model:
    """Give a model as it is, or load it by name or folder in double precision (units: eV, Å), once while files last.

    Raises:
        FileNotFoundError: no such model.
        ValueError: a damaged model file.

    Source: ours.
    """
    if isinstance(model, Model):
        return model
    folder = find(model)
    return _load(folder, (folder / CARD).stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _load(folder: Path, written: int) -> Model:
    return load(folder).double()


def exact(model: Model) -> Model:
    """Give a model in double precision, ready to predict (units: eV, Å); another one than that is copied, not changed.

    Source: ours.
    """
    floats = (p.dtype for p in model.parameters() if p.is_floating_point())
    if not model.training and all(dtype == torch.float64 for dtype in floats):
        return model
    return copy.deepcopy(model).double().eval()


def of_crystals(model: Model) -> bool:
    """Tell models that describe whole crystals from those that look at atoms.

    Source: ours.
    """
    return isinstance(model, (AnomalyModel, CrystalProperty))


def graph_for(model: Model, structure: Any) -> Graph:
    """Turn a pymatgen Structure or ASE Atoms into the graph (Å) that a model asks for.

    Raises:
        TypeError: neither a pymatgen Structure nor ASE Atoms.
        ValueError: partial occupancy, an unknown element, no physical structure; for models of crystals also open
            directions, or a volume that is in other units than Å³.

    Source: ours.
    """
    graph = from_atoms(to_atoms(structure), model.cutoff)
    if of_crystals(model):
        return check_crystals(graph, model.elements)
    model.check_elements(graph)
    return graph


def _scalars(model: Model) -> list[str]:
    """Names of a model's numbers per structure."""
    return [q.name for q in model.outputs if q.per == "graph" and q.shape == ()]


def _has_std(name: str) -> bool:
    """A probability has none: it says by itself how sure it is."""
    return not name.endswith("_probability")


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().double().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _pooled(
    features: Float[np.ndarray, "atoms features"], first: np.ndarray, atoms: np.ndarray
) -> list[Float[np.ndarray, "structures features"]]:
    """Mean and standard deviation over the atoms of each structure."""
    mean = np.add.reduceat(features, first) / atoms[:, None]
    square = np.add.reduceat((features - np.repeat(mean, atoms, axis=0)) ** 2, first) / atoms[:, None]
    return [mean, np.sqrt(square)]
