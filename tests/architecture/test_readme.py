import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from commands import call
from script import load

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = re.findall(r"^```(?:sh|bash|console|shell)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands(block):
    return [line.removeprefix("$ ") for line in block.splitlines() if line.strip() and not line.startswith("#")]


def test_opens_with_exactly_two_commands():
    first = [shlex.split(line, comments=True) for line in commands(SHELL[0])]
    assert len(first) == 2
    assert all(len(words) == 1 for words in first)
    for (command,) in first:
        assert os.access(ROOT / command, os.X_OK), command


def test_ci_runs_the_second_command_word_for_word():
    second = commands(SHELL[0])[1].split("#")[0].strip()
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert any(line.split("||")[0].strip() == second for line in lines)


def test_pictures_and_links_of_the_repository_exist():
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)", README) if not re.match(r"[a-z]+:", target)]
    assert [target for target in targets if not (ROOT / target).exists()] == []
    assert any(target.endswith(".png") for target in targets)


@pytest.mark.parametrize("command", [line for block in SHELL[1:] for line in commands(block)])
def test_commands_of_the_readme_name_real_options(command):
    words = shlex.split(command, comments=True)
    assert words[0] == "ase-mlx"
    done = call(ROOT, words[1], "--help")
    assert done.returncode == 0, done.stderr
    assert all(option in done.stdout for option in words[2:] if option.startswith("-"))


@pytest.mark.timeout(600)
def test_python_of_the_readme_runs_in_one_go(tmp_path):
    assert PYTHON
    script = tmp_path / "readme.py"
    script.write_text("\n".join(PYTHON), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    command = [sys.executable, "-W", "error", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr


def test_table_of_models_is_that_of_their_cards():
    models_table = load("models_table")
    assert models_table.START in README
    assert models_table.written(README) == README, "run: python scripts/models_table.py --write"
