"""Which replicas of a deployment report, from the ages of their samples."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Signal
from trimtab.observe.readings import Place
from trimtab.observe.world import PodFacts, pod_stem

STALE_AFTER_SCRAPES = 3
REPORTS_AFTER_SCRAPES = 2
"""Until a replica has been Ready for so many scrapes, its silence has a plain reason."""
RATES_AFTER_SCRAPES = 3
"""A rate needs two samples, so it comes one scrape later."""
AHEAD_S = 5.0
"""A sample this far in the future is no rounding: one of the clocks is wrong."""
REACHES = 1.1
"""Prometheus' extrapolationThreshold, in times between two samples."""

NO_REPLICA = "no ready replica"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The time of a pass and the pace of scrapes, in seconds."""

    now: float
    scrape_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sightings:
    """When each replica was last seen by the source."""

    at: Mapping[Place, float]
    """Unix seconds of the newest sample."""
    metric: str
    """Whose sample that is, for the reason."""
    failures: Mapping[Place, str] | None = None
    """Why a page could not be read, where we read the pages ourselves; None behind Prometheus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Which replicas report. One page of a replica has all metrics, so this is said once.

    Every Ready replica counts, also one that was not scraped yet: it has traffic that nobody has
    seen, so the rest is a lower bound.
    """

    due: frozenset[Place]
    """Ready replicas."""
    reporting: tuple[Place, ...]
    """Replicas with a recent sample; an overloaded one may fail its probe and still report."""
    age_s: float
    """Age of the oldest of their newest samples."""
    stale: Mapping[Place, float]
    """Replicas with old samples, and their ages."""
    silence: Signal | None
    """Why nothing can be said, where none reports."""
    young: str | None
    """Why there may be no rate yet, where no replica is old enough for one."""

    @classmethod
    def of(cls, pods: Sequence[PodFacts], seen: Sightings, clock: Clock) -> "Coverage":
        """Return who of `pods` reports.

        Args:
            pods: The replicas that are neither terminating nor finished.
            seen: Everyone's newest sample.
            clock: The time.
        """
        ages = {at: clock.now - seen.at[at] for pod in pods if (at := _place(pod)) in seen.at}
        limit = STALE_AFTER_SCRAPES * clock.scrape_s
        reporting = tuple(at for at, age in ages.items() if -AHEAD_S <= age <= limit)
        since = [pod.ready_since for pod in pods if pod.ready_since is not None]
        scrapes = (clock.now - min(since, default=clock.now)) / clock.scrape_s
        silence = None
        if not reporting:
            due = [_place(pod) for pod in pods if pod.ready_since is not None]
            silence = _silence(list(ages.values()), due, scrapes, seen)
        return cls(
            due=frozenset(_place(pod) for pod in pods if pod.ready_since is not None),
            reporting=reporting,
            age_s=max((max(0.0, ages[at]) for at in reporting), default=0.0),
            stale={at: age for at, age in ages.items() if age > limit},
            silence=silence,
            young=_young(RATES_AFTER_SCRAPES) if scrapes < RATES_AFTER_SCRAPES else None,
        )

    def qualified(self, value: float, contributing: Iterable[Place]) -> Signal:
        """Return `value` as a signal to which these replicas contributed."""
        having = set(contributing) & set(self.reporting)
        expected = self.due | set(self.reporting)
        if having != expected:
            return Partial(value=value, reporting=len(having), expected=len(expected))
        return Fresh(value=value, age_s=self.age_s)

    def qualified_by_stem(self, value: float, stems: Iterable[str]) -> Signal:
        """Return a rate over `stems` as a signal; a replica without a rate does not report."""
        have = set(stems)
        return self.qualified(value, (at for at in self.reporting if pod_stem(at[1]) in have))


def _silence(ages: list[float], due: Sequence[Place], scrapes: float, seen: Sightings) -> Signal:
    unusable = [age for age in ages if not math.isfinite(age) or age < -AHEAD_S]
    if unusable:
        return Invalid(
            why=f"samples of {seen.metric} are {-unusable[0]:.0f} s ahead of this clock: "
            "set the clocks of Prometheus and of this node"
        )
    if ages:
        return Missing(why=f"the newest sample of {seen.metric} is {min(ages):.0f} s old")
    if not due:
        return Missing(why=NO_REPLICA)
    if scrapes < REPORTS_AFTER_SCRAPES:
        return Missing(why=_young(REPORTS_AFTER_SCRAPES))
    if seen.failures is not None:
        failed = [seen.failures[at] for at in due if at in seen.failures]
        first = failed[0] if failed else f"there is no {seen.metric} on it"
        return Missing(why=f"the page of none of {len(due)} ready replicas can be read: {first}")
    return Missing(
        why=f"Prometheus has no {seen.metric} with the namespace and pod labels of "
        f"{len(due)} ready replicas: is there a PodMonitor?"
    )


def _young(scrapes: int) -> str:
    return f"the replicas became ready less than {scrapes} scrapes ago"


def _place(pod: PodFacts) -> Place:
    return (pod.namespace, pod.name)


def caught_up(age_s: float, covered_s: float, samples: float, window_s: float) -> float:
    """Return how many times more than its rate says came to a replica whose scrape is late.

    A rate reaches to the end of its window where that is at most REACHES times the usual time
    between two samples away from the newest; else it reaches half that time, and the rest counts
    as if nothing had come (Prometheus, extrapolatedRate). Requests come while a scrape is late.

    Args:
        age_s: Age of the newest sample.
        covered_s: Age of the first; one before the window where that is more than `window_s`.
        samples: How many are in the window; NaN, as any other, where it is not known.
        window_s: The window of the rate.
    """
    between = samples - 1 if covered_s <= window_s else samples
    if not between > 0:
        return 1.0
    apart = (covered_s - age_s) / between
    if not age_s > REACHES * apart > 0:
        return 1.0
    whole = min(covered_s, window_s)
    return whole / (whole - age_s + apart / 2)


def unusable(values: Iterable[float], most: float) -> str | None:
    """Return how the first unusable value reads, or None when all are usable."""
    for value in values:
        if not math.isfinite(value):
            return "not finite"
        if value < 0:
            return f"negative ({value:g})"
        if value > most * (1 + 1e-6):
            return f"{value:g}, which is more than {most:g}"
    return None
