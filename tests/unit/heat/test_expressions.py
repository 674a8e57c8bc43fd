"""Tables against temperature: values that are numbers, formulas without a name, and names."""

import pytest
import torch

from ase_mlx.heat.expressions import Table

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
