"""Functions compiled to machine code, kept between processes wherever there is a place for it.

Source: numba.
"""

import functools
from collections.abc import Callable
from typing import Any

import numba

from ase_mlx.threads import is_fork


def compiled(function: Callable | None = None, **options) -> Callable:
    """Compile a function when it is first called; a decorator with numba's options, or without any.

    The machine code is kept beside the package or in the home folder. Where neither can be written it is compiled in
    every process anew, which takes seconds; NUMBA_CACHE_DIR names another folder. With `parallel=True`, for functions
    that Python calls, there are as many threads as torch computes with, and in a forked process one: OpenMP ends forks
    that ask for more.

    Source: ours.
    """
    if function is None:
        return lambda decorated: compiled(decorated, **options)
    if options.get("parallel"):
        return _parallel(function, options)
    return _kept(function, options)


def _kept(function: Callable, options: dict[str, Any]) -> Callable:
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba: "cannot cache function: no locator available"
        return numba.njit(**options)(function)


def _parallel(function: Callable, options: dict[str, Any]) -> Callable:
    several = _kept(function, options)
    one = numba.njit(**options | {"parallel": False})(function)  # not kept: numba would take the other one's code

    @functools.wraps(function)
    def chosen(*arguments):
        if is_fork():
            return one(*arguments)
        _as_many_threads_as_torch()
        return several(*arguments)

    return chosen


def _as_many_threads_as_torch() -> None:
    """Set numba's number of threads; numba sets OpenMP's, which torch shares, to all cores when it starts them."""
    import torch

    threads = torch.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    torch.set_num_threads(threads)
