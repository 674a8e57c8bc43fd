"""Nequix 0.4.5, its own JAX code on the CPU (run inside .venvs/nequix).

Small crystals are joined into one padded graph, so that the code is compiled once.
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import equinox as eqx  # noqa: E402
import jraph  # noqa: E402
import measure  # noqa: E402
import numpy as np  # noqa: E402
from ase.io import read  # noqa: E402
from nequix.calculator import NequixCalculator  # noqa: E402
from nequix.data import atomic_numbers_to_indices, dict_to_graphstuple, preprocess_graph  # noqa: E402
from nequix.model import load_model  # noqa: E402

VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


def load(checkpoint: str, device: str = "cpu") -> NequixCalculator:
    """Its ASE calculator."""
    return NequixCalculator(model_path=checkpoint, use_kernel=False)


def together(checkpoint: str):
    """A function of frames to energies (eV), forces (eV/Å) and stresses (eV/Å³) of all of them."""
    model, config = load_model(checkpoint)
    index = atomic_numbers_to_indices(config["atomic_numbers"])
    compiled = eqx.filter_jit(model)

    def function(frames):
        graphs = [dict_to_graphstuple(preprocess_graph(a, index, config["cutoff"], False)) for a in frames]
        joined = jraph.batch_np(graphs)
        atoms, edges = int(joined.n_node.sum()), int(joined.n_edge.sum())
        padded = jraph.pad_with_graphs(joined, n_node=atoms + 1, n_edge=edges + 1, n_graph=len(frames) + 1)
        energy, forces, stress = (np.asarray(x) for x in compiled(padded))
        return energy[: len(frames)], forces[:atoms], stress[: len(frames)][:, VOIGT[0], VOIGT[1]]

    return function


def evaluate(data: str, out: str, checkpoint: str) -> dict:
    """As `measure.evaluate`, all frames at once."""
    energy, forces, stress = together(checkpoint)(read(data, ":"))
    np.savez(out, energy=energy, forces=forces, stress=stress)
    return {"predictions": out, "frames": len(energy), "cpu_s": 0.0}


def batch(data: str, checkpoint: str) -> dict:
    """As `measure.time_batch`."""
    return measure.time_batch(together(checkpoint), data)


if __name__ == "__main__":
    measure.serve(measure.calculator_tasks(load) | {"evaluate": evaluate, "batch": batch})
