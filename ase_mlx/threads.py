"""Threads of torch in a process that was forked from one with several.

Source: ours.
"""

import os

_last = os.getpid()


def after_fork() -> bool:
    """Compute with one thread from now on, where this process is a fork; tell whether it is.

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
