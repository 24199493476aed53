"""How often the nodes of a spot domain are taken back, learnt from replicas that were there."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from trimtab.models.memory import ReclaimMemory
from trimtab.models.snapshot import Snapshot
from trimtab.planner.history import GAP_S
from trimtab.planner.spot import RECLAIMS_PER_HOUR, domain_of

PRIOR_HOURS = 20.0
"""Time that what is believed before any was seen counts for: that of one reclaim at that rate."""
HALF_LIFE_S = 24 * 3600.0
"""Time in which what was seen halves: a zone that was short yesterday may have room today."""
STEP = 1.25
"""Ratio of neighbouring rates that are told apart, so that plans do not change with each second."""


def watched(snapshot: Snapshot) -> tuple[ReclaimMemory, ...]:
    """Return what the memory of `snapshot` knows, and what happened since.

    Taken back is what was placed and is wanted, and is placed no more, or has notice to go. A
    longer silence between two plans tells nothing.
    """
    domains = {pool.name: name for pool in snapshot.pools if (name := domain_of(pool))}
    if not domains:
        return ()
    placed, wanted = Counter[str](), Counter[str]()
    for state in snapshot.deployments:
        for variant in state.variants:
            if variant.pool in domains:
                domain, devices = domains[variant.pool], variant.parallelism.devices
                kept = variant.pods - variant.unplaced - variant.noticed
                placed[domain] += max(0, kept) * devices
                wanted[domain] += variant.replicas * devices
    known = {one.domain: one for one in snapshot.memory.reclaims}
    return tuple(
        _after(known.get(domain), domain, (placed[domain], wanted[domain]), snapshot.now)
        for domain in sorted(set(domains.values()))
    )


def rates(known: Iterable[ReclaimMemory]) -> Mapping[str, float]:
    """Return reclaims an hour by domain: of a gamma distribution, its mean."""
    return {one.domain: _rate(one) for one in known}


def _after(
    before: ReclaimMemory | None, domain: str, counts: tuple[int, int], now: float
) -> ReclaimMemory:
    placed, wanted = counts
    taken = watched_s = 0.0
    lost_at = None if before is None else before.lost_at
    if before is not None:
        since_s = now - before.last
        kept = 0.5 ** (max(since_s, 0.0) / HALF_LIFE_S)
        taken, watched_s = before.taken * kept, before.watched_s * kept
        if before.placed and 0.0 <= since_s <= GAP_S:
            watched_s += since_s
            if (lost := min(before.placed, wanted) - placed) > 0:
                taken, lost_at = taken + lost / before.placed, now
    return ReclaimMemory(
        domain=domain,
        taken=taken,
        watched_s=watched_s,
        lost_at=lost_at,
        placed=placed,
        last=now,
    )


def _rate(one: ReclaimMemory) -> float:
    prior = RECLAIMS_PER_HOUR * PRIOR_HOURS
    rate = (prior + one.taken) / (PRIOR_HOURS + one.watched_s / 3600.0)
    return RECLAIMS_PER_HOUR * STEP ** round(math.log(rate / RECLAIMS_PER_HOUR, STEP))
