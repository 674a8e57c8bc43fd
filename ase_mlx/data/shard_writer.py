"""Structure files, ASE databases and labelled output into shards: frame by frame, so memory stays flat.

A call that was stopped goes on from its last whole shard when it is repeated.

Source: ours.
"""

import errno
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
from ase import Atoms

from ase_mlx.data.io import each_frame
from ase_mlx.data.labels import named_labels
from ase_mlx.data.samples import name_of
from ase_mlx.data.shard_files import Record, ShardFile, pack, record
from ase_mlx.data.shards import FORMAT, INDEX, Shards, is_shards, shard_name, write_tensors
from ase_mlx.keep import digest
from ase_mlx.whole import check_folder, sole, write_bytes

SHARD = 2**24
"""Bytes of a file of frames, or one frame's: few enough to be compared with a checksum in a moment."""

HOPELESS = 100
"""Frames that are refused before a first one is good: then their labels have other names."""

GROWN = (
    ". Where the files only grew, write the new frames alone into another folder; a call on both folders, "
    "`ase-mlx data FOLDER NEW -o ALL`, joins them"
)


class ShardWriter:
    """Writes labelled frames (Å, eV, eV/Å, eV/Å³) into a folder of shards; a context that nobody else can enter.

    Args:
        folder: made if missing; what another call wrote there is refused.
        origins: names of the files that the frames come from.
        call: all that decides which frames are written; a repeated call goes on where it was stopped.

    Attributes:
        done: whether an earlier call finished the folder.
        at: number of the origin, and of the frame in it, to go on from.
        refused: name → why, of frames that are left out.
        frames: how many were written.

    Source: ours.
    """

    def __init__(self, folder: str | Path, origins: Sequence[str], call: str):
        self.folder, self.origins, self.call = Path(folder), tuple(origins), call
        self.done, self.at = False, (0, 0)
        self.refused: dict[str, str] = {}
        self.frames = 0
        self._refused: dict[str, str] = {}  # since the last file
        self._checksums: list[str] = []
        self._records: list[Record] = []
        self._size = 0
        self._stack = ExitStack()

    def __enter__(self) -> "ShardWriter":
        check_folder(self.folder, SHARD)
        with ExitStack() as stack:
            stack.enter_context(sole(self.folder))
            self._take_up()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        with suppress(OSError):
            self.folder.rmdir()  # where nothing was written
        self._stack.close()

    def _take_up(self) -> None:
        """Find what an earlier call of the same kind has finished."""
        if is_shards(self.folder):
            if Shards(self.folder).call != self.call:
                raise self._foreign("holds the shards of another call", GROWN)
            self.done = True
            return
        whole = sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("."))
        if whole != [shard_name(k) for k in range(len(whole))]:
            raise self._foreign("holds files that were not written here")
        for name in whole:
            file = ShardFile(self.folder / name)
            if file.meta["call"] != self.call:
                raise self._foreign("holds the beginning of another call", GROWN)
            self._checksums.append(file.checksum)
            self.at = tuple(file.meta["at"])
            self.refused |= file.meta["refused"]
            self.frames += len(file.whole("energy"))

    def _foreign(self, what: str, more: str = "") -> FileExistsError:
        return FileExistsError(
            errno.EEXIST,
            f"got the folder {str(self.folder)!r}, which {what}, expected a new one or one that the same call began: "
            f"name another one, or remove it yourself{more}",
        )

    def add(self, frame: Record, at: tuple[int, int]) -> None:
        """Add a labelled frame, from the origin and the place in it that `at` names.

        Raises:
            OSError: the disk is full; what was there stays.

        Source: ours.
        """
        self._records.append(frame)
        self._size += frame.size
        self.frames += 1
        self.at = (at[0], at[1] + 1)
        if self._size >= SHARD:
            self._flush()

    def refuse(self, name: str, reason: str, at: tuple[int, int]) -> None:
        """Note that a frame is left out, and why.

        Raises:
            ValueError: none was good yet, and this is not the first.

        Source: ours.
        """
        key = f"{name}, again at {at[1]}" if name in self.refused else name
        self.refused[key] = self._refused[key] = reason
        self.at = (at[0], at[1] + 1)
        if not self.frames and len(self.refused) >= HOPELESS:
            self._expect_frames()

    def _expect_frames(self) -> None:
        if not self.frames:
            first = next(iter(self.refused.values()), "it holds no frame")
            raise ValueError(f"got no frame with labels from {', '.join(self.origins)}, expected at least one: {first}")

    def _flush(self) -> None:
        if self._records:
            meta = {"call": self.call, "at": self.at, "refused": self._refused}
            path = self.folder / shard_name(len(self._checksums))
            write_bytes(path, pack(self._records, meta))
            self._checksums.append(ShardFile(path).checksum)
            self._records, self._size, self._refused = [], 0, {}

    def finish(self) -> None:
        """Write the index: from now on the folder is whole.

        Raises:
            ValueError: no frame was added.
            OSError: the disk is full; a repeated call goes on.

        Source: ours.
        """
        if self.done:
            return
        self._expect_frames()
        self._flush()
        paths = [self.folder / shard_name(k) for k in range(len(self._checksums))]
        rows = [ShardFile(*each).row_columns() for each in zip(paths, self._checksums, strict=True)]
        columns = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        columns["first_frame"] = np.cumsum([0, *(len(row["atoms"]) for row in rows[:-1])], dtype=np.int64)
        meta = {"format": FORMAT, "call": self.call, "origins": self.origins, "refused": self.refused}
        write_tensors(self.folder / INDEX, columns, meta | {"shards": self._checksums})


