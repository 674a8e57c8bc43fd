"""What a potential says of the structures that may be asked for: error bars, distance, latent features.

Source: ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ase_mlx.models.extrapolation import once
from ase_mlx.models.potential import Potential
from ase_mlx.models.predict import predict

ENERGY_WEIGHT = 4.0
"""1/Å: what the error of an energy per atom counts beside one of a force, as in the loss of a training."""

CHUNK = 256
"""Structures that are predicted together."""


@dataclass(frozen=True)
class View:
    """Structures as a potential sees them, one row or entry each.

    Attributes:
        forces_std: root mean square of the bars of the force components, eV/Å.
        epistemic: of these bars, and of that of the energy per atom (eV), the part that labels lower, eV/Å.
        distance: of the most unusual atom (dimensionless, 1 = edge of the training data).
        designs: a triangular root of Σ f fᵀ over the atoms' latent features f (dimensionless).
        latent: mean and standard deviation of the latent features over the atoms (dimensionless).
        components: numbers of force components (dimensionless).

    Source: ours.
    """

    forces_std: Float[np.ndarray, " frames"]
    epistemic: Float[np.ndarray, "frames 2"]
    distance: Float[np.ndarray, " frames"]
    designs: list[Float[np.ndarray, "_ weights"]]
    latent: Float[np.ndarray, "frames features"]
    components: Float[np.ndarray, " frames"]

    @property
    def variance(self) -> Float[np.ndarray, " frames"]:
        """Calibrated epistemic variance of forces and, by the weight of a training, energies (eV²/Å²)."""
        return self.epistemic[:, 0] ** 2 + (ENERGY_WEIGHT * self.epistemic[:, 1]) ** 2

    @property
    def predicted_error(self) -> float:
        """Root mean square bar of all force components, eV/Å."""
        return float(np.sqrt(np.average(self.forces_std**2, weights=self.components)))


def look(model: Potential, frames: Sequence[Any]) -> View:
    """Predict structures (Å), and keep what a choice among them reads.

    Raises:
        ValueError: a potential without error bars, a structure that is none, an element that the model lacks.

    Source: ours.
    """
    if not bool(model.deviations.any()):
        raise ValueError(
            "got a potential without error bars, expected some to choose structures by; give `members` in [model]"
        )
    rows: list[tuple[float, tuple[float, float], float, np.ndarray, np.ndarray, float]] = []
    for start in range(0, len(frames), CHUNK):
        chunk = list(frames[start : start + CHUNK])
        with once(speak=False):
            predictions = predict(model, chunk)
        for atoms, p in zip(chunk, predictions, strict=True):
            n, features = len(atoms), np.asarray(p["features"], dtype=np.float64)
            lowered = p.std_parts["epistemic"]
            spread, epistemic = (float(np.sqrt(np.square(bars["forces"]).mean())) for bars in (p.std, lowered))
            far = float(np.max(p["distance"])) if "distance" in p else 0.0
            latent = np.concatenate([features.mean(axis=0), features.std(axis=0)])
            rows.append((spread, (epistemic, float(lowered["energy"]) / n), far, _root(features), latent, 3.0 * n))
    columns = list(zip(*rows, strict=True))
    numbers = [np.array(columns[k], dtype=float) for k in (0, 1, 2)]
    return View(*numbers, list(columns[3]), np.array(columns[4]), np.array(columns[5]))


def covariance(designs: Sequence[Float[np.ndarray, "_ weights"]], size: int) -> Float[np.ndarray, "weights weights"]:
    """Posterior covariance of a readout of `size` latent features that has seen these; noise and prior of 1.

    All numbers are dimensionless.

    Source: ours.
    """
    precision = np.eye(size) + sum((d.T @ d for d in designs), start=np.zeros((size, size)))
    return np.linalg.inv(precision)


def _root(features: np.ndarray) -> np.ndarray:
    return np.linalg.qr(features, mode="r") if len(features) > features.shape[1] else features
