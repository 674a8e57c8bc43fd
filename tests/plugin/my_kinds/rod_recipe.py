"""How the rod is taught: by the heat equation at points of place and time that are drawn anew in every step."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from ase_mlx.learn.config import FitConfig, build
from ase_mlx.learn.fit import Stage
from ase_mlx.learn.methods import network
from ase_mlx.learn.metrics import Residuals, errors
from ase_mlx.learn.recipe import Recipe
from ase_mlx.nn.terms import Term

from .rod_model import Rod, RodConfig


@dataclass(frozen=True)
class Equation:
    """Diffusivity, and how many points a step."""

    diffusivity: float = 0.1
    points: int = 64


@dataclass(frozen=True)
class RodTraining:
    """The whole TOML file; there is no file of data."""

    equation: Equation = field(default_factory=Equation)
    model: dict[str, Any] = field(default_factory=dict)
    fit: FitConfig = field(default_factory=FitConfig)
    kind: Literal["rod"] = "rod"


@dataclass(frozen=True)
class Share:
    """How many points of a step a process draws."""

    points: int

    def to(self, device):
        return self


@dataclass(frozen=True)
class Steps:
    """Batches of points that the loss draws itself: ten steps an epoch."""

    points: int
    digest: str = "points of place and time"

    def steps(self, epoch: int) -> int:
        return 10

    def epoch(self, epoch: int, start: int = 0, rank: int = 0, workers: int = 1) -> Iterator[list[Share]]:
        for _ in range(start, 10):
            yield [Share(len(range(rank, self.points, workers)))]


class RodRecipe(Recipe):
    """See the module."""

    Config = RodTraining

    def __init__(self, config):
        self.config = config
        torch.manual_seed(config.fit.seed)
        self.model = Rod(build(RodConfig, config.model, "model"))

    def stages(self):
        diffusivity = self.config.equation.diffusivity

        def loss(model, share, random):
            place, time = (torch.rand(share.points, generator=random).requires_grad_() for _ in range(2))
            temperature = model(place, time)
            by_place, by_time = torch.autograd.grad(temperature.sum(), (place, time), create_graph=True)
            (curvature,) = torch.autograd.grad(by_place.sum(), place, create_graph=True)
            off = (by_time - diffusivity * curvature).square()
            return {"equation": Term(off.sum(), len(off))}

        fit, equation = self.config.fit, self.config.equation
        settings = asdict(fit) | asdict(equation)
        yield Stage(self.model, loss, Steps(equation.points), network(fit), settings=settings)

    def finish(self):
        table = errors(self.residuals(self.model, exact(self.config.equation.diffusivity)))
        return {"title": "rod", "elements": [], "licence": "MIT", "errors": table, "errors_on": "the closed form"}

    @classmethod
    def read(cls, model, path, part="all"):
        return np.loadtxt(path, delimiter=",")

    @classmethod
    def residuals(cls, model, data):
        place, time = torch.from_numpy(data[:, :2].astype(np.float32)).T
        return {"temperature": Residuals("K", data[:, 2], model(place, time).detach().numpy().astype(float))}


def exact(diffusivity):
    """Place, time and temperature of the solution in closed form."""
    place, time = (x.ravel() for x in np.meshgrid(np.linspace(0, 1, 11), np.linspace(0, 1, 11)))
    return np.stack([place, time, np.sin(np.pi * place) * np.exp(-diffusivity * np.pi**2 * time)], 1)


ROD = (RodConfig, Rod, RodRecipe)
