import subprocess
import sys
import time
from pathlib import Path

PARENT = """
import time
from ase_mlx.processes import pool
if __name__ == "__main__":
    with pool(2) as workers:
        for done in [workers.submit(time.sleep, 0.1) for _ in range(2)]:
            done.result()
        running = [workers.submit(time.sleep, 60) for _ in range(4)]
        print(*workers._processes, flush=True)
        time.sleep(60)
"""


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_kill_9_leaves_no_workers(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2 and all(map(lives, workers))
    parent.kill()
    parent.communicate()
    end = time.monotonic() + 30
    while any(map(lives, workers)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(lives, workers))


def test_workers_of_a_launcher_end_with_the_process_that_asked_for_them():
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    code = f"import time; from ase_mlx.processes import end_with; end_with({other.pid}); time.sleep(60)"
    worker = subprocess.Popen([sys.executable, "-c", code])
    other.kill()
    other.wait()
    assert worker.wait(40) == 1
