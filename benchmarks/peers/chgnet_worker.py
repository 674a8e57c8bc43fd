"""CHGNet 0.4.2 with its bundled weights, through its own ASE calculator (run inside .venvs/chgnet)."""

import measure
import torch
from chgnet.model.dynamics import CHGNetCalculator

torch.set_num_threads(1)


def load(device: str):
    """The released CHGNet calculator; its stress arrives in eV/Å³ (`stress_weight` converts from GPa)."""
    return CHGNetCalculator(use_device=device)


if __name__ == "__main__":
    measure.serve(measure.calculator_tasks(load))
