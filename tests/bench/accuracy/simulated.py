"""The model's largest rate under targets, against the token-level simulation of the same engine."""

import math
import random
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from bench.accuracy.score import Pair
from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.performance import Infeasible
from trimtab.performance.capacity import CapacityRequest, predict, replica_capacity
from trimtab.performance.efficiency import NO_ENGINE
from trimtab.performance.fit import kv_tokens
from trimtab.performance.steptime import step_model
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import FirstToken, Request, Steps
from trimtab.simulate.pace import Pace

REQUESTS = 1500
WARM_UP = 0.3
LONGEST = 12_000
"""Tokens at which lengths are cut, in the simulation and, nearly, in the model."""
SEEDS = (1, 2)
BISECTIONS = 6

_SHAPES = (
    TokenShape(input_tokens=300, output_tokens=250),
    TokenShape(input_tokens=1200, output_tokens=200),
    TokenShape(input_tokens=3000, output_tokens=150),
    TokenShape(input_tokens=200, output_tokens=800),
)
_DEVICES = (
    ("Llama-3.1-8B", "h100", 1, "none"),
    ("Llama-3.1-8B", "l40s", 1, "none"),
    ("Llama-3.1-8B", "rtx4090", 1, "fp8"),
    ("Qwen3-32B", "h200", 2, "fp8"),
)
_TARGETS = (
    LatencyTargets(percentile=0.95, ttft_s=1.0),
    LatencyTargets(percentile=0.95, ttft_s=5.0, itl_s=0.06),
    LatencyTargets(percentile=0.95, ttft_s=2.0, itl_s=0.15),
)


@dataclass(frozen=True)
class Case:
    """One largest rate: predicted, and found by simulation."""

    name: str
    predicted: float
    simulated: float
    overshoot: float
    """Worst target at the predicted rate in the simulation, over the target, less 1."""


def cases() -> Iterator[CapacityRequest]:
    """Yield every replica, load and target; some are infeasible."""
    for model, device, tensor, dtype in _DEVICES:
        geometry, accelerator = geometries.get(model), accelerators.get(device)
        assert geometry is not None
        assert accelerator is not None
        for shape in _SHAPES:
            for targets in _TARGETS:
                yield CapacityRequest(
                    geometry=geometry,
                    accelerator=accelerator,
                    parallelism=Parallelism(tensor=tensor),
                    engine=EngineSettings(
                        name=NO_ENGINE,
                        weight_dtype=dtype,
                        max_model_len=16384,
                        max_num_batched_tokens=4096,
                    ),
                    shape=shape,
                    targets=targets,
                )


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
                simulated=_largest_rate(request, answer.max_rps),
                overshoot=_worst(request, answer.max_rps) - 1.0,
            )
        )
    return found


def pairs(found: list[Case]) -> list[Pair]:
    """Return the cases as predicted and measured values."""
    return [
        Pair(group=case.name, predicted=case.predicted, measured=case.simulated) for case in found
    ]


def _largest_rate(request: CapacityRequest, guess: float) -> float:
    low, high = 0.0, guess
    while _worst(request, high) <= 1.0 and high < guess * 8:
        low, high = high, high * 1.5
    low = low or high / 4
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _worst(request, middle) <= 1.0 else (low, middle)
    return math.sqrt(low * high)


def _worst(request: CapacityRequest, rate: float) -> float:
    """Largest of the measured latencies at `rate`, each over its target; the mean over seeds."""
    return sum(_ratio(request, rate, seed) for seed in SEEDS) / len(SEEDS)


def _ratio(request: CapacityRequest, rate: float, seed: int) -> float:
    ttft, gaps = _simulate(request, rate, seed)
    targets = request.targets
    ratios = []
    if targets.ttft_s is not None:
        ratios.append(_quantile(ttft, targets.percentile) / targets.ttft_s)
    if targets.itl_s is not None:
        ratios.append(_weighted_quantile(gaps, targets.percentile) / targets.itl_s)
    return max(ratios)


def _simulate(
    request: CapacityRequest, rate: float, seed: int
) -> tuple[list[float], list[tuple[float, int]]]:
    """Return times to first token, and (gap, tokens) pairs, after the warm-up."""
    tokens = kv_tokens(request.geometry, request.accelerator, request.parallelism, request.engine)
    assert isinstance(tokens, int)
    times = step_model(request.geometry, request.accelerator, request.parallelism, request.engine)
    engine = Engine(Pace(times, tokens), request.engine)
    dice = random.Random(seed)
    now = 0.0
    residence = predict(request, rate)
    assert not isinstance(residence, Infeasible)
    stay = residence.e2e_s if math.isfinite(residence.e2e_s) else 60.0
    count = max(REQUESTS, int(8 * stay * rate))
    for i in range(count):
        now += dice.expovariate(rate)
        arrived = Request(
            id=i,
            arrival=now,
            input_tokens=_length(dice, request.shape.input_tokens, request.shape.input_cv),
            output_tokens=_length(dice, request.shape.output_tokens, request.shape.output_cv),
        )
        engine.submit(arrived, now)
    begin = now * WARM_UP
    ttft: list[float] = []
    gaps: list[tuple[float, int]] = []
    begun: set[int] = set()
    for event in engine.advance(now):
        if isinstance(event, FirstToken) and event.request.arrival >= begin:
            ttft.append(event.at - event.request.arrival)
            begun.add(event.request.id)
        elif isinstance(event, Steps) and event.at >= begin and event.decoding:
            middle = event.first_s + event.growth_s * (event.count - 1) / 2.0
            gaps.append((middle, event.decoding * event.count))
    # Who is still waiting at the end has waited that long already.
    ttft += [
        now - one.arrival
        for one in engine.unfinished()
        if one.arrival >= begin and one.id not in begun
    ]
    return sorted(ttft), sorted(gaps)


def _length(dice: random.Random, mean: float, spread: float) -> int:
    sigma = math.sqrt(math.log1p(spread * spread))
    drawn = dice.lognormvariate(math.log(mean) - sigma * sigma / 2.0, sigma)
    return max(1, min(round(drawn), LONGEST))


def _quantile(values: list[float], share: float) -> float:
    return values[min(int(share * len(values)), len(values) - 1)]


def _weighted_quantile(gaps: list[tuple[float, int]], share: float) -> float:
    total, ends = 0, []
    for _, tokens in gaps:
        total += tokens
        ends.append(total)
    return gaps[min(bisect_left(ends, share * total), len(gaps) - 1)][0]


def _name(request: CapacityRequest) -> str:
    targets = request.targets
    wanted = [
        f"{name} {value * 1e3:.0f} ms"
        for name, value in (("TTFT", targets.ttft_s), ("ITL", targets.itl_s))
        if value is not None
    ]
    shape = request.shape
    return (
        f"{request.geometry.name} {request.accelerator.short_name} "
        f"{shape.input_tokens:.0f}/{shape.output_tokens:.0f} {', '.join(wanted)}"
    )
