import inspect
from typing import get_type_hints

import pytest

from ase_mlx.cli import app

COMMANDS = {info.callback.__name__: info.callback for info in app.registered_commands}


def test_every_command_of_the_design_is_there():
    assert set(COMMANDS) >= {"demo", "run", "train", "evaluate", "label", "models"}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_has_an_example_and_every_command_writes_json(name):
    command = COMMANDS[name]
    assert f"Example: `ase-mlx {name}" in inspect.getdoc(command)
    options = {
        flag
        for hint in get_type_hints(command, include_extras=True).values()
        for entry in getattr(hint, "__metadata__", ())
        for flag in getattr(entry, "param_decls", None) or ()
    }
    assert "--json" in options
