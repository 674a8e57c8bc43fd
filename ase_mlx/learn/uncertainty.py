"""Error bars: a shallow ensemble by likelihood, its calibration on held-out frames, and the distance score.

The readout is linear in the latent features, so the energy, forces and stress of every member are linear in its
weights: the response to each weight is computed once, and the likelihood is then maximised without the network.

Source: Kellner and Ceriotti, arXiv 2402.16621 (shallow ensemble, likelihood); the rest as each function says.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from ase_mlx.data.samples import Sample, batches
from ase_mlx.graph import Graph
from ase_mlx.models.distance import environment
from ase_mlx.models.error_bars import CALIBRATED, OF_STRUCTURES
from ase_mlx.models.labelled import hessian_column, moved_atoms
from ase_mlx.models.mechanics import mechanics, sum_by_graph
from ase_mlx.models.potential import Potential
from ase_mlx.progress import logged

from .scales import bar, calibrate, calibrate_growth, tail

FITTED = ("energy", "forces")
"""Quantities whose residuals tell the members apart, with the same weight; columns of the Hessian added nothing."""

READ = ("forces", "stress")
"""Quantities whose bars are read from a few directions of the readout."""

ROWS = 8192
"""Of each of these quantities that a step of the members' fit looks at: their likelihood is that of all rows."""

FORBIDDEN = 1e-4
"""Dimensionless: a component whose response to the readout is smaller, beside the largest, is zero by symmetry."""

FOLDS, DRAWS, LEFT_OUT = 5, 4, 0.975
"""Parts of which one is left out, ways to choose them, share of left-out structures within the edge of the data."""

BEYOND = {"energy": 0.15, "forces": 0.05, "stress": 0.15, "energies": 0.15}
"""Dimensionless: bars beyond the data in units of the model's energy scale, found on surrogates (`data/surrogates`)."""


@dataclass(frozen=True)
class Response:
    """Residuals (reference − prediction) and their linear response to the readout weights.

    Rows are one energy per structure (eV per atom), components of forces (eV/Å), of stress (eV/Å³) or of columns of the
    Hessian (eV/Å²); `distance` is the score of the atom, or the mean of the structure's, `composition` the shares of
    the elements in the structure (dimensionless).

    Source: ours.
    """

    residual: Float[Tensor, " rows"]
    by_weight: Float[Tensor, "rows features"]
    distance: Float[Tensor, " rows"]
    composition: Float[Tensor, "rows elements"]


def responses(model: Potential, samples: list[Sample], batch_size: int = 16) -> dict[str, Response]:
    """Compute residuals and responses of energy per atom (eV), forces (eV/Å), stress (eV/Å³), columns (eV/Å²).

    A quantity that no sample has is absent, and so are derivatives that no readout weight moves: symmetry makes them
    zero, prediction and reference alike, and their ratio of error to spread is one of rounding errors.

    Source: ours.
    """
    rows: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in CALIBRATED}
    model.eval()
    report = logged("frames that set error bars")
    for k, joined in enumerate(batches(samples, batch_size), 1):
        for name, row in _batch_rows(model, joined).items():
            rows[name].append(row)
        report(min(k * batch_size, len(samples)), len(samples))
    tensors = {name: [torch.cat(part) for part in zip(*parts, strict=True)] for name, parts in rows.items() if parts}
    moved = {name: by_weight.norm(dim=1) for name, (_, by_weight, *_) in tensors.items()}
    least = {name: FORBIDDEN * size.max() for name, size in moved.items() if len(size)}
    free = {name: (moved[name] > size) | (name == "energy") for name, size in least.items()}
    return {name: Response(*(part[keep] for part in tensors[name])) for name, keep in free.items()}


def _batch_rows(model: Potential, sample: Sample) -> dict[str, tuple[Tensor, ...]]:
    graph, target, weight = sample.graph, sample.targets, sample.weight
    mean, by_weight = model(graph), _by_weight(model, graph)
    keep = {
        "energy": weight["energy"] > 0,
        "forces": (weight["forces"] > 0)[graph.atom_graph],
        "stress": weight["stress"] > 0,
    }
    distance = mean.get("distance", torch.zeros(len(graph.numbers)))
    by_structure, by_atom = _distance_and_composition(model, graph, distance)
    size = {"energy": graph.n_atoms.to(torch.float64)}
    out = {
        name: (
            ((target[name] - mean[name]) / size.get(name, 1.0))[chosen],
            (by_weight[name] / size.get(name, 1.0))[:, chosen],
            (by_atom if name == "forces" else by_structure)[chosen],
        )
        for name, chosen in keep.items()
        if name in mean
    }
    if sample.base is not None:
        moved = moved_atoms(sample)
        change = mean["forces"][moved] - model(sample.base)["forces"]
        by_change = by_weight["forces"][:, moved] - _by_weight(model, sample.base)["forces"]
        parts = (target["force_change"][moved] - change, by_change)
        out["hessian"] = (*(hessian_column(sample, part) for part in parts), by_atom[moved])
    return {name: _rows(*parts) for name, parts in out.items() if len(parts[0])}


