"""CHGNet 0.4.2 with its bundled weights, through its own ASE calculator (run inside .venvs/chgnet)."""

import measure
import torch
from chgnet.model import CHGNet
from chgnet.model.dynamics import CHGNetCalculator

torch.set_num_threads(1)


def load(device: str):
    """The released CHGNet calculator; its stress arrives in eV/Å³ (`stress_weight` converts from GPa)."""
    return CHGNetCalculator(use_device=device)


def batch(data: str, device: str = "cpu") -> dict:
    """All frames through CHGNet's own batches, 16 structures each, graphs included."""
    from pymatgen.io.ase import AseAtomsAdaptor

    model = CHGNet.load(use_device=device, verbose=False)
    structures = {}

    def function(frames):
        if not structures:
            structures["all"] = [AseAtomsAdaptor.get_structure(atoms) for atoms in frames]
        model.predict_structure(structures["all"], task="efs", batch_size=16)

    return measure.time_batch(function, data)


if __name__ == "__main__":
    measure.serve(measure.calculator_tasks(load) | {"batch": batch})
