import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ase_mlx import whole
from ase_mlx.whole.results import MANIFEST


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


def test_files_that_belong_together_change_together(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(IsADirectoryError):
        whole.write_together({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    assert os.listdir(tmp_path) == ["b"]
    whole.write_together({tmp_path / "a": b"1", tmp_path / "c": b"2"})
    assert (tmp_path / "a").read_bytes() + (tmp_path / "c").read_bytes() == b"12"


def files(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST}


def test_a_folder_holds_the_results_of_one_call_and_what_is_not_ours(tmp_path):
    names = ("r.csv", "a.png", "b.png")
    (tmp_path / "notes").write_text("mine")
    with whole.whole_results(tmp_path, names) as part:
        for name in names[:2]:
            whole.write_text(part / name, "first")
        assert files(tmp_path).keys() - {"notes"} == {f"{part.name}/{name}" for name in names[:2]}
    assert files(tmp_path) == {"notes": "mine", "r.csv": "first", "a.png": "first"}
    with whole.whole_results(tmp_path, names) as part:
        whole.write_text(part / "r.csv", "second")
    assert files(tmp_path) == {"notes": "mine", "r.csv": "second"}
    with pytest.raises(KeyError), whole.whole_results(tmp_path, names) as part:
        whole.write_text(part / "a.png", "third")
        raise KeyError
    assert files(tmp_path) == {"notes": "mine", "r.csv": "second"}


def test_folders_of_an_earlier_call_go_with_it(tmp_path):
    def call(*names):
        with whole.whole_results(tmp_path, ("all",), folders=names if len(names) > 1 else ()) as part:
            for name in names if len(names) > 1 else ():
                with whole.whole_results(tmp_path / name, ("x",)) as inner:
                    whole.write_text(inner / "x", "1")
            whole.write_text(part / "all", "".join(names))

    call("a", "b")
    (tmp_path / "b" / "notes").write_text("mine")
    assert files(tmp_path) == {"all": "ab", "a/x": "1", "b/x": "1", "b/notes": "mine"}
    call("a", "c")
    assert files(tmp_path) == {"all": "ac", "a/x": "1", "c/x": "1", "b/notes": "mine"}
    call("d")
    assert files(tmp_path) == {"all": "d", "b/notes": "mine"} and not (tmp_path / "a").exists()


def test_files_that_no_call_wrote_are_never_replaced(tmp_path):
    (tmp_path / "r.csv").write_text("mine")
    with (
        pytest.raises(FileExistsError, match=r"r\.csv that no earlier call wrote.*move them away"),
        whole.whole_results(tmp_path, ("r.csv",)),
    ):
        pass
    (tmp_path / "deep").mkdir()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "deep" / MANIFEST).write_text(json.dumps({"files": ["../victim", str(victim)], "folders": [".."]}))
    with whole.whole_results(tmp_path / "deep", ("x",)) as part:
        whole.write_text(part / "x", "1")
    assert files(tmp_path) == {"r.csv": "mine", "victim": "mine", "deep/x": "1"}


def test_errors_in_a_folder_of_results_name_the_place_that_was_asked_for(tmp_path):
    with whole.whole_results(tmp_path / "out", ()) as part:
        (part / "x").write_text("")
        with pytest.raises(OSError, match=f"could not write '{tmp_path}/out/x/y'"):
            whole.write_text(part / "x" / "y", "")


HOLD = """
import sys, time
from ase_mlx import whole
with whole.sole(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("name", ["folder", "file.xyz"])
def test_one_process_at_a_time_and_the_dead_hold_nothing(tmp_path, name):
    target = tmp_path / name
    if name == "folder":
        target.mkdir()
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match="another process is writing"), whole.sole(target):
            pass
    finally:
        other.kill()
        other.communicate()
    with whole.sole(target):
        pass
    assert os.listdir(tmp_path) == (["folder"] if name == "folder" else [])


def test_scratch_folders_of_the_dead_go(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    code = "import os; from ase_mlx import whole\nwith whole.scratch_folder('work'): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9 and len(os.listdir(tmp_path)) == 1
    with whole.scratch_folder("work") as folder:
        assert os.listdir(tmp_path) == [folder.name]
    assert os.listdir(tmp_path) == []


def test_a_limit_on_the_size_of_files_is_seen_before_the_work(tmp_path):
    code = (
        "import resource, sys; from ase_mlx import whole\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: whole.check_file(sys.argv[1], 5000)\n"
        "except OSError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], capture_output=True, text=True)
    assert "x' (File too large); this process may not write files of that size" in run.stdout
    assert os.listdir(tmp_path) == []


def test_a_folder_made_for_results_that_never_came_goes_with_them(tmp_path):
    for kept in (False, True):
        folder = tmp_path / str(kept)
        with pytest.raises(ValueError, match="no luck"), whole.whole_results(folder, ["a.csv"]):
            if kept:
                (folder / "work").mkdir()
            raise ValueError("no luck")
        assert folder.exists() == kept
    (tmp_path / "old").mkdir()
    with pytest.raises(ValueError, match="no luck"), whole.whole_results(tmp_path / "old", ["a.csv"]):
        raise ValueError("no luck")
    assert (tmp_path / "old").exists()
