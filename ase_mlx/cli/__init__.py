"""The command line: every command parses, calls one function and prints.

Exit codes: 0 done, 1 the work failed, 2 the call was wrong. Modules of this folder import nothing slow at their top.

Source: ours.
"""

import sys
from typing import Annotated

import typer
from typer.core import TyperCommand

from ase_mlx.cli import exits
from ase_mlx.cli.active import active
from ase_mlx.cli.conductivity import compress, conductivity
from ase_mlx.cli.data import data
from ase_mlx.cli.density import density
from ase_mlx.cli.distill import distill
from ase_mlx.cli.evaluate import evaluate
from ase_mlx.cli.generate import generate
from ase_mlx.cli.heat import heat
from ase_mlx.cli.import_checkpoint import import_checkpoint
from ase_mlx.cli.label import label
from ase_mlx.cli.models import models
from ase_mlx.cli.phonons import phonons
from ase_mlx.cli.report import report
from ase_mlx.cli.run import demo, run
from ase_mlx.cli.sample import sample
from ase_mlx.cli.screen import screen
from ase_mlx.cli.train import train

__all__ = ["app", "main"]


class Command(TyperCommand):
    """A command that says how several values are given, where one too many is there."""

    def parse_args(self, ctx, args):
        """Read the words of a call."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            several = [name for o in self.params if getattr(o, "multiple", False) for name in o.opts if name in words]
            if several and "unexpected extra argument" in getattr(error, "message", ""):
                error.message += f". Of several values each has its option: {several[0]} … {several[0]} …"
            raise


app = typer.Typer(
    name="ase-mlx",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: `ase-mlx run silicon.cif -o silicon`. Exit codes: 0 done, 1 the work failed, 2 a wrong call.",
)
for command in (
    demo,
    run,
    phonons,
    conductivity,
    compress,
    density,
    screen,
    generate,
    report,
    sample,
    heat,
    train,
    distill,
    active,
    evaluate,
    label,
    data,
    models,
):
    app.command(cls=Command)(command)
app.command("import", cls=Command)(import_checkpoint)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"ase-mlx {version('ase-mlx')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Energies, forces, stresses and electron densities from learned models, each with an error bar."""
    exits.debug, exits.call = debug or exits.debug, context
    if exits.debug:
        exits.show_tracebacks()


def main() -> None:
    """Run the command line on `sys.argv` and end the process with the exit code of the design.

    Source: ours.
    """
    for stream in (sys.stdout, sys.stderr):  # where σ or Å has no code, the work is done and its table half printed
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app()
    except Exception as error:
        sys.exit(exits.report(error))
