"""The tutorials are run from top to bottom, solutions too, with the material they have and with another one."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from script import load

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
OTHER = {
    "1_potential_and_phonons": 'bulk("Al", cubic=True)',
    "2_density_and_screening": 'bulk("SiGe", "zincblende", a=5.6, cubic=True)',
    "3_active_learning_and_generation": 'bulk("Cu", cubic=True)',
}

notebooks = load("notebooks")


def code_of(path):
    return [cell for cell in notebooks.read(path) if cell["cell_type"] == "code"]


def kinds(outputs):
    return [output.get("name") or sorted(output["data"])[0] for output in outputs]


@pytest.fixture(autouse=True)
def own_style():
    with plt.rc_context():
        yield
    plt.close("all")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_whole_and_small(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    names = [cell["id"] for cell in notebook["cells"]]
    assert len(set(names)) == len(names)
    assert path.stat().st_size <= 120_000
    code = code_of(path)
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)], "run scripts/notebooks.py"
    stored = json.dumps([cell["outputs"] for cell in code])
    assert "image/png" in stored and str(ROOT) not in stored


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_first_code_is_the_choice_of_a_material(path):
    *imports, choice = notebooks.source(code_of(path)[0]).strip().splitlines()
    assert choice.startswith("crystal = ") and all(re.match("from|import|$", line) for line in imports)
    assert any("<summary>" in notebooks.source(cell) for cell in notebooks.read(path)), (
        "an exercise, its solution hidden"
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_gives_what_is_stored(path):
    made = list(notebooks.executed(notebooks.read(path), solutions=True))
    assert [kinds(outputs) for outputs in made] == [kinds(cell["outputs"]) for cell in code_of(path)]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_with_another_material(path):
    choice = f"from ase.build import bulk\n\ncrystal = {OTHER[path.stem]}"
    made = list(notebooks.executed(notebooks.read(path), choice, solutions=True))
    assert len(made) == len(code_of(path)) and any("image/png" in kinds(outputs) for outputs in made)


def test_pages_hold_text_code_outputs_and_pictures():
    text, pictures = notebooks.page(NOTEBOOKS[0])
    assert text.startswith("# 1") and text.count("```python") >= len(code_of(NOTEBOOKS[0]))
    assert "```text\nCalculator (auto)" in text
    assert pictures and all(f"]({name})" in text and data.startswith(b"\x89PNG") for name, data in pictures.items())


def test_what_a_cell_prints_warns_and_draws_is_kept():
    code = "import warnings, matplotlib.pyplot as plt\nprint(1)\nwarnings.warn('far out')\nplt.plot([0, 1])\n2 + 2"
    out, err, value, picture = notebooks.outputs(code, {})
    assert out["text"] == ["1\n"] and err["text"] == ["UserWarning: far out\n"]
    assert value["data"]["text/plain"] == ["4"] and "image/png" in picture["data"]
    with pytest.raises(ZeroDivisionError):
        notebooks.outputs("1 / 0", {})
    cells = [{"cell_type": "code", "source": ["crystal = 1"]}, {"cell_type": "code", "source": "print(crystal)"}]
    assert list(notebooks.executed(cells, "crystal = 7"))[1][0]["text"] == ["7\n"]
