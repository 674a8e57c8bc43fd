"""Labelled frames that a potential is taught on: those of a file, in memory, or those of a folder of shards.

Source: ours.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ase_mlx.data.graph_batches import ShardSamples
from ase_mlx.data.io import read_frames
from ase_mlx.data.labels import named_labels
from ase_mlx.data.samples import FREE, elements_of, energies_of_free_atoms, name_of, reference_energies, sample, split
from ase_mlx.data.shards import Shards, is_shards
from ase_mlx.reading import reading

DRAWN = 800
"""Frames of each part of shards that set error bars and are judged; a set of 100,000 needs no more."""


class ListedFrames:
    """Frames of a file (eV, Å) as samples in memory.

    Attributes:
        samples: of each part.
        chosen: of each part those that set error bars and are judged; here all.
        frames: some with `info["part"]`, where any has one.
        atoms: of each part.
        rms_force: of the force components of the training part, eV/Å.
        columns: whether a training frame is a column of the Hessian.

    Source: ours.
    """

    def __init__(self, file: str, names: Sequence[str], cutoff: float, seed: int, validation: float):
        """Read them, with edges up to `cutoff` (Å); a fraction `validation` (dimensionless) is held out."""
        self.frames = named_labels(read_frames(file), *names)
        self._parts = split(self.frames, seed, validation)
        with reading(file, "labelled frames", "mend or leave out these frames"):
            self.samples = {
                part: [sample(self.frames[k], cutoff, name_of(self.frames[k], k)) for k in places]
                for part, places in self._parts.items()
            }
        self.chosen = self.samples
        self.atoms = {part: sum(len(s.graph.numbers) for s in each) for part, each in self.samples.items()}
        forces = torch.cat([s.targets["forces"] for s in self.samples["train"]])
        self.rms_force = float(forces.square().mean().sqrt())
        self.columns = any(s.base for s in self.samples["train"])

    def _of(self, *parts: str) -> list[Any]:
        return [self.frames[k] for part in parts for k in self._parts[part]]

    def elements(self, *parts: str) -> tuple[int, ...]:
        """List the atomic numbers of some parts, ascending."""
        return elements_of(self._of(*parts))

    def references(self, interaction: Float[np.ndarray, " frames"] | None = None) -> tuple[float, ...]:
        """Fit reference energies (eV) to the training part, of which a model explains `interaction` (eV)."""
        return reference_energies(self._of("train"), self.elements("train"), interaction)

    def free_atoms(self) -> tuple[float, ...]:
        """Read reference energies (eV) off the free atoms of the training part."""
        frames = self._of("train")
        energy = lambda a: float(a.calc.results.get("free_energy", a.calc.results.get("energy")))  # noqa: E731
        free = {int(a.numbers[0]): energy(a) for a in frames if len(a) == 1 and abs(a.cell.volume) < FREE}
        return energies_of_free_atoms(free, self.elements("train"))

    def neighbors(self) -> float:
        """Count the neighbours of an atom within the cutoff, on average (dimensionless)."""
        return sum(len(s.graph.center) for s in self.samples["train"]) / self.atoms["train"]


class StoredFrames:
    """Frames of shards (eV, Å), read when they are asked for; attributes as of `ListedFrames`.

    Source: ours.
    """

    def __init__(self, shards: Shards, cutoff: float, seed: int, validation: float):
        """Sort them into parts, with edges up to `cutoff` (Å); a fraction `validation` (dimensionless) is held out."""
        self.shards, self.cutoff = shards, cutoff
        self._parts = shards.split(seed, validation)
        self.samples = {part: ShardSamples(shards, places, cutoff) for part, places in self._parts.items()}
        random = np.random.default_rng(seed)
        self.chosen = {
            part: [each[int(k)] for k in np.sort(random.permutation(len(each))[:DRAWN])]
            for part, each in self.samples.items()
        }
        self.frames = [shards[int(np.argmax(shards.columns["part"]))]]
        self.atoms = {part: int(shards.columns["atoms"][k].sum(dtype=np.int64)) for part, k in self._parts.items()}
        self.rms_force = shards.rms_force(self._parts["train"])
        self.columns = bool(shards.columns["column"][self._parts["train"]].any())

    def elements(self, *parts: str) -> tuple[int, ...]:
        """List the atomic numbers of some parts, ascending."""
        return self.shards.elements(np.concatenate([self._parts[part] for part in parts]))

    def references(self, interaction: Float[np.ndarray, " frames"] | None = None) -> tuple[float, ...]:
        """Fit reference energies (eV) to the training part, of which a model explains `interaction` (eV)."""
        return self.shards.reference_energies(self._parts["train"], self.elements("train"), interaction)

    def free_atoms(self) -> tuple[float, ...]:
        """Read reference energies (eV) off the free atoms of the training part."""
        return energies_of_free_atoms(self.shards.free_atoms(self._parts["train"]), self.elements("train"))

    def neighbors(self) -> float:
        """Count the neighbours of an atom within the cutoff, on average (dimensionless)."""
        return float(self.shards.edges(self.cutoff)[self._parts["train"]].sum() / self.atoms["train"])


LabelledFrames = ListedFrames | StoredFrames


def labelled_frames(file: str, names: Sequence[str], cutoff: float, seed: int, validation: float) -> LabelledFrames:
    """Read the frames of a file, or open a folder of shards (eV, Å).

    Args:
        file: either.
        names: of energy, forces and stress in a file.
        cutoff: of the edges, Å.
        seed: of the split where no frame has a part, and of the frames that are chosen.
        validation: fraction that is held out then (dimensionless).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: frames without labels, too few frames, or names of labels with shards, which have theirs.

    Source: ours.
    """
    if not is_shards(file):
        return ListedFrames(file, names, cutoff, seed, validation)
    if any(names):
        raise ValueError(
            f"got energy, forces or stress = {[name for name in names if name]} with the shards {file!r}, whose labels "
            "have their names already; leave these keys out"
        )
    return StoredFrames(Shards(file), cutoff, seed, validation)
