"""`ase-mlx models`: the shipped models.

Source: ours.
"""

from ase_mlx.cli.report import JsonFile, print_table, write_json


def models(json: JsonFile = None) -> None:
    """List the shipped models: outputs, elements, level of theory, test errors, licence.

    Example: `ase-mlx models --json models.json`
    """
    from ase_mlx.pretrained import available

    cards = available()
    if not write_json(cards, json):
        print_table("Shipped models", [{key: _cell(value) for key, value in card.items()} for card in cards])


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key} {_cell(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(_cell(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
