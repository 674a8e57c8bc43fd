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
    print_table("Shipped models: mean absolute errors on test frames", [_row(card) for card in cards])
    for card in cards:
        facts = (card["level_of_theory"] or "level of theory not stated", f"licence {card['licence'] or 'not stated'}")
        gives = ", ".join(card["outputs"]) or "new structures"
        print(f"{card['name']}: {card['title'] or 'untitled'}. Outputs {gives}. {'; '.join(facts)}")
    for name in user_names():
        card = read_card(find(name))
        licence = f"licence {card.get('licence', 'not stated')}"
        print(f"{name}: in {user_folder()}. Elements {_covered(card)}; outputs {', '.join(card['outputs'])}; {licence}")


def _row(card: dict) -> dict[str, str]:
    errors = [f"{name.replace('_', ' ')} {e['mae']:.3g} {e['unit']}" for name, e in card["errors"].items()]
    if card["density"]:
        errors.append(f"density {card['density']['errors']['nmae']:.2g} %")
    return {"name": card["name"], "elements": _covered(card), "errors": ", ".join(errors)}


def _covered(card: dict) -> str:
    elements = card["elements"]
    return " ".join(elements) if len(elements) <= 12 else f"{len(elements)}, {elements[0]} to {elements[-1]}"
