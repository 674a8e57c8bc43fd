"""Which phonons carry the heat: groups of modes of similar mean free paths.

In a body as thin as mean free paths, what counts of a mode is its heat capacity, its speed and its mean free path Λ.
Modes of similar Λ are taken together so that the sums of C, C v and C v Λ / 3, the conductivity, are those of all.

Source: A. J. Minnich, Phys. Rev. Lett. 109, 205901 (2012), for the spectrum by mean free path; the groups are ours.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from .kappa_files import KappaTable

TAIL = 2e-3
"""Share of the conductivity (dimensionless) on either side that goes into the first and the last group whole."""
OFF = 0.01
"""By which the modes' conductivity may differ from the file's, relative."""


@dataclass(frozen=True)
class Spectrum:
    """Groups of modes: `capacity` in J/(m³ K), `speed` in m/s, `mean_free_path` in m, each (groups,).

    Source: as of the module.
    """

    capacity: Float[np.ndarray, " groups"]
    speed: Float[np.ndarray, " groups"]
    mean_free_path: Float[np.ndarray, " groups"]

    def __post_init__(self):
        """Refuse what carries no heat.

        Raises:
            ValueError: lengths that differ, or numbers that are not positive.
        """
        parts = [np.asarray(getattr(self, name), dtype=np.float64) for name in self.__dataclass_fields__]
        if len({part.shape for part in parts}) != 1 or parts[0].ndim != 1 or not len(parts[0]):
            raise ValueError(
                f"got capacity, speed and mean_free_path of shapes {', '.join(str(p.shape) for p in parts)}, expected "
                "one number of each a group"
            )
        if not all((np.isfinite(part) & (part > 0)).all() for part in parts):
            raise ValueError("got groups with a capacity, speed or mean free path that is not positive, expected > 0")
        for name, part in zip(self.__dataclass_fields__, parts, strict=True):
            object.__setattr__(self, name, part)

    @property
    def flow(self) -> Float[np.ndarray, " groups"]:
        """Heat capacity times speed, W/(m² K)."""
        return self.capacity * self.speed

    @property
    def conductivity(self) -> float:
        """Of the bulk, W/(m K)."""
        return float((self.flow * self.mean_free_path).sum() / 3)

    def suppressed(self, thickness: float) -> float:
        """Estimate the share of the conductivity that a film of some thickness (m) keeps, each group by itself.

        Source: the interpolation 1/(1 + 4 Kn/3), G. Chen, Nanoscale Energy Transport and Conversion (2005), ch. 7.
        """
        kept = 1 / (1 + 4 / 3 * self.mean_free_path / thickness)
        return float((self.flow * self.mean_free_path * kept).sum() / (self.flow * self.mean_free_path).sum())

    @classmethod
    def gray(cls, conductivity: float, mean_free_path: float, speed: float) -> "Spectrum":
        """One group: conductivity in W/(m K), mean free path in m, speed in m/s.

        Source: the kinetic formula κ = C v Λ / 3.
        """
        return cls(
            np.array([3 * conductivity / (speed * mean_free_path)]), np.array([speed]), np.array([mean_free_path])
        )

    @classmethod
    def from_phono3py(
        cls, path: str | Path, temperature: float = 300.0, groups: int = 30, volume: float | None = None
    ) -> "Spectrum":
        """Group the modes of a file of phono3py or `ase-mlx conductivity`; directions are averaged.

        Args:
            path: of the hdf5 file.
            temperature: K, one of the file's.
            groups: at most; those without modes are left out.
            volume: Å³ of the primitive cell, where the file does not say it.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not such a file, one without modes, another temperature, or modes that do not add up to the
                file's conductivity.

        Source: as of the module.
        """
        return cls.of(KappaTable.read(path, volume), temperature, groups)

    @classmethod
    def of(cls, table: KappaTable, temperature: float = 300.0, groups: int = 30) -> "Spectrum":
        """Take a conductivity in memory, as `Conductivity.table` gives it, at a temperature (K), as `from_phono3py`.

        Raises:
            ValueError: as of `from_phono3py`.

        Source: as of the module.
        """
        if table.speed is None or table.lifetime is None:
            raise ValueError("got a file without group_velocity or gamma, expected the modes of phono3py --br")
        at = np.flatnonzero(np.isclose(table.temperature, temperature, atol=1e-6))
        if not len(at):
            raise ValueError(f"got {temperature:g} K, expected one of the table: {table.temperature.tolist()} K")
        capacity, lengths = table.capacity[at[0]].ravel(), (table.speed * table.lifetime[at[0]]).ravel()
        spectrum = _grouped(capacity, table.speed.ravel(), lengths, groups)
        mean = float(table.kappa[at[0], :3].mean())
        if not abs(spectrum.conductivity - mean) < OFF * mean:
            raise ValueError(
                f"got modes of {spectrum.conductivity:.4g} W/(m K), where kappa is {mean:.4g} at "
                f"{temperature:g} K; expected the relaxation times that kappa was made of"
            )
        return spectrum


def _grouped(capacity: np.ndarray, speed: np.ndarray, mean_free_path: np.ndarray, groups: int) -> Spectrum:
    moves = (speed > 0) & (mean_free_path > 0)
    if not moves.any():
        raise ValueError("got no mode with a speed and a lifetime, expected some")
    flow, length = (capacity * speed)[moves], mean_free_path[moves]
    carried = flow * length
    order = np.argsort(length)
    low, high = np.interp([TAIL, 1 - TAIL], np.cumsum(carried[order]) / carried.sum(), np.log(length[order]))
    group = np.digitize(np.log(length), np.linspace(low, high, groups + 1)[1:-1])
    of_flow, of_heat = (np.bincount(group, part, groups) for part in (flow, carried))
    of_capacity = np.bincount(group, capacity[moves], groups)
    used = of_flow > 0
    of_capacity[np.flatnonzero(used)[0]] += capacity[~moves].sum()  # modes that stand still are the shortest of all
    return Spectrum(of_capacity[used], of_flow[used] / of_capacity[used], of_heat[used] / of_flow[used])
