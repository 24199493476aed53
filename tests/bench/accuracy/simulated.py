"""The model's largest rate under targets, against the token-level simulation of the same engine.

A load is simulated at several rates once; every target then reads its largest rate off it, with a
few simulations between the two rates where it breaks. Deterministic: `python -m
bench.accuracy.simulated` in tests/ prints all cases, which takes some ten minutes.
"""

import math
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate

import numpy as np

from bench.accuracy.score import Pair, score
from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.performance import Infeasible
from trimtab.performance.capacity import CapacityRequest, predict, replica_capacity, replica_of
from trimtab.performance.efficiency import NO_ENGINE
from trimtab.performance.fit import kv_tokens
from trimtab.performance.outlook import saturation_rate
from trimtab.performance.steptime import step_model
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Finished, FirstToken, Request, Steps
from trimtab.simulate.pace import Pace

REQUESTS = 4000
MOST_REQUESTS = 12_000
STAYS = 30
"""Requests of one simulation: as many, and for as many mean stays in the replica, up to a limit."""
WARM_UP, END = 0.3, 0.85
"""Shares of the time between which requests are measured from end to end."""
LONGEST = 12_000
"""Tokens at which lengths are cut, in the simulation and, nearly, in the model."""
SEEDS = (1, 2)
LOADS = (0.3, 0.5, 0.65, 0.75, 0.83, 0.9, 0.96, 1.02)
"""Of the predicted saturation."""
BISECTIONS = 2

_S = TokenShape
_SHAPES = {
    "chat": _S(input_tokens=300, output_tokens=250),
    "passages": _S(input_tokens=1200, output_tokens=200),
    "documents": _S(input_tokens=3000, output_tokens=150),
    "writing": _S(input_tokens=200, output_tokens=800),
    "Azure chat": _S(input_tokens=1195, output_tokens=201, input_cv=0.97, output_cv=0.8),
    "Azure code": _S(input_tokens=2048, output_tokens=28, input_cv=0.9, output_cv=1.9),
    "reports": _S(input_tokens=6000, output_tokens=300, input_cv=0.5, output_cv=0.8),
    "reasoning": _S(input_tokens=500, output_tokens=2000, output_cv=0.7),
    "equal": _S(input_tokens=1024, output_tokens=256, input_cv=0.0, output_cv=0.0),
}


@dataclass(frozen=True)
class Device:
    """A model where it is served, and its engine's limits."""

    model: str
    accelerator: str
    tensor: int
    dtype: str
    tokens: int
    sequences: int


_DEVICES = {
    "h100": Device("Llama-3.1-8B", "h100", 1, "none", 4096, 256),
    "l40s": Device("Llama-3.1-8B", "l40s", 1, "none", 4096, 256),
    "rtx4090": Device("Llama-3.1-8B", "rtx4090", 1, "fp8", 4096, 256),
    "h200": Device("Qwen3-32B", "h200", 2, "fp8", 4096, 256),
    "a100": Device("Qwen3-30B-A3B", "a100", 1, "none", 2048, 256),
    "4xh100": Device("Llama-3.1-70B", "h100", 4, "fp8", 8192, 512),
    "b200": Device("gpt-oss-120b", "b200", 1, "none", 8192, 512),
    "8xh200": Device("DeepSeek-V3", "h200", 8, "none", 8192, 512),
    "a10g": Device("Qwen3-8B", "a10g", 1, "fp8", 2048, 256),
}
_T = LatencyTargets
_COMMON = (
    _T(percentile=0.95, ttft_s=1.0),
    _T(percentile=0.95, ttft_s=5.0, itl_s=0.06),
    _T(percentile=0.95, ttft_s=2.0, itl_s=0.15),
)
_MORE = (
    (_T(percentile=0.99, ttft_s=3.0), _T(percentile=0.9, ttft_s=0.5, itl_s=0.1)),
    (_T(percentile=0.95, e2e_s=30.0), _T(percentile=0.95, ttft_s=2.0, itl_s=0.04)),
    (_T(percentile=0.5, ttft_s=0.5, itl_s=0.05), _T(percentile=0.99, ttft_s=4.0, itl_s=0.25)),
    (_T(percentile=0.9, ttft_s=1.5, e2e_s=25.0), _T(percentile=0.99, ttft_s=2.0)),
)
_FEW = (
    ("h100", "Azure code"),
    ("h100", "equal"),
    ("rtx4090", "Azure chat"),
    ("h200", "reports"),
    ("h200", "reasoning"),
    ("a100", "passages"),
    ("a100", "Azure chat"),
    ("4xh100", "passages"),
    ("4xh100", "reports"),
    ("b200", "Azure chat"),
    ("b200", "reasoning"),
    ("8xh200", "Azure chat"),
    ("8xh200", "documents"),
    ("a10g", "chat"),
    ("a10g", "documents"),
)
"""Beside all of the first four devices under the first four loads."""


