"""An ASE calculator of others in a process of its own, which is ended where one structure takes too long.

Source: ours.
"""

from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from ase_mlx.data.io import read_frames
from ase_mlx.data.label import Process, Teacher, label_one
from ase_mlx.whole import scratch_folder

NAME = "config_name"


class Watched(Calculator):
    """Energy (eV), forces (eV/Å) and stress (eV/Å³) of a teacher that may hang, crash or give NaN.

    Source: ours.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, teacher: Teacher):
        """Serve a teacher; its process is started with the first structure, and ends with this object."""
        super().__init__()
        self.implemented_properties = list(type(self).implemented_properties)
        self.teacher, self.process = teacher, Process(teacher)

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = None, system_changes: list[str] = all_changes
    ) -> None:
        """Ask the process for one structure.

        Raises:
            RuntimeError: it took too long, crashed or gave NaN; the next structure gets a new process.
        """
        super().calculate(atoms, properties or ["energy"], system_changes)
        with scratch_folder("ase-mlx-watched") as scratch:
            text, reason = label_one(self.process, scratch / "0", "0" * 20, "frame", self.atoms)
            if text is None:
                raise RuntimeError(f"the teacher {self.teacher.name}: {reason}")
            (scratch / "frame.extxyz").write_text(text, encoding="utf-8")
            self.results = dict(read_frames(scratch / "frame.extxyz")[0].calc.results)

    def close(self) -> None:
        """End the process."""
        self.process.end()

    def __deepcopy__(self, memo):
        """A calculator holds a process: a copy is itself."""
        return self
