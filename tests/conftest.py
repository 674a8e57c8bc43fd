"""Shapes and types of annotated functions are checked while the tests run, except in modules that numba compiles."""

import os
import sys
from pathlib import Path

import jaxtyping
import typechecker

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ase_mlx"
os.environ["ASE_MLX_MODELS"] = str(ROOT / "tests" / "no-models")  # what the machine's user imported is nobody's test


def checked_modules() -> list[str]:
    """Name the modules whose annotations can be checked at run time."""
    leaves = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in leaves if not _compiled(path)]


def _compiled(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return any(words in text for words in ("import numba", "from numba", "ase_mlx.compiled import"))


assert not any(name in sys.modules for name in checked_modules())
jaxtyping.jaxtyped = typechecker.jaxtyped  # the decorator that the hook puts on functions
jaxtyping.install_import_hook(checked_modules(), "typechecker.check")
