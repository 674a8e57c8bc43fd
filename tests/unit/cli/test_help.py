import pytest
from typer.main import get_command

from ase_mlx.cli import app

COMMANDS = get_command(app).commands


def test_every_command_of_the_design_is_there():
    assert set(COMMANDS) >= {"demo", "run", "train", "evaluate", "label", "data", "models"}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_has_an_example_and_every_command_writes_json(name):
    command = COMMANDS[name]
    assert f"Example: `ase-mlx {name}" in command.help
    assert "--json" in {flag for parameter in command.params for flag in parameter.opts}
