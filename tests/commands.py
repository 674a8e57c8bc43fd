"""Commands as a user gives them, in this process or in one of their own."""

import contextlib
import io
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass

import pytest

from ase_mlx.cli import main
from ase_mlx.learn import worker


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def call(folder, *arguments):
    """Run the command line in this process; a started Python costs seconds."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["ase-mlx", *map(str, arguments)])
        patch.chdir(folder)
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    return Done(code, out.getvalue(), err.getvalue())


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["ase_mlx.cli", "ase_mlx.learn.worker", "ase_mlx.adapters.ase", "torch._dynamo"])
"""Processes that begin with the package imported: this takes seconds, and nothing of the tests is in them."""


class Command:
    """A command in a process of its own, used like a `subprocess.Popen`."""

    def __init__(self, folder, program, arguments, environment):
        self._streams = [tempfile.NamedTemporaryFile("r", encoding="utf-8") for _ in range(2)]  # noqa: SIM115
        names = [stream.name for stream in self._streams]
        self._process = FORKS.Process(
            target=_in_a_process, args=(str(folder), program, [*map(str, arguments)], environment, *names)
        )
        self._process.start()

    @property
    def pid(self):
        return self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout=500):
        self._process.join(timeout)
        assert self.returncode is not None, f"the command did not end within {timeout} s"
        return tuple(stream.read() for stream in self._streams)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.join(500)
        for stream in self._streams:
            stream.close()


def _in_a_process(folder, program, arguments, environment, out, err):
    for name, number in ((out, 1), (err, 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND), number)
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["ase-mlx", *arguments]
    sys.exit(program())


def start(folder, *arguments, program=main, **environment):
    """Start the command line, or another program's `main`, in a process that can be killed."""
    return Command(folder, program, arguments, os.environ | environment)


def finish(folder, *arguments, **more):
    """Run a command in a process of its own to its end."""
    with start(folder, *arguments, **more) as process:
        out, err = process.communicate()
        assert process.returncode == 0, err
    return out


def kill(process, ready, limit=120):
    """Kill a process as soon as something is ready; tell whether it was still at work."""
    end = time.monotonic() + limit
    while not ready() and process.poll() is None:
        assert time.monotonic() < end, "it did not get so far"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def together(count, config, folder):
    """Train with several processes as torchrun starts them; return what the first one printed."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    sizes = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    several = [
        start(
            folder.parent, config, "-o", folder, program=worker.main, RANK=str(k), LOCAL_RANK=str(k), **meeting, **sizes
        )
        for k in range(count)
    ]
    with contextlib.ExitStack() as stack:
        for process in several:
            stack.enter_context(process)
        printed = [process.communicate() for process in several]
        assert [process.returncode for process in several] == [0] * count, printed[0][1]
    return printed[0][0]
