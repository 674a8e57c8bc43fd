"""Tables against temperature: values that are numbers, formulas without a name, and names."""

import pytest
import torch

from ase_mlx.heat.expressions import Formula, Table

KNOTS = (100.0, 200.0, 300.0, 400.0)


def test_formulas_of_numbers_are_numbers():
    values = {"T": torch.tensor([120.0, 250.0, 390.0], dtype=torch.float64)}
    exact = Table(KNOTS, (300.0, 150.0, 100.0, 75.0))(values)
    torch.testing.assert_close(Table(KNOTS, ("3*100", "150", "2 * 50", 75.0))(values), exact)
    named = Table(KNOTS, ("k", "k / 2", "100", 75.0))
    torch.testing.assert_close(named(values | {"k": torch.full((3,), 300.0, dtype=torch.float64)}), exact)


@pytest.mark.parametrize("wrong", [-1.0, "-1", "2 - 2", float("nan")])
def test_values_that_are_not_positive_are_refused(wrong):
    with pytest.raises(ValueError, match="expected positive numbers"):
        Table(KNOTS, (wrong, "k", 2.0, 1.0))


def test_a_formula_is_what_python_makes_of_it():
    x, t = torch.linspace(0.5, 2.0, 7, dtype=torch.float64), torch.linspace(300, 500, 7, dtype=torch.float64)
    formula = Formula(" -2 * sin(pi * x)**2 / 3 + exp(-(T - 300) / 1e2) * (1 - x) + erf(1) ")
    exact = -2 * torch.sin(torch.pi * x) ** 2 / 3 + torch.exp(-(t - 300) / 100) * (1 - x) + torch.erf(torch.ones(7))
    torch.testing.assert_close(formula({"x": x, "T": t}), exact.double(), rtol=1e-6, atol=0)
    assert formula.names == {"x", "T"} and Formula(3).names == set()
    torch.testing.assert_close(Formula("2**-1")({"x": x}), torch.full_like(x, 0.5))


@pytest.mark.parametrize(
    "wrong",
    ["x.real", "__import__('os')", "x if x else 1", "[x]", "f(x)", "sin(x, x)", "x +", "x" * 30_000, "1j", "True"],
)
def test_what_is_no_formula_is_refused(wrong):
    with pytest.raises(ValueError, match=r"expected numbers, names"):
        Formula(wrong).names  # noqa: B018
