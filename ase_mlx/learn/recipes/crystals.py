"""Generators of crystals: tables of crystals as genes, the evidence's lower bound, the prior that encodings leave.

Source: as of `models.crystals`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from ase_mlx.descriptors.elements import element_property
from ase_mlx.descriptors.gene_rows import GeneRows, genes_of, rows_of
from ase_mlx.descriptors.genes import Gene, cell_of, settings
from ase_mlx.keep import digest
from ase_mlx.models.crystals import PROPERTIES, Crystals, CrystalsConfig, Latent, Limits
from ase_mlx.models.ranges import expect_ranges
from ase_mlx.nn.ensemble import Ensemble
from ase_mlx.nn.terms import Term
from ase_mlx.processes import pool
from ase_mlx.quantities import SYMBOLS
from ase_mlx.structure import Structure

from ..batches import Rows, TableBatches
from ..config import FitConfig, TableFit, build
from ..fit import Stage
from ..methods import ensemble, network
from ..metrics import Residuals, errors
from ..recipe import Recipe

CHUNK = 200
HEAD_EPOCHS = 60
ORGANISING = 2.0
"""Weight of the properties while the latent is learned, in nats a squared standard deviation."""

LEVELS = {0.68: 1.0, 0.9: 1.645, 0.95: 1.96}
COLUMNS = {
    "formation_energy": ("formation_energy", "formation_energy_per_atom"),
    "hull_distance": ("hull_distance", "e_above_hull", "energy_above_hull"),
    "band_gap": ("band_gap",),
}
"""Columns that are looked for where no settings name them: ours, then the Materials Project's."""

DALTON_PER_A3 = 1.66053906660
"""In g/cm³."""


@dataclass(frozen=True)
class GeneFit(FitConfig):
    """How to fit: as `FitConfig`; `kl_weight` of the divergence, `free_bits` (nats) of each latent coordinate.

    `dropout` is the share of sites that the decoder does not see while it learns (dimensionless).

    Source: see the module.
    """

    kl_weight: float = 0.2
    free_bits: float = 0.1
    dropout: float = 0.3

    def __post_init__(self):
        """Refuse numbers that cannot train anything."""
        super().__post_init__()
        expect_ranges(self, "fit.", kl_weight=(0, 100), free_bits=(0, 100), dropout=(0, 0.99))


@dataclass(frozen=True)
class GeneData:
    """Which table of crystals to learn from: parquet with structures as array columns, split by its column `part`.

    Crystals of more than `most_sites` sites or `most_atoms` atoms (in the conventional cell) are left out. `properties`
    maps names of `models.crystals.PROPERTIES` to columns in their units; volumes and densities need none.

    Source: ours.
    """

    file: str
    properties: dict = field(default_factory=dict)
    most_sites: int = 52
    most_atoms: int = 400
    title: str = ""
    licence: str = "not stated"
    origin: str = "not stated"


@dataclass(frozen=True)
class CrystalsTraining:
    """A training: `[data]`, `[model]` (keys of `CrystalsConfig`), `[fit]` (keys of `GeneFit`).

    Source: ours.
    """

    data: GeneData
    model: dict[str, Any] = field(default_factory=dict)
    fit: GeneFit = field(default_factory=GeneFit)
    kind: Literal["crystals"] = "crystals"


class Sample(NamedTuple):
    """Genes, and what is known of their properties (standardised; NaN: nothing).

    Source: ours.
    """

    rows: GeneRows
    targets: Float[torch.Tensor, "genes properties"]

    def to(self, device: str | torch.device) -> "Sample":
        """Move everything to a device."""
        return Sample(self.rows.to(device), self.targets.to(device))


@dataclass(frozen=True)
class Known:
    """Crystals of one part: each in all its settings, and its properties (NaN: not known; units of `PROPERTIES`).

    Source: ours.
    """

    genes: list[list[Gene]]
    properties: dict[str, Float[np.ndarray, " crystals"]]

    def __len__(self) -> int:
        """Count the crystals."""
        return len(self.genes)

    @cached_property
    def first(self) -> GeneRows:
        """Every crystal in one setting."""
        return rows_of([each[0] for each in self.genes])

    def targets(self, names: Sequence[str]) -> Float[torch.Tensor, "crystals properties"]:
        """Give properties as columns."""
        columns = [self.properties[name] for name in names]
        return torch.from_numpy(np.stack(columns, 1) if columns else np.zeros((len(self), 0))).float()


