import ast
import importlib
from pathlib import Path

import ase_mlx

PACKAGE = Path(__file__).resolve().parents[2] / "ase_mlx"
PROMISED = {"available", "grid", "load", "predict"}


def test_root_is_a_short_contents_page():
    names = [name for name in ase_mlx.__all__ if name != "__version__"]
    assert len(names) <= 12
    assert len(set(names)) == len(names)
    assert set(names) >= PROMISED
    assert all(hasattr(ase_mlx, name) for name in names)
    assert set(names) <= set(dir(ase_mlx))


def test_unknown_name_of_the_root_is_an_attribute_error():
    assert not hasattr(ase_mlx, "no_such_name")


def test_nothing_inside_imports_from_the_root():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not [a.name for a in node.names if a.name == "ase_mlx"], f"{path}:{node.lineno}"
            if isinstance(node, ast.ImportFrom) and node.module == "ase_mlx":
                modules = {child.stem for child in PACKAGE.iterdir()}
                assert {alias.name for alias in node.names} <= modules, f"{path}:{node.lineno}"


def test_gate_of_ase_is_where_it_was_promised():
    assert importlib.import_module("ase_mlx.adapters.ase").Calculator
