"""Shapes and types of annotated functions are checked while the tests run, except in modules that numba compiles."""

import os
import sys
from pathlib import Path

import jaxtyping
import typechecker

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ase_mlx"
LONGEST = """
architecture/test_docs_blocks architecture/test_examples gates/test_kinds gates/test_spark_training laws/test_laws
architecture/test_notebooks gates/test_conductivity gates/test_cli_phonons gates/test_active gates/test_run
gates/test_learned reference/test_learned reference/test_folded gates/test_matminer gates/test_screen gates/test_spark
gates/test_distill laws/test_density_laws gates/test_report_browser gates/test_generate gates/test_plugin
gates/test_cli_train gates/test_quasi_harmonic gates/test_born gates/test_jobs gates/test_choice
gates/test_phonopy_properties gates/test_phonopy_restart gates/test_identity gates/test_every_model gates/test_labels
""".split()
"""Files that take longest, begun first: at the end no process waits long for another one."""

os.environ["ASE_MLX_MODELS"] = str(ROOT / "tests" / "no-models")  # what the machine's user imported is nobody's test


def checked_modules() -> list[str]:
    """Name the modules whose annotations can be checked at run time."""
    leaves = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in leaves if not _compiled(path)]


def _compiled(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return any(words in text for words in ("import numba", "from numba", "ase_mlx.compiled import"))


def pytest_collection_modifyitems(items):
    order = {f"{name}.py": k for k, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(str(item.path.relative_to(ROOT / "tests")), len(order)))


assert not any(name in sys.modules for name in checked_modules())
jaxtyping.jaxtyped = typechecker.jaxtyped  # the decorator that the hook puts on functions
jaxtyping.install_import_hook(checked_modules(), "typechecker.check")
