"""How long work reports how far it is.

Source: ours.
"""

import logging
from collections.abc import Callable
from time import monotonic

LOG = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two lines."""

Steps = Callable[[int, int], None]
"""Of one stage: called with what is done, and how much there is in all."""

Progress = Callable[[str, int, int], None]
"""Of several stages: called with the stage's name, what is done of it, and how much there is in all."""


def steps_of(progress: Progress | None, stage: str) -> Steps | None:
    """Report the steps of one stage to what listens to all of them.

    Source: ours.
    """
    return None if progress is None else lambda done, total: progress(stage, done, total)


def logged(stage: str) -> Steps:
    """Report the steps of one stage to standard logging: a line every five seconds, with what is left.

    For work that nobody listens to: `logging.basicConfig(level=logging.INFO)` shows it.

    Source: ours.
    """
    first = (0, 0, monotonic())  # done, in all, when
    last = monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal first, last
        now = monotonic()
        if total != first[1] or done < first[0]:  # the first report, perhaps of kept work, or another round
            first = (done, total, now)
        if now - last < EVERY:
            return
        last, fresh = now, done - first[0]
        left = f", {(now - first[2]) / fresh * (total - done):.0f} s to go at this pace" if fresh > 0 else ""
        LOG.info("%s: %d of %d%s", stage, done, total, left)

    return tell