def write_shards(
    files: Sequence[str | Path],
    folder: str | Path,
    energy: str = "",
    forces: str = "",
    stress: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Shards:
    """Write the labelled frames of structure files, ASE databases and other shards into a folder of shards.

    Labels are those of `data.labels`, under the names that are given (eV, eV/Å, eV/Å³). Frames without them are left
    out and named in `refused`. The same call goes on after a kill.

    Args:
        files: in any format of ASE, packed or not; output of `ase-mlx label` or its journal; folders of shards.
        folder: to write into.
        energy: name of the energy in the files; empty: ASE's.
        forces: name of the forces.
        stress: name of the stress.
        progress: called with the numbers of frames that were written and refused.

    Raises:
        FileNotFoundError: there is no such file.
        FileExistsError: the folder holds something else.
        ValueError: a file cannot be read, or no frame has labels.
        OSError: the disk is full; a repeated call goes on.

    Source: ours.
    """
    paths = [_labelled(Path(file)) for file in files]
    names = (energy, forces, stress)
    call = digest(FORMAT, [(path.name, _content(path)) for path in paths], names)
    with ShardWriter(folder, [path.name for path in paths], call) as writer:
        for origin, path in enumerate(paths):
            if not writer.done and origin >= writer.at[0]:
                start = writer.at[1] if origin == writer.at[0] else 0
                _convert(writer, path, origin, start, names, progress)
        writer.finish()
    return Shards(folder)


def _convert(writer: ShardWriter, path: Path, origin: int, start: int, names: Sequence[str], progress) -> None:
    for place, atoms in enumerate(_frames(path, start), start):
        name = f"{name_of(atoms, place)} of {path.name}"
        try:
            frame = record(_named(atoms, place, names), name, origin)
        except ValueError as error:
            writer.refuse(name, str(error), (origin, place))
        else:
            writer.add(frame, (origin, place))
        if progress is not None:
            progress(writer.frames, len(writer.refused))


def _named(atoms: Atoms, place: int, names: Sequence[str]) -> Atoms:
    """The frame with its labels under ASE's names alone."""
    (taken,) = named_labels([atoms], *names, first=place)
    for name in filter(None, names):
        taken.info.pop(name, None)
        taken.arrays.pop(name, None)
    return taken


def _labelled(path: Path) -> Path:
    """Where a journal of labels is named, the frames beside it."""
    return path.with_name(path.name.removesuffix(".journal.jsonl"))


def _content(path: Path) -> str:
    if is_shards(path):
        return Shards(path).digest
    if path.is_dir() or not path.exists():
        return next(each_frame(path), "")  # says what is wrong
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _frames(path: Path, start: int) -> Iterator[Atoms]:
    if is_shards(path):
        shards = Shards(path)
        return (shards[k] for k in range(start, len(shards)))
    return each_frame(path, start)
