"""Pools that run short: marked when pods wait too long, rested, probed again, and remembered."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trimtab.config import PlannerConfig
from trimtab.models.capacity import Pool
from trimtab.models.memory import PoolMemory
from trimtab.models.snapshot import Snapshot, VariantState
from trimtab.planner.spot import domain_of
from trimtab.planner.starts import Starts

LATE = 1.5
"""Times the 90th percentile of the wait for a node from which on none is counted on."""
LATE_AFTER_LOSS_S = 60.0
"""The same where spot nodes have just been taken back: who takes them has none to give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """One pool, and what may be put on it."""

    pool: Pool
    promised: int
    """Devices that existing replicas hold or want, terminating ones too."""
    limit: int
    """Devices that our replicas may count on; while short, those that were scheduled there."""
    short: bool
    late: bool = False
    """Whether pods wait longer than nodes take, and not in vain yet: they count for nothing until
    they are placed, and no more are sent there."""
    waiting: tuple[tuple[int, int], ...] = ()
    """(devices of one, replicas): those that have no node yet, where nodes are known."""

    @property
    def at_hand(self) -> int:
        """Devices on the nodes that are there that nothing holds or waits for."""
        return self.pool.devices - self.pool.foreign_devices - self.promised

    @property
    def free(self) -> int:
        """Devices that additions may take."""
        return max(0, self.limit - self.promised)


def held_pods(variant: VariantState) -> int:
    """Return the pods for which devices are promised: those that exist or shall exist."""
    return max(variant.replicas, variant.pods)


def survey(
    snapshot: Snapshot, config: PlannerConfig
) -> tuple[dict[str, PoolState], tuple[PoolMemory, ...]]:
    """Return the state of every pool by name, and what is remembered of short ones."""
    variants: dict[str, list[VariantState]] = {}
    for deployment in snapshot.deployments:
        for variant in deployment.variants:
            variants.setdefault(variant.pool, []).append(variant)
    known = {entry.pool: entry for entry in snapshot.memory.pools}
    starts = Starts(snapshot.memory.starts)
    lost_at = {one.domain: one.lost_at for one in snapshot.memory.reclaims if one.lost_at}
    states = {}
    for pool in snapshot.pools:
        mine = variants.get(pool.name, [])
        before = known.get(pool.name)
        entry = _remember(pool, mine, before, snapshot.now, config)
        short = entry is not None and snapshot.now < entry.short_until
        late_s = LATE * starts.node_s(pool)
        if snapshot.now - lost_at.get(domain_of(pool), -math.inf) < late_s:
            late_s = min(late_s, LATE_AFTER_LOSS_S)
        limit = pool.usable_devices
        if entry is not None and short:
            limit = min(limit, entry.held)
        states[pool.name] = PoolState(
            pool=pool,
            promised=sum(held_pods(v) * v.parallelism.devices for v in mine),
            limit=limit,
            short=short,
            late=not short and any(v.unschedulable and v.unschedulable_s >= late_s for v in mine),
            waiting=_waiting(mine) if pool.node_free else (),
        )
        if entry is None:
            known.pop(pool.name, None)
        else:
            known[pool.name] = entry
    return states, _alive(known, snapshot.now)


def _waiting(variants: Iterable[VariantState]) -> tuple[tuple[int, int], ...]:
    """Return how many replicas of each size have no node yet, their pods made or not."""
    found: dict[int, int] = {}
    for v in variants:
        count = held_pods(v) - (v.pods - v.unplaced)
        if count > 0:
            found[v.parallelism.devices] = found.get(v.parallelism.devices, 0) + count
    return tuple(sorted(found.items()))


def _remember(
    pool: Pool,
    variants: Iterable[VariantState],
    before: PoolMemory | None,
    now: float,
    config: PlannerConfig,
) -> PoolMemory | None:
    """Return what is remembered of `pool` after this look at it, None when nothing."""
    variants = tuple(variants)
    scheduled = sum(
        (v.pods - min(v.unschedulable, v.pods)) * v.parallelism.devices for v in variants
    )
    if before is not None:
        # A clock that went back must not turn a rest into one without end.
        until = min(before.short_until, now + config.shortage_backoff_max_s)
        if now < until:
            return PoolMemory(
                pool=pool.name,
                short_until=until,
                backoff_s=before.backoff_s,
                held=max(before.held, scheduled),
            )
    # Pods on their way out give their devices back: a pool is not full for them.
    leaving = sum(
        max(0, v.pods - v.unschedulable - v.replicas) * v.parallelism.devices for v in variants
    )
    patience_s = config.pending_patience_s, config.ready_stability_s
    if any(_is_stuck(pool, v, scheduled - leaving, patience_s) for v in variants):
        rest = config.shortage_backoff_s if before is None else before.backoff_s
        return PoolMemory(
            pool=pool.name,
            short_until=now + rest,
            backoff_s=min(2 * rest, config.shortage_backoff_max_s),
            held=scheduled,
        )
    return before


def _is_stuck(
    pool: Pool, variant: VariantState, scheduled: int, patience_s: tuple[float, float]
) -> bool:
    """Return whether pods of `variant` wait in vain: too long, or for room that cannot come.

    `patience_s` is how long one may wait, and how long where the pool is full, or where the
    autoscaler has said that it gets no node.
    """
    if variant.unschedulable == 0:
        return False
    full = pool.usable_devices - scheduled < variant.parallelism.devices
    return variant.unschedulable_s >= patience_s[full or variant.refusal is not None]


def _alive(known: Mapping[str, PoolMemory], now: float) -> tuple[PoolMemory, ...]:
    """Drop what has been well for as long as its next rest would be."""
    return tuple(
        known[name]
        for name in sorted(known)
        if now < known[name].short_until + known[name].backoff_s
    )
