"""The laws of a potential: what energy, forces, stress and their error bars obey whatever they were trained on.

Every law takes a model and the name of a geometry, evaluates the model in its own dtype, and raises `LawBroken`.
Deviations are compared in eV and eV/Å, stresses as virials per atom (stress × true cell volume / atoms, eV), relative
to the larger of 1 and the largest value compared; energies, whose zero is arbitrary, relative to the larger of 1 eV and
the largest force × 1 Å.

Source: ours; each law says where it comes from.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from ase_mlx.graph import batch, from_atoms
from ase_mlx.models import Model, Prediction
from ase_mlx.models.predict import ask
from ase_mlx.quantities import Quantity
from ase_mlx.structure import Structure
from ase_mlx.units import VOIGT

from .geometries import build


class LawBroken(ValueError):
    """A model broke a law: which one, on which geometry, in which dtype, by how much (eV, eV/Å, relative above 1).

    Source: ours.
    """

    def __init__(self, law: str, geometry: str, dtype: str, what: str, deviation: float, tolerance: float):
        """Say what was found; `deviation` and `tolerance` in eV, eV/Å, or relative where the values exceed 1."""
        super().__init__(
            f"got a deviation of {deviation:.3g} in {what}, expected at most {tolerance:.3g}: the law {law!r} "
            f"is broken on {geometry!r} in {dtype}; look for what the model should not know, or a wrong derivative"
        )
        self.law, self.geometry, self.dtype, self.what = law, geometry, dtype, what
        self.deviation, self.tolerance = deviation, tolerance


@dataclass(frozen=True)
class Tolerance:
    """What rounding may do (eV, eV/Å) to equal values, a mean of members, finite differences; the latter's step (Å).

    A model's file holds the members' weights in float32, so that their mean is known no better.

    Source: ours, from the machine's ε: differences lose ε/step and step⁴, more at the knots of a spline.
    """

    equal: float
    mean: float
    derivative: float
    step: float


TOLERANCES: dict[str, Tolerance] = {
    "float64": Tolerance(equal=1e-9, mean=1e-5, derivative=1e-6, step=1e-4),
    "float32": Tolerance(equal=1e-4, mean=1e-4, derivative=1e-2, step=1e-2),
}
"""The one table of tolerances, by the dtype of a model's parameters."""

CUTOFF_STEP = 1e-3
"""Å on either side of the cutoff."""
CUTOFF_JUMP = 1e-3
"""eV and eV/Å across the cutoff: what the slowest smooth function, a cosine, leaves there; a jump is larger."""


def dtype_of(model: torch.nn.Module) -> str:
    """Name the dtype of a model's parameters.

    Source: ours.
    """
    return str(next(model.parameters(), torch.zeros(0, dtype=torch.float64)).dtype).removeprefix("torch.")


def evaluate(model: Model, crystals: tuple[Structure, ...], std: bool = False, members: bool = False) -> Prediction:
    """Predict structures (Å) as one batch; numpy arrays in eV, eV/Å, eV/Å³.

    Source: ours.
    """
    graph = batch([from_atoms(c, model.cutoff) for c in crystals]).to(next(model.parameters(), torch.zeros(0)).device)
    p = ask(model, graph, std, members)
    return Prediction(*({k: v.detach().cpu().numpy() for k, v in d.items()} for d in (p, p.std, p.members)))


_REFERENCES: weakref.WeakKeyDictionary[Model, dict[tuple, Prediction]] = weakref.WeakKeyDictionary()
"""Predictions that a model's laws share, by geometry and weights."""


@dataclass
class Trial:
    """One law on one geometry: the structures (Å), their prediction, and the comparisons that may end in `LawBroken`.

    Source: ours.
    """

    law: str
    model: Model
    geometry: str

    def __post_init__(self):
        self.crystals = build(self.geometry, self.model)
        self.dtype = dtype_of(self.model)
        self.tolerance = TOLERANCES[self.dtype]
        weights = tuple((p.data_ptr(), p._version) for p in (*self.model.parameters(), *self.model.buffers()))
        references = _REFERENCES.setdefault(self.model, {})
        if (self.geometry, weights) not in references:
            references[self.geometry, weights] = evaluate(self.model, self.crystals)
        self.reference = references[self.geometry, weights]
        self.size = max(1.0, float(np.abs(self.reference.get("forces", 0.0)).max()))

    def equal(self, what: str, value, expected, tolerance: float | None = None) -> None:
        """Compare arrays (eV, eV/Å) to a tolerance (same unit, relative above 1), by default that of equal values."""
        tolerance = self.tolerance.equal if tolerance is None else tolerance
        value, expected = np.asarray(value), np.asarray(expected)
        if value.shape != expected.shape:
            raise LawBroken(self.law, self.geometry, self.dtype, f"the shape of {what}", np.inf, 0.0)
        size = self.size if "energ" in what else max(1.0, float(np.abs(expected).max(initial=0.0)))
        deviation = float(np.abs(value - expected).max(initial=0.0)) / size
        if not deviation <= tolerance:
            raise LawBroken(self.law, self.geometry, self.dtype, what, deviation, tolerance)

    def same(self, crystals: tuple[Structure, ...], turn=None, order=None) -> None:
        """Compare with the prediction of moved structures: scalars stay, vectors and tensors turn (their units)."""
        p, q = self.reference, evaluate(self.model, crystals)
        turn = np.eye(3) if turn is None else turn
        order = np.arange(sum(len(c.numbers) for c in crystals)) if order is None else order
        if "stress" in p:
            self.equal("stress", virial(q["stress"], crystals), _turned(virial(p["stress"], self.crystals), turn))
        if "stresses" in p:
            index = np.repeat(np.arange(len(crystals)), [len(c.numbers) for c in crystals])
            scale = np.array([c.volume for c in crystals])[index, None]
            self.equal("stresses", q["stresses"] * scale, _turned(p["stresses"][order] * scale, turn))
        for quantity in self.model.outputs:
            name, change = quantity.name, TURNS.get(quantity.shape)
            if name in p and change is not None and quantity.per in ("graph", "atom") and name not in APART:
                values = p[name][order] if quantity.per == "atom" else p[name]
                self.equal(name, q[name], change(values, turn, _sign(quantity, turn)))


