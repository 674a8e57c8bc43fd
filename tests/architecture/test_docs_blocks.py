"""What stands on the pages of docs/ is typed here, page by page, in order, in one folder and one namespace.

A block whose first line is a comment with a file's name is that file. `<!-- slow -->` before a block leaves its page to
the slow tests, `<!-- not run: why -->` leaves the block out, for what needs another program or an hour. The lines of
both are still read by their commands' own parsers. `<!-- table: ... -->` is a benchmark's: scripts/printed_tables.py.
"""

import ast
import importlib.util
import inspect
import lzma
import os
import re
import shlex
import shutil
import tomllib
import warnings
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import pytest
from ase.build import bulk
from tiny_anomaly import TARGETS, table
from typer.exceptions import TyperException
from typer.main import get_command
from typer.testing import CliRunner

from ase_mlx.cli import app
from ase_mlx.learn.anomaly.crystals import describe_crystals
from ase_mlx.learn.config import TableFit
from ase_mlx.learn.files import save_model
from ase_mlx.learn.recipes.anomaly import train_anomaly
from ase_mlx.models.anomaly import AnomalyConfig
from ase_mlx.models.crystal_property import CrystalPropertyConfig

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = get_command(app).commands
BLOCK = re.compile(r"^(?:<!-- (slow|(?:not run|table): [^\n]+) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w.-]+\.(?:py|toml))\n")


class Block(NamedTuple):
    mark: str
    language: str
    text: str
    line: int

    def commands(self):
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page):
    text = page.read_text(encoding="utf-8")
    return [Block(b[1] or "", b[2], b[3], text[: b.start(3)].count("\n")) for b in BLOCK.finditer(text)]


