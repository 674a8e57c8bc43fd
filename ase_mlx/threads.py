"""Threads in a process that was forked from one with several.

Source: ours.
"""

import os

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
