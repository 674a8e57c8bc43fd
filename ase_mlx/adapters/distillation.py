"""Teachers of a distillation by their names: models of ours in batches, all others watched in a process of their own.

Source: ours.
"""

from dataclasses import replace
from typing import Any

from ase_mlx.adapters.factories import BY_NAME
from ase_mlx.adapters.teachers import calculator as calculator_teacher
from ase_mlx.adapters.watched import Watched
from ase_mlx.learn.cards import read_card
from ase_mlx.models.against_dft import LINE, AgainstDFT
from ase_mlx.pretrained import find

KEPT = ("title", "sha256", "licence", "level_of_theory", "elements")
"""Lines of a teacher's card that its student's card repeats."""


def teaching_calculator(name: str, timeout: float = 300.0) -> tuple[Any, dict[str, Any]]:
    """Make the ASE calculator (eV, Å) that teaches, and say what the student's card says of it.

    Args:
        name: a model's folder or shipped name, "emt", "chgnet", "sevennet-0", or MODULE:FACTORY.
        timeout: seconds that one structure may take a teacher of another package, which is then ended.

    Returns:
        The calculator; its title, sha256 and licence, or what decides its numbers.

    Raises:
        ValueError: no such factory, or a package that is not installed.
        FileNotFoundError: no model of that name.

    Source: ours.
    """
    factory = BY_NAME.get(name, name)
    if ":" in factory:
        teacher = calculator_teacher(factory, {"timeout_s": timeout})
        return Watched(teacher), {"identity": teacher.identity}
    from ase_mlx.adapters.ase import Calculator

    card = read_card(find(name))
    kept = {key: card[key] for key in KEPT if key in card}
    return Calculator(name, dtype="float64"), kept | errors_of_labels(card)


def errors_of_labels(card: dict[str, Any]) -> dict[str, Any]:
    """Give the line of a student's card with the errors of its labels against DFT, from its teacher's card.

    They are the teacher's own errors where it is the imported potential that was measured; of a teacher that was taught
    by another one itself nothing is known.

    Source: ours.
    """
    table = AgainstDFT.read(card)
    return {LINE: replace(table, tail={}).line()} if table and table.own else {}
