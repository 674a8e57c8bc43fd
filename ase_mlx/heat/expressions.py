"""Formulas of position, time and temperature, as a problem's file gives them: nothing else is ever evaluated.

Source: ours.
"""

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import CodeType

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.USub, ast.UAdd)
FUNCTIONS = {
    "sin": torch.sin, "cos": torch.cos, "tan": torch.tan, "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt,
    "tanh": torch.tanh, "erf": torch.erf, "abs": torch.abs,
}  # fmt: skip
CONSTANTS = {"pi": math.pi}
LONGEST = 20_000
"""Characters of a formula."""

Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Formula:
    """A number, or a formula such as `148 * (300 / T)**1.3`, of named values, in SI units and K.

    Source: ours.
    """

    text: str | float

    @cached_property
    def names(self) -> frozenset[str]:
        """Names that must be given, such as x (m), t (s) and T (K).

        Raises:
            ValueError: something that is no formula.
        """
        return _compiled(str(self.text))[1]

    def __call__(self, values: Values) -> Tensor:
        """Evaluate with arrays of one shape; a constant is spread over it."""
        like = next(iter(values.values()))
        code, _ = _compiled(str(self.text))  # of such nodes alone as `_names` lets pass
        outcome = eval(code, NAMESPACE, dict(values))
        if not isinstance(outcome, Tensor):
            outcome = torch.as_tensor(outcome, dtype=like.dtype)
        return outcome.expand(like.shape) if outcome.shape != like.shape else outcome


def _of_tensors(function: Callable) -> Callable:
    return lambda x: function(torch.as_tensor(x, dtype=torch.float64))


NAMESPACE = {"__builtins__": {}, **CONSTANTS, **{name: _of_tensors(function) for name, function in FUNCTIONS.items()}}
"""All that a formula can name, besides its values."""


class _Floats(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.Constant:  # noqa: N802
        return ast.copy_location(ast.Constant(float(node.value)), node)


@lru_cache(maxsize=1000)
def _compiled(text: str) -> tuple[CodeType, frozenset[str]]:
    """Code and names of a formula: solvers evaluate it thousands of times."""
    try:
        if len(text) > LONGEST:
            raise SyntaxError
        tree = ast.parse(text.strip(), mode="eval")
        names = frozenset(_names(tree.body))
        return compile(_Floats().visit(tree), "<formula>", "eval"), names
    except (SyntaxError, RecursionError, MemoryError, ValueError, OverflowError) as error:
        raise ValueError(
            f"got the formula {text[:80]!r}{f' ({error})' if type(error) is ValueError else ''}, expected numbers, "
            f"names, + - * / ** ( ) and {', '.join(FUNCTIONS)}, as in '148 * (300 / T)**1.3'"
        ) from None


def _names(node: ast.expr) -> set[str]:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return set()
    if isinstance(node, ast.Name):
        return {node.id} - set(CONSTANTS)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return _names(node.left) | _names(node.right)
    if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
        return _names(node.operand)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1 and not node.keywords:
        if node.func.id in FUNCTIONS:
            return _names(node.args[0])
        raise ValueError(f"no function {node.func.id!r} is known")
    raise ValueError(f"{ast.unparse(node)[:40]!r} is none")


@dataclass(frozen=True)
class Table:
    """A positive property against temperature (K): a cubic spline of its logarithm over that of temperature.

    Values are numbers or formulas, such as the names of unknowns. `factor` is a number, a formula, or a table of its
    own, by which it is multiplied.

    Source: ours.
    """

    temperature: tuple[float, ...]
    values: tuple[float | str, ...]
    factor: "str | float | Table" = 1.0
    names: frozenset[str] = field(default=frozenset(), init=False)

    def __post_init__(self):
        """Refuse what is no table.

        Raises:
            ValueError: lengths that differ, temperatures that do not rise, values that are not positive.
        """
        t, v = np.asarray(self.temperature, float), np.array(self._constants, float)
        if len(t) != len(self.values) or len(t) < 2 or not (np.diff(t) > 0).all() or not (t > 0).all():
            raise ValueError(
                f"got a table of {len(t)} temperatures and {len(self.values)} values, expected as many of both, two or "
                "more, temperatures in K rising"
            )
        if not (np.isfinite(v).all() and (v > 0).all()):
            raise ValueError(f"got values from {v.min():g} to {v.max():g} in a table, expected positive numbers")
        names = [part.names for part in (*self._formulas, self._factor)]
        object.__setattr__(self, "names", frozenset({"T"}).union(*names))

    @cached_property
    def _formulas(self) -> tuple[Formula, ...]:
        return tuple(Formula(v) for v in self.values)

    @cached_property
    def _constants(self) -> tuple[float, ...]:
        """Values without a name in them."""
        like = {"T": torch.zeros((), dtype=torch.float64)}
        both = zip(self.values, self._formulas, strict=True)
        pairs = [(v, f) for v, f in both if not isinstance(v, str) or not f.names]
        return tuple(float(f(like)) if isinstance(v, str) else float(v) for v, f in pairs)

    @cached_property
    def _factor(self) -> "Formula | Table":
        return self.factor if isinstance(self.factor, Table) else Formula(self.factor)

    @property
    def known(self) -> tuple[float, float]:
        """Temperatures (K) between which it is known, and its factor."""
        first, last = self._factor.known if isinstance(self._factor, Table) else (0.0, math.inf)
        return max(self.temperature[0], first), min(self.temperature[-1], last)

    @cached_property
    def _spline(self) -> tuple[Tensor, Tensor]:
        """Logarithms of temperatures, and coefficients of the spline that is 1 at one of them: (4, pieces, values)."""
        x = np.log(self.temperature)
        ends = "natural" if len(x) > 3 else "not-a-knot"
        return torch.from_numpy(x), torch.from_numpy(
            np.ascontiguousarray(CubicSpline(x, np.eye(len(x)), bc_type=ends).c)
        )

    def __call__(self, values: Values) -> Tensor:
        """Evaluate at temperatures T (K); outside it goes on from its ends, which the solvers refuse."""
        x, c = self._spline
        if len(self._constants) == len(self.values):
            c = c @ torch.log(torch.tensor(self._constants, dtype=torch.float64))
        s = torch.log(values["T"].clamp(min=1e-3))
        k = torch.searchsorted(x, s.detach().contiguous()).clamp(1, len(x) - 1) - 1
        d = s - x[k]
        d = d[..., None] if c.ndim == 3 else d
        power = ((c[0, k] * d + c[1, k]) * d + c[2, k]) * d + c[3, k]
        if c.ndim == 3:
            power = (power * torch.log(torch.stack([f(values) for f in self._formulas], -1))).sum(-1)
        return torch.exp(power) * self._factor(values)
