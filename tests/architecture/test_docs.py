import dataclasses
import importlib
import importlib.util
import re
import tomllib
from pathlib import Path

import markdown
import pytest
import yaml
from script import load

from ase_mlx.learn.recipe import read_training
from ase_mlx.learn.recipes.potential import LabelledData, PotentialFit
from ase_mlx.models.crystal_property import CrystalPropertyConfig
from ase_mlx.models.density import DensityConfig
from ase_mlx.models.potential import PotentialConfig
from ase_mlx.testing import GEOMETRIES, LAWS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NOTEBOOKS = sorted(DOCS.rglob("*.ipynb"))  # each becomes a page: scripts/notebooks.py


def leaves(entry):
    if isinstance(entry, str):
        yield entry
    else:
        for item in entry.values() if isinstance(entry, dict) else entry:
            yield from leaves(item)


def test_every_page_is_in_the_contents_and_every_entry_is_a_page():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    pages = [*PAGES, *(path.with_suffix(".md") for path in NOTEBOOKS), DOCS / "commands.md"]  # of a hook
    assert sorted(leaves(nav)) == sorted(page.relative_to(DOCS).as_posix() for page in pages)


def leads_somewhere(page, target):
    return (page.parent / target).exists() or (page.parent / target).with_suffix(".ipynb") in NOTEBOOKS


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda page: page.stem)
def test_links_inside_the_documentation_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [t for t in targets if not re.match(r"[a-z]+:", t) and not leads_somewhere(page, t)] == []


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/road.md"])
def test_pages_show_the_layers_of_the_import_contract(page):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    line = " → ".join(settings["contracts"][0]["layers"])
    assert line in " ".join((ROOT / page).read_text(encoding="utf-8").split()), f"expected in {page}: {line}"


def test_reference_has_every_module_and_the_promised_names_are_there():
    api_pages = load("api_pages")
    listed = [name for _, names in api_pages.pages().values() for name in names]
    files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "ase_mlx").rglob("*.py")]
    modules = {".".join(file.parts).removesuffix(".__init__") for file in files}
    expected = {name for name in modules if not re.match(r"ase_mlx(\.cli\b|$)|.*\._", name)}
    assert sorted(listed) == sorted(expected)
    for name in re.findall(r"^::: (\S+)", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize(
    ("table", "config"), [("data", LabelledData), ("model", PotentialConfig), ("fit", PotentialFit)]
)
def test_training_page_has_every_key_with_its_default(table, config):
    page = (DOCS / "training.md").read_text(encoding="utf-8").split(f"**`[{table}]`**")[1].split("**`[")[0]
    listed = dict(re.findall(r"^\| `(\w+)` \| (?:`([^`]+)`)? *\|", page, re.MULTILINE))
    prose = set(re.findall(r"`(\w+)`", page))
    for field in dataclasses.fields(config):
        if field.name in listed and field.default is not dataclasses.MISSING:
            written = tomllib.loads(f"value = {listed[field.name]}")["value"]
            assert (tuple(written) if isinstance(written, list) else written) == field.default, field.name
        assert field.name in listed or field.name in prose, field.name
    assert set(listed) <= {field.name for field in dataclasses.fields(config)}


@pytest.mark.parametrize("path", sorted(DOCS.parent.glob("examples/train_*.toml")), ids=lambda path: path.stem)
def test_training_examples_are_valid(path):
    _, config = read_training(path)
    sizes = {
        "potential": PotentialConfig, "density": DensityConfig, "anomaly": CrystalPropertyConfig,
        "crystal_property": CrystalPropertyConfig,
    }  # fmt: skip
    assert Path(config.data.file).is_file()
    assert set(config.model) <= {field.name for field in dataclasses.fields(sizes[config.kind])}


def test_page_of_the_laws_has_them_all():
    page = (DOCS / "laws.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?`) \|", page, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(.+?)`", row)} == set(LAWS)
    words = " ".join(page.split())
    assert [name for name in GEOMETRIES if name not in words] == []


@pytest.fixture(scope="module")
def equations():
    return load("equations")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "$$" in page.read_text(encoding="utf-8")], ids=lambda p: p.stem
)
def test_equations_become_mathml(page, equations):
    text = page.read_text(encoding="utf-8")
    marked = markdown.markdown(
        text,
        extensions=["pymdownx.arithmatex", "pymdownx.superfences"],
        extension_configs={"pymdownx.arithmatex": {"generic": True}},
    )
    written = equations.set_equations(marked, page.name)
    assert "arithmatex" not in written
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert written.count('display="block"') == prose.count("$$") / 2


def test_what_is_no_latex_stops_the_build(equations):
    with pytest.raises(ValueError, match=r"page.md: \\kapa in .* is no LaTeX"):
        equations.set_equations(r'<span class="arithmatex">\(\kapa T\)</span>', "page.md")
