"""Error bars: a shallow ensemble by likelihood, its calibration on held-out frames, and the distance score.

The readout is linear in the latent features, so the energy, forces and stress of every member are linear in its
weights: the response to each weight is computed once, and the likelihood is then maximised without the network.

Source: Kellner and Ceriotti, arXiv 2402.16621 (shallow ensemble, likelihood); the rest as each function says.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ase_mlx.data.samples import Sample, batches
from ase_mlx.graph import Graph
from ase_mlx.models.mechanics import mechanics, sum_by_graph
from ase_mlx.models.potential import CALIBRATED, Potential, hessian_column, moved_atoms
from ase_mlx.units import NORMAL_95

NOMINAL_68 = 0.682689
FITTED = ("energy", "forces")
"""Quantities whose residuals tell the members apart, with the same weight; columns of the Hessian added nothing."""

FORBIDDEN = 1e-4
"""Dimensionless: a component whose response to the readout is smaller, beside the largest, is zero by symmetry."""

RIDGES, FOLDS = (1.0, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4), 5


@dataclass(frozen=True)
class Response:
    """Residuals (reference − prediction) and their linear response to the readout weights.

    Rows are one energy per structure (eV per atom), components of forces (eV/Å), of stress (eV/Å³) or of columns of the
    Hessian (eV/Å²).

    Source: ours.
    """

    residual: Float[Tensor, " rows"]
    by_weight: Float[Tensor, "rows features"]


def responses(model: Potential, samples: list[Sample], batch_size: int = 16) -> dict[str, Response]:
    """Compute residuals and responses of energy per atom (eV), forces (eV/Å), stress (eV/Å³), columns (eV/Å²).

    A quantity that no sample has is absent, and so are components that no readout weight moves: symmetry makes them
    zero, prediction and reference alike, and their ratio of error to spread is one of rounding errors.

    Source: ours.
    """
    rows: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in CALIBRATED}
    model.eval()
    for joined in batches(samples, batch_size):
        for name, row in _batch_rows(model, joined).items():
            rows[name].append(row)
    found = {name: [torch.cat(part) for part in zip(*parts, strict=True)] for name, parts in rows.items() if parts}
    moved = {name: by_weight.norm(dim=1) for name, (_, by_weight) in found.items()}
    free = {name: size > FORBIDDEN * size.max() for name, size in moved.items() if len(size)}
    return {name: Response(*(part[keep] for part in found[name])) for name, keep in free.items()}


def _batch_rows(model: Potential, sample: Sample) -> dict[str, tuple[Tensor, Tensor]]:
    graph, target, weight = sample.graph, sample.targets, sample.weight
    mean, by_weight = model(graph), _by_weight(model, graph)
    n = graph.n_atoms.to(torch.float64)
    keep = {
        "energy": weight["energy"] > 0,
        "forces": (weight["forces"] > 0)[graph.atom_graph],
        "stress": weight["stress"] > 0,
    }
    out = {
        name: ((target[name] - mean[name])[chosen], by_weight[name][:, chosen])
        for name, chosen in keep.items()
        if name in mean
    }
    out["energy"] = tuple(part / n[keep["energy"]] for part in out["energy"])
    if sample.base is not None:
        moved = moved_atoms(sample)
        change = mean["forces"][moved] - model(sample.base)["forces"]
        by_change = by_weight["forces"][:, moved] - _by_weight(model, sample.base)["forces"]
        parts = (target["force_change"][moved] - change, by_change)
        out["hessian"] = tuple(hessian_column(sample, part) for part in parts)
    return {name: (residual.reshape(-1), by.reshape(len(by), -1).T) for name, (residual, by) in out.items()}


def _by_weight(model: Potential, graph: Graph) -> dict[str, Tensor]:
    """Energy, forces and stress as each readout weight alone gives them, weights first (eV, Å)."""
    vectors = graph.vectors().to(model.head.dtype).detach().requires_grad_()
    with torch.enable_grad():
        features = model.latent(graph, vectors)
        slopes = [torch.autograd.grad(f, vectors, retain_graph=True)[0] for f in features.sum(0)]
    parts = [mechanics(graph, vectors.detach(), slope) for slope in slopes]
    found = {name: torch.stack([p[name] for p in parts]) for name in ("forces", "stress") if name in parts[0]}
    found["energy"] = sum_by_graph(graph, features.detach().to(torch.float64)).T
    return {name: model.config.energy_scale * values for name, values in found.items()}


def fit_members(
    data: dict[str, Response], members: int, seed: int = 0, steps: int = 1500, rate: float = 0.02
) -> Float[Tensor, "members features"]:
    """Fit zero-mean deviations of the readout by the likelihood of the residuals of what `FITTED` names (eV, Å).

    ½ ⟨r²/(s² + s₀²) + ln(s² + s₀²)⟩ over each, s² the members' unbiased variance, s₀ a fitted floor for each quantity;
    the mean of the members, and with it every prediction, does not change.

    Returns:
        Deviations of the readout weights, dimensionless.

    Source: Kellner and Ceriotti, arXiv 2402.16621, eq. 6.
    """
    generator = torch.Generator().manual_seed(seed)
    used = {n: data[n] for n in FITTED if n in data and len(data[n].residual)}
    n_features = data["forces"].by_weight.shape[1]
    spread = {n: r.by_weight.norm() / math.sqrt(r.by_weight.shape[0]) for n, r in used.items()}
    size = {n: r.residual.square().mean().sqrt().clamp_min(1e-9) for n, r in used.items()}
    start = float(size["forces"] / spread["forces"].clamp_min(1e-12))
    raw = torch.randn(members, n_features, generator=generator, dtype=torch.float64).requires_grad_()
    floors = torch.full((len(used),), -1.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([raw, floors], lr=rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (0.5 * (1 + math.cos(math.pi * step / steps)) + 1e-3)
        deviations = (raw - raw.mean(0)) * start
        loss = raw.new_zeros(())
        for k, (name, r) in enumerate(used.items()):
            variance = (r.by_weight @ deviations.T).square().sum(1) / (members - 1)
            variance = variance / size[name] ** 2 + torch.exp(2 * floors[k])
            loss = loss + 0.5 * (r.residual.square() / size[name] ** 2 / variance + torch.log(variance)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return ((raw - raw.mean(0)) * start).detach()


def calibrate(
    residual: Float[Tensor, " rows"], spread: Float[Tensor, " rows"], floors: int = 41
) -> tuple[float, float, float]:
    """Find scale a and floor b of σ² = a² s² + b², and the tail t: held-out errors fill ±σ to 68 % and ±tσ to 95 %.

    The floor is the one of highest Gaussian likelihood, the scale follows from the 68 % quantile, the tail from the
    95 % quantile: 1.96 for a normal distribution, more where errors have heavy tails.

    Args:
        residual: held-out errors in the quantity's unit.
        spread: standard deviation s of the members, same unit.
        floors: how many to try, from none on (dimensionless).

    Returns:
        Scale (dimensionless), floor (the quantity's unit) and tail (dimensionless).

    Source: ours; quantiles of normalised held-out errors as in Angelopoulos and Bates, arXiv 2107.07511, sections 1 and
    2.3.
    """
    error = residual.abs()
    if len(error) == 0 or float(error.max()) == 0:
        return 1.0, 0.0, NORMAL_95
    typical = float(torch.quantile(error, NOMINAL_68))
    best = (math.inf, 1.0, 0.0, NORMAL_95)
    for share in torch.linspace(0.0, 1.0, floors, dtype=torch.float64).tolist():
        floor = share * typical
        scale = _scale(error, spread, floor)
        sigma = torch.sqrt(scale**2 * spread.square() + floor**2).clamp_min(1e-300)
        z = error / sigma
        score = float((0.5 * z.square().clamp_max(25.0) + torch.log(sigma)).mean())
        if score < best[0]:
            best = (score, scale, floor, max(1.0, _tail(z)))
    return best[1:]


def _tail(z: Tensor) -> float:
    """The size that the next error exceeds with a chance of 5 %, be the known ones few (dimensionless)."""
    rank = math.ceil(0.95 * (len(z) + 1))
    return float(z.sort().values[min(rank, len(z)) - 1])


def _scale(error: Tensor, spread: Tensor, floor: float) -> float:
    """Scale of the spread at which 68 % of the errors lie within σ, by bisection (dimensionless)."""
    low, high = 1e-4, 1e4
    for _ in range(60):
        scale = math.sqrt(low * high)
        sigma = torch.sqrt(scale**2 * spread.square() + floor**2)
        low, high = (scale, high) if float((error <= sigma).double().mean()) < NOMINAL_68 else (low, scale)
    return scale


def set_distance(model: Potential, train: list[Sample], val: list[Sample]) -> None:
    """Store mean and precision of each element's features in `train`; distance 1 holds 99 % of its atoms.

    The share of the mean variance that is added to every direction is the one under which `val` is most likely. The
    99 % are those of each fifth of the training frames as judged by the other four.

    Source: Mahalanobis, Proc. Natl. Inst. Sci. India 2, 49 (1936); shrinkage and scale are ours.
    """
    parts = [_features(model, train[k::FOLDS]) for k in range(FOLDS) if train[k::FOLDS]]
    held_out, n = _features(model, val), len(model.elements)
    known = _concatenate(parts)
    ridge = max(RIDGES, key=lambda r: _log_likelihood(*held_out, *_gaussians(*known, n, r)))
    crossed = []
    for k, part in enumerate(parts):
        others = _concatenate([p for q, p in enumerate(parts) if q != k] or parts)
        crossed.append(_square(*part, *_gaussians(*others, n, ridge)).sqrt())
    means, precisions = _gaussians(*known, n, ridge)
    model.feature_mean.copy_(means)
    model.feature_precision.copy_(precisions)
    model.distance_scale.fill_(float(torch.quantile(torch.cat(crossed), 0.99)))


def _gaussians(features: Tensor, species: Tensor, n_species: int, ridge: float) -> tuple[Tensor, Tensor]:
    """Mean and precision of each species' features (dimensionless)."""
    means, precisions = [], []
    for s in range(n_species):
        mine = features[species == s]
        if len(mine) < 2:  # without a spread of its own an element takes that of all
            mine = features - features.mean(0) + (mine if len(mine) else features).mean(0)
        centred = mine - mine.mean(0)
        covariance = centred.T @ centred / (len(mine) - 1)
        added = ridge * covariance.diagonal().mean().clamp_min(1e-12)
        means.append(mine.mean(0))
        precisions.append(torch.linalg.inv(covariance + added * torch.eye(len(covariance), dtype=covariance.dtype)))
    return torch.stack(means), torch.stack(precisions)


def _square(features: Tensor, species: Tensor, means: Tensor, precisions: Tensor) -> Tensor:
    """Squared Mahalanobis distance of each atom (dimensionless)."""
    d = features - means[species]
    return torch.einsum("na,nab,nb->n", d, precisions[species], d).clamp_min(0)


def _log_likelihood(features: Tensor, species: Tensor, means: Tensor, precisions: Tensor) -> float:
    """Mean logarithm of the Gaussian density at atoms' features, up to a constant (dimensionless)."""
    volume = torch.linalg.slogdet(precisions)[1][species]
    return float(0.5 * (volume - _square(features, species, means, precisions)).mean())


def _concatenate(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([f for f, _ in parts]), torch.cat([s for _, s in parts])


def _features(model: Potential, samples: list[Sample]) -> tuple[Tensor, Tensor]:
    model.eval()
    features = [model(s.graph)["features"] for s in samples]
    species = [model.species_index[s.graph.numbers] for s in samples]
    return torch.cat(features).to(torch.float64), torch.cat(species)


def set_uncertainty(
    model: Potential, train: list[Sample], val: list[Sample], seed: int = 0
) -> dict[str, dict[str, float]]:
    """Give a fitted potential its members (by likelihood), calibrated scales (on `val`) and distance score.

    The scales come from cross-fitting: members fitted without a fifth of `val` are judged on that fifth. The scale of
    the forces goes into the members themselves, so that what is propagated from them (phonons, lattice constants)
    carries it.

    Returns:
        Scale and tail (dimensionless) and floor (eV/atom, eV/Å, eV/Å³, eV/Å²) of each quantity, for the model card.

    Source: see the module.
    """
    set_distance(model, train, val)
    if not model.config.members:
        return {}
    known = responses(model, train)
    parts = [responses(model, val[k::FOLDS]) for k in range(FOLDS) if val[k::FOLDS]]
    held_out = _join(parts)
    deviations = fit_members(_stack(known, held_out), model.config.members, seed)
    spreads: dict[str, list[Tensor]] = {name: [] for name in held_out}
    for k, part in enumerate(parts):
        others = [p for q, p in enumerate(parts) if q != k] or parts
        crossed = fit_members(_stack(known, _join(others)), model.config.members, seed)
        for name, r in part.items():
            spreads[name].append((r.by_weight @ crossed.T).square().sum(1).div(len(crossed) - 1).sqrt())
    found = {
        # what follows from members' force constants can have no floor: theirs is a scale alone
        name: calibrate(r.residual, torch.cat(spreads[name]), floors=1 if name == "hessian" else 41)
        for name, r in held_out.items()
    }
    unit = found["forces"][0]
    model.deviations.copy_(deviations * unit)
    for name, (scale, floor, tail) in found.items():
        k = CALIBRATED.index(name)
        model.std_scale[k], model.std_floor[k], model.std_tail[k] = scale / unit, floor, tail
    return {
        name: {"scale": scale / unit, "floor": floor, "tail": tail, "rows": len(held_out[name].residual)}
        for name, (scale, floor, tail) in found.items()
    }


def _join(parts: list[dict[str, Response]]) -> dict[str, Response]:
    rows = {name: [part[name] for part in parts if name in part] for name in CALIBRATED}
    return {
        name: Response(torch.cat([r.residual for r in found]), torch.cat([r.by_weight for r in found]))
        for name, found in rows.items()
        if found
    }


def _stack(train: dict[str, Response], held_out: dict[str, Response]) -> dict[str, Response]:
    """Put held-out rows beside training rows, training residuals blown up to the held-out size."""
    stacked = dict(train)
    for name, val in held_out.items():
        if name not in train:
            stacked[name] = val
            continue
        known = train[name]
        ratio = val.residual.abs().median() / known.residual.abs().median().clamp_min(1e-12)
        stacked[name] = Response(
            torch.cat([known.residual * ratio.clamp_min(1.0), val.residual]),
            torch.cat([known.by_weight, val.by_weight]),
        )
    return stacked
