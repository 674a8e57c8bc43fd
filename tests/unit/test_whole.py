import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ase_mlx import whole


def test_a_file_is_replaced_in_one_step_and_nothing_is_left(tmp_path):
    target = tmp_path / "sub" / "x.npz"
    with whole.whole_file(target) as part:
        assert part.parent == target.parent and part.suffix == ".npz" and part.name.startswith(".")
        part.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new" and os.listdir(target.parent) == ["x.npz"]


def test_a_failure_leaves_what_was_there(tmp_path):
    target = tmp_path / "x"
    target.write_bytes(b"old")
    with pytest.raises(KeyError), whole.whole_file(target) as part:
        part.write_bytes(b"half")
        raise KeyError
    assert target.read_bytes() == b"old" and os.listdir(tmp_path) == ["x"]


def test_folders_are_refused(tmp_path):
    (tmp_path / "d").mkdir()
    for refuse in (lambda: whole.write_text(tmp_path / "d", "x"), lambda: whole.check_file(tmp_path / "d")):
        with pytest.raises(IsADirectoryError, match="expected the name of a file"):
            refuse()


def test_links_are_replaced_not_followed(tmp_path):
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_text("mine")
    link.symlink_to(victim)
    whole.write_text(link, "new")
    assert victim.read_text() == "mine" and link.read_text() == "new" and not link.is_symlink()


def test_devices_are_written_into():
    whole.write_text("/dev/null", "x")
    assert not Path("/dev/null").is_file()


def test_permissions_follow_the_umask_and_those_of_the_replaced_file(tmp_path):
    before = os.umask(0o027)
    try:
        whole.write_text(tmp_path / "x", "a")
        assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640
        (tmp_path / "x").chmod(0o600)
        whole.write_text(tmp_path / "x", "b")
        assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_what_the_dead_left_is_removed_and_what_the_living_write_stays(tmp_path):
    code = (
        "import os, sys; from ase_mlx import whole\n"
        "with whole.whole_file(sys.argv[1]) as part: part.write_text('half'); os._exit(9)"
    )
    target = tmp_path / "x.txt"
    assert subprocess.run([sys.executable, "-c", code, str(target)]).returncode == 9
    assert len(os.listdir(tmp_path)) == 1 and not target.exists()
    with whole.whole_file(target) as mine:
        mine.write_text("first")
        whole.write_text(target, "second")
        assert mine.exists()
    assert target.read_text() == "first" and os.listdir(tmp_path) == ["x.txt"]


def test_errors_name_the_file_the_cause_and_the_remedy(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match=r"could not write .*file/y.*name another place"):
        whole.write_text(tmp_path / "file" / "y", "x")
    with pytest.raises(OSError, match=r"could not write .*MB are needed.*free some space") as caught:
        whole.check_folder(tmp_path, size=10**18)
    assert caught.value.errno == errno.ENOSPC


def test_folders_of_others_are_never_replaced(tmp_path):
    ours = lambda folder: (folder / "mark").exists()  # noqa: E731
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "weeks").write_text("of work")
    with pytest.raises(FileExistsError, match="not written here"), whole.whole_folder(foreign, ours):
        pass
    assert (foreign / "weeks").read_text() == "of work"
    for content in ("1", "2"):
        with whole.whole_folder(tmp_path / "store", ours) as part:
            (part / "mark").write_text(content)
        assert (tmp_path / "store" / "mark").read_text() == content
    assert sorted(os.listdir(tmp_path)) == ["foreign", "store"]
