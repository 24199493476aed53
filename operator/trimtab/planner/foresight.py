"""What will be asked by the time that a replica asked for now serves, and what bursts cost on top.

The forecast is a quantile of the rate's maximum over that time. The margin is what alarms have
shown to be needed beyond it, for bursts shorter than a rate can tell; it fades.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from trimtab.models.forecast import ForecastState
from trimtab.models.load import ObservedLoad
from trimtab.models.memory import DeploymentMemory
from trimtab.models.policy import EffectivePolicy
from trimtab.planner import forecast, schedule
from trimtab.planner.evidence import believed
from trimtab.planner.schedule import Hint
from trimtab.planner.starts import LONGEST_S

MEDIAN = 0.5
SHORT_PER_LATE = 8.0
"""So many times the share of requests that may be late, the forecast may fall short: it is of a
maximum over minutes, and what exceeds it by a little is met by headroom, late by a little or not at
all."""
TARGETLESS = 0.80
"""Quantile where no latency target says how much may be late."""
DECIDE_S = 30.0
"""From a rate's change to the write that follows: a scrape and a plan."""
UNLEARNT_TIMES = 1.3
"""Times the rate that is expected while there is no forecast (research/models.md 4.2)."""
NOTICED = 2.0
"""Standard deviations from which on two rates are taken to differ."""
LASTS_S = 90.0
"""Time for which a rate over a minute, scraped every 15 s, shows a burst that came all at once."""
MOST_KEPT = 16
RECALL_MINUTES = 20
"""A burst of longer ago is no reason to hold replicas; if it comes every day, the median knows."""
RISE = 1.5
"""Times what was seen of late beyond which nothing is expected: what grows faster is met as it
comes."""
TREND = 1.05
"""Times the median beyond which a trend explains no forecast."""
MOST_TIMES = 2.0
"""The margin takes a fleet to no more than twice the demand of now; KPA panics at that, too."""
MARGIN_HALF_LIFE_S = 1800.0
"""Time without an alarm in which a margin halves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foresight:
    """What is expected of the demand. Rates are requests/s."""

    horizon_s: float
    """How far ahead: until a replica that is asked for now is Ready."""
    rps: float | None
    """Demand that is exceeded by then as seldom as the policy allows; None: too little is known."""
    margin: float
    """Share on top of it that bursts have been seen to need."""
    eased: float = 0.0
    """Share of it that replicas have been seen not to need."""
    hint: Hint | None = None
    """The entry of the user's schedule that `rps` rests on; None where it does not decide."""

    def base(self, rps: float) -> float:
        """Return the demand of now and as foreseen, where `rps` are asked for now."""
        return max(rps, 0.0 if self.rps is None else self.rps)

    def demand(self, rps: float) -> float:
        """Return the same with the margin, which goes no further than the demand of now allows."""
        base = self.base(rps)
        asked = max(base, min(base * (1.0 + self.margin), MOST_TIMES * rps))
        return asked * (1.0 - self.eased)


def most(memory: DeploymentMemory, rps: float) -> float:
    """Return the most that was asked over the window or foreseen last, where `rps` are now."""
    return max(
        [rps, *(one.rps for one in memory.samples), *(was for _, was in memory.foreseen[-1:])]
    )


def seen(
    subjects: Sequence[tuple[DeploymentMemory, ObservedLoad]], now: float
) -> list[DeploymentMemory]:
    """Return the memories with the arrival rates of now, where sure; doubt teaches nothing.

    All at once: one by one, forecasts were a third of a plan.
    """
    rates = [_sure_rate(load) for _, load in subjects]
    before = [memory.forecast for memory, _ in subjects]
    states = forecast.observe_all(before, now=now, rates=rates)
    forecast.look(states)
    return [
        memory if rate is None else replace(memory, forecast=state)
        for (memory, _), rate, state in zip(subjects, rates, states, strict=True)
    ]


