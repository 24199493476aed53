"""How a request finds its replica."""

from collections import OrderedDict
from collections.abc import Sequence
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from trimtab.simulate.events import Request
from trimtab.simulate.prefix import SEGMENT_BLOCKS, shared_segments

_PREFIX_SCORE, _QUEUE_SCORE, _KV_SCORE = 3.0, 2.0, 2.0
"""Weights of the scorers in the default profile of the Gateway API Inference Extension."""
LEAST_WEIGHT = 1e-3
"""Of a replica that cannot meet the targets, where the router goes by what replicas can."""


class Router(StrEnum):
    """How a request finds its replica. Among equals it is the one longest without a request."""

    LEAST_OUTSTANDING = "least-outstanding"
    """The one with the fewest unfinished requests."""
    ROUND_ROBIN = "round-robin"
    WEIGHTED = "weighted"
    """By turns, as often as the replicas' weights say, whatever they have to do."""
    PREFIX_AWARE = "prefix-aware"
    """The best sum of: share of the prompt that it got before, short queue, empty KV cache."""


class Asked(Protocol):
    """A request in a queue."""

    @property
    def input_tokens(self) -> int:
        """Tokens of its prompt."""
        ...


class Served(Protocol):
    """A replica as others see it."""

    @property
    def outstanding(self) -> int:
        """Requests that were submitted and have not finished."""
        ...

    @property
    def running(self) -> int:
        """Requests in the batch."""
        ...

    @property
    def kv_blocks(self) -> int:
        """KV blocks of the engine."""
        ...

    @property
    def kv_blocks_held(self) -> int:
        """KV blocks that were in use when the batch last changed."""
        ...

    @property
    def kv_blocks_used(self) -> int:
        """KV blocks in use."""
        ...

    def waiting(self, now: float) -> int:
        """Return the requests in the queue at `now`, to which it was advanced."""
        ...

    def unfinished(self) -> Sequence[Asked]:
        """Return the requests that have not finished, in order of admission and arrival."""
        ...


AnyServed = TypeVar("AnyServed", bound=Served, covariant=True)


class Target(Generic[AnyServed]):
    """A replica as routers see it."""

    __slots__ = ("engine", "last_routed", "routed_weight", "seen", "weight")

    def __init__(self, engine: AnyServed, weight: float) -> None:
        self.engine = engine
        self.weight = weight
        self.last_routed = 0
        """Rank of the latest request that it got, over all replicas."""
        self.routed_weight = 0.0
        """Requests that it got, each over its weight, as if it had been there from the start."""
        self.seen: OrderedDict[int, None] = OrderedDict()
        """Ids of prompt blocks that it got, the latest last, as many as its cache can hold."""


AnyTarget = TypeVar("AnyTarget", bound=Target[Served])


class Choice(Protocol):
    """Chooses one of several replicas, at least one."""

    def __call__(self, targets: Sequence[AnyTarget], request: Request, now: float) -> AnyTarget:
        """Return the replica for a request; `now` is the time to which engines were advanced."""
        ...


def least_outstanding(targets: Sequence[AnyTarget], request: Request, now: float) -> AnyTarget:
    """Choose the replica with the fewest unfinished requests."""
    best = targets[0]
    least = best.engine.outstanding
    for target in targets:
        outstanding = target.engine.outstanding
        if outstanding < least or (outstanding == least and target.last_routed < best.last_routed):
            best, least = target, outstanding
    return best


def round_robin(targets: Sequence[AnyTarget], request: Request, now: float) -> AnyTarget:
    """Choose the replica that has gone longest without a request."""
    return min(targets, key=lambda target: target.last_routed)


def weighted(targets: Sequence[AnyTarget], request: Request, now: float) -> AnyTarget:
    """Choose the replica that is furthest behind its share."""
    best = min(targets, key=lambda target: (target.routed_weight, target.last_routed))
    best.routed_weight += 1.0 / best.weight
    return best


def prefix_aware(targets: Sequence[AnyTarget], request: Request, now: float) -> AnyTarget:
    """Choose as the Gateway API Inference Extension does by default.

    Its index of what a replica got is as large as the replica's cache, as it tunes itself. Queues
    go from 1 for the shortest to 0 for the longest.
    """
    ids = request.prefix[: shared_segments(request)]
    queues = [target.engine.waiting(now) for target in targets]
    longest, spread = max(queues), max(queues) - min(queues)
    best, highest = targets[0], -1.0
    for target, queue in zip(targets, queues, strict=True):
        engine = target.engine
        score = _QUEUE_SCORE * ((longest - queue) / spread if spread else 1.0)
        score += _KV_SCORE * (1.0 - engine.kv_blocks_held / engine.kv_blocks)
        if ids:
            score += _PREFIX_SCORE * _known(target, ids) / len(ids)
        if score > highest or (score == highest and target.last_routed < best.last_routed):
            best, highest = target, score
    _remember(best, ids)
    return best


def _known(target: Target[Served], ids: Sequence[int]) -> int:
    known = 0
    for one in ids:
        if one not in target.seen:
            break
        known += 1
    return known


def _remember(target: Target[Served], ids: Sequence[int]) -> None:
    seen = target.seen
    for one in reversed(ids):  # an id is of use only behind those before it: keep those longer
        seen[one] = None
        seen.move_to_end(one)
    while len(seen) > target.engine.kv_blocks // SEGMENT_BLOCKS:
        seen.popitem(last=False)


CHOICES: dict[Router, Choice] = {
    Router.LEAST_OUTSTANDING: least_outstanding,
    Router.ROUND_ROBIN: round_robin,
    Router.WEIGHTED: weighted,
    Router.PREFIX_AWARE: prefix_aware,
}
