import ast
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_examples_read_as_a_numbered_story():
    assert EXAMPLES
    numbers = [int(path.name.split("_")[0]) for path in EXAMPLES]
    assert numbers == list(range(1, len(EXAMPLES) + 1))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_begins_with_a_sentence_of_the_story(path):
    sentence = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    assert sentence and sentence[0].isupper() and sentence[-1] in ".?", f"{path.name}: {sentence!r}"


def seconds_of_children():
    """CPU time (s): other work on the machine does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_ends_in_a_picture_within_two_minutes(path, tmp_path):
    # one thread: those of BLAS wait for each other at full speed where cores are busy, tenfold in a relaxation
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    before = seconds_of_children()
    done = subprocess.run([sys.executable, path], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pictures = [picture.name for picture in tmp_path.glob("*.png") if picture.stat().st_size]
    assert pictures and all(name in done.stdout for name in pictures), done.stdout
    assert seconds_of_children() - before < 120
