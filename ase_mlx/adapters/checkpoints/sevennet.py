"""Checkpoints of SevenNet (`.pth`): settings and arrays of a torch zip, read as data.

Source: files as sevenn 0.9 to 0.13 writes them (Y. Park et al., J. Chem. Theory Comput. 20, 4857 (2024)); the
reader is ours.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ase_mlx.models.sevennet import GAIN, SevenNet, SevenNetConfig
from ase_mlx.nn.angular import coupling, paths
from ase_mlx.nn.grouped import GroupedLayer
from ase_mlx.nn.radial import SILU_GAIN
from ase_mlx.reading import reading

from .torch_zip import read_torch_zip

WHAT = "a SevenNet checkpoint (.pth: a zip of settings and arrays)"
AGAIN = "copy the file again from where it came"

EXPECTED: dict[str, Any] = {
    "_model_type": "E3_equivariant_model", "interaction_type": "nequip", "self_connection_type": "linear",
    "is_parity": False, "use_bias_in_linear": False, "readout_as_fcn": False, "act_radial": "silu",
    "_normalize_sph": True, "use_modality": False,
}  # fmt: skip
"""Settings that make the architecture known here; where a file does not have one, it is as here."""


def read_sevennet(path: str | Path) -> SevenNet:
    """Read a potential (eV, Å) from a checkpoint of SevenNet, float32, in evaluation mode.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, damaged, another format, a pickle that names more than arrays, or an architecture that is
            not known here (several modalities, parity, readouts by networks).

    Source: as the module.
    """
    with reading(path, WHAT, AGAIN):
        content = read_torch_zip(path)
        settings, arrays = content.get("config"), content.get("model_state_dict")
        if not isinstance(settings, dict) or not isinstance(arrays, dict):
            raise ValueError(f"got a zip with {', '.join(map(str, content))}, expected config and model_state_dict")
        _check(settings)
        state = _State(arrays)
        model = SevenNet(_config(settings, state))
        old = tuple(int(n) for n in str(settings["version"]).split(".")[:2]) < (0, 11)
        with torch.no_grad():
            n, c = len(model.elements), model.config.channels[0]
            _set(model.embedding, state.take("onehot_to_feature_x.linear.weight", (n, c)) / math.sqrt(n))
            for t, layer in enumerate(model.layers):
                _fill_layer(layer, t, state, old)
            hidden = state.take("reduce_input_to_hidden.linear.weight", (c, c // 2)) / math.sqrt(c)
            last = state.take("reduce_hidden_to_energy.linear.weight", (c // 2,)) / math.sqrt(c // 2)
            _set(model.readout, hidden @ last)
            _set(model.scale, state.take("rescale_atomic_energy.scale", (n,), broadcast=True))
    return model.eval()


def _check(settings: Mapping[str, Any]) -> None:
    for name, expected in EXPECTED.items():
        if settings.get(name, expected) != expected:
            raise ValueError(
                f"got {name} = {settings[name]!r:.60}, expected {expected!r}: other architectures of SevenNet are "
                "not known here"
            )
    if not re.match(r"\d+\.\d+", str(settings.get("version"))):
        raise ValueError(f"got version = {settings.get('version')!r:.40}, expected such as 0.9.1")
    for name in ("act_gate", "act_scalar"):
        if settings.get(name, {}).get("e") != "silu":
            raise ValueError(f"got {name} = {settings.get(name)!r:.60}, expected silu of even scalars")


def _config(settings: Mapping[str, Any], state: "_State") -> SevenNetConfig:
    types = settings["_type_map"]
    elements = tuple(sorted(types, key=types.get))
    if sorted(types.values()) != list(range(len(types))):
        raise ValueError("got a type map that does not count from 0, expected one number an element")
    layers, cutoff = settings["num_convolution_layer"], float(settings["cutoff"])
    irreps = settings["irreps_manual"]
    if not isinstance(irreps, list) or len(irreps) != layers + 1 or len(set(map(str, irreps[1:-1]))) != 1:
        raise ValueError(
            f"got irreps_manual = {irreps!r:.80}, expected {layers + 1}, equal ones between first and last"
        )
    channels = _channels(str(irreps[1]))
    if (_channels(str(irreps[0])), _channels(str(irreps[-1]))) != (channels[:1], channels[:1]):
        raise ValueError(f"got irreps_manual = {irreps!r:.80}, expected {channels[0]}x0e first and last")
    fall = settings["cutoff_function"]
    onset = fall["cutoff_on"] / cutoff if fall["cutoff_function_name"] == "XPLOR" else 0.0
    if fall["cutoff_function_name"] not in ("XPLOR", "poly_cut"):
        raise ValueError(f"got cutoff_function {fall['cutoff_function_name']!r}, expected XPLOR or poly_cut")
    basis = settings["radial_basis"]
    frequencies = state.take("edge_embedding.basis_function.coeffs", (basis.get("bessel_basis_num", 8),))
    shift = state.take("rescale_atomic_energy.shift", (len(elements),), broadcast=True)
    return SevenNetConfig(
        elements=elements,
        reference_energies=tuple(shift.tolist()),
        orders=tuple((frequencies * cutoff / math.pi).tolist()),
        cutoff=cutoff,
        l_max=settings["lmax"],
        channels=channels,
        layers=layers,
        radial_hidden=tuple(settings["weight_nn_hidden_neurons"]),
        onset=onset,
        power=fall.get("poly_cut_p_value", 6),
    )


def _channels(irreps: str) -> tuple[int, ...]:
    """Channels of degrees 0, 1, … of such as 128x0e+64x1e+32x2e."""
    parts = [re.fullmatch(r"\s*(\d{1,4})x(\d)e\s*", part) for part in irreps.split("+")]
    if not all(part and int(part[2]) == l for l, part in enumerate(parts)):
        raise ValueError(f"got irreps {irreps!r:.80}, expected degrees 0, 1, … in turn, such as 128x0e+64x1e+32x2e")
    return tuple(int(part[1]) for part in parts)


def _fill_layer(layer: GroupedLayer, t: int, state: "_State", old: bool) -> None:
    """Take a layer's arrays; the constants of their normalisation go into the weights."""
    convolution = layer.convolution
    channels, out = [len(w) for w in layer.up], [w.shape[-1] for w in convolution.weights[: convolution.l_out + 1]]
    _set_degrees(layer.up, state.parts(f"{t}_self_interaction_1.linear.weight", [(c, c) for c in channels]))
    kept = list(zip(channels, out, strict=False))
    _set_degrees(layer.keep, state.parts(f"{t}_self_connection_intro.linear.weight", kept))
    triples = paths(len(channels) - 1, convolution.l_edge, convolution.l_out, True, convolution.natural).triples
    sizes = [channels[l1] for l1, _, _ in triples]
    rows = [sum(n for n, triple in zip(sizes, triples, strict=True) if triple[2] == l) for l in range(len(out))]
    denominator = float(state.take(f"{t}_convolution.denominator", (1,))[0])
    mixing = state.parts(f"{t}_self_interaction_2.linear.weight", list(zip(rows, out, strict=True)))
    for l, matrix in enumerate(mixing):
        into = [p for p, triple in enumerate(triples) if triple[2] == l]
        start = dict(zip(into, np.cumsum([0] + [sizes[p] for p in into]), strict=False))
        for k, (a, b, highest) in enumerate(convolution.groups):
            own = [start[p] for p in into if triples[p][0] <= highest]
            weight = np.concatenate([matrix[s + a : s + b] for s in own]) / math.sqrt(rows[l]) / denominator
            _set(convolution.weights[k * len(out) + l], weight)
    _fill_radial(convolution, t, state, triples, sizes, old)