def _sure_rate(load: ObservedLoad) -> float | None:
    if not load.configured or load.source_error is not None:
        return None
    return believed(load.arrival_rps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is measured now."""

    now: float
    """Unix seconds."""
    rps: float
    """Arrivals; 0 when unknown: then, too, nothing more than what runs is expected."""
    window_s: float
    """Time over which they were counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """How far ahead replicas have to be asked for."""

    now: float
    """Unix seconds."""
    ready_s: Callable[[float], float]
    """Seconds until replicas for a rate in requests/s are Ready: for many more than there are,
    nodes have to come that one replica need not wait for."""


def foresee(
    memory: DeploymentMemory, policy: EffectivePolicy, seen: Seen, ready_s: float
) -> tuple[DeploymentMemory, Foresight]:
    """Return what to expect until a replica is Ready that takes `ready_s` seconds to come.

    Only what has been expected for LASTS_S without a break counts: what a burst makes a forecast
    leap to is over before a replica for it could serve. The demand of now counts at once in any
    case. The memory that is returned keeps what was expected of late.
    """
    now, horizon_s = seen.now, ready_s + DECIDE_S
    rps, margin = _expected(memory.forecast, policy, now, horizon_s), _margin(memory, now)
    if rps is None:
        found = Foresight(horizon_s=horizon_s, rps=_unlearnt(memory, seen), margin=margin)
        return replace(memory, foreseen=()), found
    past = [(at, was) for at, was in memory.foreseen if 0.0 <= now - at <= LASTS_S]
    past = [*past, (now, rps)][-MOST_KEPT:]
    found = Foresight(horizon_s=horizon_s, rps=min(was for _, was in past), margin=margin)
    return replace(memory, foreseen=tuple(past)), found


def scheduled(
    memory: DeploymentMemory, policy: EffectivePolicy, found: Foresight, plans: Ahead
) -> tuple[DeploymentMemory, Foresight]:
    """Return `found`, raised to what the user's schedule asks for by then; it lowers nothing.

    An entry that was asked for once stays so until its window ends: to come, replicas may take
    less long than was thought, and must not go again until then.
    """

    def horizon_s(hint: Hint) -> float:
        held = hint.name in memory.hinted
        return LONGEST_S if held else plans.ready_s(hint.rps) + DECIDE_S

    hints = schedule.hints(policy.schedule, plans.now, horizon_s)
    if hints or memory.hinted:
        memory = replace(memory, hinted=tuple(hint.name for hint in hints))
    if not hints or (found.rps is not None and hints[0].rps <= found.rps):
        return memory, found
    return memory, replace(found, rps=hints[0].rps, hint=hints[0])


def _unlearnt(memory: DeploymentMemory, seen: Seen) -> float:
    """Return what to expect before the forecaster has an opinion: more than now, and the climb."""
    return min(UNLEARNT_TIMES * (seen.rps + climb(memory, seen)), MOST_TIMES * seen.rps)


def climb(memory: DeploymentMemory, seen: Seen) -> float:
    """Return by how much the demand of this moment exceeds the rate that is measured, requests/s.

    A rate over a window is that of half a window ago. What chance makes of two rates is no climb.
    """
    lag_s = seen.window_s / 2.0
    before = [one for one in memory.samples if seen.now - one.at >= lag_s]
    if not before:
        return 0.0
    last = before[-1]
    return _risen(last.rps, seen.rps, seen.window_s) * lag_s / (seen.now - last.at)


def _risen(before: float, now: float, window_s: float) -> float:
    """Return by how much one rate exceeds another and what chance may make of them."""
    return max(0.0, now - before - NOTICED * math.sqrt((now + before) / window_s))


def _expected(
    state: ForecastState, policy: EffectivePolicy, now: float, horizon_s: float
) -> float | None:
    """Return the quantile of the demand's maximum, without what chance alone makes of arrivals."""
    q = TARGETLESS
    if policy.targets.any:
        q = max(MEDIAN, 1.0 - SHORT_PER_LATE * (1.0 - policy.targets.percentile))
    peak = forecast.ahead(state, now=now, horizon_s=horizon_s, q=q)
    if peak is None:
        return None
    middle = forecast.ahead(state, now=now, horizon_s=horizon_s, q=MEDIAN)
    assert middle is not None  # who has an opinion has one at every level
    # The tail of bursts is anybody's guess: beyond what was seen of late lies only a trend.
    recent = max([*state.rates[-RECALL_MINUTES:], state.rps])
    peak = min(peak, max(recent, min(TREND * middle, RISE * recent)))
    return _without_chance(peak, horizon_s, q)


def _without_chance(peak: float, horizon_s: float, q: float) -> float:
    """Return the rate whose chance arrivals alone would show `peak` as their largest minute.

    Requests that come independently of each other make minutes differ; what a replica can do is
    worked out for such requests, so that this must not be counted twice. The square root of a
    count has a standard deviation of one half, whatever the count.
    """
    likely = NormalDist().inv_cdf(q ** (1.0 / max(1.0, horizon_s / 60.0)))
    root = math.sqrt(peak) - max(0.0, likely) * 0.5 / math.sqrt(60.0)
    return max(0.0, root) ** 2


def learn(memory: DeploymentMemory, factor: float, now: float) -> DeploymentMemory:
    """Return the memory with a margin that is larger by `factor`, as an alarm has shown need of."""
    margin = (1.0 + _margin(memory, now)) * factor - 1.0
    return replace(memory, margin=min(margin, MOST_TIMES - 1.0), margin_at=now)


def _margin(memory: DeploymentMemory, now: float) -> float:
    return faded(memory.margin, now - memory.margin_at, MARGIN_HALF_LIFE_S)


def faded(share: float, since_s: float, half_life_s: float) -> float:
    """Return what is left of `share` after `since_s`; a clock that went back makes none grow."""
    return float(share * 0.5 ** (max(0.0, since_s) / half_life_s))
