"""What to measure or compute next: crystals that are likely anomalies, tell most, and not all the same.

Source: ours; information of Gaussian ensembles as in A. Kirsch et al., NeurIPS 32 (2019), here in closed form.
"""

import numpy as np
from jaxtyping import Float, Int

WEIGHT = 0.1
"""Of one nat of information against the chance itself of finding what is sought."""


def suggest(
    probability: Float[np.ndarray, " crystals"],
    members: Float[np.ndarray, "members crystals"],
    std: Float[np.ndarray, " crystals"],
    count: int,
    pool: int = 4000,
) -> Int[np.ndarray, " picked"]:
    """Pick crystals one after the other by probability, raised by the information that their measurement would add.

    What the members agree on, given the crystals already picked, brings nothing: so a batch does not ask one thing
    twice.

    Args:
        probability: of being what is sought (dimensionless).
        members: predictions of the ensemble's members, eV/atom.
        std: calibrated standard deviations, eV/atom.
        count: how many to pick.
        pool: only so many of the best single candidates are looked at.

    Returns:
        Places, best first.

    Source: see the module.
    """
    deviations = (members - members.mean(0)) / np.sqrt(max(len(members) - 1, 1))
    noise = np.maximum(std**2 - (deviations**2).sum(0), 0.05 * std**2) + 1e-12
    value = probability * (1 + WEIGHT * np.log1p((deviations**2).sum(0) / noise))
    places = np.argsort(-value, kind="stable")[:pool]
    deviations, noise, chance = deviations[:, places].copy(), noise[places], probability[places]
    free = np.ones(len(places), bool)
    picked = []
    for _ in range(min(count, len(places))):
        gain = np.where(free, chance * (1 + WEIGHT * np.log1p((deviations**2).sum(0) / noise)), -np.inf)
        best = int(gain.argmax())
        picked.append(int(places[best]))
        free[best] = False
        direction = deviations[:, best]
        size = direction @ direction
        if size > 0:  # condition the Gaussian of the members on this crystal's value
            share = (1 - np.sqrt(noise[best] / (noise[best] + size))) / size
            deviations = deviations - share * np.outer(direction, direction @ deviations)
    return np.array(picked, dtype=int)
