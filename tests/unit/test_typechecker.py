"""The checker of the tests notices what is wrong, also after calls that were right."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor
from typechecker import LONGEST, check, jaxtyped

checked = jaxtyped(typechecker=check)


@checked
def add(a: Float[Tensor, " n"], b: Float[Tensor, " n"], back: object = None) -> Float[Tensor, " n"]:
    return a + b if back is None else back


@checked
def places(points: list[Float[np.ndarray, " 3"]], unit: Literal["Å", "nm"] = "Å", scale: float = 1.0) -> list[float]:
    return [scale * float(point[0]) for point in points]


@checked
@dataclass
class Cell:
    vectors: Float[np.ndarray, "3 3"]


WRONG = {
    "shape of an argument": lambda: add(torch.ones(3), torch.ones(4)),
    "dtype of an argument": lambda: add(torch.ones(3), torch.ones(3, dtype=torch.int64)),
    "type of an argument": lambda: add(torch.ones(3), np.ones(3)),
    "shape of the result": lambda: add(torch.ones(3), torch.ones(3), torch.ones(4)),
    "type of the result": lambda: add(torch.ones(3), torch.ones(3), 1.0),
    "one of several": lambda: places([np.ones(2)]),
    "a value": lambda: places([np.ones(3)], "m"),
    "a keyword": lambda: places([np.ones(3)], scale="1"),
    "a field": lambda: Cell(np.ones((3, 2))),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_call_is_noticed_among_right_ones(what):
    for _ in range(2):
        one, two = torch.ones(3), torch.full((3,), 2.0)
        assert add(one, one).sum() == 6 == add(one, one, two).sum()
        assert places([np.ones(3)]) == [1.0] == places([np.ones(3)], "nm", scale=1)
        assert places([np.ones(3)] * (LONGEST + 1)) == [1.0] * (LONGEST + 1)
        assert Cell(np.eye(3)).vectors.shape == (3, 3)
        with pytest.raises(TypeCheckError):
            WRONG[what]()


def test_lists_that_hold_each_other_are_not_unrolled():
    @checked
    def same(values: list) -> list:
        return values

    ring, many = [1.0], [1.0]
    ring.append(ring)
    for _ in range(40):
        many = [many, many]
    assert same(ring) is ring and same(many) is many


def test_functions_of_functions_have_what_they_close_over():
    def adding(b):
        @checked
        def add(a: float) -> float:
            return a + b

        return add

    assert adding(1.0)(1.0) == 2 and adding(2.0)(1.0) == 3 == adding(2.0)(1)
    with pytest.raises(TypeCheckError):
        adding(3.0)("1")
    with pytest.raises(TypeCheckError):
        adding(np.array([1.0]))(1.0)
