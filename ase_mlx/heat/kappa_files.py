"""Files of conductivities that phono3py and `ase-mlx conductivity` write: modes of irreducible wave vectors.

Source: phono3py's manual, hdf5_howto: `weight` counts the wave vectors that an irreducible one stands for.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ase_mlx.reading import reading
from ase_mlx.units import EV_PER_A3_IN_GPA, WATTS


@dataclass(frozen=True)
class KappaTable:
    """What such a file holds, or a conductivity in memory, in SI units.

    `temperature` (t) in K, `kappa` (t, 6) in W/(m K), `capacity` (t, stars, bands) of a volume in J/(m³ K), weighted so
    that its sum is that of the crystal, `speed` (stars, bands) in m/s, `lifetime` (t, stars, bands) in s, zero where
    there is none.

    Source: of the module; τ = 1/(4πγ), A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
    """

    temperature: np.ndarray
    kappa: np.ndarray
    capacity: np.ndarray
    speed: np.ndarray | None
    lifetime: np.ndarray | None

    @classmethod
    def read(cls, path: str | Path, volume: float | None = None) -> "KappaTable":
        """Read a file.

        Args:
            path: of the hdf5 file.
            volume: Å³ of the primitive cell; files that hold `kappa_unit_conversion` say it themselves.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not such a file, one that does not say the volume, or a volume that is not positive.

        Source: as of the class; velocities are THz Å, γ is THz, heat capacities are eV/K a mode.
        """
        if volume is not None and not volume > 0:
            raise ValueError(f"got a volume of {volume} Å³, expected that of the primitive cell, above 0")
        with reading(path, "conductivities of phono3py (kappa-m….hdf5)", "phono3py --br writes one"):
            with h5py.File(path, "r") as file:
                temperature = np.asarray(file["temperature"], float)
                kappa = np.asarray(file["kappa" if "kappa" in file else "kappa_TOT_RTA"], float)
                weight = np.asarray(file["weight"], float)
                modes = np.asarray(file["heat_capacity"], float)
                velocity = np.asarray(file["group_velocity"], float) if "group_velocity" in file else None
                gamma = np.asarray(file["gamma"], float) if "gamma" in file else None
                if gamma is not None and "gamma_isotope" in file:
                    gamma = gamma + np.asarray(file["gamma_isotope"], float)
                if volume is None and "kappa_unit_conversion" in file:
                    volume = WATTS / (2 * np.pi) / float(file["kappa_unit_conversion"][()])
        if volume is None:
            raise ValueError(f"got {path} without kappa_unit_conversion, expected the volume of the primitive cell, Å³")
        return cls.of(temperature, kappa, weight, modes, volume, velocity, gamma)

    @classmethod
    def of(
        cls,
        temperature: np.ndarray,
        kappa: np.ndarray,
        weight: np.ndarray,
        heat_capacity: np.ndarray,
        volume: float,
        velocity: np.ndarray | None,
        gamma: np.ndarray | None,
    ) -> "KappaTable":
        """Take arrays in phono3py's units: K, W/(m K), eV/K a mode, Å³, THz Å, THz; shapes as in its files.

        Source: as of the class.
        """
        share = weight[:, None] / weight.sum() / volume * EV_PER_A3_IN_GPA * 1e9
        lifetime = None if gamma is None else np.where(gamma > 0, 1e-12 / (4 * np.pi * np.maximum(gamma, 1e-300)), 0.0)
        speed = None if velocity is None else 100.0 * np.linalg.norm(velocity, axis=-1)
        return cls(temperature, kappa, heat_capacity * share, speed, lifetime)
