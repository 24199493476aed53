"""How long a replica takes to come, learnt from those that came: node, image, and the rest."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from trimtab.models.capacity import Pool
from trimtab.models.hardware import EngineSettings, ModelGeometry
from trimtab.models.memory import StartMemory
from trimtab.models.snapshot import DeploymentState, Snapshot, VariantState
from trimtab.performance.weights import stored_weights

INIT_S = 75.0
"""An engine from its process to Ready, without the weights: 45 to 90 s (research/models.md 4.1)."""
LOAD_BYTES_PER_S = 1e9
"""Weights from the registry to the device: 140 GB took 140 s (same place)."""
UNSURE = 0.3
"""Standard deviation of the logarithm before anything was watched: p90 at 1.5 times the median."""
P90 = 1.2816
"""Standard normal quantile at which a start is planned for."""
MEMORY = 10
"""Starts after which an old one counts for a third."""
NODE_AT_HAND_S = 15.0
"""A replica that waited no longer had its node already: its wait says nothing of new nodes."""
LONGEST_S = 3600.0
"""What took longer was Ready before and is so again, or stood still for another reason."""


_Part: TypeAlias = tuple[str, str | None, bool]
"""Pool, model and whether it is the image: what a memory is of."""


def _part(one: StartMemory) -> _Part:
    return one.pool, one.model, one.image


class Starts:
    """Times to Ready of replicas, by pool and model."""

    def __init__(self, known: Iterable[StartMemory] = ()) -> None:
        self._known: Mapping[_Part, StartMemory] = {_part(one): one for one in known}

    def ready_s(self, pool: Pool, model: str, weights: float | None, *, needs_node: bool) -> float:
        """Return the 90th percentile of the time from asking for a replica to Ready, in seconds.

        Args:
            pool: Where it is asked for.
            model: Its name, as the deployment spells it.
            weights: Bytes of its weights, None when unknown.
            needs_node: Whether the nodes that the pool has are too full for it.
        """
        init_s = INIT_S + (weights or 0.0) / LOAD_BYTES_PER_S
        total = self._p90((pool.name, model, False), init_s)
        if needs_node:
            total += self._p90((pool.name, None, False), pool.provisioning_s)
            total += self._p90((pool.name, model, True), 0.0)
        return total

    def node_s(self, pool: Pool) -> float:
        """Return the 90th percentile of the wait for a node, in seconds; not below what is said.

        A pod may have taken over a node that was on its way for another, or that one had left.
        """
        learnt_s = self._p90((pool.name, None, False), pool.provisioning_s)
        return max(_unwatched(pool.provisioning_s), learnt_s)

    def _p90(self, part: _Part, prior_s: float) -> float:
        one = self._known.get(part)
        if one is None:
            return _unwatched(prior_s)
        spread = math.sqrt((one.log_var * one.count + UNSURE**2) / (one.count + 1))
        return math.exp(one.log_mean + P90 * spread)


def _unwatched(median_s: float) -> float:
    """Return the 90th percentile of a time of which only the median is believed, in seconds."""
    return median_s * math.exp(UNSURE * P90)


def weights_of(geometry: ModelGeometry | None, engine: EngineSettings) -> float | None:
    """Return the bytes of a model's weights as they are loaded, None when it is unknown."""
    return None if geometry is None else stored_weights(geometry, engine.weight_dtype).total


def watched(snapshot: Snapshot) -> tuple[StartMemory, ...]:
    """Return what the memory of `snapshot` knows, and what its youngest replicas add to it."""
    known = {_part(one): one for one in snapshot.memory.starts}
    for state in snapshot.deployments:
        for variant in state.variants:
            _watch(known, state, variant, snapshot.now)
    pools = {pool.name for pool in snapshot.pools}
    kept = (one for one in known.values() if one.pool in pools)
    return tuple(sorted(kept, key=lambda one: (one.pool, one.model or "", one.image)))


def _watch(
    known: dict[_Part, StartMemory], state: DeploymentState, variant: VariantState, now: float
) -> None:
    """Add the youngest Ready replica of `variant`, once."""
    if variant.youngest_ready_s is None:
        return
    ready_at, model = now - variant.youngest_ready_s, state.spec.model.name
    for (name, image), took_s, least in (
        ((None, False), variant.placed_s, NODE_AT_HAND_S),
        ((model, True), _image_s(variant), 0.0),
        ((model, False), _loaded_s(variant), 0.0),
    ):
        if took_s is not None and least < took_s <= LONGEST_S:
            part = variant.pool, name, image
            known[part] = _learn(known.get(part), part, math.log(took_s), ready_at)


def _image_s(variant: VariantState) -> float | None:
    """Return what a new node's image took, None where the node was at hand: it had one, or not."""
    new = variant.placed_s is not None and variant.placed_s > NODE_AT_HAND_S
    return variant.image_s if new else None


def _loaded_s(variant: VariantState) -> float | None:
    """Return what came after a new node's image, or all that a node at hand took."""
    image_s = _image_s(variant)
    if variant.loaded_s is None or image_s is None:
        return variant.loaded_s
    return variant.loaded_s - image_s


def _learn(before: StartMemory | None, part: _Part, log_s: float, ready_at: float) -> StartMemory:
    if before is None:
        pool, model, image = part
        return StartMemory(
            pool=pool,
            model=model,
            image=image,
            log_mean=log_s,
            log_var=0.0,
            count=1,
            last=ready_at,
        )
    # Both clocks round to seconds, so the same replica may seem a second younger.
    if ready_at <= before.last + 1.0:
        return before
    weight = 1.0 / min(before.count + 1, MEMORY)
    step = log_s - before.log_mean
    return replace(
        before,
        log_mean=before.log_mean + weight * step,
        log_var=(1.0 - weight) * (before.log_var + weight * step * step),
        count=min(before.count + 1, MEMORY),
        last=ready_at,
    )
