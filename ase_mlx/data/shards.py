"""Labelled frames that need not fit in memory: a folder of files of bounded size with an index.

`index.safetensors` holds, of every frame, its number of atoms, elements, energy, weights, part, origin and the size of
its forces: what a model's scales and a split need, without a structure being read.

Source: ours.
"""

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import safetensors.numpy
from ase import Atoms
from jaxtyping import Float, Int

from ase_mlx.data.samples import draw_parts, expect_parts, fit_references, name_of
from ase_mlx.data.shard_files import META, PARTS, WHAT, ShardFile
from ase_mlx.graph.neighbors import neighbor_pairs
from ase_mlx.keep import check_tensors, digest, pack_tensors
from ase_mlx.quantities import SYMBOLS
from ase_mlx.reading import reading
from ase_mlx.whole import write_bytes

INDEX = "index.safetensors"
FORMAT = 1
LOG = logging.getLogger(__name__)
EVERY = 5.0
"""Seconds between two lines of a long count."""
OPEN = 256
"""Files that are open at a time."""


class Shards(Sequence[Atoms]):
    """Labelled frames of a folder that `ase-mlx data` wrote: Å, eV, eV/Å, eV/Å³; `shards[k]` reads one.

    A file is compared with its checksum when a first frame is read from it.

    Attributes:
        folder: where they are.
        origins: names of the files that they come from.
        refused: name → why, of frames of those files that are not here.
        columns: arrays of the index, one entry a frame (eV, eV/Å, eV/Å³, dimensionless weights).
        digest: of all that the frames hold.

    Source: ours.
    """

    def __init__(self, folder: str | Path):
        """Open a folder.

        Raises:
            FileNotFoundError: it is none, or its writing was not finished.
            ValueError: its index is damaged.
        """
        self.folder = Path(folder)
        if not is_shards(self.folder):
            raise FileNotFoundError(
                f"got {str(folder)!r}, which has no {INDEX}, expected a folder of shards; write one with `ase-mlx data "
                "FILE -o FOLDER`, or repeat the call that was writing this one"
            )
        columns, meta = read_tensors(self.folder / INDEX)
        if meta.get("format") != FORMAT:
            raise ValueError(
                f"got {str(self.folder)!r}, shards of format {meta.get('format')!r}, expected {FORMAT}; make them anew"
            )
        self.origins: tuple[str, ...] = tuple(meta["origins"])
        self.refused: dict[str, str] = meta["refused"]
        self.call: str = meta["call"]
        self._checksums: list[str] = meta["shards"]
        self._first = columns.pop("first_frame")
        self.columns = columns
        self._first_kind = np.concatenate([[0], np.cumsum(columns["kinds"])])
        self.digest = digest(self._checksums)[:16]
        self._files: OrderedDict[int, ShardFile] = OrderedDict()
        self._compared: set[int] = set()
        self._edges: dict[float, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.columns["atoms"])

    def __getitem__(self, k: int) -> Atoms:
        if not -len(self) <= k < len(self):
            raise IndexError(f"got frame {k} of {len(self)} in {str(self.folder)!r}, expected a smaller number")
        k = int(k) % len(self)
        which = int(np.searchsorted(self._first, k, side="right")) - 1
        return self._file(which).frame(k - int(self._first[which]))

    def __iter__(self) -> Iterator[Atoms]:
        return (self[k] for k in range(len(self)))

    def _file(self, which: int) -> ShardFile:
        file = self._files.get(which)
        if file is None:
            whole = which not in self._compared
            file = ShardFile(self.folder / shard_name(which), self._checksums[which], whole)
            self._compared.add(which)
        self._files[which] = file
        self._files.move_to_end(which)
        if len(self._files) > OPEN:
            self._files.popitem(last=False)
        return file

    def name(self, k: int) -> str:
        """Name a frame as `data.samples.name_of` does.

        Source: ours.
        """
        return name_of(self[k], k)

    def places(self, part: str = "all") -> Int[np.ndarray, " places"]:
        """List the frames of a part: train, val, test or all.

        Raises:
            ValueError: no frame is of it.

        Source: ours.
        """
        parts = self.columns["part"]
        chosen = np.arange(len(self)) if part == "all" else np.flatnonzero(parts == PARTS.index(part))
        if not len(chosen):
            raise ValueError(f"got no frame of part {part!r} in {self.folder}, expected at least one; try --part all")
        return chosen

    def split(self, seed: int = 0, validation: float = 0.1) -> dict[str, Int[np.ndarray, "..."]]:
        """Sort frames into train, val and test, as `data.samples.split` does, without reading them.

        Args:
            seed: of the order in which frames are drawn where none has a part.
            validation: the fraction of them that is held out (dimensionless).

        Raises:
            ValueError: fewer than two frames are left for training, or none for validation.

        Source: ours.
        """
        parts = {part: np.flatnonzero(self.columns["part"] == PARTS.index(part)) for part in ("train", "val", "test")}
        if not self.columns["part"].any():
            parts |= draw_parts(len(self), seed, validation)
        expect_parts(parts)
        return parts

    def elements(self, places: Int[np.ndarray, " places"] | None = None) -> tuple[int, ...]:
        """List the atomic numbers that occur, ascending.

        Source: ours.
        """
        present = self.columns["elements"] if places is None else self.columns["elements"][self._kinds(places)[1]]
        return tuple(int(z) for z in np.unique(present))

    def _kinds(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and entries of the table of compositions, of some frames."""
        kinds = self.columns["kinds"][places]
        rows = np.repeat(np.arange(len(places)), kinds)
        inside = np.arange(len(rows)) - np.repeat(np.cumsum(kinds) - kinds, kinds)
        return rows, np.repeat(self._first_kind[places], kinds) + inside

    def reference_energies(
        self,
        places: Int[np.ndarray, " places"],
        elements: tuple[int, ...],
        interaction: Float[np.ndarray, " places"] | None = None,
    ) -> tuple[float, ...]:
        """Fit one energy per element (eV) as `data.samples.reference_energies` does, from the index of some frames.

        `interaction` (eV) is what a model already explains of each frame.

        Raises:
            ValueError: a frame is so far from the fit that units or pseudopotentials must be mixed.

        Source: ours.
        """
        from scipy.sparse import csr_array

        used = self.columns["energy_weight"][places] > 0
        explained = None if interaction is None else interaction[used]
        places = places[used]
        rows, entries = self._kinds(places)
        columns = np.searchsorted(elements, self.columns["elements"][entries])
        counts = self.columns["counts"][entries].astype(np.float64)
        table = csr_array((counts, (rows, columns)), shape=(len(places), len(elements)))
        return fit_references(table, self.columns["energy"][places], lambda k: self.name(int(places[k])), explained)

    def free_atoms(self, places: Int[np.ndarray, " places"]) -> dict[int, float]:
        """Read the energies (eV) of those frames that are one atom without a cell, by atomic number.

        Source: ours.
        """
        free = places[(self.columns["atoms"][places] == 1) & ~self.columns["bulk"][places]]
        numbers = self.columns["elements"][self._kinds(free)[1]]
        return {int(z): float(e) for z, e in zip(numbers, self.columns["energy"][free], strict=True)}

    def rms_force(self, places: Int[np.ndarray, " places"]) -> float:
        """Average the force components of some frames (root mean square, eV/Å), without reading them.

        Source: ours.
        """
        atoms = self.columns["atoms"][places].sum(dtype=np.int64)
        return float(np.sqrt(self.columns["force_squares"][places].sum() / (3 * atoms)))

    def edges(self, cutoff: float, progress: Callable[[int, int], None] | None = None) -> Int[np.ndarray, " frames"]:
        """Count the edges of every frame within a cutoff (Å): once for a folder, where it can be written.

        `progress` is called with the frames that are counted, and all.

        Source: ours.
        """
        if cutoff not in self._edges:
            path = self.folder / f"edges-{cutoff:g}.safetensors"
            counts = self._kept_edges(path, cutoff)
            self._edges[cutoff] = self._count_edges(path, cutoff, progress) if counts is None else counts
        return self._edges[cutoff]

    def _kept_edges(self, path: Path, cutoff: float) -> np.ndarray | None:
        try:
            tensors, meta = read_tensors(path)
        except (OSError, ValueError):
            return None
        return tensors["edges"] if meta == {"cutoff": cutoff, "digest": self.digest} else None

    def _count_edges(self, path: Path, cutoff: float, progress: Callable[[int, int], None] | None) -> np.ndarray:
        edges, logged = np.empty(len(self), dtype=np.int64), monotonic()
        for k, atoms in enumerate(self):
            edges[k] = len(neighbor_pairs(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)[0])
            if progress is not None:
                progress(k + 1, len(self))
            if monotonic() - logged > EVERY:
                logged = monotonic()
                LOG.info("neighbours within %g Å counted in %d of %d frames", cutoff, k + 1, len(self))
        with suppress(OSError):  # a folder that may not be written serves all the same
            write_tensors(path, {"edges": edges}, {"cutoff": cutoff, "digest": self.digest})
        return edges

    def summary(self) -> dict[str, Any]:
        """Say what is in the folder: frames by part and origin, energies (eV/atom), forces (eV/Å), stresses (eV/Å³).

        Source: ours.
        """
        everything, columns = np.arange(len(self)), self.columns
        parts = [np.flatnonzero(columns["part"] == k) for k in range(len(PARTS) + 1)]
        names = ("no part", *PARTS[1:], "other parts")
        return self._of(everything) | {
            "elements": [SYMBOLS[z] for z in self.elements()],
            "parts": {name: self._of(places) for name, places in zip(names, parts, strict=True) if len(places)},
            "origins": {
                f"{name} ({k})" if self.origins.count(name) > 1 else name: self._of(places)
                for k, name in enumerate(self.origins)
                if len(places := np.flatnonzero(columns["origin"] == k))
            },
            "refused": self.refused,
            "shards": len(self._checksums),
            "bytes": sum(file.stat().st_size for file in self.folder.iterdir() if file.is_file()),
            "digest": self.digest,
        }

    def _of(self, places: np.ndarray) -> dict[str, Any]:
        columns = {name: self.columns[name][places] for name in _SUMMED}
        energies = columns["energy"] / columns["atoms"]
        return {
            "frames": len(places),
            "atoms": int(columns["atoms"].sum(dtype=np.int64)),
            "lowest_energy": float(energies.min()),
            "highest_energy": float(energies.max()),
            "rms_force": self.rms_force(places),
            "largest_force": float(columns["force_largest"].max()),
            "with_stress": int((columns["stress_weight"] > 0).sum()),
            "largest_stress": float(columns["stress_largest"].max()),
            "hessian_columns": int(columns["column"].sum()),
        }


_SUMMED = ("energy", "atoms", "force_largest", "stress_weight", "stress_largest", "column")


def is_shards(path: str | Path) -> bool:
    """Tell whether a path is a whole folder of shards.

    Source: ours.
    """
    return (Path(path) / INDEX).is_file()


def shard_name(which: int) -> str:
    """Name a file of frames by its number.

    Source: ours.
    """
    return f"shard-{which:05d}.safetensors"


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a whole file with its checksum: arrays (any unit), and words about them.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.

    Source: ours.
    """
    with reading(path, WHAT, "make it anew"):
        content = path.read_bytes()
        check_tensors(content, must=True)
        size = int.from_bytes(content[:8], "little")
        words = json.loads(content[8 : 8 + size])["__metadata__"]
        return safetensors.numpy.load(content), json.loads(words[META])


def write_tensors(path: Path, tensors: dict[str, Any], meta: dict[str, Any]) -> None:
    """Write arrays (any unit) and words about them whole or not at all, with a checksum.

    Raises:
        OSError: it cannot be written.

    Source: ours.
    """
    write_bytes(path, pack_tensors(tensors, {META: json.dumps(meta, ensure_ascii=False)}))
