"""Functions and classes by the name that a command line gives them.

Source: ours.
"""

import importlib
import inspect
import operator
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

BY_NAME = {"emt": "ase.calculators.emt:EMT", "chgnet": "chgnet.model.dynamics:CHGNetCalculator"}
"""Short names of other people's calculators and where they live."""


def factory(name: str) -> Callable:
    """Find a function or class by `module:name`, the working folder included; nothing here has a unit.

    Raises:
        ValueError: there is no such module or name.

    Source: ours.
    """
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise ValueError(
            f"got factory {name!r}, expected MODULE:NAME of a function or class, such as ase.calculators.emt:EMT or "
            "mycalc:make for make in mycalc.py of the working folder"
        )
    try:
        with _working_folder():
            return operator.attrgetter(attribute)(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ValueError(f"got factory {name!r}, expected module:name of a function or class: {error}") from error


def made_by(name: str, arguments: Mapping[str, Any] | None = None):
    """Make an ASE calculator (eV, Å) by `module:name` and keyword arguments, and remember how it was made.

    Raises:
        ValueError: there is no such module or name, or what it gives is no calculator.

    Source: ours.
    """
    make, arguments = factory(name), dict(arguments or {})
    if not callable(make):
        raise ValueError(f"got {name!r}, which is a {type(make).__name__}, expected a function or class")
    try:
        inspect.signature(make).bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"got {name!r}, expected a function or class that gives an ASE calculator when called with "
            f"{', '.join(arguments) or 'no arguments'}: {error}"
        ) from error
    except ValueError:  # a function of C says nothing of its arguments
        if inspect.isbuiltin(make):
            raise ValueError(f"got {name!r}, a function of C, expected one that gives an ASE calculator") from None
    with _working_folder():
        calculator = make(**arguments)
    if not all(callable(getattr(calculator, method, None)) for method in ("get_property", "get_potential_energy")):
        raise ValueError(
            f"got {name!r}, which gives a {type(calculator).__name__}, expected an ASE calculator "
            "(ase.calculators.calculator.Calculator)"
        )
    _remember(calculator, f"{name}({', '.join(f'{key}={value!r}' for key, value in sorted(arguments.items()))})")
    return calculator


def factory_name(calculator) -> str:
    """Say by which factory and arguments a calculator was made here; empty where it was made elsewhere.

    Source: ours.
    """
    try:
        return _MADE_BY.get(calculator, "")
    except TypeError:
        return ""


_MADE_BY: "weakref.WeakKeyDictionary[Any, str]" = weakref.WeakKeyDictionary()


def _remember(calculator, name: str) -> None:
    try:
        _MADE_BY[calculator] = name
    except TypeError:  # no weak references or no hash
        pass


@contextmanager
def _working_folder() -> Iterator[None]:
    """Find modules of the working folder too, after all others: a file queue.py there hides nothing."""
    folder = os.getcwd()
    sys.path.append(folder)
    try:
        yield
    finally:
        for place in range(len(sys.path) - 1, -1, -1):  # by value: what was imported may have changed the path
            if sys.path[place] == folder:
                del sys.path[place]
                break


def named_calculator(name: str, device: str = "cpu"):
    """Make an ASE calculator (eV, Å) from "emt", "chgnet", `module:factory`, a shipped model's name or its folder.

    Our models are made in double precision.

    Raises:
        ValueError: the package of that name is not installed, or has no such factory.
        FileNotFoundError: no shipped model and no folder of that name.

    Source: ours.
    """
    if name not in BY_NAME and ":" not in name:
        from ase_mlx.adapters.ase import Calculator

        return Calculator(name, device=device, dtype="float64")
    try:
        return made_by(BY_NAME.get(name, name))
    except ValueError as error:
        package = BY_NAME.get(name, name).split(".")[0]
        raise ValueError(f"{error}. Is it installed here (pip install {package})?") from error
