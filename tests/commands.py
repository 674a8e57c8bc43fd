"""Commands as a user gives them, in this process or in one of their own."""

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from ase_mlx.cli import main


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def call(folder, *arguments):
    """Run the command line in this process; a started Python costs seconds."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["ase-mlx", *map(str, arguments)])
        patch.chdir(folder)
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    return Done(code, out.getvalue(), err.getvalue())


def start(folder, *arguments):
    command = [sys.executable, "-c", "from ase_mlx.cli import main; main()", *map(str, arguments)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
