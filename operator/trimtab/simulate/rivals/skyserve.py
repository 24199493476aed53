"""SkyServe: requests per second by a number, with patience, over spot and on-demand replicas.

Source: skypilot 0.14.1, sky/serve/autoscalers.py, as research/rival-rules.md states it, and its
fallback and spot placer as research/peers.md (1.7) does. Every 20 s (5 s at zero):
raw = ceil(requests of 60 s / 60 / target); the target moves to the latest raw after 300 s of higher
or 1200 s of lower readings in a row, from zero at once.

A new spot replica goes to a location that has none yet, the cheapest first; a location that lost
one is avoided until fewer than two others remain. A new on-demand replica goes to the cheapest
location that has not just failed to give one.

Assumed: where `base_ondemand` and `dynamic_ondemand` are both set, the second covers the rest of
the target; lost replicas are replaced within 5 s; surplus replicas leave where some are not ready
yet, else the dearest first.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from trimtab.simulate.rivals.base import Decision, Observation, Pool

INTERVAL_S = 20.0
ZERO_INTERVAL_S = 5.0
WINDOW_S = 60.0
UP_DELAY_S = 300.0
DOWN_DELAY_S = 1200.0
FEWEST_OPEN = 2
"""With fewer spot locations left than this, all count again."""


def raw_target(requests: float, target_qps: float) -> int:
    """Return the replicas for `requests` within the window."""
    return math.ceil(requests / WINDOW_S / target_qps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """A target and how often in a row the readings wanted another one."""

    target: int
    higher: int = 0
    lower: int = 0


def patient(patience: Patience, raw: int, delays: tuple[float, float]) -> Patience:
    """Return the target after one more reading; `delays` are seconds (up, down)."""
    if patience.target == 0:
        return Patience(target=raw)
    if raw > patience.target:
        higher = patience.higher + 1
        moves = higher >= int(delays[0] / INTERVAL_S)
        return Patience(target=raw) if moves else Patience(target=patience.target, higher=higher)
    if raw < patience.target:
        lower = patience.lower + 1
        moves = lower >= int(delays[1] / INTERVAL_S)
        return Patience(target=raw) if moves else Patience(target=patience.target, lower=lower)
    return Patience(target=patience.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """`replica_policy` for spot replicas, at its defaults."""

    base_ondemand: int = 0
    """Replicas of the target that are on-demand at all times."""
    dynamic_ondemand: bool = False
    """Whether an on-demand replica stands in for each spot one that is not ready."""
    overprovision: int = 0
    """Spare spot replicas; no on-demand one ever stands in for them."""

    def split(self, target: int, ready_spot: int) -> tuple[int, int]:
        """Return the (spot, on-demand) replicas for `target`."""
        base = min(self.base_ondemand, target)
        missing = max(0, target - base - ready_spot) if self.dynamic_ondemand else 0
        return target - base + self.overprovision, base + missing


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyServeMemory:
    """What the controller remembers."""

    patience: Patience
    requests: tuple[tuple[float, float], ...] = ()
    """When they were counted and how many, over the last window."""
    read_at: float = -math.inf
    avoided: frozenset[str] = frozenset()
    """Spot pools that lost a replica."""


def place(pools: Sequence[Pool], wanted: int, avoided: frozenset[str]) -> dict[str, int]:
    """Return `wanted` replicas over `pools`, all of one kind, moving none that exists."""
    counts = {pool.name: max(0, pool.desired - pool.lost) for pool in pools}
    open_ones = [pool for pool in pools if pool.name not in avoided] or list(pools)
    if not pools:
        return counts
    while sum(counts.values()) < wanted:
        unused = [pool for pool in open_ones if pool.spot and counts[pool.name] == 0]
        counts[_cheapest(unused or open_ones).name] += 1
    while sum(counts.values()) > wanted:
        used = [pool for pool in pools if counts[pool.name] > 0]
        starting = [pool for pool in used if counts[pool.name] > pool.ready]
        counts[max(starting or used, key=lambda pool: (pool.price, pool.name)).name] -= 1
    return counts


def _cheapest(pools: Iterable[Pool]) -> Pool:
    return min(pools, key=lambda pool: (pool.price, pool.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyServe:
    """One service over all pools of the deployment, each a location."""

    target_qps: float
    """Requests/s that one replica is to have; the user's number, without a default."""
    spot: Spot | None = None
    """None means on-demand replicas only."""
    up_delay_s: float = UP_DELAY_S
    down_delay_s: float = DOWN_DELAY_S
    name: str = "skyserve"
    interval_s: float = ZERO_INTERVAL_S

    def start(self, observation: Observation, now: float) -> SkyServeMemory:
        """Return the memory of a new controller, which takes what exists for its target."""
        return SkyServeMemory(patience=Patience(target=sum(p.desired for p in observation.pools)))

    def decide(
        self, observation: Observation, memory: SkyServeMemory, now: float
    ) -> Decision[SkyServeMemory]:
        """Return the next replicas of all pools."""
        memory = self._read(observation, memory, now)
        target = memory.patience.target
        spot = [pool for pool in observation.pools if pool.spot]
        ondemand = [pool for pool in observation.pools if not pool.spot]
        on_spot, on_demand = 0, target
        if self.spot is not None:
            on_spot, on_demand = self.spot.split(target, sum(pool.ready for pool in spot))
        avoided = memory.avoided | {pool.name for pool in spot if pool.lost}
        if len(spot) - len(avoided) < FEWEST_OPEN:
            avoided = frozenset()
        failed = frozenset(pool.name for pool in ondemand if pool.lost)
        return Decision(
            replicas=place(spot, on_spot, avoided) | place(ondemand, on_demand, failed),
            memory=replace(memory, avoided=avoided),
            reason=f"target {target}",
        )

    def _read(self, observation: Observation, memory: SkyServeMemory, now: float) -> SkyServeMemory:
        """Return the memory after the requests, and after a reading when one is due."""
        counted = (now, math.fsum(arrival.count for arrival in observation.arrivals))
        requests = tuple(item for item in (*memory.requests, counted) if now - item[0] < WINDOW_S)
        memory = replace(memory, requests=requests)
        if memory.patience.target > 0 and now - memory.read_at < INTERVAL_S:
            return memory
        wanted = raw_target(sum(count for _, count in requests), self.target_qps)
        delays = (self.up_delay_s, self.down_delay_s)
        patience = patient(memory.patience, observation.clamp(wanted), delays)
        return replace(memory, patience=patience, read_at=now)
