"""SevenNet-0 of sevenn 0.13.0 with its bundled weights, through its own ASE calculator (run inside .venvs/sevenn)."""

import measure
import torch
from sevenn.calculator import SevenNetCalculator

torch.set_num_threads(1)


def load(device: str):
    """The released SevenNet-0 (11 July 2024) calculator."""
    return SevenNetCalculator("7net-0", device=device)


if __name__ == "__main__":
    measure.serve(measure.calculator_tasks(load))