def _rows(residual: Tensor, by_weight: Tensor, place: Tensor) -> tuple[Tensor, ...]:
    place = place.repeat_interleave(residual.numel() // len(place), dim=0)
    return residual.reshape(-1), by_weight.reshape(len(by_weight), -1).T, place[:, 0], place[:, 1:]


def _distance_and_composition(model: Potential, graph: Graph, distance: Tensor) -> tuple[Tensor, Tensor]:
    """Give structures, then atoms their distance score (of structures the mean) and their structure's composition."""
    distance = distance.to(torch.float64).clamp_max(1).unsqueeze(1)  # beyond the edge bars have another law
    species = torch.nn.functional.one_hot(model.species_index[graph.numbers], len(model.elements)).to(torch.float64)
    by_structure = sum_by_graph(graph, torch.cat([distance, species], dim=1)) / graph.n_atoms.unsqueeze(1)
    return by_structure, torch.cat([distance, by_structure[graph.atom_graph, 1:]], dim=1)


def _by_weight(model: Potential, graph: Graph) -> dict[str, Tensor]:
    """Energy, forces and stress as each readout weight alone gives them, weights first (eV, Å)."""
    vectors = graph.vectors().to(model.head.dtype).detach().requires_grad_()
    with torch.enable_grad():
        features = model.latent(graph, vectors)
        slopes = [torch.autograd.grad(f, vectors, retain_graph=True)[0] for f in features.sum(0)]
    parts = [mechanics(graph, vectors.detach(), slope) for slope in slopes]
    stacked = {name: torch.stack([p[name] for p in parts]) for name in ("forces", "stress") if name in parts[0]}
    stacked["energy"] = sum_by_graph(graph, features.detach().to(torch.float64)).T
    return {name: model.config.energy_scale * values for name, values in stacked.items()}


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
    raw = torch.randn(members, n_features, generator=generator, dtype=torch.float64)
    rows = []
    for n, r in used.items():
        mixed = torch.randperm(len(r.residual), generator=generator) if len(r.residual) > ROWS else slice(None)
        rows.append((r.by_weight[mixed] * (start / size[n]), (r.residual[mixed] / size[n]).square()))
    floors = torch.full((len(used),), -1.0, dtype=torch.float64)
    raw.grad, floors.grad = torch.zeros_like(raw), torch.zeros_like(floors)
    optimizer = torch.optim.Adam([raw, floors], lr=rate, fused=True)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (0.5 * (1 + math.cos(math.pi * step / steps)) + 1e-3)
        deviations, by_deviation = raw - raw.mean(0), torch.zeros_like(raw)
        for k, part in enumerate(rows):  # the gradient by hand: a tenth of autograd's time
            first = step * ROWS % max(len(part[1]) - ROWS, 1)
            response, square = (of_all[first : first + ROWS] for of_all in part)
            shifts, floor = response @ deviations.T, torch.exp(2 * floors[k])
            variance = shifts.square().sum(1) / (members - 1) + floor
            by_variance = 0.5 * (1 - square / variance) / variance / len(square)
            by_deviation += (shifts * by_variance.unsqueeze(1)).T @ response * (2 / (members - 1))
            floors.grad[k] = 2 * floor * by_variance.sum()
        raw.grad.copy_(by_deviation - by_deviation.mean(0))
        optimizer.step()
    return (raw - raw.mean(0)) * start


def set_distance(model: Potential, train: list[Sample]) -> None:
    """Set the model's distance score by `train`: 2.5 % of structures that are left out have an atom beyond 1.

    Structures that are a small displacement away from each other are left out together, and the edge is the mean over
    several ways of leaving out, from one of which to the next it moves by a fifth.

    Source: ours.
    """
    model.eval()
    distance, parts = model.distance, [_environments(model, s.graph) for s in train]
    keys = [_undisplaced(s) for s in train]
    names = sorted(set(keys))
    worst = torch.zeros(DRAWS, len(train), dtype=torch.float64)
    for draw in range(DRAWS):
        place = torch.randperm(len(names), generator=torch.Generator().manual_seed(draw)) % FOLDS
        fold_of = dict(zip(names, place.tolist(), strict=True))
        folds = [fold_of[key] for key in keys]
        for k in sorted(set(folds)):
            distance.fit(*_joined([p for p, fold in zip(parts, folds, strict=True) if fold != k] or parts))
            for n, fold in enumerate(folds):
                if fold == k:
                    worst[draw, n] = distance.raw(*parts[n]).max()
    distance.fit(*_joined(parts))
    distance.edge.fill_(float(torch.quantile(worst, LEFT_OUT, dim=1).mean()))
    for s in train:
        distance.see(s.graph, model.species_index[s.graph.numbers])


def _undisplaced(sample: Sample) -> bytes:
    """What a structure and those a small displacement away from it have in common."""
    graph = sample.graph if sample.base is None else sample.base
    rounded = graph.positions.round(decimals=5) + 0.0  # −0 is 0
    return graph.numbers.numpy().tobytes() + rounded.numpy().tobytes()


@torch.no_grad()
def _environments(model: Potential, graph: Graph) -> tuple[Tensor, Tensor]:
    vectors, species = graph.vectors().to(model.head.dtype), model.species_index[graph.numbers]
    return environment(graph, vectors, model.trunk(graph, vectors, species)), species


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([x for x, _ in parts]), torch.cat([s for _, s in parts])


def set_uncertainty(
    model: Potential, train: list[Sample], val: list[Sample], seed: int = 0
) -> dict[str, dict[str, float]]:
    """Give a fitted potential its members (by likelihood), calibrated scales (on `val`) and distance score.

    The scales come from cross-fitting: members fitted without a fifth of `val` are judged on that fifth. Bars of forces
    and stress are then read from a few directions and scaled to agree with those of all members. The scale of the
    forces goes into the members themselves, so that what is propagated from them (phonons, lattice constants)
    carries it.

    Returns:
        Scale and tail (dimensionless) and floor (eV/atom, eV/Å, eV/Å³, eV/Å²) of each quantity, for the model card;
        `all_members`: scale and floor of bars that are read from all members.

    Source: see the module.
    """
    set_distance(model, train)
    if not model.config.members:
        return {}
    training = responses(model, train)
    parts = [responses(model, val[k::FOLDS]) for k in range(FOLDS) if val[k::FOLDS]]
    held_out = _join(parts)
    deviations = fit_members(_stack(training, held_out), model.config.members, seed)
    spreads = _crossed_spreads(model, training, parts, val, seed)
    judged = held_out | ({"energies": held_out["energy"]} if "energy" in held_out else {})
    unit = calibrate(held_out["forces"].residual, spreads["forces"])[0]
    model.deviations.copy_(deviations * unit)
    model.directions.copy_(principal_directions(model.deviations, training["forces"].by_weight, len(model.directions)))
    grown = {
        name: calibrate_growth(r.residual, spreads[name], r.distance, r.composition)
        for name, r in judged.items()
        if name != "hessian"
    }
    if "hessian" in judged:  # what follows from members' force constants can have no floor: theirs is a scale alone
        grown["hessian"] = (*calibrate(judged["hessian"].residual, spreads["hessian"], floors=1), 0.0)
    if "energies" in judged:
        bars = [bar(spreads[name], judged["energy"].distance, grown[name]) for name in OF_STRUCTURES]
        of_larger = tail(judged["energy"].residual, torch.maximum(*bars))
        grown |= {name: (*grown[name][:2], of_larger, grown[name][3]) for name in OF_STRUCTURES}
    every = _join([training, held_out])
    lines = {}
    for name, (scale, floor, width, growth) in grown.items():
        of_members = (scale / unit, floor)
        read = _matched(every[name].by_weight, model, *of_members) if name in READ else of_members
        k = CALIBRATED.index(name)
        (model.std_scale[k], model.std_floor[k]), model.std_tail[k], model.std_growth[k] = read, width, growth
        model.std_beyond[k] = BEYOND.get(name, 0.0) * model.config.energy_scale
        lines[name] = {"scale": read[0], "floor": read[1], "tail": width, "growth": growth}
        lines[name] |= {"rows": len(judged[name].residual)}
        lines[name] |= {"all_members": {"scale": of_members[0], "floor": floor}} if name in READ else {}
    return lines


def _crossed_spreads(
    model: Potential, training: dict[str, Response], parts: list[dict[str, Response]], val: list[Sample], seed: int
) -> dict[str, Tensor]:
    """Spreads on each held-out part of members that were fitted without it, in the quantities' units."""
    spreads: dict[str, list[Tensor]] = {}
    for k, part in enumerate(parts):
        others = [p for q, p in enumerate(parts) if q != k] or parts
        crossed = fit_members(_stack(training, _join(others)), model.config.members, seed)
        for name, r in part.items():
            spreads.setdefault(name, []).append((r.by_weight @ crossed.T).square().sum(1).div(len(crossed) - 1).sqrt())
        if "energy" in part:
            spreads.setdefault("energies", []).append(_energy_spreads(model, val[k::FOLDS], crossed))
    return {name: torch.cat(each) for name, each in spreads.items()}


@torch.no_grad()
def _energy_spreads(model: Potential, samples: list[Sample], deviations: Tensor, batch_size: int = 16) -> Tensor:
    """Spreads of the energies that `responses` has, summed atom by atom (eV an atom)."""
    rows = []
    for sample in batches(samples, batch_size):
        graph = sample.graph
        features = model.latent(graph, graph.vectors().to(model.head.dtype))
        spread = model.energy_spread(graph, features, deviations) / graph.n_atoms
        rows.append(spread[sample.weight["energy"] > 0])
    return torch.cat(rows)


def principal_directions(
    deviations: Float[Tensor, "members features"], by_weight: Float[Tensor, "rows features"], count: int
) -> Float[Tensor, "count features"]:
    """Directions of the readout that carry most of the members' variance of some components (dimensionless).

    With C the members' covariance and G = ⟨J Jᵀ⟩ of the components' responses J to the readout, they are the leading
    eigenvectors of √G C √G: the sum of their squared responses is the largest share of Jᵀ C J on average.

    Args:
        deviations: of the members' readouts, dimensionless.
        by_weight: responses, any unit.
        count: how many.

    Source: ours.
    """
    c = deviations.to(torch.float64)
    c = c.T @ c / (len(c) - 1)
    size, axes = torch.linalg.eigh(by_weight.T @ by_weight / len(by_weight))
    size = size.clamp_min(float(size[-1]) * 1e-12).sqrt()
    root, inverse = (axes * size) @ axes.T, (axes / size) @ axes.T
    variance, vectors = torch.linalg.eigh(root @ c @ root)
    leading = inverse @ (vectors * variance.clamp_min(0).sqrt())
    return leading.flip(1)[:, :count].T


def _matched(by_weight: Tensor, model: Potential, scale: float, floor: float) -> tuple[float, float]:
    """Scale and floor with which bars from the directions are those of all members, (scale, floor), on log average."""
    deviations, directions = model.deviations.to(torch.float64), model.directions.to(torch.float64)
    members = (by_weight @ deviations.T).square().sum(1) / (len(deviations) - 1)
    expected = torch.sqrt(scale**2 * members + floor**2).log().numpy()
    spread = (by_weight @ directions.T).square().sum(1).clamp_min(1e-300).log().numpy()

    def misfit(logs: np.ndarray) -> float:
        return float(np.square(0.5 * np.logaddexp(2 * logs[0] + spread, 2 * logs[1]) - expected).mean())

    start = [math.log(scale), math.log(max(floor, 1e-2 * math.exp(np.median(expected))))]
    return tuple(np.exp(minimize(misfit, start, method="Nelder-Mead").x).tolist())


def _join(parts: list[dict[str, Response]]) -> dict[str, Response]:
    rows = {name: [part[name] for part in parts if name in part] for name in CALIBRATED}
    return {
        name: Response(*(torch.cat(column) for column in zip(*map(_columns, pieces), strict=True)))
        for name, pieces in rows.items()
        if pieces
    }


def _columns(r: Response) -> tuple[Tensor, ...]:
    return r.residual, r.by_weight, r.distance, r.composition


def _stack(train: dict[str, Response], held_out: dict[str, Response]) -> dict[str, Response]:
    """Put held-out rows beside training rows, training residuals blown up to the held-out size."""
    stacked = dict(train)
    for name, val in held_out.items():
        if name not in train:
            stacked[name] = val
            continue
        target = train[name]
        ratio = val.residual.abs().median() / target.residual.abs().median().clamp_min(1e-12)
        stacked[name] = Response(
            torch.cat([target.residual * ratio.clamp_min(1.0), val.residual]),
            torch.cat([target.by_weight, val.by_weight]),
            torch.cat([target.distance, val.distance]),
            torch.cat([target.composition, val.composition]),
        )
    return stacked
