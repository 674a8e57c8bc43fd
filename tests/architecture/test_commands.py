"""One look over the whole command line: the same thing has the same name, letter and help in every command."""

from collections import defaultdict

import pytest
import typer

from ase_mlx.cli import app

COMMANDS = typer.main.get_command(app).commands
OPTIONS = [(name, option) for name, command in COMMANDS.items() for option in command.params]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_an_example_and_json(name):
    command = COMMANDS[name]
    assert f"ase-mlx {name}" in command.help.split("Example:")[1]
    assert "--json" in {opt for option in command.params for opt in option.opts}


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"models"}))
def test_results_go_where_out_says(name):
    assert any({"--out", "-o"} <= set(option.opts) for option in COMMANDS[name].params)


def test_a_letter_stands_for_one_word():
    words = defaultdict(set)
    for _, option in OPTIONS:
        letters = [opt for opt in option.opts if len(opt) == 2 and opt[0] == "-"]
        for letter in letters:
            words[letter].update(opt for opt in option.opts if opt.startswith("--"))
    counted = words.pop("-n")
    assert counted <= {"--number", "--frames"}
    assert {letter: len(names) for letter, names in words.items()} == dict.fromkeys(words, 1), words


def test_a_word_has_its_letter_everywhere():
    letters = defaultdict(set)
    for _, option in OPTIONS:
        for word in (opt for opt in option.opts if opt.startswith("--")):
            letters[word].add(tuple(opt for opt in option.opts if not opt.startswith("--")))
    assert {word: several for word, several in letters.items() if len(several) > 1} == {}


@pytest.mark.parametrize("word", ["--device", "--json", "--error-bars", "--dispersion", "--born", "--calculator"])
def test_what_all_commands_share_has_one_text(word):
    texts = {option.help for name, option in OPTIONS if word in option.opts and name != "generate"}
    assert len(texts) == 1


def test_every_argument_and_option_is_explained():
    silent = [
        (name, option.opts)
        for name, option in OPTIONS
        if not getattr(option, "hidden", False) and not (option.help or "").strip()
    ]
    assert silent == []
