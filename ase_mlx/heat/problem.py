"""A problem of heat conduction: a box of layers, what its faces are held at, what heats it, and how it begins.

    ρc ∂T/∂t = ∇·(κ ∇T) + Q        in each layer
    T = value                      on a face at a temperature, K
    q·(inward normal) = flux       on a face with a flux into the body, W/m²; 0 where nothing is said
    q·(inward normal) = h (ambient − T)   on a face with convection, W/(m² K)
    T₋ − T₊ = R q                  between layers with an interface resistance R, m² K/W

Source: H. S. Carslaw and J. C. Jaeger, Conduction of Heat in Solids (1959), chapter I.
"""

import itertools
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .expressions import Formula, Values
from .material import Material

AXES = ("x", "y", "z")
FIXED = ("T", "t", *AXES)
SAMPLES = 33
"""Points along an axis at which conditions are looked at for the sizes of things."""


@dataclass(frozen=True)
class Face:
    """A face with a `temperature` (K), a `flux` into the body (W/m²), or `transfer` (W/(m² K)) to `ambient` (K).

    Source: as of the module.
    """

    temperature: Any = None
    flux: Any = None
    transfer: Any = None
    ambient: Any = None

    def __post_init__(self):
        """Refuse what is no condition, or two.

        Raises:
            ValueError: none or several of the three.
        """
        conditions = [name for name in ("temperature", "flux", "transfer") if getattr(self, name) is not None]
        if len(conditions) != 1 or (self.transfer is None) != (self.ambient is None):
            raise ValueError(
                f"got a face with {', '.join(conditions) or 'nothing'}"
                f"{' and ambient' if self.ambient is not None else ''}, "
                "expected a temperature, or a flux, or transfer and ambient"
            )

    @property
    def formulas(self) -> dict[str, Formula]:
        """Formulas by name."""
        names = ("temperature", "flux", "transfer", "ambient")
        return {name: Formula(getattr(self, name)) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class Layer:
    """A slab of one material (see `Material`), `thickness` (m) along x, and the `resistance` (m² K/W) to the next one.

    Source: as of the module.
    """

    kappa: Any
    capacity: Any = None
    thickness: float | None = None
    resistance: Any = 0.0

    @cached_property
    def material(self) -> Material:
        """Its material, W/(m K) and J/(m³ K)."""
        return Material(self.kappa, self.capacity)


@dataclass(frozen=True)
class Problem:
    """A box of `size` (m) in one to three dimensions; faces "x0", "x1", "y0", … that are not named are insulated.

    `source` (W/m³) and `initial` (K) are numbers or formulas; without a `duration` (s) the state is the steady one.
    Formulas may hold names of `unknowns`, whose values they get, and of `parameters`, of which a range is given: then
    the solution is asked for at points (x, y, z, parameters, t). `constants` are values of further names.

    Source: as of the module.
    """

    size: tuple[float, ...]
    layers: tuple[Layer, ...]
    faces: dict[str, Face]
    source: Any = 0.0
    initial: Any = None
    duration: float | None = None
    unknowns: dict[str, float] = field(default_factory=dict)
    parameters: dict[str, tuple[float, float]] = field(default_factory=dict)
    constants: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        """Refuse what is no problem, or has no one solution.

        Raises:
            ValueError: saying what contradicts.
        """
        if not 1 <= len(self.size) <= 3 or not all(np.isfinite(s) and s > 0 for s in self.size):
            raise ValueError(f"got a size of {list(self.size)} m, expected one to three positive lengths")
        if not self.layers:
            raise ValueError("got no layer, expected one [[layers]] with a kappa, or more")
        faces = [f"{axis}{end}" for axis in self.axes for end in (0, 1)]
        for name in self.faces:
            if name not in faces:
                raise ValueError(f"got a face {name!r}, expected one of {', '.join(faces)}")
        self._check_layers()
        for name, ends in self.parameters.items():
            if len(ends) != 2 or not ends[0] < ends[1]:
                raise ValueError(
                    f"got {name} = {list(ends)} among the parameters, expected its least and largest value"
                )
        self._check_names()
        if self.duration is None and not any(face.flux is None for face in self.faces.values()):
            raise ValueError(
                "got a steady state of which no face has a temperature or convection: any constant may be added to its "
                "temperature; hold a face at a temperature, or give a duration and an initial temperature"
            )
        if self.duration is not None:
            if not (np.isfinite(self.duration) and self.duration > 0):
                raise ValueError(f"got a duration of {self.duration} s, expected a positive one")
            if self.initial is None:
                raise ValueError("got a duration without initial, expected the temperature at its begin, K")
            if any(layer.capacity is None for layer in self.layers):
                raise ValueError("got a duration and a layer without capacity, expected J/(m³ K): temperatures change")
        self._check_values()

    def _check_layers(self) -> None:
        thick = [layer.thickness for layer in self.layers]
        if len(thick) == 1 and thick[0] is None:
            return
        if any(t is None or not t > 0 for t in thick) or abs(sum(thick) / self.size[0] - 1) > 1e-6:
            raise ValueError(
                f"got layers of thickness {thick} m in a body of {self.size[0]} m along x, expected thicknesses of "
                "this sum"
            )

    def _check_names(self) -> None:
        parameters, unknowns = set(self.parameters), set(self.unknowns)
        allowed = {
            "source": {*self.coordinates, "T"} | unknowns,
            "initial": {*self.axes} | parameters,
            "resistance": parameters | unknowns,
            "temperature or flux of a face": set(self.coordinates),
            "convection": set(self.coordinates) | unknowns,
            "material": {"T", *self.axes} | parameters | unknowns,
        }
        clash = (parameters & unknowns) | ((parameters | unknowns) & set(FIXED))
        if clash:
            raise ValueError(f"got unknowns or parameters named {', '.join(sorted(clash))}, expected other names")
        parts = [("source", Formula(self.source).names), ("initial", Formula(self.initial or 0.0).names)]
        for layer in self.layers:
            parts += [("material", layer.material.names), ("resistance", Formula(layer.resistance).names)]
        for face in self.faces.values():
            what = "convection" if face.transfer is not None else "temperature or flux of a face"
            parts += [(what, formula.names) for formula in face.formulas.values()]
        for what, names in parts:
            extra = names - allowed[what] - set(self.constants)
            if extra:
                expected = ", ".join(sorted(allowed[what])) or "none"
                raise ValueError(f"got {', '.join(sorted(extra))} in a formula ({what}), expected names: {expected}")

    def _check_values(self) -> None:
        """Conductivities must be positive definite, and so on, where they are first asked for."""
        low, high = self.held
        for k, layer in enumerate(self.layers):
            values = self.sample(layer=k)
            n = len(values["x"])
            for temperature in np.linspace(low, high, 3):
                values = values | {"T": torch.full((n,), float(temperature), dtype=torch.float64)}
                kappa = layer.material.tensor(values, len(self.size))
                least = float(torch.linalg.eigvalsh(torch.nan_to_num(kappa, nan=-1.0, posinf=-1.0)).min())
                if not least > 0:
                    raise ValueError(
                        f"got a conductivity of layer {k + 1} that is not positive definite at {temperature:.6g} K "
                        f"(least eigenvalue {least:.3g} W/(m K)), expected one that is: heat flows from hot to cold"
                    )
                volumetric = layer.material.volumetric
                if volumetric is not None and not bool((volumetric(values) > 0).all()):
                    raise ValueError(f"got a heat capacity of layer {k + 1} that is not positive")
            self.expect_known(k, low, high)
            if not float(Formula(layer.resistance)(self.sample())[0]) >= 0:
                raise ValueError(f"got an interface resistance of {layer.resistance} m² K/W, expected none below 0")
        for name, face in self.faces.items():
            if face.transfer is not None and not bool((face.formulas["transfer"](self.sample(name)) > 0).all()):
                raise ValueError(f"got a transfer of face {name} that is not positive, expected W/(m² K) above 0")

    def expect_known(self, layer: int, low: float, high: float) -> None:
        """Refuse temperatures (K) at which a layer's material is not known.

        Raises:
            ValueError: naming the table's ends.
        """
        first, last = self.layers[layer].material.known
        slack = 1e-6 * (high - low)
        if low < first - slack or high > last + slack:
            raise ValueError(
                f"got temperatures from {low:.6g} to {high:.6g} K in layer {layer + 1}, whose table goes from "
                f"{first:.6g} to {last:.6g} K; give a table that covers them"
            )

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the coordinates."""
        return AXES[: len(self.size)]

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the axes, of the parameters, and of time where it flows."""
        return (*self.axes, *self.parameters, *(("t",) if self.duration is not None else ()))

    @property
    def box(self) -> tuple[tuple[float, float], ...]:
        """Where each coordinate begins and ends (m, the parameters' units, s)."""
        ends = [(0.0, length) for length in self.size] + [tuple(map(float, e)) for e in self.parameters.values()]
        return (*ends, *(((0.0, self.duration),) if self.duration is not None else ()))

    def settled(self, parameters: dict[str, float]) -> "Problem":
        """The problem with values of all its parameters."""
        return replace(self, parameters={}, constants=self.constants | parameters)

    @cached_property
    def edges(self) -> tuple[float, ...]:
        """Where layers begin and end along x, m."""
        if len(self.layers) == 1:
            return 0.0, self.size[0]
        inner = np.cumsum([layer.thickness for layer in self.layers])[:-1]
        return (0.0, *(float(x) for x in inner), self.size[0])

    @cached_property
    def sudden(self) -> bool:
        """Whether a face is held at another temperature than the body begins with."""
        held = [(name, face) for name, face in self.faces.items() if face.temperature is not None]
        if self.duration is None:
            return False
        for name, face in held:
            values = dict(self.sample(name))
            values["t"] = torch.zeros_like(values["t"])
            if self._differ(face.formulas["temperature"](values), Formula(self.initial)(values)):
                return True
        return False

    @cached_property
    def torn(self) -> bool:
        """Whether two faces that meet are held at different temperatures along their edge."""
        held = [(name, face) for name, face in self.faces.items() if face.temperature is not None]
        for (a, first), (b, second) in itertools.combinations(held, 2):
            if a[0] != b[0]:
                values = dict(self.sample(a))
                values[b[0]] = torch.full_like(values[b[0]], float(b[1]) * self.size[AXES.index(b[0])])
                if self._differ(first.formulas["temperature"](values), second.formulas["temperature"](values)):
                    return True
        return False

    def _differ(self, a: Tensor, b: Tensor) -> bool:
        low, high = self.held
        return bool(((a - b).abs() > 1e-6 * max(high - low, 1e-6 * high)).any())

    def face(self, name: str) -> Face:
        """What a face is held at: insulated where nothing is said."""
        return self.faces.get(name, Face(flux=0.0))

    def values(self, points: Tensor) -> Values:
        """Name the columns of points (m, and s) and the unknowns, as formulas ask for them."""
        named = {name: points[..., k] for k, name in enumerate(self.coordinates)}
        return named | {k: torch.full_like(points[..., 0], v) for k, v in (self.unknowns | self.constants).items()}

    def sample(self, face: str = "", layer: int | None = None) -> Values:
        """Values at a regular sample of the body, of a face or of a layer (m, s)."""
        low, high = (0.0, self.size[0]) if layer is None else self.edges[layer : layer + 2]
        lines = [np.linspace(low, high, SAMPLES)]
        lines += [np.linspace(*ends, SAMPLES if len(self.box) < 4 else 7) for ends in self.box[1:]]
        if face:
            axis = AXES.index(face[0])
            lines[axis] = np.array([0.0 if face[1] == "0" else self.size[axis]])
        points = np.array(list(itertools.product(*lines)))
        return self.values(torch.from_numpy(points))

    @cached_property
    def held(self) -> tuple[float, float]:
        """Least and largest temperature (K) that faces, surroundings and the begin are held at."""
        texts = [(name, f.temperature if f.temperature is not None else f.ambient) for name, f in self.faces.items()]
        temperatures = [Formula(text)(self.sample(name)) for name, text in texts if text is not None]
        if self.initial is not None and self.duration is not None:
            temperatures.append(Formula(self.initial)(self.sample()))
        every = torch.cat([part.reshape(-1) for part in temperatures])
        if not bool((torch.isfinite(every) & (every > 0)).all()):
            raise ValueError(f"got temperatures from {every.min():g} to {every.max():g} K, expected all above 0 K")
        return float(every.detach().min()), float(every.detach().max())
