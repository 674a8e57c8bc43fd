"""The runtime checker behind the shape and type annotations: an int is a float, as Python's users expect.

Checks look at types, dtypes and shapes, and at values where an annotation lists them. So a call that agrees in these
with one that passed is not checked again: a check of every call doubles the time of the tests.
"""

import functools
import inspect
import threading
from dataclasses import is_dataclass
from types import FunctionType

import jaxtyping
import numpy as np
import torch
from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
of_every_call = jaxtyping.jaxtyped
LONGEST = 32
DEEPEST = 2
"""Entries of a container, and containers in each other, that are compared; calls with more are checked every time."""

MOST = 4000
"""Calls of a function that are remembered."""


class Passed:
    """The calls of a function that passed its checks."""

    def __init__(self, function, typechecker):
        self.values = "Literal" in repr(function.__annotations__)
        self.calls, self.waiting = set(), {}
        waiting, thread = self.waiting, threading.get_ident

        def run(*args, **kwargs):
            return waiting.pop(thread())(*args, **kwargs)

        run = FunctionType(run.__code__, function.__globals__, closure=run.__closure__)
        run.__signature__ = inspect.signature(function)
        self.run = functools.update_wrapper(run, function)
        del run.__wrapped__  # what a nested function holds is not kept
        self.typechecker = typechecker

    @functools.cached_property
    def checked(self):
        """The function's signature with checks; it runs what waits for its thread."""
        return of_every_call(self.run, typechecker=self.typechecker)

    def check(self, function, args, kwargs):
        self.waiting[threading.get_ident()] = function
        return self.checked(*args, **kwargs)

    def seen(self, x, depth=0):
        """Return what checks see of a value.

        Raises:
            TypeError: it is too long or too deep, as a list that holds itself.
        """
        kind = type(x)
        part = PART.get(kind) or PART.setdefault(kind, part_of_checks(kind))
        if part == "type":
            return kind
        if part == "shape":
            return kind, x.dtype, x.shape
        if part == "entries":
            if len(x) > LONGEST or depth == DEEPEST:
                raise TypeError
            parts = [*x, *x.values()] if isinstance(x, dict) else x
            return kind, *[self.seen(part, depth + 1) for part in parts]
        return (kind, x) if part == "class" or self.values else kind


PART: dict[type, str] = {}
"""By type of a value: what checks see of it."""


def part_of_checks(kind):
    parts = {"shape": torch.Tensor | np.ndarray, "entries": tuple | list | set | frozenset | dict, "class": type}
    return next((part for part, kinds in (parts | {"value": str | int}).items() if issubclass(kind, kinds)), "type")


PASSED: dict[tuple, Passed] = {}
"""By module, name and code: functions inside of functions are made anew at every call."""


def jaxtyped(function=None, *, typechecker):
    """Check the annotations of a function or of a dataclass, as jaxtyping's decorator does."""
    if function is None:
        return functools.partial(jaxtyped, typechecker=typechecker)
    if inspect.isclass(function):
        if is_dataclass(function) and not hasattr(function.__init__, "passed"):
            function.__init__ = jaxtyped(function.__init__, typechecker=typechecker)
        return function
    if not isinstance(function, FunctionType):
        return of_every_call(function, typechecker=typechecker)
    name = function.__module__, function.__qualname__, function.__code__
    # as an attribute: what functions close over is part of a calculator's identity
    function.passed = PASSED.get(name) or PASSED.setdefault(name, Passed(function, typechecker))

    @functools.wraps(function)
    def checked(*args, **kwargs):
        __tracebackhide__ = True
        passed = function.passed
        calls, seen = passed.calls, passed.seen
        try:
            call = *map(seen, args), None, *kwargs, *map(seen, kwargs.values())
            passed_before = call in calls
        except TypeError:
            return passed.check(function, args, kwargs)
        out = function(*args, **kwargs) if passed_before else passed.check(function, args, kwargs)
        try:
            whole = call, seen(out)
            if whole in calls:
                return out
        except TypeError:
            return passed.check(lambda *_, **__: out, args, kwargs) if passed_before else out
        if passed_before:
            passed.check(lambda *_, **__: out, args, kwargs)
        if len(calls) > MOST:
            calls.clear()
        calls.update((call, whole))
        return out

    return checked
