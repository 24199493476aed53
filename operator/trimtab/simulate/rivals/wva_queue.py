"""llm-d's queueing model of one replica in its three generations: batch, wait and latencies.

Sources, as research/rival-rules.md states them; each generation charges a request otherwise:

- `FourParameters`: workload-variant-autoscaler 56a651b0 (2025), pkg/analyzer;
- `ThreeParameters`: workload-variant-autoscaler b08b1c77 (2026), pkg/analyzer;
- `ChunkedPrefill`: llm-inferno/queue-analysis cfadd1cb, pkg/analyzer.

All are a birth-death chain of K = max_batch + max_queue requests whose service rate with n of them
in the batch is mu(n) = n / (time of one request at a batch of n). Times are ms, rates requests/s;
targets are means. A target rate is searched by bisection, to 1e-6 of the target, between 0.001
mu(1) and 0.999 mu(max_batch). A throughput target, whatever it is, leaves 0.9 of that maximum.

The research page leaves out how the chunked kind cuts prompts. That was found from the vectors:
into k = ceil(in / (max_batched_tokens - n (in + out) / (out + 1))) equal chunks, each with a step
of its own that reads what came before it and does the work of the n - 1 other requests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import InvalidInput

_EDGE = 1e-3
"""How far the searched rates stay from none and from the maximum."""
_STABLE = 0.9
"""Share of the maximum rate that a throughput target leaves."""
_TOLERANCE = 1e-6
_STEPS = 100

Vector = NDArray[np.float64]
Number = TypeVar("Number", float, Vector)


class Mean(NamedTuple):
    """Means of the chain at one rate."""

    in_service: float
    service_ms: float
    wait_ms: float
    response_ms: float
    throughput_rps: float


class Service(Protocol):
    """How long one request takes, and how its mean splits into latencies."""

    def total_ms(self, batch: Vector) -> Vector:
        """Return the time of one request in batches of `batch`."""
        ...

    def split(self, mean: Mean, max_batch: int) -> tuple[float, float, float]:
        """Return the mean prefill, inter-token and time-to-first-token latencies, in ms."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FourParameters:
    """decode(n) = alpha + beta n; prefill(n) = gamma + delta in n, none without a prompt."""

    alpha: float
    beta: float
    gamma: float
    delta: float
    input_tokens: float
    output_tokens: float

    def total_ms(self, batch: Vector) -> Vector:
        """Return prefill and all decodes but the first token's."""
        return self._prefill(batch) + (self.output_tokens - 1.0) * self._decode(batch)

    def split(self, mean: Mean, max_batch: int) -> tuple[float, float, float]:
        """Return latencies at the batch that explains the mean service time."""
        rest = self.output_tokens - 1.0
        fixed = rest * self.alpha + (self.gamma if self.input_tokens > 0 else 0.0)
        slope = rest * self.beta + self.delta * self.input_tokens
        batch = min(max((mean.service_ms - fixed) / slope, 0.0), float(max_batch))
        prefill = self._prefill(batch)
        return prefill, self._decode(batch), mean.wait_ms + prefill

    def _prefill(self, batch: Number) -> Number:
        if self.input_tokens <= 0:
            return 0.0 * batch
        return self.gamma + self.delta * self.input_tokens * batch

    def _decode(self, batch: Number) -> Number:
        return self.alpha + self.beta * batch


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreeParameters:
    """A step takes T(n) = alpha + n (beta (in + out) / (out + 1) + gamma (in + out / 2)).

    prefill(n) = T(n) + (beta + gamma) in, none without a prompt; decode(n) = T(n) + beta +
    gamma (in + out / 2).
    """

    alpha: float
    beta: float
    gamma: float
    input_tokens: float
    output_tokens: float

    def total_ms(self, batch: Vector) -> Vector:
        """Return prefill and all decodes."""
        context = self.input_tokens + self.output_tokens / 2.0
        decode = self._step(batch) + self.beta + self.gamma * context
        return self._prefill(batch) + self.output_tokens * decode

    def split(self, mean: Mean, max_batch: int) -> tuple[float, float, float]:
        """Return the prefill of the mean batch and, for a decode, an equal share of the rest."""
        prefill = self._prefill(mean.in_service)
        decode = (mean.service_ms - prefill) / self.output_tokens
        return prefill, decode, mean.wait_ms + prefill + decode

    def _prefill(self, batch: Number) -> Number:
        if self.input_tokens <= 0:
            return 0.0 * batch
        return self._step(batch) + (self.beta + self.gamma) * self.input_tokens

    def _step(self, batch: Number) -> Number:
        context = self.input_tokens + self.output_tokens / 2.0
        tokens = (self.input_tokens + self.output_tokens) / (self.output_tokens + 1.0)
        return self.alpha + batch * (self.beta * tokens + self.gamma * context)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkedPrefill:
    """As three parameters, but a prompt in chunks, and a request's own work counts once."""

    alpha: float
    beta: float
    gamma: float
    input_tokens: float
    output_tokens: float
    max_batched_tokens: float

    def total_ms(self, batch: Vector) -> Vector:
        """Return prefill and all decodes."""
        prefill, step = self._prefill(batch)
        return prefill + self.output_tokens * (step + self.beta + self.gamma * self._context)

    def split(self, mean: Mean, max_batch: int) -> tuple[float, float, float]:
        """Return the prefill of the mean batch and, for a decode, an equal share of the rest."""
        prefill = float(self._prefill(np.array([mean.in_service]))[0][0])
        decode = (mean.service_ms - prefill) / self.output_tokens
        return prefill, decode, mean.wait_ms + prefill + decode

    @property
    def _context(self) -> float:
        return self.input_tokens + (self.output_tokens + 1.0) / 2.0

    def _prefill(self, batch: Vector) -> tuple[Vector, Vector]:
        """Return the time of the whole prefill, and that of a step without own work."""
        inputs, outputs = self.input_tokens, self.output_tokens
        others = batch * (inputs + outputs) / (outputs + 1.0)
        room = np.maximum(1.0, self.max_batched_tokens - others)
        chunks = np.maximum(1.0, np.ceil(inputs / room))
        read = inputs * (chunks + 1.0) / 2.0
        work = self.beta * (inputs + outputs) + self.gamma * (read + outputs * self._context)
        step = self.alpha + (batch - 1.0) * work / (outputs + chunks)
        return chunks * step + self.beta * inputs + self.gamma * read, step


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """Means at one rate."""

    throughput_rps: float
    wait_ms: float
    prefill_ms: float
    itl_ms: float
    ttft_ms: float
    response_ms: float
    in_service: float
    rho: float
    """Share of the batch in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Mean latencies; 0 means no target."""

    ttft_ms: float = 0.0
    itl_ms: float = 0.0
    tps: float = 0.0
    """Tokens/s; only whether it is 0 matters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """The largest rates under each target, and what happens at the least of them."""

    ttft_rps: float
    itl_rps: float
    tps_rps: float
    state: QueueState


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    """A target that not even the lowest rate meets."""

    target: Literal["ttft", "itl"]


class Queue:
    """The chain of one replica. Raises InvalidInput without a batch or with a negative queue."""

    def __init__(self, service: Service, max_batch: int, max_queue: int) -> None:
        if max_batch < 1 or max_queue < 0:
            raise InvalidInput("max_batch", "there is nothing to serve with", "Give at least 1.")
        self._service = service
        self._max_batch = max_batch
        batch = np.arange(1.0, max_batch + 1.0)
        rates = batch / service.total_ms(batch)
        self.lowest_rps = float(rates[0]) * _EDGE * 1e3
        self.highest_rps = float(rates[-1]) * (1.0 - _EDGE) * 1e3
        longest = np.concatenate([rates, np.full(max_queue, rates[-1])])
        self._log_rates = np.cumsum(np.log(longest))
        self._requests = np.arange(0.0, len(longest) + 1.0)

    def at(self, rps: float) -> QueueState:
        """Return the means at `rps` requests/s."""
        rate = rps / 1e3
        logs = np.concatenate([[0.0], self._requests[1:] * np.log(rate) - self._log_rates])
        shares = np.exp(logs - logs.max())
        shares /= shares.sum()
        served = float(shares @ np.minimum(self._requests, self._max_batch))
        throughput = rate * (1.0 - float(shares[-1]))
        service, response = served / throughput, float(shares @ self._requests) / throughput
        mean = Mean(served, service, max(0.0, response - service), response, throughput * 1e3)
        prefill, itl, ttft = self._service.split(mean, self._max_batch)
        return QueueState(
            throughput_rps=mean.throughput_rps,
            wait_ms=mean.wait_ms,
            prefill_ms=prefill,
            itl_ms=itl,
            ttft_ms=ttft,
            response_ms=response,
            in_service=served,
            rho=served / self._max_batch,
        )

    def size(self, targets: Targets) -> Sized | Unreachable:
        """Return the largest rate at which all targets hold."""
        ttft = self._largest(targets.ttft_ms, lambda state: state.ttft_ms)
        if ttft is None:
            return Unreachable(target="ttft")
        itl = self._largest(targets.itl_ms, lambda state: state.itl_ms)
        if itl is None:
            return Unreachable(target="itl")
        tps = self.highest_rps * (_STABLE if targets.tps > 0 else 1.0)
        state = self.at(min(ttft, itl, tps))
        return Sized(ttft_rps=ttft, itl_rps=itl, tps_rps=tps, state=state)

    def _largest(self, target: float, read: Callable[[QueueState], float]) -> float | None:
        """Return the rate at which `read` meets `target`, None when no rate does."""
        low, high = self.lowest_rps, self.highest_rps
        if target <= 0 or read(self.at(high)) <= target:
            return high
        if read(self.at(low)) > target:
            return None
        for _ in range(_STEPS):
            middle = (low + high) / 2.0
            value = read(self.at(middle))
            if abs(value - target) <= _TOLERANCE * target:
                break
            low, high = (low, middle) if value > target else (middle, high)
        return middle
