"""Checkpoints of Nequix (`.nqx`): one line of JSON, then the arrays of the model's leaves in numpy's format.

Nothing is unpickled, and neither JAX nor the package nequix is needed.

Source: files as nequix 0.4.5 writes them (T. Koker et al., arXiv 2508.16067; MIT); the reader is ours.
"""

import io
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy

from ase_mlx.models.nequix import Nequix, NequixConfig
from ase_mlx.nn.angular import paths
from ase_mlx.nn.radial import SILU_GAIN
from ase_mlx.reading import parsed_json, reading

WHAT = "a Nequix checkpoint (.nqx: a line of JSON, then arrays)"
AGAIN = "copy the file again from where it came"

SETTINGS = {
    "atomic_numbers": list, "cutoff": float, "hidden_irreps": str, "lmax": int, "n_layers": int,
    "radial_basis_size": int, "radial_mlp_size": int, "radial_mlp_layers": int, "radial_polynomial_p": float,
    "index_weights": bool, "layer_norm": bool, "scale": float, "shift": float, "avg_n_neighbors": float,
}  # fmt: skip
"""What of the JSON line the model depends on; the rest says how it was trained."""

LONGEST_LINE = 2**20
"""Bytes of the JSON line: two hundred times the longest seen."""


def read_nequix(path: str | Path) -> Nequix:
    """Read a potential (eV, Å) from a checkpoint of Nequix, float32, in evaluation mode.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, damaged, another format, or an architecture that is not known here.

    Source: as the module.
    """
    with reading(path, WHAT, AGAIN):
        content = Path(path).read_bytes()
        settings, start = _settings(content)
        channels = _channels(settings["hidden_irreps"])
        stream = io.BytesIO(content)
        stream.seek(start)
        arrays = _Arrays(stream)
        n = len(settings["atomic_numbers"])
        own_energies = arrays.take("the elements' energies", (n,))
        model = Nequix(_config(settings, channels, own_energies))
        with torch.no_grad():
            for k, layer in enumerate(model.layers):
                _fill_layer(layer, f"layer {k}", arrays, settings)
            readout = arrays.take("the readout", (channels[0], 1))[:, 0]
            _set(model.readout, readout * settings["scale"] / math.sqrt(channels[0]))
        arrays.expect_end()
    return model.eval()


def _settings(content: bytes) -> tuple[dict[str, Any], int]:
    end = content.find(b"\n", 0, LONGEST_LINE)
    if not content.startswith(b"{") or end < 0:
        raise ValueError(f"got a file that begins with {content[:12]!r}, expected {WHAT}; name another file")
    line = parsed_json(content[:end])
    settings = {}
    for name, kind in SETTINGS.items():
        value = line.get(name)
        value = float(value) if kind is float and type(value) is int else value
        if type(value) is not kind or (kind is float and not math.isfinite(value)):
            raise ValueError(
                f"got {name} = {value!r:.60} in the JSON line, expected a {kind.__name__}: Nequix checkpoints have it; "
                "this one is of another architecture, or damaged"
            )
        settings[name] = value
    if not all(type(z) is int for z in settings["atomic_numbers"]):
        raise ValueError("got atomic_numbers that are no whole numbers, expected atomic numbers")
    if settings["radial_polynomial_p"] % 1:
        raise ValueError(f"got radial_polynomial_p = {settings['radial_polynomial_p']}, expected a whole number")
    if not settings["avg_n_neighbors"] > 0:
        raise ValueError(f"got avg_n_neighbors = {settings['avg_n_neighbors']}, expected a positive number")
    return settings, end + 1


def _channels(irreps: str) -> tuple[int, ...]:
    """Channels of degrees 0, 1, … of such as 128x0e + 64x1o + 32x2e."""
    channels = []
    for l, part in enumerate(irreps.split("+")):
        match = re.fullmatch(r"\s*(\d{1,4})x(\d)([eo])\s*", part)
        if not match or (int(match[2]), match[3]) != (l, "eo"[l % 2]):
            raise ValueError(
                f"got hidden_irreps = {irreps!r:.80}, expected degrees 0, 1, … of natural parity in turn, such as "
                "128x0e + 64x1o; other architectures are not known here"
            )
        channels.append(int(match[1]))
    return tuple(channels)


def _config(settings: Mapping[str, Any], channels: tuple[int, ...], energies: np.ndarray) -> NequixConfig:
    return NequixConfig(
        elements=tuple(settings["atomic_numbers"]),
        reference_energies=tuple((energies.astype(np.float64) + settings["shift"]).tolist()),
        cutoff=settings["cutoff"],
        l_max=settings["lmax"],
        channels=channels,
        layers=settings["n_layers"],
        n_basis=settings["radial_basis_size"],
        radial_hidden=(settings["radial_mlp_size"],) * settings["radial_mlp_layers"],
        power=int(settings["radial_polynomial_p"]),
        norm=settings["layer_norm"],
        by_species=settings["index_weights"],
    )


