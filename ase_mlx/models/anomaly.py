"""Anomalies among crystals in three modes that are never mixed.

* `supervised_tail`: how likely the formation energy lies in the lowest tenth of its anion class.
* `residual`: how likely a reported formation energy is wrong, by the model's own and its error bar.
* `novelty`: how surprising a crystal's structure is, given its composition and the rest of its structure.

Source: ours, after "Hyper-Precise Anomaly Detection ... via Bayesian Hyper-Network Attenuation".
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import expit
from torch import Tensor

from ase_mlx.descriptors import CUTOFF, GROUPS, NAMES, STRUCTURE, anion_classes
from ase_mlx.descriptors.composition import CLASSES
from ase_mlx.graph import Graph
from ase_mlx.nn.conditional import ConditionalNetwork
from ase_mlx.nn.ensemble import Ensemble
from ase_mlx.quantities import SCREENED

from .crystal_property import FARTHEST, ROWS, CrystalProperty, CrystalPropertyConfig
from .model import Model
from .prediction import Prediction, as_tensors
from .ranges import SIZE, expect_ranges

Mode = Literal["supervised_tail", "residual", "novelty"]
MODES: tuple[str, ...] = get_args(Mode)
HIDDEN = tuple(places for places in GROUPS.values() if places[0] >= STRUCTURE)
"""Groups of structure descriptors that are hidden together: each is predicted from all the others."""

MOST = 20.0
"""Nats of surprise that one descriptor adds at most."""

DIGITS = 6
"""Decimals of what is kept and compared: double precision makes them the same however crystals are grouped."""

QUANTILES = 401
"""Places at which the novelty of held-out crystals is kept."""


class Anomaly(NamedTuple):
    """What one mode says of crystals: the score and its standard deviation, the probability, the verdict.

    Scores: eV/atom below the threshold (`supervised_tail`), calibrated standard deviations of reported minus predicted
    (`residual`), mean surprise in nats a descriptor (`novelty`). `std` is the spread of the members' scores.
    `probability` (dimensionless) is that of the tail, that of a wrong report, or the share of held-out crystals that
    are less strange.

    Source: ours.
    """

    score: Float[np.ndarray, " crystals"]
    std: Float[np.ndarray, " crystals"]
    probability: Float[np.ndarray, " crystals"]
    flagged: np.ndarray


def log_densities(
    off: Float[np.ndarray, " n"], std: Float[np.ndarray, " n"], width: float, share: float, size: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Give the logarithms of the densities (of 1/(eV/atom)) of right and of wrong reports, times their shares.

    Both are Gaussian, so that the farther off a report is, the surer it is wrong.

    Args:
        off: reported minus predicted, eV/atom.
        std: of the predictions, eV/atom.
        width: spread of right ones in units of `std` (dimensionless).
        share: of wrong ones (dimensionless).
        size: standard deviation of a wrong one's error, eV/atom.

    Source: ours.
    """

    def normal(scale: np.ndarray) -> np.ndarray:
        return -0.5 * (off / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)

    scale = width * std
    return np.log1p(-share) + normal(scale), np.log(share) + normal(np.hypot(scale, size))


@dataclass(frozen=True)
class AnomalyConfig:
    """The networks of properties, formation energy first, and of novelty (sizes).

    Source: ours.
    """

    property: CrystalPropertyConfig
    novelty_members: int = 3
    novelty_width: int = 192

    def __post_init__(self):
        """Refuse sizes without meaning."""
        expect_ranges(self, novelty_members=(1, 512), novelty_width=SIZE)


