"""What conducts: thermal conductivity and heat capacity against temperature and place, from phonons or numbers.

Source: as each function says.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ase_mlx.units import VOIGT

from .expressions import Formula, Table, Values
from .kappa_files import KappaTable


def property_of(value: Any, what: str) -> Formula | Table:
    """Take a number, a formula or a table {temperature = […], values = […], factor = …}, its factor perhaps one, too.

    Raises:
        ValueError: anything else.

    Source: ours.
    """
    if isinstance(value, dict):
        unknown = set(value) - {"temperature", "values", "factor"}
        if unknown or not {"temperature", "values"} <= set(value):
            raise ValueError(
                f"got {what} = {{{', '.join(value)}}}, expected {{temperature = […], values = […]}} and perhaps factor"
            )
        factor = value.get("factor", 1.0)
        if isinstance(factor, dict):
            factor = property_of(factor, f"the factor of {what}")
        return Table(tuple(value["temperature"]), tuple(value["values"]), factor)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"got {what} = {value!r}, expected a number, a formula, or a table against temperature")
    formula = Formula(value)
    formula.names  # noqa: B018  # refuses what is none
    return formula


@dataclass(frozen=True)
class Material:
    """A conductor: `kappa`, W/(m K), and `capacity`, J/(m³ K), each a number, a formula of T, x, y, z, or a table.

    `kappa` is one for an isotropic conductor, three for xx yy zz, or six for xx yy zz yz xz xy. The capacity is that of
    a volume, and needed where temperatures change in time.

    Source: ours.
    """

    kappa: Any
    capacity: Any = None

    def __post_init__(self):
        """Refuse what is no material.

        Raises:
            ValueError: a wrong number of components, or something that is no property.
        """
        if isinstance(self.kappa, list | tuple) and len(self.kappa) not in (3, 6):
            raise ValueError(
                f"got {len(self.kappa)} components of kappa, expected one, three (xx yy zz) or six (xx yy zz yz xz xy)"
            )
        self.components, self.volumetric  # noqa: B018

    @property
    def components(self) -> tuple[Formula | Table, ...]:
        """One, three or six components of the conductivity, W/(m K)."""
        parts = self.kappa if isinstance(self.kappa, list | tuple) else (self.kappa,)
        return tuple(property_of(part, "kappa") for part in parts)

    @property
    def volumetric(self) -> Formula | Table | None:
        """Heat capacity of a volume, J/(m³ K)."""
        return None if self.capacity is None else property_of(self.capacity, "capacity")

    @property
    def names(self) -> frozenset[str]:
        """Names that its formulas hold."""
        parts = (*self.components, *(() if self.volumetric is None else (self.volumetric,)))
        return frozenset().union(*(part.names for part in parts))

    @property
    def known(self) -> tuple[float, float]:
        """Temperatures (K) between which it is known."""
        parts = (*self.components, *(() if self.volumetric is None else (self.volumetric,)))
        tables = [part.known for part in parts if isinstance(part, Table)]
        return max((first for first, _ in tables), default=0.0), min((last for _, last in tables), default=float("inf"))

    def tensor(self, values: Values, dimensions: int) -> Tensor:
        """Evaluate the conductivity, W/(m K): (points, dimensions, dimensions)."""
        parts = [part(values) for part in self.components]
        if len(parts) == 1:
            return parts[0][..., None, None] * torch.eye(dimensions, dtype=parts[0].dtype)
        entries: list[list[Any]] = [[torch.zeros_like(parts[0])] * dimensions for _ in range(dimensions)]
        for part, (i, j) in zip(parts, zip(*VOIGT, strict=True), strict=False):
            if i < dimensions and j < dimensions:
                entries[i][j] = entries[j][i] = part
        return torch.stack([torch.stack(row, -1) for row in entries], -2)

    @classmethod
    def from_phono3py(cls, path: str | Path, volume: float | None = None, factor: str | float = 1.0) -> "Material":
        """Read conductivity and heat capacity of a file of phono3py or `ase-mlx conductivity`.

        Args:
            path: of the hdf5 file.
            volume: Å³ of the primitive cell; files that hold `kappa_unit_conversion` say it themselves.
            factor: a number or the name of an unknown (dimensionless), by which the conductivity is multiplied.

        Returns:
            Tables, W/(m K) and J/(m³ K), from the lowest temperature on at which the conductivity is positive.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not such a file, one without heat capacities, or a volume that is not positive.

        Source: phono3py's manual, hdf5_howto: `weight` of irreducible q points; heat capacities are eV/K a mode.
        """
        return cls.of(KappaTable.read(path, volume), factor)

    @classmethod
    def of(cls, table: KappaTable, factor: str | float = 1.0) -> "Material":
        """Take a conductivity in memory, as `Conductivity.table` gives it; as of `from_phono3py` (W/(m K), J/(m³ K)).

        Raises:
            ValueError: fewer than two temperatures, or a conductivity that is not along the axes.

        Source: as of `from_phono3py`.
        """
        temperature, kappa = table.temperature, table.kappa
        use = (temperature > 0) & (kappa[:, :3] > 0).all(1)
        if use.sum() < 2:
            raise ValueError(f"got {int(use.sum())} temperatures with a conductivity, expected two or more")
        capacity = table.capacity.sum((1, 2))
        t = temperature[use].tolist()
        tables = [{"temperature": t, "values": column.tolist(), "factor": factor} for column in kappa[use, :3].T]
        off = np.abs(kappa[use, 3:]).max() > 1e-3 * kappa[use, :3].max()
        same = np.allclose(kappa[use, :3], kappa[use, :1], rtol=1e-3)
        if off:
            raise ValueError(
                "got a conductivity with components yz, xz or xy, expected one along its principal axes; "
                "give the six components as numbers or formulas"
            )
        return cls(tables[0] if same else tuple(tables), {"temperature": t, "values": capacity[use].tolist()})
