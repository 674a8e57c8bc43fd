import bz2
import gzip
import lzma
import sys
import zipfile

import pytest

from ase_mlx.jobs.outcome import sentence
from ase_mlx.reading import parsed_json, reading, unpacked


class Panic(BaseException):
    """As pyo3 gives Rust's panics to Python."""


@pytest.mark.parametrize(
    "error",
    [
        zipfile.BadZipFile("File is not a zip file"),
        lzma.LZMAError("Corrupt input data"),
        EOFError(),
        AttributeError("'NoneType' object has no attribute 'items'"),
        KeyError("rotations"),
        MemoryError(),
        RecursionError("maximum recursion depth exceeded"),
        ValueError("This file contains pickled (object) data. If you trust the file you can load it unsafely"),
        OSError(22, "Invalid argument"),
        UnicodeDecodeError("utf-8", b"\x8d", 0, 1, "invalid start byte"),
        AssertionError(),
        Panic("called unwrap on None"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_error_of_a_library_names_the_file_and_what_to_do(tmp_path, error):
    path = tmp_path / "a.dat"
    path.write_bytes(b"x")
    with pytest.raises(ValueError) as caught, reading(path, "a test's file", "make it anew"):
        raise error
    said = str(caught.value)
    assert said.startswith("got ") and "a.dat" in said and "a test's file" in said and said.endswith("make it anew")
    assert "unsafely" not in said and caught.value.__cause__ is error


def test_an_error_without_words_says_where_it_is_from(tmp_path):
    with pytest.raises(ValueError, match=r"AssertionError without a reason, in unit/test_reading.py, line \d+\)"):
        (tmp_path / "x").touch()
        with reading(tmp_path / "x", "a file"):
            raise AssertionError
    assert [sentence(AssertionError(*words)) for words in ((), ("two words",))] == ["AssertionError", "two words"]


def test_sentences_of_ours_pass_and_get_the_name_of_the_file(tmp_path):
    path = tmp_path / "a.dat"
    path.write_bytes(b"x")
    for text, wanted in (("got a.dat of 3 atoms", "got a.dat of 3 atoms"), ("got 3 atoms", f"{path}: got 3 atoms")):
        with pytest.raises(ValueError) as caught, reading(path, "a test's file"):
            raise ValueError(text)
        assert str(caught.value) == wanted
    with pytest.raises(KeyboardInterrupt), reading(path, "a test's file"):
        raise KeyboardInterrupt


def test_missing_files_and_folders_are_named(tmp_path):
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(FileNotFoundError, match="an existing file, a test's file"), reading(place, "a test's file"):
            pass


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress, bytes], ids=["gz", "xz", "bz2", "plain"])
def test_packed_files_are_known_by_their_content(tmp_path, pack):
    path = tmp_path / "a.cif"
    path.write_bytes(pack(b"one\ntwo\n" * 1000))
    with unpacked(path) as stream:
        assert stream.readline() == b"one\n"
        stream.seek(0)
        assert stream.read() == b"one\ntwo\n" * 1000


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress], ids=["gz", "xz", "bz2"])
def test_a_flood_is_refused_where_it_passes_the_bound(tmp_path, pack):
    path = tmp_path / "a.xyz"
    path.write_bytes(pack(bytes(2**21)))
    with pytest.raises(ValueError, match="bytes that unpack to more than"), unpacked(path, plenty=2**20) as stream:
        for _ in stream:
            pass


def test_deeply_nested_json_is_refused_also_where_recursion_may_go_deep():
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)  # as importing symfc does; json's C code then runs out of its stack
    try:
        for text in ("[" * 100_000, b'{"a": ' * 100_000):
            with pytest.raises(ValueError, match="JSON nested 100000 deep, at most 500 are read"):
                parsed_json(text)
    finally:
        sys.setrecursionlimit(limit)
    assert parsed_json('{"Å": [[1, "[[["], {}]}') == {"Å": [[1, "[[["], {}]}
