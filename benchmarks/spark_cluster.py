"""A standalone Spark cluster of processes on this machine, and what a benchmark asks of processes: memory, a kill."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyspark

HOME = Path(pyspark.__file__).parent
EXECUTOR = "org.apache.spark.executor.CoarseGrainedExecutorBackend"
PATIENCE = 90.0


@contextmanager
def cluster(folder: Path, workers: int = 2, cores: int = 1, memory: str = "2g") -> Iterator[str]:
    """Start a master and workers, yield the master's address, and stop them all; their logs lie in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, started = f"spark://127.0.0.1:{port}", []
    try:
        log = folder / "master.log"
        started.append(_start(log, "master.Master", "--port", str(port)))
        _wait_for(log, "I have been elected leader", 1, started)
        for k in range(workers):
            arguments = ("--cores", str(cores), "--memory", memory, "--work-dir", str(folder / f"worker-{k}"), address)
            started.append(_start(folder / f"worker-{k}.log", "worker.Worker", *arguments))
        _wait_for(log, "Registering worker", workers, started)
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(log: Path, role: str, *arguments: str) -> subprocess.Popen:
    environment = os.environ | {
        "SPARK_HOME": str(HOME),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    command = [str(HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{role}", "--host", "127.0.0.1"]
    with open(log, "w") as stream:
        return subprocess.Popen(
            [*command, "--webui-port", "0", *arguments], stdout=stream, stderr=stream, env=environment
        )


def _wait_for(log: Path, words: str, times: int, processes: list[subprocess.Popen]) -> None:
    end = time.monotonic() + PATIENCE
    while log.read_text(errors="replace").count(words) < times:
        if time.monotonic() > end or any(process.poll() is not None for process in processes):
            raise RuntimeError(
                f"the cluster did not start; see {log.parent}:\n{log.read_text(errors='replace')[-2000:]}"
            )
        time.sleep(0.2)


def tree() -> dict[int, str]:
    """Command lines of this process and of all that it started."""
    parents, commands = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                commands[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, IndexError):
                continue  # it ended meanwhile
    inside = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in inside} - inside:
        inside |= more
    return {pid: commands.get(pid, "") for pid in inside}


def kill_executor() -> bool:
    """Kill one executor of ours with SIGKILL; False if there is none."""
    found = sorted(pid for pid, command in tree().items() if f" {EXECUTOR} " in command)
    if found:
        os.kill(found[0], signal.SIGKILL)
    return bool(found)


class Memory:
    """Peak resident memory of the process tree, GB, sampled each second; shared pages count each time."""

    def __enter__(self):
        self.peak, self._end = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def _sample(self):
        page = os.sysconf("SC_PAGE_SIZE")
        while True:
            total = 0
            for pid in tree():
                try:
                    total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
                except OSError:
                    continue
            self.peak = max(self.peak, total / 1e9)
            if self._end.wait(1.0):
                return
