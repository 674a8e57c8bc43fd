"""What a kind of model says of how it is taught: settings, data, losses, error bars. All else is done once, in `run`.

A kind is a model and a recipe. Those of this package are listed here; others come by the entry-point group
`ase_mlx.models`, whose entries are (config class, model class, recipe class).

Source: ours.
"""

import abc
import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sized
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

import torch

from ase_mlx.reading import reading

from .config import TOML, build, read_toml
from .fit import Stage
from .metrics import Residuals

RECIPES: dict[str, str] = {
    "potential": "PotentialRecipe",
    "density": "DensityRecipe",
    "point_density": "PointDensityRecipe",
    "crystal_property": "CrystalPropertyRecipe",
    "crystal_network": "CrystalNetworkRecipe",
    "anomaly": "AnomalyRecipe",
    "crystals": "CrystalsRecipe",
    "heat": "HeatRecipe",
    "levels": "LevelsRecipe",
    "boltzmann": "BoltzmannRecipe",
    "free_energy": "FreeEnergyRecipe",
}
"""Kinds that this package teaches, and their classes in the module of `learn.recipes` of that name."""


class Recipe(abc.ABC):
    """How models of one kind are taught; one instance is one training.

    Making it reads and checks the data, and builds the untrained `model`; nothing is written. `Config` is the
    dataclass of the whole TOML file; where it has a `data.file`, that is taken relative to the file.

    Source: ours.
    """

    Config: ClassVar[type]
    model: torch.nn.Module
    epochs: Mapping[str, int]
    """How many each stage was trained for; set before `finish`."""

    @abc.abstractmethod
    def stages(self) -> Iterable[Stage]:
        """Say what is fitted, one after the other: a stage may start from what those before it became."""

    @abc.abstractmethod
    def finish(self) -> dict[str, Any]:
        """Set what is not fitted, such as error bars, and give the lines of the card, errors among them."""

    def write(self, folder: Path) -> None:  # noqa: B027
        """Write further files beside the model's."""

    @classmethod
    @abc.abstractmethod
    def read(cls, model: torch.nn.Module, path: Path, part: str = "all") -> Sized:
        """Read the data of a file that a trained model is compared with, of one part ("all": of every part)."""

    @classmethod
    @abc.abstractmethod
    def residuals(cls, model: torch.nn.Module, data: Any) -> dict[str, Residuals]:
        """Compare a trained model with data of `read`, by quantity."""

    @classmethod
    def located(cls, table: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Take what the tables of a settings file say of other files relative to its folder."""
        return table

    @classmethod
    def evaluates(cls, model: torch.nn.Module, path: Path) -> bool:
        """Say whether a file is one that models of this kind are compared with."""
        return True


def kinds() -> tuple[str, ...]:
    """List the kinds that can be taught, those of other packages last.

    Source: ours.
    """
    return (*RECIPES, *(entry.name for entry in entry_points(group="ase_mlx.models") if entry.name not in RECIPES))


def recipe_of(kind: str) -> type[Recipe]:
    """Give the recipe of a kind.

    Raises:
        ValueError: no such kind, or one that can only predict.

    Source: ours.
    """
    if kind in RECIPES:
        return getattr(import_module(f"ase_mlx.learn.recipes.{kind}"), RECIPES[kind])
    for entry in entry_points(group="ase_mlx.models"):
        if entry.name == kind:
            parts = entry.load()
            if len(parts) < 3:
                raise ValueError(
                    f"got kind = {kind!r}, whose package brings a model but no recipe; expected (config class, model "
                    "class, recipe class) in its entry point"
                )
            return parts[2]
    near = difflib.get_close_matches(str(kind), kinds(), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"got kind = {kind!r}, expected one of {', '.join(map(repr, kinds()))}{hint}")


def evaluating(model: torch.nn.Module, kind: str, path: Path) -> type[Recipe]:
    """Give the recipe that compares a model of some kind with a file: its own kind's first.

    Raises:
        ValueError: there is none.

    Source: ours.
    """
    for name in dict.fromkeys((kind, *RECIPES)):
        if name not in kinds():  # such as an imported potential's, which is not taught here
            continue
        recipe = recipe_of(name)
        if recipe.evaluates(model, path):
            return recipe
    outputs = ", ".join(q.name for q in model.outputs)
    raise ValueError(f"got {path.name} for a model of kind {kind!r} ({outputs}), expected a file with such values")


def read_training(path: str | Path, start: str | Path = "") -> tuple[type[Recipe], Any]:
    """Read a TOML file of any kind: recipe and settings; `data.file` and `start` are taken relative to the file.

    Args:
        path: of the file.
        start: the folder of a model to start from, in place of the file's.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no valid TOML, an unknown kind, or a wrong key or value.

    Source: ours.
    """
    path = Path(path)
    with reading(path, TOML, "`docs/training.md` shows one"):
        table = read_toml(path)
        recipe = recipe_of(table.get("kind", "potential"))
        config = build(recipe.Config, recipe.located(table, path.parent))
        data = getattr(config, "data", None)
        if getattr(data, "file", ""):
            data = dataclasses.replace(data, file=str((path.parent / data.file).resolve()))
            config = dataclasses.replace(config, data=data)
        if getattr(config, "start", ""):
            config = dataclasses.replace(config, start=str(start or (path.parent / config.start).resolve()))
        return recipe, config
