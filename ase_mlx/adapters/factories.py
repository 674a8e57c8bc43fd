"""Functions and classes by the name that a command line gives them.

Source: ours.
"""

import importlib
import os
import sys
from collections.abc import Callable

BY_NAME = {"emt": "ase.calculators.emt:EMT", "chgnet": "chgnet.model.dynamics:CHGNetCalculator"}
"""Short names of other people's calculators and where they live."""


def factory(name: str) -> Callable:
    """Find a function or class by `module:name`, the working folder included; nothing here has a unit.

    Raises:
        ValueError: there is no such module or name.

    Source: ours.
    """
    module, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"got factory {name!r}, expected module:name of a function or class: {error}") from error
    finally:
        sys.path.pop(0)


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
        return factory(BY_NAME.get(name, name))()
    except ValueError as error:
        package = BY_NAME.get(name, name).split(".")[0]
        raise ValueError(f"{error}. Is it installed here (pip install {package})?") from error
