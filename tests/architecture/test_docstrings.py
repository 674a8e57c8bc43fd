import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("docstrings", Path(__file__).with_name("docstrings.py"))
docstrings = importlib.util.module_from_spec(spec)
spec.loader.exec_module(docstrings)

PACKAGE = Path(__file__).resolve().parents[2] / "ase_mlx"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "cli" not in path.relative_to(PACKAGE).parts)

GOOD = '''
"""Bodies."""

def kinetic(mass: float, velocity: Float[Tensor, " axes"], steps: int = 1) -> float:
    """Give the kinetic energy of a body.

    Args:
        mass: in amu.
        velocity: in Å/fs.
        steps: how many.

    Returns:
        The energy in eV.

    Source: Newton (1687).
    """
'''


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_docstrings_name_unit_and_source(path):
    found = [f"{path}:{line}: {name}: {what}" for line, name, what in docstrings.complaints(path.read_text("utf-8"))]
    assert not found, "\n" + "\n".join(found)


def test_a_whole_docstring_passes():
    assert list(docstrings.complaints(GOOD)) == []


@pytest.mark.parametrize(
    ("removed", "complaint"),
    [
        ("in amu", "no unit of `mass`"),
        ("in Å/fs", "no unit of `velocity`"),
        (" in eV", "no unit of `Returns`"),
        ("Source: Newton (1687).", "no `Source:`"),
        (" of a body.", "its first paragraph is no sentence"),
    ],
)
def test_what_is_missing_is_named(removed, complaint):
    assert removed in GOOD
    assert [what for _, _, what in docstrings.complaints(GOOD.replace(removed, ""))] == [complaint]


def test_words_of_units_where_nothing_is_real_are_named():
    ritual = '"""Bodies."""\ndef count(bodies: list) -> int:\n    """Count bodies{}.\n\n    Source: ours.\n    """\n'
    assert list(docstrings.complaints(ritual.format(""))) == []
    for words in (" (dimensionless)", " (no unit)", "; dimensionless"):
        (complaint,) = docstrings.complaints(ritual.format(words))
        assert complaint == (2, "count", "words of units, where nothing is real")


@pytest.mark.parametrize(
    ("annotated", "other"),
    [("mass: float", "mass"), ("mass: float", "mass: Mass"), ("-> float", "-> Mass")],
)
def test_reals_without_an_annotation_or_under_another_name_have_units(annotated, other):
    source = GOOD.replace('"""Bodies."""', '"""Bodies."""\nMass = float | Float[Tensor, " bodies"]').replace(
        annotated, other
    )
    assert list(docstrings.complaints(source)) == []
    removed, name = (" in eV", "Returns") if "->" in other else ("in amu", "mass")
    assert [what for _, _, what in docstrings.complaints(source.replace(removed, ""))] == [f"no unit of `{name}`"]


def test_no_docstring_at_all_is_named():
    assert list(docstrings.complaints('"""Bodies."""\ndef mass():\n    return 1\n')) == [(2, "mass", "no docstring")]
