"""Processes that share work on one machine and never outlive the one that started them, and devices that it has.

Source: ours.
"""

import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any


def pool(processes: int) -> ProcessPoolExecutor:
    """Start fresh processes that end as soon as this one does, be it by kill −9.

    Source: ours.
    """
    return ProcessPoolExecutor(processes, get_context("spawn"), _end_with_parent)


def end_with(process: int) -> None:
    """Let this process end within a second of another one of this machine, given by its number.

    Source: ours.
    """
    threading.Thread(target=_ask, args=(process,), daemon=True).start()


def _ask(process: int) -> None:
    while True:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            os._exit(1)
        time.sleep(1)


def _end_with_parent() -> None:
    threading.Thread(target=_watch, args=(parent_process().sentinel,), daemon=True).start()


def _watch(parent: int) -> None:
    wait([parent])
    os._exit(1)


def expect_device(name: Any) -> Any:
    """Give torch's device of a name, and refuse one that torch does not know or that this machine has not.

    Raises:
        ValueError: naming it, and those there are.

    Source: ours.
    """
    import torch  # what the command line imports before its work begins has no torch in it

    there = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if (
        device is None
        or device.type not in ("cpu", "cuda")
        or (
            device.type == "cuda"
            and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count())
        )
    ):
        raise ValueError(f"got device {name!r}, expected one of this machine: {', '.join(there)}")
    return device
