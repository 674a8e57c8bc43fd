import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "ase_mlx"
SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    assert lines <= 400, f"{path}: {lines} lines; make it a folder of the same name"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length < 60, f"{path}:{node.lineno}: {node.name} has {length} lines"


@pytest.mark.parametrize("word", ["utils", "common", "core", "helpers", "misc", "tools"])
def test_no_module_without_a_physical_or_mathematical_name(word):
    assert not [path for path in PACKAGE.rglob("*") if path.stem.strip("_") == word]