def _fill_radial(convolution, t: int, state: "_State", triples: tuple, sizes: list[int], old: bool) -> None:
    """The network of the radial functions; before version 0.11 its columns go by input and harmonic, not by result."""
    order = sorted(range(len(triples)), key=lambda p: triples[p]) if old else range(len(triples))
    first = dict(zip(order, np.cumsum([0] + [sizes[p] for p in order]), strict=False))
    columns = [
        np.arange(first[p] + a, first[p] + b)
        for a, b, highest in convolution.groups
        for p, triple in enumerate(triples)
        if triple[0] <= highest
    ]
    signs = [
        np.full(b - a, state.phase(t, triple))
        for a, b, highest in convolution.groups
        for triple in triples
        if triple[0] <= highest
    ]
    radial = convolution.radial
    widths = [len(w) for w in radial.layers] + [sum(sizes)]
    for k, weight in enumerate(radial.layers):
        matrix = state.take(f"{t}_convolution.weight_nn.layer{k}.weight", (widths[k], widths[k + 1]))
        if k == len(radial.layers) - 1:
            matrix = matrix[:, np.concatenate(columns)] * np.concatenate(signs)
        basis = 2 * math.pi / radial.cutoff**2 * math.sqrt(3 / 2)  # 2/r_c · sin(br)/r in units of ours
        _set(weight, matrix * (basis if k == 0 else GAIN / SILU_GAIN))


def _set(parameter: torch.Tensor, values: np.ndarray) -> None:
    parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)).reshape(parameter.shape))


def _set_degrees(parameters, matrices: list[np.ndarray]) -> None:
    for parameter, matrix in zip(parameters, matrices, strict=True):
        _set(parameter, matrix / math.sqrt(len(matrix)))


class _State:
    """The arrays of a checkpoint by name, each of the shape that the settings ask for."""

    def __init__(self, arrays: Mapping[str, Any]):
        self.arrays = arrays

    def take(self, name: str, shape: tuple[int, ...], broadcast: bool = False) -> np.ndarray:
        array = self.arrays.get(name)
        if broadcast and isinstance(array, np.ndarray) and array.size == 1:
            array = np.broadcast_to(array.reshape(-1), shape)
        if not isinstance(array, np.ndarray) or array.size != math.prod(shape):
            got = f"of shape {array.shape}" if isinstance(array, np.ndarray) else "not at all"
            raise ValueError(
                f"got {name} {got}, expected {shape} by the settings; the file was changed, or is of another "
                "architecture"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"got {name} with numbers that are not finite, expected finite weights; {AGAIN}")
        return array.astype(np.float64).reshape(shape)

    def parts(self, name: str, shapes: list[tuple[int, int]]) -> list[np.ndarray]:
        flat = self.take(name, (sum(a * b for a, b in shapes),))
        cuts = np.cumsum([a * b for a, b in shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(flat, cuts), shapes, strict=True)]

    def phase(self, t: int, triple: tuple[int, int, int]) -> float:
        """The sign by which the e3nn of the training differs from today's in one coupling, which files of old have."""
        name = "_w3j_{}_{}_{}".format(*triple)
        stored = self.arrays.get(f"{t}_convolution.convolution._compiled_main_left_right.{name}")
        if not isinstance(stored, np.ndarray):
            return 1.0
        ours = coupling(*triple)
        for sign in (1.0, -1.0):
            if stored.shape == ours.shape and np.allclose(sign * stored, ours, atol=1e-5):
                return sign
        raise ValueError(f"got couplings {name} that are those of no e3nn known here, expected 0.5 or its like")
