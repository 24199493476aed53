"""What a rival sees, remembers and answers: the one way into every rule of this package."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

MemoryT = TypeVar("MemoryT")


class Phase(StrEnum):
    """How far a replica has come."""

    PENDING = "pending"
    """No node, or an image on its way: the pod is Pending."""
    LOADING = "loading"
    """The container runs, weights are on their way: not Ready, and no metrics page yet."""
    READY = "ready"


class Source(StrEnum):
    """What the metrics server (Prometheus, or what stands in for it) does with a query."""

    ANSWERS = "answers"
    EMPTY = "empty"
    """It answers each query with an empty vector: nobody is scraped any more."""
    FAILS = "fails"
    """It does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """What one replica's metrics page says."""

    waiting: float
    """Requests in its queue now."""
    running: float
    """Requests in its batch now."""
    kv_used: float
    """Share of its KV blocks in use now, 0 to 1."""
    prompt_tokens_per_s: float
    """Mean over the last minute."""
    output_tokens_per_s: float
    """Mean over the last minute."""
    waiting_prompt_tokens: float
    """Prompt tokens that wait to be computed now."""
    ttft_s: float | None
    """Mean time to first token since the last observation; None without one."""
    itl_s: float | None
    """Mean gap between tokens since the last observation; None without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica that exists."""

    id: str
    phase: Phase
    scrape: Scrape | None
    """None when its page could not be read, or while there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One kind of replica that the deployment can have more or fewer of."""

    name: str
    price: float
    """$/h of one replica."""
    spot: bool
    capacity: int
    """Replicas that the pool is said to have room for."""
    desired: int
    """What was last asked for."""
    replicas: tuple[Replica, ...]
    lost: int
    """Replicas that were reclaimed, or could not be had, since the last observation."""
    kv_tokens: float
    """Tokens that fit in the KV cache of one replica."""

    @property
    def ready(self) -> int:
        """Replicas that serve."""
        return sum(replica.phase is Phase.READY for replica in self.replicas)


@dataclass(slots=True)
class Arrival:
    """Requests that clients sent at one time. Not frozen, like events: that makes it faster."""

    at: float
    input_tokens: float
    output_tokens: float
    """What their answers will have, as they are counted once they are done."""
    count: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Requests of a while and the sums of their lengths."""

    requests: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0

    @property
    def mean_input(self) -> float:
        """Mean prompt, in tokens; 0 without a request."""
        return self.input_tokens / self.requests if self.requests > 0 else 0.0

    @property
    def mean_output(self) -> float:
        """Mean answer, in tokens; 0 without a request."""
        return self.output_tokens / self.requests if self.requests > 0 else 0.0

    def plus(self, arrivals: Iterable[Arrival]) -> "Work":
        """Return this with `arrivals`."""
        requests, inputs, outputs = self.requests, self.input_tokens, self.output_tokens
        for arrival in arrivals:
            requests += arrival.count
            inputs += arrival.count * arrival.input_tokens
            outputs += arrival.count * arrival.output_tokens
        return Work(requests=requests, input_tokens=inputs, output_tokens=outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The 90th percentiles of the last minute, in seconds."""

    ttft_s: float
    itl_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """All that any rival reads of one deployment. Each reads only what it reads in reality."""

    pools: tuple[Pool, ...]
    minimum: int
    """Fewest replicas that the user wants, over all pools."""
    maximum: int
    metrics: Source
    arrivals: tuple[Arrival, ...]
    """Requests since the last observation, oldest first, as the gateway counts them."""
    ongoing: float
    """Requests sent and not answered, held ones included: mean since the last observation."""
    held: float
    """Requests that the gateway holds back now, because no replica takes them."""
    latency: Latency | None
    """None when the metrics server has none, or no request was answered."""

    def clamp(self, replicas: int) -> int:
        """Return `replicas` within the user's bounds."""
        return max(self.minimum, min(self.maximum, replicas))

    def pool(self, name: str) -> Pool:
        """Return the pool `name`, which a rival of one pool was made for.

        Raises:
            KeyError: There is none.
        """
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise KeyError(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Generic[MemoryT]):
    """What a rival asks for, and what it will remember."""

    replicas: Mapping[str, int]
    """Replicas for each pool that it speaks of; the others keep what they have."""
    memory: MemoryT
    reason: str


class Rival(Protocol[MemoryT]):
    """A published rule. Pure: the same observation, memory and time give the same decision."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def interval_s(self) -> float:
        """Seconds between two calls of `decide`, from the first on."""
        ...

    def start(self, observation: Observation, now: float) -> MemoryT:
        """Return the memory of a process that has just started."""
        ...

    def decide(self, observation: Observation, memory: MemoryT, now: float) -> Decision[MemoryT]:
        """Return what to ask for at `now`, in seconds on the simulation's clock."""
        ...
