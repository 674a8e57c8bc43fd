"""Functions and classes by the name that a command line gives them.

Source: ours.
"""

import difflib
import importlib
import inspect
import operator
import os
import sys
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

BY_NAME = {"emt": "ase.calculators.emt:EMT", "chgnet": "chgnet.model.dynamics:CHGNetCalculator"}
"""Short names of other people's calculators and where they live."""


def factory(name: str, here: bool = True) -> Any:
    """Find what `MODULE:NAME` names, the working folder included after all that is installed; nothing here has a unit.

    Args:
        name: the module and the name in it.
        here: whether modules of the working folder count.

    Raises:
        ValueError: there is no such module or name, or the module cannot be imported.

    Source: ours.
    """
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise ValueError(
            f"got factory {name!r}, expected MODULE:NAME of a function or class, such as ase.calculators.emt:EMT or "
            "mycalc:make for make in mycalc.py of the working folder"
        )
    try:
        with _working_folder() if here else nullcontext():
            imported = importlib.import_module(module)
    except Exception as error:  # a module may raise anything while it is imported
        missing = isinstance(error, ModuleNotFoundError) and error.name in (module, module.split(".")[0])
        why = "there is no such module here" if missing else f"importing it failed, {type(error).__name__}: {error}"
        place = (
            "installed, or a file in the working folder" if here else f"installed (pip install {module.split('.')[0]})"
        )
        raise ValueError(f"got factory {name!r}, but of {module}: {why}; expected one that is {place}") from error
    try:
        return operator.attrgetter(attribute)(imported)
    except AttributeError as error:
        near = difflib.get_close_matches(attribute, [n for n in vars(imported) if not n.startswith("_")], 1)
        hint = f"; did you mean {module}:{near[0]}?" if near else ""
        raise ValueError(f"got factory {name!r}, but {module} has no {attribute}{hint}") from error


def callable_factory(name: str, arguments: Mapping[str, Any], here: bool = True) -> Callable:
    """Find a function or class that can be called with these arguments and may give an ASE calculator (eV, Å).

    Raises:
        ValueError: there is none, or it can be seen without a call that it gives no calculator.

    Source: ours.
    """
    make = factory(name, here)
    lacks = isinstance(make, type) and not hasattr(make, "get_property")
    if not callable(make) or lacks or isinstance(make, types.BuiltinFunctionType):
        kind = f"the class {make.__qualname__}" if lacks else f"a {type(make).__name__}"
        raise ValueError(
            f"got factory {name!r}, which is {kind}, expected a function that gives an ASE calculator, or its class"
        )
    try:
        inspect.signature(make).bind(**arguments)
    except TypeError as error:
        with_what = ", ".join(arguments) or "no arguments"
        raise ValueError(
            f"got factory {name!r}, expected one that gives an ASE calculator when called with {with_what}: {error}"
        ) from error
    return make


def made_by(name: str, arguments: Mapping[str, Any] | None = None, here: bool = True):
    """Make an ASE calculator (eV, Å) by `module:name` and keyword arguments, and remember how it was made.

    Raises:
        ValueError: there is no such module or name, or what it gives is no calculator.

    Source: ours.
    """
    arguments = dict(arguments or {})
    make = callable_factory(name, arguments, here)
    with _working_folder() if here else nullcontext():
        calculator = make(**arguments)
    if not callable(getattr(calculator, "get_property", None)):
        raise ValueError(
            f"got factory {name!r}, which gives a {type(calculator).__name__}, expected an ASE calculator "
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
    if name in BY_NAME:
        return made_by(BY_NAME[name], here=False)
    if ":" in name:
        return made_by(name)
    from ase_mlx.adapters.ase import Calculator

    try:
        return Calculator(name, device=device, dtype="float64")
    except FileNotFoundError as error:
        if near := difflib.get_close_matches(name, BY_NAME, 1):
            raise FileNotFoundError(f"{error}; did you mean {near[0]!r}?") from error
        raise
