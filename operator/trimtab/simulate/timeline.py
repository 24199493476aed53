"""Things that will happen, in order of time; of equal times in order of rank, then of booking."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

Action = Callable[[float], None]
"""Is told the time."""

WORLD = 0
"""Rank of what the world does: nodes, pods, reclaims."""
SCRAPE = 1
DECIDE = 2
"""A decision sees the scrape of its own second."""
LATER = 3


class Timeline:
    """A queue of actions."""

    def __init__(self) -> None:
        """Start empty."""
        self._heap: list[tuple[float, int, int, Action]] = []
        self._numbers = count()

    def at(self, time: float, action: Action, rank: int = WORLD) -> None:
        """Book `action` for `time`."""
        heappush(self._heap, (time, rank, next(self._numbers), action))

    def every(self, step_s: float, until: float, action: Action, rank: int) -> None:
        """Book `action` for each multiple of `step_s` up to `until`, not for 0."""

        def again(now: float, turn: int) -> None:
            action(now)
            following = (turn + 1) * step_s
            if following <= until:
                self.at(following, lambda time: again(time, turn + 1), rank)

        if step_s <= until:
            self.at(step_s, lambda time: again(time, 1), rank)

    def next(self, until: float) -> tuple[float, Action] | None:
        """Take the next action that happens by `until`, with its time."""
        if not self._heap or self._heap[0][0] > until:
            return None
        time, _, _, action = heappop(self._heap)
        return time, action