class GeneBatches:
    """Batches of genes of about equal length, each crystal in one of its equivalent settings, drawn anew every epoch.

    Source: ours.
    """

    def __init__(
        self,
        crystals: Sequence[Sequence[Gene]],
        targets: Float[torch.Tensor, "crystals properties"],
        size: int,
        seed: int,
        shuffled: bool = True,
    ):
        """Take the settings of each crystal, and standardised properties; batches of `size` genes."""
        self.targets = targets
        self.first = np.concatenate([[0], np.cumsum([len(each) for each in crystals])])
        self.rows = rows_of([gene for each in crystals for gene in each])
        self.sites = self.rows.sites.sum(1).numpy()
        self.size, self.seed, self.shuffled = size, seed, shuffled

    @property
    def items(self) -> int:
        """Count the crystals."""
        return len(self.first) - 1

    @property
    def digest(self) -> str:
        """By which a checkpoint knows its data."""
        return digest([t.numpy() for t in vars(self.rows).values()], self.targets.numpy(), self.first, self.size, self.seed)[:16]

    def steps(self, epoch: int) -> int:
        """Count the batches of an epoch."""
        return -(-self.items // self.size)

    def epoch(self, epoch: int, start: int = 0, rank: int = 0, workers: int = 1) -> Iterator[list[Sample]]:
        """Go through the batches of an epoch from `start` on; of each, one of several workers gets its share."""
        random = np.random.default_rng([self.seed, epoch])
        count = np.diff(self.first)
        rows = self.first[:-1] + (random.integers(0, count) if self.shuffled else 0)
        order = random.permutation(self.items) if self.shuffled else np.arange(self.items)
        noise = random.random(self.items) if self.shuffled else 0.0
        order = order[np.argsort((self.sites[rows] + 2 * noise)[order], kind="stable")]
        batches = np.array_split(order, self.steps(epoch))
        if self.shuffled:
            batches = [batches[k] for k in random.permutation(len(batches))]
        for places in batches[start:]:
            mine = places[rank::workers]
            yield [Sample(self.rows.take(torch.from_numpy(rows[mine])), self.targets[torch.from_numpy(mine)])]


def read_genes(data: GeneData, processes: int = 2) -> tuple[dict[str, Known], dict[str, int]]:
    """Read the crystals of a table in all their settings, by part; and how many were left out, by reason.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no column `part`, or no crystal of a part that is needed.

    Source: ours.
    """
    if not Path(data.file).is_file():
        raise FileNotFoundError(f"got data.file = {data.file!r}, expected an existing parquet file")
    frame = pd.read_parquet(data.file)
    if "part" not in frame:
        raise ValueError(f"got {data.file} without a column 'part', expected one with train, val and test")
    pieces = [frame.iloc[k : k + CHUNK] for k in range(0, len(frame), CHUNK)]
    if len(pieces) == 1:
        found = _settings_of(pieces[0])
    else:
        with pool(processes) as workers:
            found = [each for piece in workers.map(_settings_of, pieces) for each in piece]
    chosen: dict[str, list[int]] = {part: [] for part in ("train", "val", "test")}
    left = {"no symmetry found": 0, "too many sites or atoms": 0}
    for k, (part, genes) in enumerate(zip(frame["part"], found, strict=True)):
        if not genes:
            left["no symmetry found"] += 1
        elif len(genes[0].sites) > data.most_sites or _atoms(genes[0]) > data.most_atoms:
            left["too many sites or atoms"] += 1
        elif part in chosen:
            chosen[part].append(k)
    columns = {name: frame[column].to_numpy(dtype=float) for name, column in data.properties.items()}
    parts = {}
    for part, places in chosen.items():
        genes = [found[k] for k in places]
        known = {name: column[places] for name, column in columns.items()}
        parts[part] = Known(genes, known | _by_structure([each[0] for each in genes]))
    return parts, left


def _by_structure(genes: list[Gene]) -> dict[str, np.ndarray]:
    """Volumes an atom (Å³) and densities (g/cm³)."""
    volumes = np.array([abs(np.linalg.det(cell_of(gene))) / _atoms(gene) for gene in genes])
    weights = element_property("AtomicWeight")
    masses = [
        np.average([weights[s.number] for s in gene.sites], weights=[p.multiplicity for p in gene.positions])
        for gene in genes
    ]
    return {"volume_per_atom": volumes, "density": np.array(masses) / volumes * DALTON_PER_A3}


def _atoms(gene: Gene) -> int:
    return sum(position.multiplicity for position in gene.positions)


def _settings_of(piece: pd.DataFrame) -> list[list[Gene]]:
    return [_genes(row) for row in piece.itertuples()]


def _genes(row: Any) -> list[Gene]:
    cell = np.asarray(row.lattice, dtype=float).reshape(3, 3)
    places = np.vstack(row.frac_coords).astype(float).reshape(-1, 3)
    crystal = Structure(np.asarray(row.numbers, dtype=int), places @ cell, cell, np.ones(3, bool))
    try:
        return settings(crystal)
    except ValueError:
        return []


class CrystalsRecipe(Recipe):
    """How generators of crystals are taught.

    Source: see the module.
    """

    Config = CrystalsTraining
    model: Crystals

    def __init__(self, config: CrystalsTraining):
        """Read the crystals (Å) as genes, and build the untrained model of their elements.

        Raises:
            FileNotFoundError: no such file.
            ValueError: unusable data or settings.
        """
        self.config = config
        self.parts, self.left_out = read_genes(config.data)
        if min(len(self.parts["train"]), len(self.parts["val"])) < 2:
            raise ValueError(
                f"got {len(self.parts['train'])} training and {len(self.parts['val'])} validation crystals, expected more"
            )
        elements = sorted({s.number for part in self.parts.values() for g in part.genes for s in g[0].sites})
        names = (*config.data.properties, "volume_per_atom", "density")
        keys = sorted({gene.key for genes in self.parts["train"].genes for gene in genes})
        sizes = {"elements": tuple(elements), "properties": names, "known": len(keys), "most_sites": config.data.most_sites, "most_atoms": config.data.most_atoms}
        self.settings = build(CrystalsConfig, {**sizes, **config.model}, "model")
        torch.manual_seed(config.fit.seed)
        self.model = Crystals(self.settings)
        self.model.known[:] = torch.tensor(keys)

    def stages(self) -> Iterator[Stage]:
        """Fit encoder and decoder together, then what the latent tells of properties."""
        fit, names = self.config.fit, self.model.config.properties
        targets = {part: known.targets(names) for part, known in self.parts.items()}
        standardise(self.model, targets["train"])
        standard = {part: (t - self.model.property_mean) / self.model.property_scale for part, t in targets.items()}
        train, val = self.parts["train"], self.parts["val"]
        batches = GeneBatches(train.genes, standard["train"], fit.batch_size, fit.seed)
        held_out = GeneBatches([g[:1] for g in val.genes], standard["val"], 4 * fit.batch_size, fit.seed, False)
        yield Stage(self.model, _loss(fit), batches, network(fit), held_out, settings=asdict(fit))
        for p in self.model.parameters():
            p.requires_grad_(False)
        self.model.heads.requires_grad_(True)
        table = (encoded(self.model, train.first).mean, standard["train"])
        rows = TableBatches(table, len(self.model.heads), 256, fit.seed)
        settings = TableFit(epochs=HEAD_EPOCHS, learning_rate=2e-3, weight_decay=0.02, seed=fit.seed)
        yield Stage(self.model.heads, _head_loss(*table), rows, ensemble(settings), name="properties")
        self.model.requires_grad_(True)

    def finish(self) -> dict[str, Any]:
        """Set the prior to what the encodings of the training part leave, and give the card's lines."""
        set_prior(self.model, self.parts["train"].first)
        calibrate(self.model, self.parts["val"])
        data, part = self.config.data, "test" if self.parts["test"] else "val"
        judged = self.parts[part]
        return {
            "title": data.title,
            "elements": [SYMBOLS[z] for z in self.model.elements],
            "licence": data.licence,
            "origin": data.origin,
            "errors": errors(self.residuals(self.model, judged)),
            "errors_on": part,
            "reconstruction": reconstruction(self.model, judged.first),
            "crystals": {name: len(genes) for name, genes in self.parts.items()},
            "left_out": self.left_out,
            "fit": asdict(self.config.fit),
            "epochs": dict(self.epochs),
        }

    @classmethod
    def read(cls, model: Crystals, path: Path, part: str = "all") -> Known:
        """Read the crystals of one part of a table, with the properties that it has.

        Raises:
            ValueError: no crystal of that part.
        """
        config, there = model.config, pd.read_parquet(path).columns
        columns = {name: c for name in config.properties for c in COLUMNS.get(name, ()) if c in there}
        parts, _ = read_genes(GeneData(str(path), columns, config.most_sites, config.most_atoms))
        pieces = [known for name, known in parts.items() if part in ("all", name)]
        genes = [g for known in pieces for g in known.genes]
        told = {name: np.concatenate([known.properties[name] for known in pieces]) for name in pieces[0].properties}
        fits = [{site.number for site in g[0].sites} <= set(model.elements) for g in genes]
        if not any(fits):
            raise ValueError(f"got no crystal of part {part!r} in {path}, expected at least one; try --part all")
        return Known([g for g, fit in zip(genes, fits, strict=True) if fit], {n: v[fits] for n, v in told.items()})

    @classmethod
    def residuals(cls, model: Crystals, data: Known) -> dict[str, Residuals]:
        """Compare properties (units of `PROPERTIES`) with what the latent means of crystals tell."""
        with torch.no_grad():
            mean, std = (t.double().numpy() for t in model.properties(encoded(model, data.first).mean))
        residuals = {}
        for k, name in enumerate(model.config.properties):
            if name in data.properties and (known := np.isfinite(data.properties[name])).any():
                residuals[name] = Residuals(
                    PROPERTIES[name], data.properties[name][known], mean[known, k], std[known, k], LEVELS
                )
        return residuals

    @classmethod
    def evaluates(cls, model: torch.nn.Module, path: Path) -> bool:
        """Take tables, for generators of crystals."""
        return isinstance(model, Crystals) and path.suffix == ".parquet"


@torch.no_grad()
def decoded_again(model: Crystals, rows: GeneRows) -> GeneRows:
    """Decode the latent means of genes to the likeliest ones.

    Source: ours.
    """
    return model.decoded(encoded(model, rows).mean, None, Limits.of(model))


def reconstruction(model: Crystals, rows: GeneRows) -> dict[str, float]:
    """Count the share (dimensionless) of genes whose group, formula and both, and whose sites, come back.

    Source: ours.
    """
    again = decoded_again(model, rows)
    group = again.groups == rows.groups
    counts = [_composition(each) for each in (rows, again)]
    formula = (counts[0] == counts[1]).all(1)
    skeletons = [[gene.skeleton for gene in genes_of(each)] for each in (rows, again)]
    same = np.array([a == b for a, b in zip(*skeletons, strict=True)])
    shares = {"space_group": group, "formula": formula, "both": group & formula}
    return {name: round(float(share.float().mean()), 4) for name, share in shares.items()} | {
        "all_positions": round(float(same.mean()), 4)
    }


def _composition(rows: GeneRows) -> torch.Tensor:
    """Shares of the elements, exact enough to tell formulas apart."""
    counts = torch.zeros(len(rows), 119).scatter_add_(1, rows.numbers, rows.multiplicities.float())
    return (counts / counts.sum(1, keepdim=True) * 2**20).round()


def _loss(fit: GeneFit):
    def loss(model: Crystals, sample: Sample, random: torch.Generator) -> dict[str, Term]:
        """Negative lower bound of the evidence a crystal (nats), part by part."""
        rows = sample.rows
        latent: Latent = model.encoder(rows)
        noise = torch.randn(latent.mean.shape, generator=random).to(latent.mean.device)
        dropped = torch.rand(rows.numbers.shape, generator=random).to(noise.device) < fit.dropout
        training = model.training
        z = latent.mean + latent.log_std.exp() * noise
        parts = model.likelihood(z, rows, dropped if training else None)
        n = len(rows)
        terms = {name: Term(-part.sum(), n) for name, part in parts._asdict().items()}
        kl = 0.5 * (latent.mean.square() + (2 * latent.log_std).exp() - 1) - latent.log_std
        held = kl.mean(0).clamp(min=fit.free_bits).sum() * n
        known = torch.isfinite(sample.targets)
        off = torch.where(known, model.organise(latent.mean) - sample.targets.nan_to_num(), 0.0)
        told = Term(off.square().sum(), float(known.sum().clamp(min=1)), ORGANISING)
        return terms | {"divergence": Term(held, n, fit.kl_weight), "properties": told}

    return loss


def _head_loss(z: torch.Tensor, targets: torch.Tensor):
    def loss(heads: Ensemble, rows: Rows, random: torch.Generator) -> dict[str, Term]:
        """Negative log-likelihood of the known properties (nats a property), each member by its own rows."""
        places = rows.places.cpu()
        mean, log_std = heads(z[places].to(rows.places.device), own=True)
        target = targets[places].to(mean.device)
        known = torch.isfinite(target)
        away = (target.nan_to_num() - mean) * (-log_std).exp()
        nats = torch.where(known, 0.5 * away.square() + log_std, 0.0)
        return {"likelihood": Term(nats.sum(), float(known.sum().clamp(min=1)) / len(places))}

    return loss


def standardise(model: Crystals, targets: Float[torch.Tensor, "crystals properties"]) -> None:
    """Set centre, scale and range of a model's properties, in place.

    Source: ours.
    """
    for k in range(targets.shape[1]):
        known = targets[:, k][torch.isfinite(targets[:, k])].double()
        if len(known) < 2:
            name = model.config.properties[k]
            raise ValueError(f"got {len(known)} training crystals with a {name}, expected at least 2")
        model.property_mean[k], model.property_scale[k] = known.mean(), known.std().clamp(min=1e-6)
        model.property_least[k], model.property_most[k] = torch.quantile(known, torch.tensor([0.01, 0.99]).double())


@torch.no_grad()
def encoded(model: Crystals, rows: GeneRows, size: int = 1024) -> Latent:
    """Encode genes in batches (dimensionless).

    Source: ours.
    """
    pieces = [model.encoder(rows.take(torch.arange(len(rows))[k : k + size])) for k in range(0, len(rows), size)]
    return Latent(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


@torch.no_grad()
def calibrate(model: Crystals, held_out: Known) -> None:
    """Scale the bars of properties so that 68 % of held-out crystals lie inside, in place.

    Source: ours.
    """
    model.std_scale.fill_(1.0)
    for k, (name, r) in enumerate(CrystalsRecipe.residuals(model, held_out).items()):
        assert name == model.config.properties[k]
        model.std_scale[k] = float(np.quantile(np.abs(r.reference - r.predicted) / r.std, 0.683))


@torch.no_grad()
def set_prior(model: Crystals, rows: GeneRows, seed: int = 0) -> None:
    """Set the prior to a mixture of normal distributions that fits the encodings of crystals, in place.

    Source: J. Tomczak and M. Welling, arXiv 1705.07120, of a prior near the aggregated posterior; A. Dempster et al.,
    J. R. Stat. Soc. B 39, 1 (1977).
    """
    random = torch.Generator().manual_seed(seed)
    mean, log_std = encoded(model, rows)
    z = mean + log_std.exp() * torch.randn(mean.shape, generator=random)
    count = min(model.config.prior, max(1, len(z) // 50))
    weight, means, variances = _mixture(z, count, random)
    model.prior_weight.zero_()[:count] = weight
    model.prior_mean[:count], model.prior_log_std[:count] = means, variances.log() / 2


def _mixture(z: torch.Tensor, count: int, random: torch.Generator, steps: int = 60) -> tuple[torch.Tensor, ...]:
    """Fit weights, means and variances of normal distributions by expectation maximisation."""
    means = z[torch.randperm(len(z), generator=random)[:count]]
    variances, weight = z.var(0).expand(count, -1).clone(), torch.full((count,), 1 / count)
    for _ in range(steps):
        square = (z.square() @ (1 / variances).T) - 2 * z @ (means / variances).T + (means.square() / variances).sum(1)
        share = (weight.log() - 0.5 * (square + variances.log().sum(1))).softmax(-1)
        held = share.sum(0).clamp(min=1e-6)
        means = share.T @ z / held[:, None]
        variances = (share.T @ z.square() / held[:, None] - means.square()).clamp(min=1e-3)
        weight = held / held.sum()
    return weight, means, variances
