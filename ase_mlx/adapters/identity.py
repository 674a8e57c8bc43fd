"""What makes a calculator the one that it is: everything that its results depend on, in a form that outlives a process.

Attributes that a calculation changes (neighbour lists, counters, the last results) do not count: they are learned by
looking at a calculator before and after work of ours. Attributes whose content cannot be told make a calculator equal
to itself in this process alone: its kept work is computed anew by the next one.

Source: ours.
"""

import weakref
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

from ase_mlx.adapters.factories import factory_name
from ase_mlx.keep import Unstable, contents, digest

__all__ = ["Identity", "identity", "worked"]

STATE = ("atoms", "results", "_process", "choice")
"""Attributes of ASE's calculators, the process of ours, why one was chosen: they say nothing of what is computed."""


@dataclass
class Identity:
    """A calculator's identity.

    `settings` are its class, parameters, precision, model and the factory that made it, readable; `key` is the digest
    of these and of all else that it holds, code included; `lasting` is that without the code of this package, which
    any version of it may change: only `lasting` and `settings` may decide that work is refused; `unstable` names what
    cannot be told.

    Source: ours.
    """

    settings: dict[str, str]
    key: str
    lasting: str
    unstable: list[str]
    parts: dict[str, str] = field(repr=False)
    transient: set[str] = field(default_factory=set, repr=False)


_KNOWN: "weakref.WeakKeyDictionary[Any, Identity]" = weakref.WeakKeyDictionary()


def identity(calculator) -> Identity:
    """Tell what a calculator's results depend on; nothing here has a unit.

    Source: ours.
    """
    if _chooses(calculator):
        raise ValueError(
            "got Calculator('auto') that has chosen no model yet, expected one that has; ask it for the energy of the "
            "structure first, or give Calculator('auto', atoms=atoms)"
        )
    parts, lasting, unstable = _contents(calculator)
    before = _recall(calculator)
    if before is not None and not _changed(before.parts, parts) - before.transient:
        return before
    settings = _settings(calculator, lasting)
    own = _of_original(calculator, parts) or Identity(
        settings, digest(settings, parts), digest(settings, lasting), unstable, parts
    )
    try:
        _KNOWN[calculator] = own
    except TypeError:  # no weak references, or no hash: known anew each time
        pass
    return own


def worked(calculator) -> None:
    """Note that all that changed in a calculator since `identity` was asked for is what calculations change.

    Source: ours.
    """
    before = _recall(calculator)
    if before is not None and not _ours(calculator):
        before.transient |= _changed(before.parts, _contents(calculator)[0])


def _recall(calculator) -> Identity | None:
    try:
        return _KNOWN.get(calculator)
    except TypeError:
        return None


def _of_original(calculator, parts: dict[str, str]) -> Identity | None:
    """Identity of a calculator that has worked, of which this one is a copy: it holds the same to the last bit."""
    for other, earlier in list(_KNOWN.items()):
        if type(other) is type(calculator) and other is not calculator and earlier.transient and not earlier.unstable:
            if _contents(other)[0] == parts:
                return earlier
    return None


def _changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def _contents(calculator) -> tuple[dict[str, str], dict[str, str], list[str]]:
    if type(calculator).__module__ == "ase_mlx.adapters.ase.sum":
        correction = {f"correction.{name}": text for name, text in _settings(calculator.correction, {}).items()}
        parts, lasting, unstable = _contents(calculator.calculator)
        return parts | correction, lasting | correction, unstable
    if _ours(calculator):
        model = calculator.model
        config = asdict(model.config) if is_dataclass(model.config) else model.config
        lasting = {name: str(getattr(calculator, name)) for name in ("dtype", "device")}
        lasting |= {"model.config": digest(config), "model.weights": digest(dict(model.state_dict()))}
        return lasting | {"class": digest(type(calculator)), "model.class": digest(type(model))}, lasting, []
    return contents(
        calculator,
        lambda owner, name: name == "implemented_properties" or name in STATE and hasattr(owner, "get_property"),
    )


def _ours(calculator) -> bool:
    return type(calculator).__module__ == "ase_mlx.adapters.ase.calculator" and hasattr(calculator.model, "config")


def _chooses(calculator) -> bool:
    return type(calculator).__module__ == "ase_mlx.adapters.ase.calculator" and calculator.model is None


def _settings(calculator, lasting: dict[str, str]) -> dict[str, str]:
    """The part of an identity that a person can read, and that two calculators in one folder have to share."""
    parameters = dict(getattr(calculator, "parameters", None) or {})
    try:
        mark = digest(parameters)[:16]
    except Unstable:
        mark = "not comparable"
    settings = {
        "class": f"{type(calculator).__module__}.{type(calculator).__qualname__}",
        "parameters": f"{str(dict(sorted(parameters.items(), key=str)))[:300]} {mark}" if parameters else "{}",
        "dtype": str(getattr(calculator, "dtype", "")),
        "factory": factory_name(calculator),
    }
    model = {
        path: part
        for path, part in lasting.items()
        if path.startswith(("model.", "models")) and not path.endswith("__class__")
    }
    return settings | ({"model": digest(model)} if model else {})