class AnomalyModel(Model):
    """Formation energy, hull distance and anomalies of crystals; energies in eV/atom.

    Source: see the module.
    """

    outputs = SCREENED
    cutoff = CUTOFF

    def __init__(self, config: AnomalyConfig):
        """Make untrained networks with random weights from torch's generator."""
        super().__init__()
        self.config = config
        self.elements = config.property.elements
        self.property = CrystalProperty(config.property)
        entries = len(NAMES) - STRUCTURE
        self.novelty = Ensemble(
            [ConditionalNetwork(STRUCTURE, entries, config.novelty_width) for _ in range(config.novelty_members)]
        )
        double = {"dtype": torch.float64}
        self.register_buffer("tail", torch.zeros(len(CLASSES), **double))  # eV/atom
        self.register_buffer("usual", torch.zeros(entries, **double))  # nats
        self.register_buffer("novelties", torch.linspace(0, 1, QUANTILES, **double))
        self.register_buffer("errors", torch.tensor([1.0, 0.05, 0.5], **double))  # see `log_densities`
        self.register_buffer("thresholds", torch.full((len(MODES),), 0.5, **double))

    def table(
        self, rows: Float[np.ndarray, "crystals n"], anions: Int[np.ndarray, " crystals"], reported=None, nats=None
    ) -> tuple[Prediction, dict[str, Anomaly]]:
        """Predict and judge crystals from their descriptors.

        Args:
            rows: descriptors, in units as theirs.
            anions: classes, as `anion_classes` gives them.
            reported: formation energies in eV/atom, NaN where none are known; without them there is no `residual`.
            nats: of the rows (dimensionless), where the method of this name has given them.

        Returns:
            Formation energy and hull distance in eV/atom, and an `Anomaly` for each mode; NaN and no flag for the
            novelty of crystals whose structure is not known.
        """
        properties = self.property.table(rows)
        judged = {"supervised_tail": self._tail(properties, anions), "novelty": self._novelty(rows, nats)}
        if reported is not None:
            judged["residual"] = self._residual(properties, np.asarray(reported, dtype=np.float64))
        return properties, judged

    def contributions(
        self, rows: Float[np.ndarray, "crystals n"], mode: Mode, reported=None, nats=None
    ) -> Float[np.ndarray, "crystals n"]:
        """Say which descriptors make a crystal strange.

        Returns:
            eV/atom towards the tail (`supervised_tail`), or towards the reported energy's side (`residual`);
            nats of surprise, divided by the number of descriptors of structure (`novelty`).
        """
        if mode == "novelty":
            nats = self.nats(rows) if nats is None else nats
            surprise, terms = (nats.mean(0) - self.usual.cpu()).numpy(), np.zeros(rows.shape)
            terms[:, STRUCTURE : len(NAMES)] = surprise / surprise.shape[1]
            return terms
        terms = -self.property.contributions(rows, "formation_energy")
        if mode == "supervised_tail":
            return terms
        side = np.sign(np.asarray(reported) - self.property.table(rows)["formation_energy"])
        return -terms * side[:, None]

    def reasons(
        self, rows: Float[np.ndarray, "crystals n"], mode: Mode, count: int, reported=None, nats=None
    ) -> tuple[list[list[str]], Float[np.ndarray, "crystals some"]]:
        """Name the descriptors that make each crystal strange, the strongest first, and say what each adds.

        Args:
            rows: descriptors, in units as theirs.
            mode: of judging.
            count: how many to name.
            reported: formation energies in eV/atom, for `residual`.
            nats: as of `table` (dimensionless).

        Returns:
            Names, and contributions as `contributions` has them (eV/atom or nats), to `DIGITS` decimals; of equal ones
            the first in the order of the descriptors.
        """
        terms = np.round(self.contributions(rows, mode, reported, nats), DIGITS)
        order = np.argsort(-terms, axis=1, kind="stable")[:, :count]
        names = [[self.config.property.names[k] for k in row] for row in order]
        return names, np.take_along_axis(terms, order, axis=1)

    def _tail(self, properties: Prediction, anions: np.ndarray) -> Anomaly:
        threshold = self.tail.cpu().numpy()[anions]
        probability = self.property.probability_below(properties, "formation_energy", threshold)
        std = properties.members["formation_energy"].std(0)
        return Anomaly(
            threshold - properties["formation_energy"], std, probability, probability >= float(self.thresholds[0])
        )

    def _residual(self, properties: Prediction, reported: np.ndarray) -> Anomaly:
        off = reported - properties["formation_energy"]
        right, wrong = log_densities(off, properties.std["formation_energy"], *self.errors.tolist())
        probability = expit(wrong - right)
        std = properties.members["formation_energy"].std(0) / properties.std["formation_energy"]
        return Anomaly(
            off / properties.std["formation_energy"], std, probability, probability >= float(self.thresholds[1])
        )

    def _novelty(self, rows: np.ndarray, nats: Tensor | None) -> Anomaly:
        members = ((self.nats(rows) if nats is None else nats) - self.usual.cpu()).mean(2).numpy()
        score = members.mean(0)
        probability = np.interp(score, self.novelties.cpu().numpy(), np.linspace(0, 1, QUANTILES))
        return Anomaly(score, members.std(0), probability, score >= float(self.thresholds[2]))

    @torch.no_grad()
    def nats(self, rows: Float[np.ndarray, "crystals n"]) -> Float[Tensor, "members crystals entries"]:
        """Give −log p (nats, at most `MOST`) of each descriptor of structure, its group hidden, the others known."""
        x = self.standard(rows).to(self.novelty.stacked[0])
        parts = []
        for start in range(0, len(x), ROWS):
            block = x[start : start + ROWS]
            filled = torch.cat([block, x.new_zeros(ROWS - len(block), x.shape[1])])
            described, entries = filled[:, :STRUCTURE], filled[:, STRUCTURE:]
            nats = x.new_zeros(len(self.novelty), ROWS, entries.shape[1])
            for places in HIDDEN:
                group = [place - STRUCTURE for place in places]
                shown = torch.ones_like(entries)
                shown[:, group] = 0
                nats[:, :, group] = self.novelty(described, entries, shown)[:, :, group]
            parts.append(nats[:, : len(block)].cpu().double().clamp(max=MOST))
        return torch.cat(parts, 1)

    def standard(self, rows: Float[np.ndarray, "crystals n"]) -> Float[Tensor, "crystals m"]:
        """Standardise the descriptors (dimensionless), without patterns; cut where they are far out."""
        center, scale = (b.cpu()[: len(NAMES)] for b in (self.property.center, self.property.scale))
        x = (torch.from_numpy(np.asarray(rows, dtype=np.float64))[:, : len(NAMES)] - center) / scale
        return x.clamp(-1.6 * FARTHEST, 1.6 * FARTHEST)

    def judged(self, graph: Graph, reported=None) -> tuple[Prediction, dict[str, Anomaly], np.ndarray]:
        """Predict and judge crystals: as `table` (eV/atom), and the descriptors (their units) that it was done from."""
        rows = self.property.described(graph)
        return *self.table(rows, anion_classes(graph), reported), rows

    def novelty_reasons(self, graph: Graph, count: int = 3) -> list[tuple[str, ...]]:
        """Name the descriptors of structure that are most surprising in each crystal, the first most."""
        return [tuple(names) for names in self.reasons(self.property.described(graph), "novelty", count)[0]]

    def forward(self, graph: Graph) -> Prediction:
        """Predict crystals: energies in eV/atom, probabilities and novelty without a dimension."""
        return Prediction(dict(self.with_std(graph)))

    def with_std(self, graph: Graph) -> Prediction:
        """Predict crystals as `forward`, with standard deviations where they are known (same units)."""
        prediction, judged, _ = self.judged(graph)
        tail, novel = judged["supervised_tail"], judged["novelty"]
        values = {
            **prediction, "tail_margin": tail.score, "tail_probability": tail.probability, "novelty": novel.score,
            "novelty_probability": novel.probability,
        }  # fmt: skip
        std = {**prediction.std, "tail_margin": prediction.std["formation_energy"], "novelty": novel.std}
        noise = {**prediction.noise, "tail_margin": prediction.noise["formation_energy"]}
        return as_tensors(Prediction(values, std, prediction.members, noise=noise))
