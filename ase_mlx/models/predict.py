"""Structures in, predictions out, in batches.

Source: ours.
"""

from typing import Any

import numpy as np
import torch

from ase_mlx.graph import Graph, Points, batch, from_atoms
from ase_mlx.quantities import Quantity
from ase_mlx.structure import expect_atoms, net_charge

from .contract import Field, Predicts
from .extrapolation import warn
from .large import large_density, predict_large
from .model import Model, check_numbers, check_precision
from .prediction import Prediction

NO_BARS = "energies and forces in blocks have no error bars"

ATOMS_PER_BATCH = 512
"""Enough to hide the cost of launching operations, few enough to stay in a CPU's cache."""


def predict(
    model: Predicts | Field,
    atoms: Any,
    std: bool = True,
    at: Points | list[Points] | None = None,
    charge: float | None = None,
    blocks: bool = False,
    members: bool = False,
) -> Prediction | list[Prediction]:
    """Predict all outputs of a model for one structure or a list, batched.

    Outside the model's training data one warning of the whole call says how far; `p["distance"]` says it of each atom.

    Args:
        model: any model that predicts; `am.predict` also takes a shipped name or a model's folder.
        atoms: `ase.Atoms`, or a list of them (Å).
        std: also the calibrated standard deviations, where the model has them: of a potential, two to three times the
            cost of energy and forces; and `std_dft`, where the errors of its labels against DFT are known.
        at: where to evaluate fields such as the density, as `grid` gives it; one for all or one a structure.
        charge: of a density, in units of e; −1 is one electron more. None: `info["charge"]` of each structure, 0
            without. Energy and forces do not depend on it.
        blocks: compute each structure block by block, of any size, by a potential on the CPU; energies and forces then
            have no error bars.
        members: also what every member of the ensemble says of forces and stress: a backward pass a member.

    Returns:
        A Prediction of numpy arrays (energy eV, forces eV/Å, stress Voigt eV/Å³, density e/Å³ …), or a list in the
        order given.

    Raises:
        ValueError: a structure without physical meaning (named by its place in the list), an unknown element, points
            for a model without fields or none for one that has nothing else, a charge without points, a model in
            another precision than float32 and float64.
        TypeError: something else than atoms, such as the name of a file.

    Source: ours.
    """
    one = hasattr(atoms, "positions")
    several = _structures(atoms)
    # forces are derivatives: within somebody's inference mode there are none, within autocast they have two digits
    with torch.inference_mode(False), torch.autocast(_device(model).type, enabled=False):
        results = _predictions(model, several, std, at, charge, blocks, members)
    distances = [np.asarray(p["distance"]).ravel() for p in results if "distance" in p]
    if distances:
        warn(np.concatenate(distances))
    return results[0] if one else results


def _structures(atoms: Any) -> list[Any]:
    """List one structure or all of several; the name of a file, and what is not of ASE's kind, is refused."""
    one = hasattr(atoms, "positions") or isinstance(atoms, str) or not hasattr(atoms, "__iter__")
    several = [atoms] if one else list(atoms)
    for part in several:
        expect_atoms(part if isinstance(atoms, list | tuple) or hasattr(part, "positions") else atoms)
    return several


def _predictions(
    model: Any,
    atoms: list[Any],
    std: bool,
    at: Points | list[Points] | None,
    charge: float | None,
    in_blocks: bool,
    members: bool,
) -> list[Prediction]:
    _check_question(model, at, charge)
    device = _device(model)
    if at is not None:
        places = list(at) if isinstance(at, list) else [at] * len(atoms)
        if len(places) != len(atoms):
            raise ValueError(f"got points for {len(places)} structures, expected them for {len(atoms)}")
    if in_blocks:
        if not hasattr(model, "core_slope") or device.type != "cpu":
            raise ValueError(f"got blocks=True for a {type(model).__name__} on {device}, expected a potential on a CPU")
        pairs = zip(atoms, places if at is not None else [None] * len(atoms), strict=True)
        return [_in_blocks(model, a, std or members, points, charge) for a, points in pairs]
    graphs = []
    for k, a in enumerate(atoms):
        try:
            graph = from_atoms(a, model.cutoff)
            check_numbers(torch.unique(graph.numbers).numpy(), model.elements)
        except ValueError as error:
            raise ValueError(f"structure {k}: {error}") from error
        graphs.append(graph)
    fields: list[Prediction] = []
    if at is not None:
        for a, graph, points in zip(atoms, graphs, places, strict=True):
            one = graph.to(device)
            fields += split(model, _field(model, one, points, std, net_charge(a, charge)), one)
        if not (isinstance(model, Field) and isinstance(model, Predicts)):
            return fields
    results: list[Prediction] = []
    for group in _groups(graphs):
        joined = batch(group).to(device)
        results += split(model, ask(model, joined, std, members), joined)
    return [_joined(*both) for both in zip(results, fields, strict=True)] if fields else results


def _device(model: Any) -> torch.device:
    return (
        next(model.parameters(), torch.zeros(0)).device if isinstance(model, torch.nn.Module) else torch.device("cpu")
    )


def ask(model: Predicts, graph: Graph, std: bool, members: bool) -> Prediction:
    """Predict a batched graph with what is asked for beside the mean, in the outputs' units.

    Source: ours.
    """
    if not (std or members):
        return model(graph)
    prediction = model.with_members(graph) if members and isinstance(model, Model) else model.with_std(graph)
    labels = getattr(model, "against_dft", None)
    return labels.extended(graph, prediction) if labels else prediction


