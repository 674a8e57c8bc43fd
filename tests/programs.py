"""Commands of other programs, of whichever version this Python would import, whether or not it is on the path."""

import subprocess
import sys
from importlib.metadata import entry_points

START = "import sys; from importlib.metadata import entry_points as e; sys.exit(next(iter({find})).load()())"


def installed(command):
    """Tell whether a package that can be imported here brings this command."""
    return bool(entry_points(group="console_scripts", name=command))


def program(folder, command, *words, code=0):
    """Run a command of another package in a folder; returns what it printed."""
    start = START.format(find=f"e(group='console_scripts', name={command!r})")
    words = [command, *map(str, words)]
    arguments = [sys.executable, "-c", f"import sys; sys.argv = {words!r}; {start}"]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, (
        f"{' '.join(words)}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    )
    return done.stdout
