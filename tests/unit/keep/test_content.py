"""Equal content, equal digest, in every process; what cannot be told is equal to nothing."""

import enum
import subprocess
import sys
import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from ase_mlx.keep import Unstable, contents, digest


@dataclass(frozen=True)
class Settings:
    cutoff: float
    shape: tuple[int, ...] = (2, 2)


class Kind(enum.Enum):
    hard = 1
    soft = 2


class Spring:
    stiffness = 1.0

    def __init__(self, k, rest=None):
        self.k, self.rest = k, rest


class Slotted:
    __slots__ = ("k",)

    def __init__(self, k):
        self.k = k


def closing_over(k):
    return lambda x: k * x


def a_class_closing_over(k):
    class Local:
        def force(self, x):
            return -k * x

    return Local()


def network(seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.SiLU(), torch.nn.Linear(4, 1))


def halves():
    """Pairs of values that differ in one thing only."""
    array = np.arange(6.0)
    changed = array.copy()
    changed[3] = np.nextafter(3.0, 4.0)
    tensor = torch.arange(6.0)
    yield 1, 2
    yield 1, 1.0
    yield 1, True
    yield "1", 1
    yield 0.1, np.nextafter(0.1, 1.0)
    yield array, changed
    yield array, array.reshape(2, 3)
    yield array, array.astype(np.float32)
    yield np.arange(6000.0), np.where(np.arange(6000) == 3000, -1.0, np.arange(6000.0))  # str() would elide it
    yield tensor, tensor.double()
    yield tensor.to(torch.bfloat16), tensor.to(torch.float16)
    yield [1, [2]], [[1], 2]
    yield ["ab", "c"], ["a", "bc"]
    yield {"a": 1, "b": 2}, {"a": 2, "b": 1}
    yield {1, 2}, {1, 3}
    yield Settings(5.0), Settings(5.1)
    yield Kind.soft, Kind.hard
    yield Spring(1.0), Spring(2.0)
    yield Spring(1.0, Spring(1.0)), Spring(1.0, Spring(2.0))
    yield Slotted(1.0), Slotted(2.0)
    yield closing_over(1.0), closing_over(2.0)
    yield a_class_closing_over(1.0), a_class_closing_over(2.0)
    yield network(0), network(1)
    yield {"nets": [network(0)]}, {"nets": [network(1)]}
    yield np.random.default_rng(0), np.random.default_rng(1)


@pytest.mark.parametrize(("one", "other"), list(halves()), ids=lambda value: type(value).__name__)
def test_another_content_is_another_digest(one, other):
    assert digest(one) != digest(other)


@pytest.mark.parametrize("number", range(len(list(halves()))))
def test_equal_content_is_an_equal_digest(number):
    (one, _), (same, _) = list(halves())[number], list(halves())[number]
    assert digest(one) == digest(same)


def test_the_order_of_a_dictionary_or_set_does_not_count():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"x", "y", "z", 3}) == digest({3, "z", "y", "x"})


def test_a_cycle_ends():
    one, other, shorter = [Spring(1.0) for _ in range(3)]
    one.rest, other.rest, shorter.rest = {"me": one}, {"me": other}, one
    assert digest(one) == digest(other) != digest(Spring(1.0))


def test_a_value_set_on_the_class_counts():
    spring = Spring(1.0)
    before = digest(spring)
    Spring.stiffness = 2.0
    try:
        assert digest(spring) != before
    finally:
        Spring.stiffness = 1.0
    assert digest(spring) == before


def test_the_digest_is_that_of_another_process():
    text = "import numpy as np; from ase_mlx.keep import digest; print(digest({'b', 'a'}, {'x': np.eye(3)}, print))"
    here = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    for seed in ("1", "2"):
        process = [sys.executable, "-c", text]
        told = subprocess.run(process, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed, **here})
        assert told.stdout.strip() == digest({"b", "a"}, {"x": np.eye(3)}, print)


def test_what_cannot_be_told_is_never_equal():
    with pytest.raises(Unstable, match="generator"):
        digest(Spring(iter_of_one()))
    one = Spring(iter_of_one())
    parts, _, unstable = contents(one, lambda owner, name: False)
    assert unstable == ["k"] and contents(one, lambda owner, name: False)[0] == parts
    one.k = iter_of_one()
    assert contents(one, lambda owner, name: False)[0]["k"] != parts["k"]


def iter_of_one():
    yield 1


def test_handles_without_content_do_not_hinder():
    assert digest(Spring(threading.Lock())) == digest(Spring(threading.Lock()))


def test_the_file_that_a_text_names_counts_but_no_log(tmp_path):
    none = lambda owner, name: False  # noqa: E731
    for name, counts in (("potential.json", True), ("out.log", False)):
        path = tmp_path / name
        path.write_text("1")
        one, *_ = contents(Spring(str(path)), none)
        path.write_text("22")
        other, *_ = contents(Spring(str(path)), none)
        assert (one["k"] != other["k"]) is counts


def test_attributes_are_named_through_lists_and_networks():
    parts, _, unstable = contents(Spring([Spring(2.0), network(0)]), lambda owner, name: name == "rest")
    assert unstable == [] and "k[0].k" in parts and "k[1].0.weight" in parts
    assert not any("rest" in path for path in parts)
