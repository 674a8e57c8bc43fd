"""From model files of earlier versions to today's: one named step a schema. Nothing here imports torch.

Source: ours.
"""

from collections.abc import Callable, MutableMapping
from typing import Any

Tensors = MutableMapping[str, Any]


def without_counter_of_draws(card: dict[str, Any], tensors: Tensors) -> None:
    """Leave out of point densities the counter that their loss once kept in the model.

    Source: ours.
    """
    if card.get("kind") == "point_density":
        tensors.pop("draws", None)


def without_spare_input(card: dict[str, Any], tensors: Tensors) -> None:
    """Leave out of properties of crystals the last input of each network, which was always zero.

    Raises:
        ValueError: the published score, an average over all inputs to which the spare one added.

    Source: ours.
    """
    if card.get("kind") not in ("crystal_property", "anomaly") or not tensors:
        return
    anomaly = card["kind"] == "anomaly"
    config = card["config"]["property"] if anomaly else card["config"]
    if config["literal"]:
        raise ValueError("got a model with literal = true of schema 2, whose score had a spare input; train it anew")
    start = "property.networks." if anomaly else "networks."
    for network in {name.removeprefix(start).split(".")[0] for name in tensors if name.startswith(start)}:
        weights = f"{start}{network}.stacked."
        count = sum(name.startswith(weights) for name in tensors)
        base = count - 4 - 2 * config["depth"]  # before it: λ, offset, six of the hyper-network, those of attention
        last_axis = [2, 6, 7, base, count - 3] + ([base - 4] if base > 8 else [])
        for place in last_axis:
            tensors[f"{weights}{place}"] = tensors[f"{weights}{place}"][..., :-1]
        tensors[f"{weights}{count - 4}"] = tensors[f"{weights}{count - 4}"][:, :-1]


def bars_of_all_members(card: dict[str, Any], tensors: Tensors) -> None:
    """Say of potentials that their bars come from all members and do not grow with the distance.

    Source: ours.
    """
    if card.get("kind") == "potential" and "deviations" in tensors:
        tensors["directions"] = 0 * tensors["deviations"][: min(3, tensors["deviations"].shape[1])]
        tensors["std_growth"] = 0 * tensors["std_scale"]


MOMENTS = 36
"""Moments of the neighbours in the distance score of the schema after this step: three in each of twelve windows."""


def without_distance_of_readouts(card: dict[str, Any], tensors: Tensors) -> str | None:
    """Leave out of potentials the distance score of earlier versions, which did not see missing neighbours.

    Returns:
        What the user is told of it.

    Source: ours.
    """
    if card.get("kind") != "potential" or "feature_mean" not in tensors:
        return None
    config, n = card["config"], len(card["config"]["elements"])
    read = config["channels"] * (config["layers"] + (config["layers"] - 1) * (config["l_max"] > 0)) + MOMENTS
    mean = tensors.pop("feature_mean")
    scored = bool(tensors.pop("feature_precision").any())
    tensors["distance.edge"] = 0 * tensors.pop("distance_scale")
    tensors["distance.mean"], tensors["distance.factor"] = mean.new_zeros(n, read), mean.new_zeros(n, read, read)
    tensors["distance.pairs"] = mean.new_zeros(n, n).bool()
    tensors["std_beyond"] = tensors["std_growth"] = 0 * tensors["std_growth"]
    return (
        "Potential of an earlier version: its distance score did not see missing neighbours and is left out, so "
        "extrapolation goes unnoticed; train it anew to have one."
        if scored
        else None
    )


def energy_bars_of_sums(card: dict[str, Any], tensors: Tensors) -> None:
    """Say of potentials that their energies have no bar of what members disagree about each atom.

    Source: ours.
    """
    if card.get("kind") == "potential":
        for name in ("std_scale", "std_floor", "std_growth", "std_beyond", "std_tail"):
            if name in tensors:
                tensors[name] = tensors[name][[0, 1, 2, 3, 0]] * tensors[name].new_tensor([1, 1, 1, 1, 0])


def fields_without_bars(card: dict[str, Any], tensors: Tensors) -> None:
    """Say of fields of temperature that nobody knows their bars.

    Source: ours.
    """
    if card.get("kind") == "heat" and "away" in tensors:
        count = sum(x.numel() for name, x in tensors.items() if name.startswith("networks."))
        shape = (count // card["config"].get("windows", 1) + len(tensors["away"]), len(tensors["away"]))
        tensors["directions"] = tensors["away"].new_full(shape, float("inf"))


UPGRADES: dict[int, Callable[[dict[str, Any], Tensors], str | None]] = {
    1: without_counter_of_draws,
    2: without_spare_input,
    3: bars_of_all_members,
    4: without_distance_of_readouts,
    5: energy_bars_of_sums,
    6: fields_without_bars,
}
"""From schema n to n + 1; each changes a card, and the tensors where they are at hand, in place."""

SCHEMA = 1 + len(UPGRADES)


def upgrade(card: dict[str, Any], tensors: Tensors | None = None) -> list[str]:
    """Bring a card, and the tensors that belong to it, to today's schema, in place.

    Returns:
        What is lost on the way, in sentences for the user.

    Source: ours.
    """
    steps = range(card["schema"], SCHEMA)
    lost = [UPGRADES[version](card, {} if tensors is None else tensors) for version in steps]
    card["schema"] = SCHEMA
    return [sentence for sentence in lost if sentence]
