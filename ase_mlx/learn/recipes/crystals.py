"""Generators of crystals: tables of crystals as genes, the evidence's lower bound, the prior that encodings leave.

Source: as of `models.crystals`.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from ase_mlx.descriptors.gene_rows import ELEMENTS
from ase_mlx.models.crystals import PROPERTIES, Crystals, CrystalsConfig, Diffusion, Latent
from ase_mlx.models.ranges import expect_ranges
from ase_mlx.nn.ensemble import Ensemble
from ase_mlx.nn.terms import Term
from ase_mlx.quantities import SYMBOLS

from ..batches import Rows, TableBatches
from ..config import FitConfig, TableFit, build
from ..crystals.latent import encoded, reconstruction, set_mixture, standardise, standardise_diffusion
from ..crystals.samples import GeneBatches, GeneData, Known, Sample, read_genes
from ..fit import Stage
from ..methods import ensemble, network
from ..metrics import Residuals, errors
from ..recipe import Recipe
from .crystal_property import COLUMNS as ENERGY_COLUMNS

HEAD_EPOCHS = 60
ORGANISING = 2.0
"""Weight of the properties while the latent is learned, in nats a squared standard deviation."""

LEVELS = {0.68: 1.0, 0.9: 1.645, 0.95: 1.96}
COLUMNS = ENERGY_COLUMNS | {"band_gap": ("band_gap",)}
"""Columns that are looked for where no settings name them: ours, then the Materials Project's."""


@dataclass(frozen=True)
class GeneFit(FitConfig):
    """How to fit: as `FitConfig`; `kl_weight` is that of the divergence.

    `free_bits` (nats) of each latent coordinate of a crystal cost nothing; `dropout` is the share of sites that the
    decoder does not see while it learns, `substituted` that of crystals whose elements are exchanged for any others, so
    that latent and decoder learn formulas that no crystal has: of these only group, elements and positions are taught
    (all dimensionless). Free coordinates and lattices, as rows of genes have them, move by normal noise of size
    `jitter`, so that densities are no sharper. The diffusion is taught for `prior_epochs`.

    Source: see the module.
    """

    kl_weight: float = 0.02
    free_bits: float = 0.1
    dropout: float = 0.5
    substituted: float = 0.3
    jitter: float = 0.004
    prior_epochs: int = 120

    def __post_init__(self):
        """Refuse numbers that cannot train anything."""
        super().__post_init__()
        expect_ranges(
            self, "fit.", kl_weight=(0, 100), free_bits=(0, 100), dropout=(0, 0.99), substituted=(0, 1),
            jitter=(0, 0.1), prior_epochs=(1, 1e6),
        )  # fmt: skip


@dataclass(frozen=True)
class CrystalsTraining:
    """A training: `[data]`, `[model]` (keys of `CrystalsConfig`), `[fit]` (keys of `GeneFit`).

    Source: ours.
    """

    data: GeneData
    model: dict[str, Any] = field(default_factory=dict)
    fit: GeneFit = field(default_factory=GeneFit)
    kind: Literal["crystals"] = "crystals"


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
        counts = [len(self.parts[part]) for part in ("train", "val")]
        if min(counts) < 2:
            raise ValueError(f"got {counts[0]} training and {counts[1]} validation crystals, expected more")
        elements = sorted({int(z) for part in self.parts.values() for z in part.first.numbers.unique() if z})
        names = (*config.data.properties, "volume_per_atom", "density")
        keys = sorted(set(self.parts["train"].rows.keys))
        sizes = {
            "elements": tuple(elements),
            "properties": names,
            "known": len(keys),
            "most_sites": config.data.most_sites,
            "most_atoms": config.data.most_atoms,
        }
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
        batches = GeneBatches(train, standard["train"], fit.batch_size, fit.seed)
        held_out = GeneBatches(val, standard["val"], 4 * fit.batch_size, fit.seed, False)
        yield Stage(self.model, _loss(fit), batches, network(fit), held_out, settings=asdict(fit))
        for p in self.model.parameters():
            p.requires_grad_(False)
        latent = encoded(self.model, train.first)
        set_mixture(self.model, latent)
        if self.model.diffusion is not None:
            standardise_diffusion(self.model, latent)
            self.model.diffusion.requires_grad_(True)
            rows = TableBatches(latent, 1, 256, fit.seed)
            settings = FitConfig(epochs=fit.prior_epochs, learning_rate=2e-3, ema_decay=0.999, seed=fit.seed)
            yield Stage(self.model.diffusion, _diffusion_loss(latent), rows, network(settings), name="prior")
        self.model.heads.requires_grad_(True)
        table = (latent.mean, standard["train"])
        rows = TableBatches(table, len(self.model.heads), 256, fit.seed)
        settings = TableFit(epochs=HEAD_EPOCHS, learning_rate=2e-3, weight_decay=0.02, seed=fit.seed)
        yield Stage(self.model.heads, _head_loss(*table), rows, ensemble(settings), name="properties")
        self.model.requires_grad_(True)

    def finish(self) -> dict[str, Any]:
        """Calibrate the bars of properties, and give the card's lines."""
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
        known = read_genes(GeneData(str(path), columns, config.most_sites, config.most_atoms), [part])[0][part]
        fits = torch.isin(known.first.numbers, torch.tensor([0, *model.elements])).all(1).numpy()
        if not fits.any():
            raise ValueError(f"got no crystal of part {part!r} in {path}, expected at least one; try --part all")
        return known.take(np.flatnonzero(fits))

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


