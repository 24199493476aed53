"""What a Prometheus knows of the gateway in front of a deployment whose spec names one."""

from collections import deque

from trimtab.models.gateway import Demand
from trimtab.models.signals import Fresh, Missing
from trimtab.simulate.readings import CUTS
from trimtab.simulate.rivals.base import Source

_YOUNG = Missing(why="the gateway was scraped less than 2 times")
_EMPTY = Missing(why="Prometheus has no metrics of the gateway")


class Front:
    """The page of one gateway. It counts requests as they come, and what it holds back."""

    def __init__(self) -> None:
        """Start before the first scrape."""
        self._counted: deque[tuple[float, int]] = deque(maxlen=CUTS + 1)
        """When, and how many requests had come; what a window has of it."""
        self._held = 0

    def scrape(self, came: int, held: int, now: float) -> None:
        """Read the page: requests that came since the beginning, and those that wait there."""
        self._counted.append((now, came))
        self._held = held

    def demand(self, source: Source, now: float) -> Demand:
        """Return what the operator would read."""
        if source is not Source.ANSWERS:
            return Demand(arrival_rps=_EMPTY, queued=_EMPTY)
        if len(self._counted) < 2:
            return Demand(arrival_rps=_YOUNG, queued=_YOUNG)
        (since, before), (seen, came) = self._counted[0], self._counted[-1]
        return Demand(
            arrival_rps=Fresh(value=(came - before) / (seen - since), age_s=now - seen),
            queued=Fresh(value=float(self._held), age_s=now - seen),
        )
