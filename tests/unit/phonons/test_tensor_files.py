"""Equal tensors make equal files; damage anywhere in one is refused in a sentence of ours."""

import json

import numpy as np
import pytest
from safetensors.numpy import save

from ase_mlx.phonons.compressed import CompressedTensor, Orbit
from ase_mlx.phonons.orbits import SpaceGroup
from ase_mlx.phonons.tensor_files import SCHEMA, load_tensor, save_tensor


def tensor():
    rng = np.random.default_rng(0)
    group = SpaceGroup(5.4 * np.eye(3), np.zeros((1, 3)), np.eye(3, dtype=int)[None], np.zeros((1, 3)))
    sites = np.zeros((4, 4), dtype=int)
    orbits = tuple(Orbit(sites, rng.normal(size=(2, 4, 3)), np.zeros(1, dtype=int), np.ones(2)) for _ in range(2))
    return CompressedTensor(3, group, orbits)


def test_what_is_written_comes_again_and_equal_tensors_make_equal_bytes(tmp_path):
    paths = [save_tensor(tensor(), tmp_path / f"{k}.safetensors", {"b": 1, "a": "Å"}) for k in range(4)]
    assert len({path.read_bytes() for path in paths}) == 1
    again = load_tensor(paths[0])
    assert again.order == 3
    for one, other in zip(again.orbits, tensor().orbits, strict=True):
        np.testing.assert_array_equal(one.functions, other.functions)


def test_damage_anywhere_is_seen(tmp_path):
    path = save_tensor(tensor(), tmp_path / "tensor.safetensors")
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    damages = [b"", b"junk", whole[:-1], whole[: len(whole) // 2], whole + b"x", b"\xff" * 100]
    for at in rng.integers(len(whole), size=200):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << int(rng.integers(8))
        damages.append(bytes(flipped))
        zeroed = bytearray(whole)
        zeroed[at : at + 16] = bytes(len(zeroed[at : at + 16]))
        damages += [bytes(zeroed)] if zeroed != whole else []
    for damage in damages:
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=r"tensor.safetensors.*compress again"):
            load_tensor(path)


def test_a_file_without_a_checksum_is_read_as_before_and_one_without_parts_is_refused(tmp_path):
    path = save_tensor(tensor(), tmp_path / "tensor.safetensors")
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    del header["__metadata__"]["sha256"]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
    assert load_tensor(path).order == 3
    path.write_bytes(save({"lattice": np.eye(3)}, metadata={"schema": SCHEMA, "order": "3"}))
    with pytest.raises(ValueError, match="lacks parts.*positions.*compress again"):
        load_tensor(path)
