"""Several processes that train one model: who they are, and sums over them.

Source: ours, on `torch.distributed`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed


def processes() -> tuple[int, int]:
    """Give the place of this process among those that train together, and their number.

    Source: ours.
    """
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def meet() -> None:
    """Wait until all processes are here.

    Source: ours.
    """
    if processes()[1] > 1:
        distributed.barrier()


def count_up(numbers: dict[str, float]) -> dict[str, float]:
    """Add up numbers (any unit) by name over all processes; a name may be missing in some of them.

    Source: ours.
    """
    if processes()[1] == 1:
        return numbers
    everyone: list[dict[str, float]] = [{}] * processes()[1]
    distributed.all_gather_object(everyone, numbers)
    total: dict[str, float] = {}
    for some in everyone:
        for name, number in some.items():
            total[name] = total.get(name, 0.0) + number
    return total


def add_up(values: Sequence[Tensor], parameters: Sequence[torch.nn.Parameter] = ()) -> list[Tensor]:
    """Add up single numbers (any unit) and, in place, parameters' gradients over all processes, in one message.

    A parameter that no process has a gradient for is left without one.

    Source: ours.
    """
    if processes()[1] == 1:
        return list(values)
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    there = [torch.tensor([float(p.grad is not None)]) for p in parameters]
    parts = [t.reshape(-1).to("cpu", torch.float64) for t in (*values, *there, *grads)]
    flat = torch.cat(parts)
    distributed.all_reduce(flat)
    split = torch.split(flat, [len(part) for part in parts])
    n = len(values)
    for k, p in enumerate(parameters):
        if split[n + k] > 0:
            p.grad = split[n + len(parameters) + k].view_as(p).to(p)
    return [total.view_as(v).to(v) for total, v in zip(split[:n], values, strict=True)]


def first_alone(work: Callable[[], Any]) -> Any:
    """Let the first process do something, and give all of them what it returns or raises.

    Source: ours.
    """
    rank, count = processes()
    if count == 1:
        return work()
    outcome: list[Any] = [None, None]
    if rank == 0:
        try:
            outcome[0] = work()
        except Exception as error:  # the others wait for word of it
            outcome[1] = error
    distributed.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
