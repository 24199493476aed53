"""Which replicas of a deployment report, from the ages of their samples."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Signal
from trimtab.observe.readings import Place
from trimtab.observe.world import PodFacts, pod_stem

STALE_AFTER_SCRAPES = 3
REPORTS_AFTER_SCRAPES = 2
"""Until a replica has been Ready for so many scrapes, its silence is no doubt."""
RATES_AFTER_SCRAPES = 3
"""A rate needs two samples, so it comes one scrape later."""
AHEAD_S = 5.0
"""A sample this far in the future is no rounding: one of the clocks is wrong."""

NO_REPLICA = "no ready replica"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The time of a pass and the pace of scrapes, in seconds."""

    now: float
    scrape_s: float

    def age(self, timestamp: float) -> float:
        """Return the age of a sample."""
        return self.now - timestamp

    def ready_for(self, pod: PodFacts, scrapes: int) -> bool:
        """Return whether `pod` has been Ready for so many scrapes."""
        return pod.ready_since is not None and self.now - pod.ready_since >= scrapes * self.scrape_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Which replicas report. One page of a replica has all metrics, so this is said once."""

    reporting: tuple[Place, ...]
    expected: int
    """Replicas that should report, and those that do without having to."""
    age_s: float
    """Age of the oldest of their newest samples."""
    silence: Signal | None
    """Why nothing can be said, where none reports."""
    stale: Mapping[Place, float]
    """Replicas with old samples, and their ages."""
    rated: tuple[Place, ...]
    """Replicas that should have a rate."""

    @classmethod
    def of(
        cls, pods: Sequence[PodFacts], seen: Mapping[Place, float], clock: Clock, metric: str
    ) -> "Coverage":
        """Return who of `pods` reports, given the timestamps of everyone's newest sample.

        Args:
            pods: The replicas that are neither terminating nor finished.
            seen: Unix seconds by pod.
            clock: The time.
            metric: Whose timestamps these are, for the reason.
        """
        ages = {at: clock.age(seen[at]) for pod in pods if (at := _place(pod)) in seen}
        limit = STALE_AFTER_SCRAPES * clock.scrape_s
        reporting = tuple(at for at, age in ages.items() if -AHEAD_S <= age <= limit)
        due = {_place(pod) for pod in pods if clock.ready_for(pod, REPORTS_AFTER_SCRAPES)}
        return cls(
            reporting=reporting,
            expected=len(due | set(reporting)),
            age_s=max((max(0.0, ages[at]) for at in reporting), default=0.0),
            silence=None if reporting else _silence(pods, list(ages.values()), len(due), metric),
            stale={at: age for at, age in ages.items() if age > limit},
            rated=tuple(_place(pod) for pod in pods if clock.ready_for(pod, RATES_AFTER_SCRAPES)),
        )

    def qualified(self, value: float, reporting: int) -> Signal:
        """Return `value` as a signal to which so many replicas contributed."""
        if reporting < self.expected:
            return Partial(value=value, reporting=reporting, expected=self.expected)
        return Fresh(value=value, age_s=self.age_s)

    def qualified_rate(self, value: float, stems: Iterable[str]) -> Signal:
        """Return a rate over `stems` as a signal; a replica without a rate does not report."""
        have = set(stems)
        silent = {at for at in self.rated if pod_stem(at[1]) not in have}
        return self.qualified(value, sum(1 for at in self.reporting if at not in silent))


def _silence(pods: Sequence[PodFacts], ages: list[float], due: int, metric: str) -> Signal:
    unusable = [age for age in ages if not math.isfinite(age) or age < -AHEAD_S]
    if unusable:
        return Invalid(
            why=f"samples of {metric} are {-unusable[0]:.0f} s ahead of this clock: "
            "set the clocks of Prometheus and of this node"
        )
    if ages:
        return Missing(why=f"the newest sample of {metric} is {min(ages):.0f} s old")
    if due:
        return Missing(
            why=f"Prometheus has no {metric} with the namespace and pod labels of "
            f"{due} ready replicas: is there a PodMonitor?"
        )
    if any(pod.ready_since is not None for pod in pods):
        return Missing(
            why=f"the replicas became ready less than {REPORTS_AFTER_SCRAPES} scrapes ago"
        )
    return Missing(why=NO_REPLICA)


def _place(pod: PodFacts) -> Place:
    return (pod.namespace, pod.name)