def _in_blocks(model: Any, atoms: Any, std: bool, points: Points | None, charge: float | None) -> Prediction:
    numbers = predict_large(model, atoms)
    note = NO_BARS if std else ""
    if points is None:
        return Prediction(numbers, note=note)
    field = large_density(model, atoms, points, std, net_charge(atoms, charge))
    arrays = lambda values: {name: value.numpy() for name, value in values.items()}  # noqa: E731
    return Prediction({**numbers, **arrays(field)}, arrays(field.std), note=note, noise=arrays(field.noise))


def _check_question(model: Any, at: Any, charge: float | None) -> None:
    names = ", ".join(q.name for q in getattr(model, "outputs", ()))
    if not isinstance(model, Predicts | Field):
        raise ValueError(f"got a {type(model).__name__}, which predicts nothing; expected a model with outputs")
    for weight in model.parameters() if isinstance(model, torch.nn.Module) else ():
        check_precision(weight.dtype)
    if at is not None and not any(q.per == "point" for q in model.outputs):
        raise ValueError(
            f"got points for a model without a field (it gives {names}); leave out at=, or train a density: "
            "docs/density.md"
        )
    if at is None and not isinstance(model, Predicts):
        raise ValueError(f"got no points for a model that gives a field only ({names}); give at=am.grid(atoms, 0.2)")
    if at is None and charge:
        raise ValueError(
            f"got charge={charge:g} without points, expected at=: only densities depend on a charge, energies and "
            "forces do not"
        )


def _field(model: Any, graph: Graph, points: Points, std: bool, charge: float) -> Prediction:
    """What a model says of one structure at points; one that is no `Field` says all else with it."""
    if not isinstance(model, Field):
        if charge:
            raise ValueError(f"got a charge of {charge:g} e for a {type(model).__name__}, whose field takes none")
        return model.with_std(graph, points) if std else model(graph, points)
    return model.at(graph, points, std, **({"charge": charge} if charge else {}))


def _joined(numbers: Prediction, field: Prediction) -> Prediction:
    both = [(p, p.std, p.members, p.noise, p.std_dft) for p in (numbers, field)]
    *three, noise, std_dft = ({**one, **other} for one, other in zip(*both, strict=True))
    return Prediction(*three, numbers.note, noise, std_dft)


def _groups(graphs: list[Graph]) -> list[list[Graph]]:
    """Cut a list into batches of limited size; structures with and without a volume are not mixed."""
    groups: list[list[Graph]] = []
    size, kind = 0, None
    for g in graphs:
        has_volume = bool(g.volume[0] > 1e-6)
        if not groups or size + len(g.numbers) > ATOMS_PER_BATCH or has_volume != kind:
            groups.append([])
            size, kind = 0, has_volume
        groups[-1].append(g)
        size += len(g.numbers)
    return groups


def split(model: Any, prediction: Prediction, graph: Graph) -> list[Prediction]:
    """Cut the prediction of a batch into those of its structures, as numpy arrays (the outputs' units).

    Raises:
        ValueError: an array that is not among the model's outputs, or not of the shape that these declare.

    Source: ours.
    """
    outputs = {q.name: q for q in model.outputs}
    atoms = np.concatenate([[0], np.cumsum(graph.n_atoms.tolist())])
    edges = graph.first_edge.cpu().numpy()[atoms]

    def cut(values: Any, axis: int) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = [{} for _ in range(graph.n_graphs)]
        for name, value in values.items():
            array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
            per = _per(model, outputs, name, array.shape[axis:], (graph.n_graphs, int(atoms[-1]), int(edges[-1])))
            for k, part in enumerate(parts):
                where = {
                    "graph": k,
                    "atom": slice(atoms[k], atoms[k + 1]),
                    "edge": slice(edges[k], edges[k + 1]),
                    "point": slice(None),
                }[per]
                part[name] = array[(slice(None),) * axis + (where,)]
        return parts

    parts = (prediction, prediction.std, prediction.noise, prediction.std_dft)
    values, std, noise, std_dft = (cut(part, 0) for part in parts)
    each = zip(values, std, cut(prediction.members, 1), noise, std_dft, strict=True)
    return [Prediction(v, s, m, prediction.note, alone, dft) for v, s, m, alone, dft in each]


def _per(
    model: Any, outputs: dict[str, Quantity], name: str, shape: tuple[int, ...], counts: tuple[int, int, int]
) -> str:
    """What one value of an output belongs to, as the model declares it; its array must have that shape."""
    if name not in outputs:
        raise ValueError(
            f"got {name!r} from {type(model).__name__}, expected one of its outputs, {', '.join(outputs)}; add a "
            "Quantity of that name to its outputs"
        )
    quantity = outputs[name]
    if quantity.per == "point":
        return quantity.per
    expected = (dict(zip(("graph", "atom", "edge"), counts, strict=True))[quantity.per], *quantity.shape)
    if len(shape) != len(expected) or any(e not in (n, -1) for n, e in zip(shape, expected, strict=True)):
        raise ValueError(
            f"got {name!r} of shape {shape} from {type(model).__name__}, expected {expected}: {quantity} of "
            f"{counts[0]} structures, {counts[1]} atoms and {counts[2]} edges"
        )
    return quantity.per
