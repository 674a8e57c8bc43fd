"""What the frames of a distillation are for: learned, setting error bars, judged by.

Source: ours.
"""

from typing import Any

from ase_mlx.adapters.ase.teaching_frames import KIND


def bare(atoms):
    """Copy elements, places and cell (Å) of a structure, and nothing else.

    Source: ours.
    """
    copy = atoms.copy()
    copy.calc, copy.info = None, {}
    copy.set_constraint()
    for name in set(copy.arrays) - {"numbers", "positions"}:
        del copy.arrays[name]
    return copy


def part_of(number: int) -> int:
    """Say what a snapshot of dynamics is for: 0 learned, 1 error bars, 2 judged by.

    Source: ours.
    """
    return (1, 0, 2, 1, 0, 1, 2, 1, 0)[number % 9]


def hold_out(frames: list[Any]) -> None:
    """Hold out every eighth supercell (Å).

    Source: ours.
    """
    large = [a for a in frames if a.info[KIND] not in ("rest", "base")]
    for atoms in frames:
        atoms.info["part"] = "train"
    for atoms in large[3::8] or large[-1:]:
        atoms.info["part"] = "val"


def with_columns(frames: list[Any]) -> list[Any]:
    """Give displaced frames the change of forces (eV/Å) from the frame before them, which goes.

    Source: ours.
    """
    out, base = [], None
    for atoms in frames:
        if atoms.info[KIND] == "base":
            base = atoms
            continue
        if atoms.info[KIND] == "column":
            if base is None or "displacement" not in atoms.arrays:
                continue
            atoms.arrays["force_change"] = atoms.get_forces() - base.get_forces()
            base = None
        out.append(atoms)
    return out


def fewer(chosen: dict[str, Any], most: float) -> dict[str, Any]:
    """Choose training samples (eV, Å) that error bars and distance read, evenly and without columns, of some atoms.

    Source: ours.
    """
    plain = [s for s in chosen["train"] if s.base is None]
    atoms = sum(len(s.graph.numbers) for s in plain)
    step = max(1, round(atoms / most))
    return {**chosen, "train": plain[::step] if len(plain[::step]) >= 5 else plain}
