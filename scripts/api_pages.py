"""A hook of mkdocs: one page of reference for every folder of the package, top layer first, made from the docstrings.

`pyproject.toml` has the layers, the folders have the modules, so that no list of either is kept here. Commands are left
out: `ase-mlx COMMAND --help` has them.
"""

import ast
import tomllib
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ase_mlx"


def public(path):
    """Tell whether a path is a module of the reference."""
    return path.suffix == ".py" and not path.stem.startswith("_")


def modules(folder):
    """List the dotted names of a folder and of the files in it."""
    inside = [folder, *(path.with_suffix("") for path in sorted(folder.iterdir()) if public(path))]
    return [".".join(path.relative_to(ROOT).parts) for path in inside]


def folders(name):
    """List a layer's folder and those below it that hold modules."""
    below = sorted(path.parent for path in (PACKAGE / name).rglob("__init__.py"))
    return [folder for folder in below if not folder.name.startswith("_")]


def pages():
    """Map the address of each page to its title and the names on it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = [name.strip() for layer in settings["contracts"][0]["layers"] for name in layer.split("|")]
    layers.remove("cli")
    written = {}
    for layer in layers:
        for folder in folders(layer):
            title = ".".join(folder.relative_to(ROOT).parts)
            written[f"api/{title}.md"] = title, modules(folder)
    written["api/files.md"] = (
        "Single files",
        [f"ase_mlx.{name}" for name in layers if (PACKAGE / f"{name}.py").is_file()],
    )
    return written


def entry(name):
    """Write mkdocstrings' line for a module; what a folder's `__init__` only passes on stands with its own module."""
    source = ROOT.joinpath(*name.split("."), "__init__.py")
    if not source.is_file():
        return f"::: {name}\n"
    body = ast.parse(source.read_text(encoding="utf-8")).body
    own = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"]
    return f"::: {name}\n    options: {{members: [{', '.join(own)}]}}\n"


def on_config(config):
    """Put the pages at the end of the contents."""
    reference = next(part["Reference"] for part in config.nav if "Reference" in part)
    reference += [{title: address} for address, (title, _) in pages().items()]
    return config


def on_files(files, config):
    """Add the pages themselves: a line for each module, which mkdocstrings fills."""
    for address, (title, names) in pages().items():
        content = f"# {title}\n\n" + "\n".join(map(entry, names))
        files.append(File.generated(config, address, content=content))
    return files