PAGES = {page: blocks(page) for page in sorted((ROOT / "docs").glob("*.md"))}
TYPED = [page for page, parts in PAGES.items() if any(part.language in ("python", "sh") for part in parts)]
SLOW = [page for page, parts in PAGES.items() if any(part.mark == "slow" for part in parts)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A reader's folder: the repository's examples and data, a crystal, a table of crystals, force constants."""
    for name in ("examples", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    bulk("Si").write(tmp_path / "silicon.cif")
    crystals = table().head(40).drop(columns="hull_distance").rename(columns={"formation_energy": "e_form"})
    crystals.to_parquet(tmp_path / "crystals.parquet")
    packed = ROOT / "tests" / "reference" / "data" / "phono3py-si" / "phono3py_params.yaml.xz"
    (tmp_path / "phono3py_params.yaml").write_bytes(lzma.decompress(packed.read_bytes()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    matplotlib.use("Agg")
    return tmp_path


@pytest.fixture
def sample(folder):
    """A powder's pattern, and in FOLDER a model trained for seconds that takes such."""
    angles = np.arange(10.0, 80.0, 0.02)
    lines = {22.2: 25, 31.5: 100, 38.9: 46, 45.2: 37, 50.8: 12, 56.2: 35, 65.8: 20, 75.0: 10}  # BaTiO₃, Cu Kα
    counts = 50 + sum(height * np.exp(-(((angles - at) / 0.1) ** 2)) for at, height in lines.items())
    np.savetxt(folder / "sample.xy", np.stack([angles, counts], axis=1))
    rows = table(3000)
    rows = rows[rows.numbers.map(lambda numbers: bool({8, 22, 56} & set(numbers)))].head(60).reset_index(drop=True)
    known = describe_crystals(rows, TARGETS, diffraction=True)
    sizes = CrystalPropertyConfig(TARGETS, known.elements, members=2, width=8, hyper_width=8, diffraction=True)
    parts = known.take(np.arange(40)), known.take(np.arange(40, 60))
    model = train_anomaly(*parts, AnomalyConfig(sizes, 1, 8), TableFit(2, batch_size=20))
    save_model(model, folder / "FOLDER", {"title": "tiny", "crystals": {"test": 0}, "errors": {}})


def parse(words):
    """Let a command's own parser read its line, but not look for the files."""
    command = COMMANDS[words[1]]
    context = command.context_class(command, info_name=words[1])
    _, rest, _ = command.make_parser(context).parse_args(list(words[2:]))
    assert not rest


def look(words):
    """See that what is not run could be."""
    match words:
        case ["ase-mlx", *_]:
            parse(words)
        case ["python", script, *_]:
            assert (ROOT / script).is_file()
        case ["torchrun", *_]:
            assert importlib.util.find_spec(words[words.index("-m") + 1])
        case ["pip", "install", *packages]:
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            named = [extra for package in packages for extra in re.findall(r"\[(\w+)\]", package)]
            assert set(named) <= set(extras["optional-dependencies"])
        case ["apt-get", "install", *_]:
            pass
        case [script]:
            assert script.startswith("./") and os.access(ROOT / script, os.X_OK)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Folders of `ase-mlx run`, by its words: several pages go on from the same one."""
    kept = {}

    def run(words):
        line = shlex.join(words)
        if words[1] != "run":
            return command(words)
        out = words[words.index("-o") + 1]
        if line in kept:
            shutil.copytree(kept[line], out)
        else:
            command(words)
            kept[line] = shutil.copytree(out, tmp_path_factory.mktemp("results") / out)

    return run


def command(words):
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as in a shell, where they are printed
        done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"


def type_in(page, run, command=command):
    """Do what a page says, or read it alone."""
    namespace = {"__name__": "__main__"}
    for block in PAGES[page]:
        left_out = block.mark.startswith("not run") or not run
        if file := FILE.match(block.text):
            Path(file[1]).write_text(block.text, encoding="utf-8")
        if block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "python":
            code = compile("\n" * block.line + block.text, page, "exec")
            if not left_out and not file:
                exec(code, namespace)
        elif block.language == "sh":
            for words in block.commands():
                print(f"{page.name}:{block.line}: {shlex.join(words)}")
                (look if left_out or words[0] != "ase-mlx" else command)(words)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", TYPED, ids=lambda page: page.stem)
def test_page_does_what_it_says(page, folder):
    type_in(page, run=page not in SLOW)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", SLOW, ids=lambda page: page.stem)
def test_page_with_slow_parts_does_what_it_says(page, folder, results, request):
    if page.stem == "anomaly":
        request.getfixturevalue("sample")
    type_in(page, run=True, command=results)


def test_table_of_questions_names_what_exists():
    page = ROOT / "docs" / "which.md"
    rows = re.findall(r"^\| (.+) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    cells = [re.split(r" ?\| ?", row) for row in rows if not row.startswith(("I want", "---"))]
    assert all(len(row) == 6 for row in cells)
    namespace = {}
    exec(PAGES[page][0].text, namespace)
    for _, line, python, *_ in cells:
        for words in map(shlex.split, re.findall(r"`(.+?)`", line)):
            look(words)
        for code in re.findall(r"`(.+?)`", python):
            for name in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)):
                function = eval(ast.unparse(name.func), namespace)
                keywords = {word.arg for word in name.keywords}
                assert keywords <= set(inspect.signature(function).parameters), code


def test_marks_stand_before_blocks_and_languages_are_named():
    assert {part.language for parts in PAGES.values() for part in parts} <= {"python", "sh", "toml", "text", ""}
    for page, parts in PAGES.items():
        marks = re.findall(r"^<!-- (?!table: )", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(marks) == sum(part.mark[:5] not in ("", "table") for part in parts), page.name


@pytest.mark.parametrize(
    "line",
    [
        "ase-mlx train config.toml --epoch 3",
        "ase-mlx phonons silicon.cif --qah",
        "ase-mlx models extra",
        "pip install 'ase-mlx[sparks]'",
        "python benchmarks/none.py",
        "./demos",
    ],
)
def test_lines_that_cannot_run_are_noticed(line):
    with pytest.raises((AssertionError, TyperException)):
        look(shlex.split(line))
