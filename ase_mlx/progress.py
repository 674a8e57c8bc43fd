"""How long work reports how far it is.

Source: ours.
"""

from collections.abc import Callable

Steps = Callable[[int, int], None]
"""Of one stage: called with what is done, and how much there is in all."""

Progress = Callable[[str, int, int], None]
"""Of several stages: called with the stage's name, what is done of it, and how much there is in all."""


def steps_of(progress: Progress | None, stage: str) -> Steps | None:
    """Report the steps of one stage to what listens to all of them.

    Source: ours.
    """
    return None if progress is None else lambda done, total: progress(stage, done, total)
