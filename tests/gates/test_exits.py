import subprocess
import sys

import pytest

COMMANDS = """
import sys, typer
from ase_mlx import cli
from ase_mlx.cli.exits import reading

@cli.app.command()
def fall(over: str):
    with reading("OVER"):
        if over == "value":
            raise ValueError("got a stone; expected a road; walk round it")
        if over == "file":
            open("/no/such/file")
        if over == "key":
            {}["stone"]
    if over == "work":
        raise RuntimeError("got tired; expected strength; rest")
    if over == "disk":
        raise OSError(28, "No space left on device")

sys.argv[0] = "ase-mlx"
cli.main()
"""


def call(*arguments):
    return subprocess.run([sys.executable, "-c", COMMANDS, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["fall", "nothing"], 0, ""),
        (["fall", "work"], 1, "got tired; expected strength; rest"),
        (["fall", "disk"], 1, "No space left on device"),
        (["fall", "value"], 2, "got a stone; expected a road; walk round it"),
        (["fall", "file"], 2, "/no/such/file"),
        (["fall", "key"], 2, "KeyError: stone"),
        (["fall"], 2, "over"),
        (["fell", "work"], 2, "fall"),
        (["fall", "--hard"], 2, "--hard"),
    ],
)
def test_exit_code_and_message(arguments, code, said):
    done = call(*arguments)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback():
    done = call("--debug", "fall", "work")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "got tired" in done.stderr
