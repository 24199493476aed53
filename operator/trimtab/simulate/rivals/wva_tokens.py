"""llm-d's Workload Variant Autoscaler as it ended: tokens in use against tokens of room.

Source: llm-d-workload-variant-autoscaler 2976e4ee (v0.9), its default analyzer, as
research/peers.md (1.1, engine c) states it. Of a replica's KV cache 80 % count, or the tokens that
were in use while its queue was at least 5 (a mean of the last 10 such samples) where those are
fewer. Demand is what is resident, plus what waits, plus what the gateway holds. Above 0.85 of
the room of all replicas, coming ones included, the variant of the lowest price for its room gets
more; below 0.70 the dearest gives some back; the cheapest keeps one. Every 15 s. A replica whose
page is missing counts as idle, which is its known flaw (#360); while the metrics server has nothing
at all, the last answer stands.

Assumed: samples under a queue are kept for each pool (there also for each length of answers); a
request that waits is its prompt; held requests have the mean prompt of the last arrivals; as many
replicas as the gap needs move at once, as its HPA would let them; a move past a bound of the
deployment is not made.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from trimtab.simulate.rivals.base import Decision, Observation, Pool, Source, Work

INTERVAL_S = 15.0
KV_SHARE = 0.80
FULL_QUEUE = 5.0
SAMPLES = 10
UP_ABOVE = 0.85
DOWN_BELOW = 0.70


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensMemory:
    """What the analyzer remembers."""

    in_use: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Tokens that a replica had in use under a full queue, by pool, the newest last."""
    prompt: float = 0.0
    """Mean prompt of the last arrivals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WvaTokens:
    """One model with the pools of the deployment as its variants."""

    name: str = "wva"
    interval_s: float = INTERVAL_S

    def start(self, observation: Observation, now: float) -> TokensMemory:
        """Return an empty memory."""
        return TokensMemory()

    def decide(
        self, observation: Observation, memory: TokensMemory, now: float
    ) -> Decision[TokensMemory]:
        """Return the next replicas of all pools."""
        if observation.metrics is not Source.ANSWERS:
            return Decision(replicas={}, memory=memory, reason="no metrics: as before")
        memory = _learned(observation, memory)
        rooms = {pool.name: _room(pool, memory) for pool in observation.pools}
        wanted = {pool.name: pool.desired for pool in observation.pools}
        demand = observation.held * memory.prompt
        demand += math.fsum(_used(pool) for pool in observation.pools)
        supply = math.fsum(rooms[name] * count for name, count in wanted.items())
        pools = sorted(observation.pools, key=lambda p: (p.price / rooms[p.name], p.name))
        if demand > UP_ABOVE * supply:
            gap = demand / UP_ABOVE - supply
            wanted[pools[0].name] += math.ceil(gap / rooms[pools[0].name])
        elif demand < DOWN_BELOW * supply:
            spare = supply - demand / DOWN_BELOW
            cheapest = min(observation.pools, key=lambda p: (p.price, p.name)).name
            for pool in sorted(observation.pools, key=lambda p: (-p.price, p.name)):
                kept = 1 if pool.name == cheapest else 0
                fewer = min(wanted[pool.name] - kept, math.floor(spare / rooms[pool.name]))
                if fewer > 0:
                    wanted[pool.name] -= fewer
                    spare -= fewer * rooms[pool.name]
        total = sum(wanted.values())
        if observation.clamp(total) != total:
            return Decision(replicas={}, memory=memory, reason="at a bound")
        return Decision(
            replicas=wanted, memory=memory, reason=f"{demand:.0f} of {supply:.0f} tokens"
        )


def _learned(observation: Observation, memory: TokensMemory) -> TokensMemory:
    """Return the memory after the samples of full queues and the prompts of now."""
    in_use = dict(memory.in_use)
    for pool in observation.pools:
        full = tuple(
            replica.scrape.kv_used * pool.kv_tokens
            for replica in pool.replicas
            if replica.scrape is not None
            and replica.scrape.waiting >= FULL_QUEUE
            and replica.scrape.kv_used * pool.kv_tokens >= 1.0  # less than a token is none
        )
        if full:
            in_use[pool.name] = (*in_use.get(pool.name, ()), *full)[-SAMPLES:]
    seen = Work().plus(observation.arrivals)
    prompt = seen.mean_input if seen.requests > 0 else memory.prompt
    return TokensMemory(in_use=in_use, prompt=prompt)


def _room(pool: Pool, memory: TokensMemory) -> float:
    """Return the tokens that one replica of `pool` is taken to hold."""
    room = pool.kv_tokens * KV_SHARE
    samples = memory.in_use.get(pool.name)
    return min(room, fmean(samples)) if samples else room


def _used(pool: Pool) -> float:
    """Return the tokens that lie in the caches of `pool` or wait for them."""
    return math.fsum(
        replica.scrape.kv_used * pool.kv_tokens + replica.scrape.waiting_prompt_tokens
        for replica in pool.replicas
        if replica.scrape is not None
    )
