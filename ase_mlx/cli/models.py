"""`ase-mlx models`: the shipped models, and the user's own.

Source: ours.
"""

from ase_mlx.cli.output import JsonFile, print_table, write_json


def models(json: JsonFile = None) -> None:
    """List the shipped models, and those that you imported: elements, outputs, test errors, level of theory, licence.

    Errors are mean absolute ones on frames that no training touched. JSON has the whole of the shipped ones.

    Example: `ase-mlx models --json models.json`
    """
    from ase_mlx.learn.cards import read_card
    from ase_mlx.pretrained import available, find, user_folder, user_names

    cards = available()
    if write_json(cards, json):
        return
    if not cards:
        print("No model ships with this installation; train one: ase-mlx train CONFIG.toml")
        return
    rows = [_row(card) for card in cards]
    columns = dict.fromkeys(column for row in rows for column in row)  # of all: some give forces, some hull distances
    print_table(
        "Shipped models: mean absolute errors on test frames",
        [{column: row.get(column, "") for column in columns} for row in rows],
    )
    for card in cards:
        facts = (card["level_of_theory"] or "level of theory not stated", f"licence {card['licence'] or 'not stated'}")
        gives = ", ".join(card["outputs"]) or "new structures"
        print(f"{card['name']}: {card['title'] or 'untitled'}. Outputs {gives}. {'; '.join(facts)}")
    for name in user_names():
        card = read_card(find(name))
        licence = f"licence {card.get('licence', 'not stated')}"
        print(f"{name}: in {user_folder()}. Elements {_covered(card)}; outputs {', '.join(card['outputs'])}; {licence}")


def _row(card: dict) -> dict[str, str]:
    errors = {f"{name}, {e['unit']}": f"{e['mae']:.3g}" for name, e in card["errors"].items()}
    if card["density"]:
        errors["density, %"] = f"{card['density']['errors']['nmae']:.2g}"
    return {"name": card["name"], "elements": _covered(card), **errors}


def _covered(card: dict) -> str:
    elements = card["elements"]
    return " ".join(elements) if len(elements) <= 12 else f"{len(elements)}, {elements[0]} to {elements[-1]}"
