"""Knative's pod autoscaler: requests in flight over two windows, one stable and one for panic.

Source: knative.dev/serving v0.50.0, pkg/autoscaler/scaling, as research/rival-rules.md states it:
tick 2 s, stable window 60 s, panic window 10 % of it, panic threshold 200 %, up x1000 and down /2
of the ready pods at once, target 70 % of a concurrency of 100, scale-down delay 0, grace 30 s.

Assumed: the bounds (min-scale, max-scale) hold last, as in Knative's reconciler, and a
revision goes to zero once it has been asked to for the whole grace period.
"""

import math
from dataclasses import dataclass, replace

from trimtab.simulate.rivals.base import Decision, Observation

TICK_S = 2.0
_DIGITS = 6
"""Knative rounds window averages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KpaSettings:
    """The `config-autoscaler` of one revision, at its defaults."""

    target: float = 70.0
    """Requests in flight that one pod is to have: 70 % of the container concurrency."""
    stable_s: float = 60.0
    panic_share: float = 0.1
    panic_threshold: float = 2.0
    max_up: float = 1000.0
    max_down: float = 2.0
    down_delay_s: float = 0.0
    zero_grace_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KpaMemory:
    """What the autoscaler of one revision remembers."""

    seconds: tuple[tuple[int, float], ...]
    """Requests in flight in each second of the stable window, oldest first."""
    first: int | None
    """First second that ever had a value."""
    panic_at: float | None
    """When the panic threshold was last exceeded; None outside panic."""
    panic_pods: int
    """Most pods asked for in this panic."""
    asked: tuple[tuple[int, int], ...] = ()
    """What was asked for in each tick of the scale-down delay."""
    zero_since: float | None = None


def restarted(ready: int, now: float) -> KpaMemory:
    """Return the memory of a new process; with more than one pod it starts in panic."""
    panic = now if ready > 1 else None
    return KpaMemory(seconds=(), first=None, panic_at=panic, panic_pods=ready)


def record(memory: KpaMemory, second: int, value: float, settings: KpaSettings) -> KpaMemory:
    """Return `memory` with `value` requests in flight in `second`."""
    kept = tuple(item for item in memory.seconds if second - item[0] < settings.stable_s)
    first = second if memory.first is None else memory.first
    return replace(memory, seconds=(*kept, (second, value)), first=first)


def scale(
    memory: KpaMemory, ready_pods: int, settings: KpaSettings, now: float
) -> tuple[int | None, KpaMemory]:
    """Return the pods to ask for, None without any data, and the new memory."""
    if memory.first is None:
        return None, memory
    ready = max(1, ready_pods)
    most, least = math.ceil(settings.max_up * ready), math.floor(ready / settings.max_down)
    stable = math.ceil(_average(memory, settings.stable_s) / settings.target)
    panic_s = settings.stable_s * settings.panic_share
    panic = math.ceil(_average(memory, panic_s) / settings.target)
    wanted = min(max(stable, least), most)
    panic_at, panic_pods = memory.panic_at, memory.panic_pods
    if panic / ready >= settings.panic_threshold:
        panic_at = now
    elif panic_at is not None and panic_at + settings.stable_s < now:
        panic_at, panic_pods = None, 0
    if panic_at is not None:
        panic_pods = max(panic_pods, wanted, min(max(panic, least), most))
        wanted = panic_pods
    memory = replace(memory, panic_at=panic_at, panic_pods=panic_pods)
    return _delayed(memory, wanted, settings, now)


def _average(memory: KpaMemory, window_s: float) -> float:
    """Return the mean over the last seconds that can have a value; there is at least one."""
    assert memory.first is not None
    last = memory.seconds[-1][0]
    values = [value for second, value in memory.seconds if last - second < window_s]
    return round(math.fsum(values) / min(last - memory.first + 1, window_s), _DIGITS)


def _delayed(
    memory: KpaMemory, wanted: int, settings: KpaSettings, now: float
) -> tuple[int, KpaMemory]:
    """Return the most that was asked for within the scale-down delay."""
    if settings.down_delay_s <= 0:
        return wanted, memory
    tick = math.floor(now / TICK_S)
    ticks = math.ceil(settings.down_delay_s / TICK_S)
    asked = (*(item for item in memory.asked if tick - item[0] < ticks), (tick, wanted))
    return max(pods for _, pods in asked), replace(memory, asked=asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kpa:
    """One revision on one pool, with the activator in the path, so that held requests count."""

    pool: str
    settings: KpaSettings = KpaSettings()
    name: str = "knative"
    interval_s: float = TICK_S

    def start(self, observation: Observation, now: float) -> KpaMemory:
        """Return the memory of a new process."""
        return restarted(observation.pool(self.pool).ready, now)

    def decide(
        self, observation: Observation, memory: KpaMemory, now: float
    ) -> Decision[KpaMemory]:
        """Return the next replicas of the pool."""
        pool, settings = observation.pool(self.pool), self.settings
        end = math.floor(now)
        for second in range(end - round(self.interval_s) + 1, end + 1):
            memory = record(memory, second, observation.ongoing, settings)
        wanted, memory = scale(memory, pool.ready, settings, now)
        mode = "stable" if memory.panic_at is None else "panic"
        if wanted is None:
            return Decision(replicas={}, memory=memory, reason="no data")
        if wanted > 0:
            memory = replace(memory, zero_since=None)
        else:
            since = now if memory.zero_since is None else memory.zero_since
            memory = replace(memory, zero_since=since)
            if now - since < settings.zero_grace_s:
                wanted = min(1, pool.desired)
        return Decision(
            replicas={pool.name: observation.clamp(wanted)},
            memory=memory,
            reason=f"{mode}: {wanted}",
        )