APART = ("stress", "stresses", "distance")
"""Stresses are compared as virials; distances jump to infinity where features are far out."""

TURNS: dict[tuple[int, ...], Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    (): lambda values, turn, sign: sign * values,
    (3,): lambda values, turn, sign: sign * values @ turn.T,
    (3, 3): lambda values, turn, sign: sign * turn @ values @ turn.T,
    (6,): lambda values, turn, sign: sign * _turned(values, turn),
}
"""How one value of a shape turns with the world: scalars, vectors, tensors, symmetric ones in Voigt's order."""


def _sign(quantity: Quantity, turn: np.ndarray) -> float:
    """What a mirror adds: a quantity of the other parity than its rank has, such as a moment, changes its sign."""
    rank = {(): 0, (3,): 1}.get(quantity.shape, 2)
    return float(np.sign(np.linalg.det(turn))) if quantity.parity != (-1) ** rank else 1.0


def virial(stress: np.ndarray, crystals: tuple[Structure, ...]) -> np.ndarray:
    """Turn stresses (eV/Å³, one a structure) into virials per atom in eV, by the true cell volumes (Å³).

    Source: ours.
    """
    return stress * np.array([[c.volume / len(c.numbers)] for c in crystals])


def _turned(voigt: np.ndarray, turn: np.ndarray) -> np.ndarray:
    full = np.empty((len(voigt), 3, 3))
    first, second = VOIGT
    full[:, first, second] = full[:, second, first] = voigt
    return (turn @ full @ turn.T)[:, first, second]


def _each(
    crystals: tuple[Structure, ...], change: Callable[[Structure, np.random.Generator], Structure]
) -> tuple[Structure, ...]:
    random = np.random.default_rng(7)
    return tuple(change(c, random) for c in crystals)


def _rotation_matrix() -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def rotation(model: Model, geometry: str) -> None:
    """Turn the world: the energy stays, forces turn along as vectors, stress as a tensor (eV, eV/Å).

    Raises:
        LawBroken: they do not.

    Source: isotropy of space.
    """
    trial, turn = Trial("rotation", model, geometry), _rotation_matrix()
    trial.same(
        _each(trial.crystals, lambda c, _: replace(c, positions=c.positions @ turn.T, cell=c.cell @ turn.T)), turn
    )


def mirror(model: Model, geometry: str) -> None:
    """Reflect the world: the energy stays, forces and stress are reflected (eV, eV/Å).

    Raises:
        LawBroken: the model tells left from right.

    Source: parity of the electromagnetic interaction.
    """
    trial, turn = Trial("mirror", model, geometry), _rotation_matrix() @ np.diag([1.0, 1.0, -1.0])
    trial.same(
        _each(trial.crystals, lambda c, _: replace(c, positions=c.positions @ turn.T, cell=c.cell @ turn.T)), turn
    )


def translation(model: Model, geometry: str) -> None:
    """Move everything by one vector: nothing changes, and forces sum to zero (eV, eV/Å).

    Raises:
        LawBroken: something does.

    Source: homogeneity of space.
    """
    trial = Trial("translation", model, geometry)
    trial.same(_each(trial.crystals, lambda c, r: replace(c, positions=c.positions + 5 * r.standard_normal(3))))
    start = 0
    for c in trial.crystals if "forces" in trial.reference else ():
        total = trial.reference["forces"][start : start + len(c.numbers)].sum(0)
        trial.equal("the sum of forces", total, np.zeros(3))
        start += len(c.numbers)


def permutation(model: Model, geometry: str) -> None:
    """Renumber the atoms: the energy stays, forces change places with their atoms (eV, eV/Å).

    Raises:
        LawBroken: they do not.

    Source: atoms of one element are identical.
    """
    trial, order, start = Trial("permutation", model, geometry), [], 0
    moved = []
    for c in trial.crystals:
        places = np.random.default_rng(5).permutation(len(c.numbers))[::-1]
        moved.append(replace(c, positions=c.positions[places], numbers=c.numbers[places]))
        order.append(start + places)
        start += len(c.numbers)
    trial.same(tuple(moved), order=np.concatenate(order))