@dataclass(frozen=True)
class Case:
    """One largest rate: predicted, and found by simulation."""

    name: str
    predicted: float
    simulated: float
    overshoot: float
    """Worst target at the predicted rate in the simulation, over the target, less 1."""


@dataclass(frozen=True)
class Measured:
    """Times of one simulation in ascending order, in seconds."""

    ttft: list[float]
    e2e: list[float]
    itl: list[float]
    """Mean gaps of requests that have any."""
    gaps: list[float]
    gap_ends: list[float]
    """Share of all single gaps up to each of `gaps`."""

    def gap(self, share: float) -> float:
        """Return a quantile of single gaps."""
        return self.gaps[min(int(np.searchsorted(self.gap_ends, share)), len(self.gaps) - 1)]


def cases() -> Iterator[CapacityRequest]:
    """Yield every replica, load and target; some are infeasible."""
    full = [(device, load) for device in list(_DEVICES)[:4] for load in list(_SHAPES)[:4]]
    for i, (device, load) in enumerate([*full, *_FEW]):
        for targets in (*_COMMON, *_MORE[i % len(_MORE)]):
            yield _request(_DEVICES[device], _SHAPES[load], targets)


def run(limit: int | None = None) -> list[Case]:
    """Return all feasible cases, or the first `limit` of them."""
    found: list[Case] = []
    for request in cases():
        if limit is not None and len(found) >= limit:
            break
        answer = replica_capacity(request)
        if isinstance(answer, Infeasible):
            continue
        found.append(
            Case(
                name=_name(request),
                predicted=answer.max_rps,
                simulated=largest_rate(request),
                overshoot=_worst(request, answer.max_rps) - 1.0,
            )
        )
    return found


def pairs(found: list[Case]) -> list[Pair]:
    """Return the cases as predicted and measured values."""
    return [
        Pair(group=case.name, predicted=case.predicted, measured=case.simulated) for case in found
    ]


def largest_rate(request: CapacityRequest) -> float:
    """Return the simulated rate at which the first target breaks; 0 where it never holds."""
    replica = replica_of(request)
    assert not isinstance(replica, Infeasible)
    most = saturation_rate(replica)
    low, high = 0.0, LOADS[-1] * most
    for share in LOADS:
        if _worst(request, share * most) > 1.0:
            high = share * most
            break
        low = share * most
    low = low or 0.1 * high
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _worst(request, middle) <= 1.0 else (low, middle)
    at_low, at_high = math.log(_worst(request, low)), math.log(_worst(request, high))
    share = min(max(-at_low / max(at_high - at_low, 1e-9), 0.0), 1.0)
    return float(low * (high / low) ** share)


def _request(device: Device, shape: TokenShape, targets: LatencyTargets) -> CapacityRequest:
    geometry, accelerator = geometries.get(device.model), accelerators.get(device.accelerator)
    assert geometry is not None
    assert accelerator is not None
    return CapacityRequest(
        geometry=geometry,
        accelerator=accelerator,
        parallelism=Parallelism(tensor=device.tensor),
        engine=EngineSettings(
            name=NO_ENGINE,
            weight_dtype=device.dtype,
            max_model_len=16384,
            max_num_batched_tokens=device.tokens,
            max_num_seqs=device.sequences,
        ),
        shape=shape,
        targets=targets,
    )


def _worst(request: CapacityRequest, rate: float) -> float:
    """Largest of the measured latencies at `rate`, each over its target; the mean over seeds."""
    targets = request.targets
    load = replace(request, targets=LatencyTargets())
    ratios = []
    for seed in SEEDS:
        seen = measured(load, rate, seed)
        times = {
            targets.ttft_s: quantile(seen.ttft, targets.percentile),
            targets.e2e_s: quantile(seen.e2e, targets.percentile),
            targets.itl_s: quantile(seen.itl, targets.percentile),
        }
        ratios.append(max(time / target for target, time in times.items() if target is not None))
    return sum(ratios) / len(ratios)


