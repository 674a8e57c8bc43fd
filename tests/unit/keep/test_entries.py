"""Damaged entries are named and never used; entries of another key are not seen."""

import numpy as np
import pytest

from ase_mlx.keep import DamagedWarning, Entries, digest, seal, unseal

ARRAYS = {"forces": np.linspace(-1, 1, 24).reshape(8, 3), "name": np.array("Si")}


def test_what_is_kept_comes_again(tmp_path):
    entries = Entries(tmp_path / "deep" / "work")
    assert entries.fetch("forces", digest(1)) is None
    entries.keep("forces", digest(1), ARRAYS)
    found = entries.fetch("forces", digest(1))
    np.testing.assert_array_equal(found["forces"], ARRAYS["forces"])
    assert str(found["name"]) == "Si" and entries.fetch("forces", digest(2)) is None
    assert entries.fetch("energy", digest(1)) is None
    assert [path.name[-4:] for path in entries.folder.iterdir()] == [".npz"]


def test_without_a_folder_nothing_is_kept():
    entries = Entries(None)
    entries.keep("forces", digest(1), ARRAYS)
    assert entries.fetch("forces", digest(1)) is None


def damages(data: bytes):
    rng = np.random.default_rng(0)
    yield from (b"", b"junk", data[: len(data) // 2], data[:-1], data[1:], data + b"x" * 70000, b"[1, 2]", data[::-1])
    for _ in range(60):
        flipped = bytearray(data)
        flipped[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        yield bytes(flipped)
    for _ in range(20):
        zeroed = bytearray(data)
        at = int(rng.integers(len(data)))
        zeroed[at : at + 64] = bytes(len(zeroed[at : at + 64]))
        yield bytes(zeroed)


def test_damage_is_named_or_harmless(tmp_path):
    entries = Entries(tmp_path)
    entries.keep("forces", digest(1), ARRAYS)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    refused = 0
    for damage in damages(whole):
        path.write_bytes(damage)
        try:
            found = entries.fetch("forces", digest(1))
        except DamagedWarning as warning:
            refused += 1
            assert path.name in str(warning) and "computed anew" in str(warning)
            continue
        np.testing.assert_array_equal(found["forces"], ARRAYS["forces"])
    assert refused > 60
    entries.keep("forces", digest(1), ARRAYS)
    assert entries.fetch("forces", digest(1)) is not None


def test_an_entry_under_another_name_is_not_taken(tmp_path):
    entries = Entries(tmp_path)
    entries.keep("forces", digest(1), ARRAYS)
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / f"forces-{digest(2)[:20]}.npz")
    with pytest.warns(DamagedWarning, match="checksum"):
        assert entries.fetch("forces", digest(2)) is None


def test_sealed_text():
    content = {"class": "EMT", "Å": [1, 2.5, None]}
    assert unseal(seal(content).encode()) == content
    for text in ("", "{}", "[1]", "\xff", seal(content).replace("2.5", "2.6"), seal(content)[:-5], "[" * 100000):
        with pytest.raises(ValueError, match="checksum"):
            unseal(text.encode("latin-1", "replace"))
