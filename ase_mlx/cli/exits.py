"""Exceptions into exit codes: what the user named and cannot be used is a wrong call (2), all else is failed work (1).

Source: ours.
"""

import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ase_mlx.jobs.outcome import sentence

__all__ = ["reading", "report"]

debug = "ASE_MLX_DEBUG" in os.environ


def show_tracebacks() -> None:
    """Print the tracebacks of stages that fail while the others go on, as `--debug` asks.

    Source: ours.
    """
    log = logging.getLogger("ase_mlx.jobs")
    log.setLevel(logging.DEBUG)
    log.addHandler(logging.StreamHandler())


call: typer.Context | None = None
"""Of the command that runs: its name and options, and those of the others."""


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn an error of an input that the user named into a wrong call, exit code 2.

    Args:
        what: the argument or option that named it, as the help shows it.

    Raises:
        typer.BadParameter: for whatever the block raises because its input is missing, malformed or unsuitable.

    Source: ours.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        if debug:
            traceback.print_exc()
        raise typer.BadParameter(message(error), param_hint=what) from error


def report(error: Exception) -> int:
    """Print why the work failed on stderr, with the traceback after `--debug` or ASE_MLX_DEBUG.

    Returns:
        1, or 2 where another process is at work on what the call named.

    Source: ours.
    """
    if debug:
        traceback.print_exception(error)
    hint = "" if debug else "\n(ase-mlx --debug COMMAND ... shows where it happened)"
    print(f"ase-mlx: {message(error)}{hint}", file=sys.stderr)
    return 2 if isinstance(error, BlockingIOError) else 1


def message(error: Exception) -> str:
    """Say an error in its own words; with its kind in front where those alone are no sentence (a bare KeyError).

    Source: ours.
    """
    return in_options(sentence(error))


def in_options(text: str) -> str:
    """Turn Python's arguments in a message into options: of this command, or of the first one that has them.

    Source: ours.
    """
    if call is None or call.invoked_subcommand is None:
        return text
    text = text.replace("widen the strains", "--qha goes no further (in Python: quasi_harmonic(..., strains=...))")
    return re.sub(r'(?<![\w(.-])([a-z_]+)=("?)(\w+(?:\.\d+)?)\2(?![\w=])', _option, text)


def _option(argument: re.Match) -> str:
    """The option for one argument; the argument as it is, where no command has it."""
    name, value = "--" + argument[1].replace("_", "-"), argument[3]
    commands = call.command.commands
    here = commands[call.invoked_subcommand]
    for command in (here, commands["phonons"], commands["conductivity"]):
        if any(name in (*option.opts, *option.secondary_opts) for option in command.params):
            words = {"True": name, "False": f"--no-{name[2:]}", "None": f"{name} none"}.get(value, f"{name} {value}")
            return words if command is here else f"`ase-mlx {command.name}` with {words}"
    return argument[0]