def lattice_shift(model: Model, geometry: str) -> None:
    """Move single atoms by lattice vectors of periodic directions: nothing changes (eV, eV/Å).

    Raises:
        LawBroken: something does.

    Source: Bloch's picture of a crystal; positions need not be wrapped.
    """

    def shifted(c: Structure, random: np.random.Generator) -> Structure:
        steps = random.integers(-3, 4, c.positions.shape) * c.pbc
        return replace(c, positions=c.positions + steps @ c.cell)

    trial = Trial("lattice shift", model, geometry)
    trial.same(_each(trial.crystals, shifted))


def extensivity(model: Model, geometry: str) -> None:
    """Double the system, along a lattice vector or by a far copy: twice the energy, the same forces (eV, eV/Å).

    Raises:
        LawBroken: an atom feels how large its cell is.

    Source: short range; the far copy is three cutoffs away.
    """

    def doubled(c: Structure, _: np.random.Generator) -> Structure:
        cell = c.cell.copy()
        if c.pbc.any():
            axis = int(np.argmax(c.pbc))
            step = cell[axis].copy()
            cell[axis] *= 2
        else:
            step = np.array([float(np.ptp(c.positions[:, 0])) + 3 * model.cutoff, 0.0, 0.0])
        return replace(
            c, positions=np.vstack([c.positions, c.positions + step]), numbers=np.tile(c.numbers, 2), cell=cell
        )

    trial = Trial("extensivity", model, geometry)
    double = _each(trial.crystals, doubled)
    p, q = trial.reference, evaluate(model, double)
    order = np.concatenate(
        [np.tile(np.arange(n) + start, 2) for n, start in zip(*_counts(trial.crystals), strict=True)]
    )
    trial.equal("energy", q["energy"], 2 * p["energy"])
    if "forces" in p:
        trial.equal("forces", q["forces"], p["forces"][order])
    if "stress" in p:
        trial.equal("stress", virial(q["stress"], double), virial(p["stress"], trial.crystals))


def _counts(crystals: tuple[Structure, ...]) -> tuple[list[int], list[int]]:
    n = [len(c.numbers) for c in crystals]
    return n, (np.cumsum(n) - n).tolist()


def batch_equals_loop(model: Model, geometry: str) -> None:
    """Predict structures together, beside a larger one, and one by one: the same numbers (eV, eV/Å).

    Raises:
        LawBroken: structures of a batch feel each other.

    Source: ours.
    """
    trial = Trial("batch equals loop", model, geometry)
    company = build("diamond" if all(c.volume > 0 for c in trial.crystals) else "molecule", model, seed=9)
    together = evaluate(model, (*company, *trial.crystals))
    alone = [evaluate(model, (c,)) for c in trial.crystals]
    for name in trial.reference:
        parts = np.concatenate([p[name] for p in alone])
        trial.equal(name, together[name][-len(parts) :], parts)
        trial.equal(name, trial.reference[name], parts)


def smooth_at_cutoff(model: Model, geometry: str) -> None:
    """Let a far atom come from outside to inside the cutoff of one atom: energy (eV) and forces (eV/Å) change smoothly.

    Raises:
        LawBroken: there is a jump, which would heat dynamics.

    Source: ours; energy and forces of a smooth model fall at least quadratically towards the cutoff.
    """
    trial = Trial("smooth at the cutoff", model, geometry)
    c = trial.crystals[0]
    edge = c.positions[np.argmax(c.positions[:, 0])]
    results = []
    for distance in (model.cutoff - CUTOFF_STEP, model.cutoff + CUTOFF_STEP):
        far = edge + np.array([distance, 0.0, 0.0])
        results.append(
            evaluate(
                model,
                (replace(c, positions=np.vstack([c.positions, far]), numbers=np.append(c.numbers, c.numbers[0])),),
            )
        )
    for name in {"energy", "forces"} & set(trial.reference):
        trial.equal(f"{name} across the cutoff", results[0][name], results[1][name], CUTOFF_JUMP)


def unmutated(model: Model, geometry: str) -> None:
    """Predict twice: the input (Å) is what it was, and so are the numbers (eV, eV/Å).

    Raises:
        LawBroken: the model wrote into its input, or remembers.

    Source: ours.
    """
    trial = Trial("unmutated input", model, geometry)
    graph = batch([from_atoms(c, model.cutoff) for c in trial.crystals])
    before = {name: getattr(graph, name).clone() for name in graph.__dataclass_fields__}
    first, second = model(graph), model(graph)
    model.with_std(graph)
    for name, value in before.items():
        trial.equal(f"the input's {name}", getattr(graph, name).to(torch.float64), value.to(torch.float64), 0.0)
    for name in first:
        trial.equal(f"{name} asked twice", second[name].detach(), first[name].detach())