@cache
def measured(request: CapacityRequest, rate: float, seed: int) -> Measured:
    """Return what a simulation of `request`'s load at `rate` shows after its warm-up."""
    tokens = kv_tokens(request.geometry, request.accelerator, request.parallelism, request.engine)
    assert isinstance(tokens, int)
    times = step_model(request.geometry, request.accelerator, request.parallelism, request.engine)
    engine = Engine(Pace(times, tokens), request.engine)
    residence = predict(request, rate)
    assert not isinstance(residence, Infeasible)
    stay = residence.e2e_s if math.isfinite(residence.e2e_s) else 60.0
    now = 0.0
    for arrived in _arrivals(request.shape, rate, seed, int(STAYS * stay * rate)):
        now = arrived.arrival
        engine.submit(arrived, now)
    begin, end = now * WARM_UP, now * END
    ttft: list[float] = []
    ended: list[Finished] = []
    gaps: list[tuple[float, int]] = []
    begun: set[int] = set()
    for event in [*engine.advance(now)]:
        if isinstance(event, FirstToken) and event.request.arrival >= begin:
            ttft.append(event.at - event.request.arrival)
            begun.add(event.request.id)
        elif isinstance(event, Steps) and event.at >= begin and event.decoding:
            middle = event.first_s + event.growth_s * (event.count - 1) / 2.0
            gaps.append((middle, event.decoding * event.count))
        elif isinstance(event, Finished) and begin <= event.request.arrival <= end:
            ended.append(event)
    # Who is still waiting at the end has waited that long already.
    ttft += [
        now - one.arrival
        for one in engine.unfinished()
        if one.arrival >= begin and one.id not in begun
    ]
    ended += [
        event
        for event in engine.advance(math.inf)
        if isinstance(event, Finished) and begin <= event.request.arrival <= end
    ]
    gaps.sort()
    ends = list(accumulate(tokens for _, tokens in gaps))
    return Measured(
        ttft=sorted(ttft),
        e2e=sorted(event.at - event.request.arrival for event in ended),
        itl=sorted(event.mean_itl_s for event in ended if event.mean_itl_s is not None),
        gaps=[seconds for seconds, _ in gaps],
        gap_ends=[one / ends[-1] for one in ends],
    )


def quantile(values: list[float], share: float) -> float:
    """Return a quantile of ascending `values`."""
    return values[min(int(share * len(values)), len(values) - 1)]


def _arrivals(shape: TokenShape, rate: float, seed: int, wanted: int) -> Iterator[Request]:
    dice = random.Random(seed)
    now = 0.0
    for i in range(min(max(REQUESTS, wanted), MOST_REQUESTS)):
        now += dice.expovariate(rate)
        yield Request(
            id=i,
            arrival=now,
            input_tokens=_length(dice, shape.input_tokens, shape.input_cv),
            output_tokens=_length(dice, shape.output_tokens, shape.output_cv),
        )


def _length(dice: random.Random, mean: float, spread: float) -> int:
    sigma = math.sqrt(math.log1p(spread * spread))
    drawn = dice.lognormvariate(math.log(mean) - sigma * sigma / 2.0, sigma)
    return max(1, min(round(drawn), LONGEST))


def _name(request: CapacityRequest) -> str:
    targets = request.targets
    limits = (("TTFT", targets.ttft_s), ("ITL", targets.itl_s), ("E2E", targets.e2e_s))
    wanted = [f"{name} {value * 1e3:.0f} ms" for name, value in limits if value is not None]
    shape = request.shape
    return (
        f"{request.geometry.name} {request.parallelism.tensor}x{request.accelerator.short_name} "
        f"{shape.input_tokens:.0f}/{shape.output_tokens:.0f} p{targets.percentile * 100:.0f} "
        f"{', '.join(wanted)}"
    )


def main() -> None:
    """Print every case and the score."""
    found = run()
    for case in found:
        sys.stdout.write(
            f"{case.name}: predicted {case.predicted:.3g}, simulated {case.simulated:.3g} "
            f"({case.predicted / case.simulated - 1.0:+.0%}), worst target {case.overshoot:+.0%}\n"
        )
    broken = sum(case.overshoot > 0.1 for case in found)
    sys.stdout.write(f"{score(pairs(found))}; {broken} break a target by more than 10 %\n")


if __name__ == "__main__":
    main()
