"""Threads that share work, and threads in a process that was forked from one with several.

Source: ours.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_first = _last = os.getpid()


def is_fork() -> bool:
    """Tell whether this process is a fork of the one that imported the package.

    Source: ours.
    """
    return os.getpid() != _first


def after_fork() -> bool:
    """Compute with one thread of torch from now on, where this process is a new fork; tell whether it is.

    The threads that torch keeps for its operations do not exist in a fork, which would wait for them for ever.

    Source: ours.
    """
    global _last
    if os.getpid() == _last:
        return False
    import torch

    _last = os.getpid()
    torch.set_num_threads(1)
    return True


def side_by_side(function: Callable[[Any], Any], items: Sequence, threads: int) -> Iterator:
    """Give a function's results of all items in their order, computed by several threads; BLAS takes one in each.

    Source: ours.
    """
    threads = 1 if is_fork() else min(threads, len(items))
    if threads <= 1:
        yield from map(function, items)
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, items)


def one_thread(function: Callable) -> Callable:
    """Let a function of small matrices (any unit) have one thread of BLAS.

    Several cost milliseconds for a 3×3 solution, and many more where other work has the cores.

    Source: ours.
    """

    @functools.wraps(function)
    def run(*args, **kwargs):
        with _pools().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return run


@functools.cache
def _pools():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
