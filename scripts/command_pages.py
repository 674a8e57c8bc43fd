"""A hook of mkdocs: the page of all commands, made from the commands themselves, so that none is left out."""

import re
from typing import Literal, get_args, get_origin

import typer
from mkdocs.structure.files import File

from ase_mlx.cli import app

HEAD = """# The commands

`ase-mlx COMMAND --help` has the example. Everywhere: `-o/--out` is where results go, `-c/--calculator` what
computes forces, `-m/--model` a model of another kind, `-t/--temperature` K, `-n` how many, `--seed` the draw (equal
seeds give equal results), `--device` cpu, cuda or cuda:N, `--json FILE` the result as JSON (`-`: on standard
output, and nothing else there). Energies are eV, lengths Å, temperatures K, frequencies THz, elastic constants GPa,
conductivities W/(m K), heat capacities J/(K mol of atoms); names of columns and JSON keys say another unit where
they have one.

Exit codes: 0 done, 1 the work failed, 2 a wrong call; an error is one sentence on standard error with what was got
and what is expected (`ase-mlx --debug COMMAND`: the traceback). A bar of progress on a terminal, a line every few
seconds in a pipe. What was killed goes on with the same command. `ase-mlx --install-completion` teaches your shell
the names.

"""


def shown(option):
    """Write an option's names as the help does."""
    names = "/".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    return f"{names} {cell(option.metavar)}".strip()


def cell(text):
    """Fit a text into a cell of a table."""
    return re.sub(r"\s+", " ", text or "").replace("|", "\\|").strip()


def choices(option):
    """List the words that an option takes, where it takes few."""
    annotation = option.type_descriptor.annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def default(option):
    """Say what holds where an option is not given."""
    value = option.default
    if value is None or value is False or value == "" or option.required:
        return "needed" if option.required else ""
    if value is True:
        return "yes"
    values = value if isinstance(value, tuple | list) else [value]
    return "`" + " ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in values) + "`"


def page():
    """Write a section for each command: what it does, and its arguments and options."""
    commands = typer.main.get_command(app).commands
    parts = [HEAD]
    for name, command in commands.items():
        title, _, more = (command.help or "").partition("\n\n")
        text = [block for block in more.split("\n\n") if not block.startswith("Example:")]
        rows = ["| | | if not given |", "|---|---|---|"]
        for option in command.params:
            if getattr(option, "hidden", False) or option.name in ("help", "json"):
                continue
            names = (
                shown(option)
                if option.param_type_name == "option"
                else f"`{cell(option.metavar or option.name.upper())}`"
            )
            listed = "".join(f" `{choice}`" for choice in choices(option))
            rows.append(f"| {names} | {cell(option.help)}{listed} | {default(option)} |")
        parts += [f"## {name}\n\n{title}\n", *(f"{block}\n" for block in text), "\n".join(rows) + "\n"]
    return "\n".join(parts)


def on_files(files, config):
    """Add the page."""
    files.append(File.generated(config, "commands.md", content=page()))
    return files