def _loss(fit: GeneFit):
    def loss(model: Crystals, sample: Sample, random: torch.Generator) -> dict[str, Term]:
        """Negative lower bound of the evidence a crystal (nats), part by part."""
        rows, real = sample.rows, torch.ones(len(sample.rows), dtype=torch.bool, device=sample.targets.device)
        if model.training:
            real = sample.draw(random) >= fit.substituted
            rows = rows.substituted(_exchange(model, sample.draw(random, len(model.elements)), real))
            rows = rows.moved(
                fit.jitter * sample.draw(random, sample.width, 3, kind=torch.randn)[:, : rows.numbers.shape[1]],
                fit.jitter * sample.draw(random, 6, kind=torch.randn),
            )
        latent: Latent = model.encoder(rows)
        z = latent.mean + latent.log_std.exp() * sample.draw(random, latent.mean.shape[1], kind=torch.randn)
        dropped = sample.draw(random, sample.width)[:, : rows.numbers.shape[1]] < fit.dropout
        parts = model.decoder.likelihood(z, rows, dropped if model.training else None)._asdict()
        n, lengths = len(rows), float(real.sum())
        terms = {name: Term(-part.sum(), n) for name, part in parts.items()}
        terms |= {name: Term(-(parts[name] * real).sum(), lengths) for name in ("coordinates", "lattice")}
        kl = 0.5 * (latent.mean.square() + (2 * latent.log_std).exp() - 1) - latent.log_std
        terms["divergence"] = Term(kl.clamp(min=fit.free_bits).sum(), n, fit.kl_weight)
        known = torch.isfinite(sample.targets) & real[:, None]
        off = torch.where(known, model.organise(latent.mean) - sample.targets.nan_to_num(), 0.0)
        told = Term(off.square().sum(), float(known.sum()), ORGANISING)
        return terms | {"properties": told}

    return loss


def _exchange(model: Crystals, order: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Name for each crystal (row) and atomic number another element, by a random order; the same one in real ones."""
    table = torch.arange(ELEMENTS, device=order.device).expand(len(order), -1).clone()
    elements = torch.tensor(model.elements, device=order.device)
    table[:, elements] = torch.where(real[:, None], elements, elements[order.argsort(1)])
    return table


def _diffusion_loss(latent: Latent):
    def loss(diffusion: Diffusion, rows: Rows, random: torch.Generator) -> dict[str, Term]:
        """Square error of guessed latents, each anew within its bars (dimensionless)."""
        mean, log_std = (part[rows.places[0].cpu()].to(rows.places.device) for part in latent)
        within, noise = rows.draw(random, 2 * mean.shape[1] + 1, kind=torch.randn)[0].tensor_split([mean.shape[1]], -1)
        off = diffusion.loss(mean + log_std.exp() * within, noise)
        return {"denoising": Term(off.sum(), len(off))}

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
        return {"likelihood": Term(nats.sum(), float(known.sum()) / len(places))}

    return loss


@torch.no_grad()
def calibrate(model: Crystals, held_out: Known) -> None:
    """Scale the bars of properties so that 68 % of held-out crystals lie inside, in place.

    Source: ours.
    """
    model.std_scale.fill_(1.0)
    for name, r in CrystalsRecipe.residuals(model, held_out).items():
        model.std_scale[model.config.properties.index(name)] = float(
            np.quantile(np.abs(r.reference - r.predicted) / r.std, 0.683)
        )
