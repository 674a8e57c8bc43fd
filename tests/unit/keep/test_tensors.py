"""Arrays come back as they were, however they lie in memory; and nothing else of ours writes NumPy's as safetensors."""

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

import ase_mlx
from ase_mlx.keep import check_tensors, pack_tensors

CUBE = np.arange(24.0).reshape(2, 3, 4)


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(CUBE),
        CUBE.T,
        CUBE[:, ::-1, ::2],
        np.broadcast_to(CUBE[:1], (5, 3, 4)),
        np.array(2.5, dtype=np.float32),
        np.zeros((0, 3)),
    ],
    ids=["Fortran", "transposed", "strided", "broadcast", "scalar", "empty"],
)
def test_an_array_is_read_as_it_was(array):
    content = pack_tensors({"a": array, "b": CUBE}, {"unit": "Å"})
    check_tensors(content, must=True)
    arrays = load(content)
    assert arrays["a"].shape == array.shape and arrays["a"].dtype == array.dtype
    np.testing.assert_array_equal(arrays["a"], array)
    np.testing.assert_array_equal(arrays["b"], CUBE)


def test_one_function_alone_writes_numpy_arrays_as_safetensors():
    writers = [
        path.relative_to(Path(ase_mlx.__file__).parent).as_posix()
        for path in Path(ase_mlx.__file__).parent.rglob("*.py")
        if re.search(r"safetensors\.numpy\.save|from safetensors\.numpy import .*save", path.read_text())
    ]
    assert writers == ["keep/tensors.py"]