def _fill_layer(layer: torch.nn.Module, name: str, arrays: "_Arrays", settings: Mapping[str, Any]) -> None:
    """Take a layer's leaves in their order; the constants of their normalisation go into the weights."""
    convolution, n = layer.convolution, len(settings["atomic_numbers"])
    channels, out = [len(w) for w in layer.up], [w.shape[-1] for w in convolution.weights[: convolution.l_out + 1]]
    full = paths(len(channels) - 1, settings["lmax"], convolution.l_out, apart=True)
    sizes = [channels[l1] for l1, _, _ in full.triples]
    first = np.cumsum([0, *sizes])
    _fill_radial(convolution, arrays, name, settings, [full.triples, first])
    _fill_square(layer.up, arrays, f"{name}, linear_1", channels)
    for l, width in enumerate(out):
        into = [p for p, triple in enumerate(full.triples) if triple[2] == l]
        rows = sum(sizes[p] for p in into)
        matrix = arrays.take(f"{name}, linear_2", (rows, width)) / math.sqrt(rows * settings["avg_n_neighbors"])
        start = dict(zip(into, np.cumsum([0] + [sizes[p] for p in into]), strict=False))
        for k, (a, b, highest) in enumerate(convolution.groups):
            own = [start[p] for p in into if full.triples[p][0] <= highest]
            rows_of_group = np.concatenate([matrix[s + a : s + b] for s in own])
            _set(convolution.weights[k * len(out) + l], rows_of_group)
    for weight, c, width in zip(layer.keep, channels, out, strict=False):
        shape = (n, c, width) if settings["index_weights"] else (c, width)
        matrix = arrays.take(f"{name}, skip", shape) / math.sqrt(c)
        _set(weight, matrix[np.arange(n), np.arange(n)] if matrix.ndim > weight.ndim else matrix)
    if layer.norm is not None:
        for gain in layer.norm.gains:
            _set(gain, arrays.take(f"{name}, layer_norm", gain.shape))


def _fill_square(weights, arrays: "_Arrays", name: str, channels: list[int]) -> None:
    for weight, c in zip(weights, channels, strict=True):
        _set(weight, arrays.take(name, (c, c)) / math.sqrt(c))


def _fill_radial(convolution, arrays: "_Arrays", name: str, settings: Mapping[str, Any], order: list) -> None:
    """The network of the radial functions, with the constants by which our basis and SiLU differ from theirs."""
    triples, first = order
    radial = convolution.radial
    widths = [
        settings["radial_basis_size"],
        *[settings["radial_mlp_size"]] * settings["radial_mlp_layers"],
        int(first[-1]),
    ]
    columns = [
        np.arange(first[p] + a, first[p] + b)
        for a, b, highest in convolution.groups
        for p, triple in enumerate(triples)
        if triple[0] <= highest
    ]
    for k, weight in enumerate(radial.layers):
        matrix = arrays.take(f"{name}, radial_mlp", (widths[k], widths[k + 1]))
        if k == len(radial.layers) - 1:
            matrix = matrix[:, np.concatenate(columns)]
        basis = 2 * math.pi / settings["cutoff"] ** 2 * math.sqrt(3 / 2)  # 2/r_c · sin(nπx)/r in units of ours
        _set(weight, matrix * math.sqrt(widths[k]) * (basis if k == 0 else 1 / SILU_GAIN))


def _set(parameter: torch.Tensor, values: np.ndarray) -> None:
    if tuple(parameter.shape) != values.shape:
        raise ValueError(f"got an array of shape {values.shape}, expected {tuple(parameter.shape)}")
    parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))


class _Arrays:
    """The arrays of a stream, one after the other, each of the shape that the configuration asks for."""

    def __init__(self, stream: io.BytesIO):
        self.stream = stream

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        shape = tuple(shape)
        header = self._header(name)
        if header[0] != shape or header[2] != np.dtype("<f4"):
            raise ValueError(
                f"got {name} as {header[2]} of shape {header[0]}, expected float32 of shape {shape} by the JSON line; "
                "the file was changed, or is of another architecture"
            )
        size = 4 * math.prod(shape)
        content = self.stream.read(size)
        if len(content) < size:
            raise ValueError(f"got {len(content)} bytes of {name}, expected {size}: the file is truncated; {AGAIN}")
        values = np.frombuffer(content, dtype="<f4").reshape(shape, order="F" if header[1] else "C")
        if not np.isfinite(values).all():
            raise ValueError(f"got {name} with numbers that are not finite, expected finite weights; {AGAIN}")
        return values.astype(np.float64)

    def _header(self, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
        left = len(self.stream.getbuffer()) - self.stream.tell()
        if left == 0:
            raise ValueError(f"got a file that ends before {name}, expected more arrays: it is truncated; {AGAIN}")
        version = npy.read_magic(self.stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"got {name} in version {version} of numpy's format, expected 1.0 or 2.0")
        return read(self.stream)

    def expect_end(self) -> None:
        """Pass over single numbers, which some files have for the settings once more; refuse all else."""
        while left := len(self.stream.getbuffer()) - self.stream.tell():
            try:
                shape, _, dtype = self._header("a setting")
            except ValueError:
                shape, dtype = None, None
            if shape != () or dtype.kind not in "fib" or len(self.stream.read(dtype.itemsize)) < dtype.itemsize:
                raise ValueError(
                    f"got {left} bytes after the readout, expected the file's end or settings; it was changed, or is "
                    "of another architecture"
                )
