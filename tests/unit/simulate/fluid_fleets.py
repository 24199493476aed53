"""Random small fleets with a simple autoscaler, served by either engine."""

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.load import LatencyTargets
from trimtab.performance.fit import kv_tokens
from trimtab.performance.steptime import step_model
from trimtab.simulate.curve import Curve
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Event, Request
from trimtab.simulate.fluid import FluidReplicas, FluidService
from trimtab.simulate.fluidgroup import Counts
from trimtab.simulate.gateway import Gateway, GatewaySettings
from trimtab.simulate.ledger import Ledger
from trimtab.simulate.pace import Pace
from trimtab.simulate.response import Question, response

STEP_S = 15.0
COLD_S = 90.0
SEEN_S = 60.0
KEEP_S = 240.0
SETTINGS = EngineSettings()
MODEL = "Llama-3.1-8B"


@dataclass(frozen=True)
class Fleet:
    """One deployment on one or two pools, its traffic, and what a replica shall hold."""

    devices: tuple[str, ...]
    usd: tuple[float, ...]
    rates: tuple[float, ...]
    """Requests/s at equal distances, with straight lines between."""
    span_s: float
    mean_input: float
    mean_output: float
    spread: float
    targets: LatencyTargets
    load: float
    """Share of the largest throughput that a replica is to get."""
    seed: int


@dataclass(frozen=True)
class Outcome:
    usd: float
    attainment: float
    requests: float
    timed_out: float
    at_peak: int


def random_fleet(seed: int) -> Fleet:
    dice = random.Random(seed)
    devices = dice.choice([("h100",), ("l40s",), ("l40s", "h100"), ("a100-80gb",)])
    peak = dice.uniform(30, 80) if devices == ("h100",) else dice.uniform(10, 30)
    rates = [dice.uniform(0.15, 0.6) * peak for _ in range(7)]
    rates[dice.randrange(2, 5)] = peak
    return Fleet(
        devices=devices,
        usd=tuple(dice.uniform(0.8, 3.0) for _ in devices),
        rates=tuple(rates),
        span_s=1800.0,
        mean_input=dice.uniform(300, 1500),
        mean_output=dice.uniform(80, 300),
        spread=dice.uniform(0.4, 1.0),
        targets=LatencyTargets(
            ttft_s=dice.choice([0.5, 1.0, 2.0]),
            itl_s=dice.uniform(0.03, 0.08) if devices == ("h100",) else dice.uniform(0.06, 0.14),
        ),
        load=dice.uniform(0.5, 0.85),
        seed=seed,
    )


def lengths(fleet: Fleet, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    sigma = math.sqrt(math.log1p(fleet.spread**2))

    def draw(mean: float) -> list[int]:
        values = rng.lognormal(math.log(mean) - sigma**2 / 2, sigma, count)
        return [int(x) for x in np.clip(values, 1, 3900)]

    return list(zip(draw(fleet.mean_input), draw(fleet.mean_output), strict=True))


def arrivals(fleet: Fleet, luck: int) -> list[Request]:
    """Poisson arrivals along the rates."""
    rng = np.random.default_rng((fleet.seed, luck))
    leg = fleet.span_s / (len(fleet.rates) - 1)
    times: list[float] = []
    for i, (a, b) in enumerate(pairwise(fleet.rates)):
        top = max(a, b)
        at = rng.uniform(0, leg, rng.poisson(top * leg))
        keep = rng.uniform(0, top, len(at)) < a + (b - a) * at / leg
        times += sorted((i * leg + at[keep]).tolist())
    return [
        Request(id=i, arrival=at, input_tokens=n, output_tokens=m)
        for i, (at, (n, m)) in enumerate(zip(times, lengths(fleet, len(times), rng), strict=True))
    ]


@cache
def pace(device: str) -> Pace:
    geometry, accelerator = geometries.get(MODEL), accelerators.get(device)
    assert geometry is not None
    assert accelerator is not None
    tokens = kv_tokens(geometry, accelerator, Parallelism(), SETTINGS)
    assert isinstance(tokens, int)
    return Pace(step_model(geometry, accelerator, Parallelism(), SETTINGS), tokens)


@cache
def curves(fleet: Fleet, device: str) -> dict[int, Curve]:
    rng = np.random.default_rng(99)
    requests = tuple((one.input_tokens, one.output_tokens) for one in arrivals(fleet, 0))
    found = {}
    for replicas in (1, 3):
        question = Question(
            pace=pace(device),
            settings=SETTINGS,
            requests=requests,
            targets=fleet.targets,
            replicas=replicas,
        )
        found[replicas] = Curve(response(question, rng))
    return found


class Scaler:
    """Wants what serves the last minute's rate at a load, and the backlog within a minute."""

    def __init__(self, fleet: Fleet) -> None:
        self.most = [curves(fleet, device)[1].most_rps for device in fleet.devices]
        self.full = [curves(fleet, device)[1].full for device in fleet.devices]
        self.load = fleet.load
        self.rates: deque[float] = deque(maxlen=int(SEEN_S / STEP_S))
        self.recent: deque[float] = deque(maxlen=int(KEEP_S / STEP_S))

    def wanted(self, rate: float, in_flight: float, ready: list[int]) -> list[int]:
        self.rates.append(rate)
        mean = sum(self.rates) / len(self.rates)
        room = sum(n * full for n, full in zip(ready, self.full, strict=True))
        backlog = max(0.0, in_flight - room)
        self.recent.append(mean / self.load + backlog / SEEN_S)
        asked = max(self.recent)
        first = max(1, math.ceil(asked / self.most[0]))
        if len(self.most) == 1:
            return [first]
        base = min(first, 3)
        return [base, math.ceil(max(0.0, asked - base * self.most[0]) / self.most[1])]


def simulate(
    fleet: Fleet,
    in_flight: Callable[[], float],
    advance: Callable[[float], int],
    resize: Callable[[int, int, float], None],
) -> tuple[float, int]:
    """Return the cost and the largest number of replicas; both engines are driven from here."""
    scaler = Scaler(fleet)
    ready = [0] * len(fleet.devices)
    orders: list[tuple[float, int, int]] = []
    usd, most, now = 0.0, 0, 0.0
    for device, count in enumerate(scaler.wanted(fleet.rates[0], 0.0, ready)):
        ready[device] = count
        resize(device, count, 0.0)
    while now < fleet.span_s:
        now += STEP_S
        rate = advance(now) / STEP_S
        for at, device, count in [order for order in orders if order[0] <= now]:
            orders.remove((at, device, count))
            ready[device] += count
            resize(device, ready[device], now)
        ordered = [sum(n for _, d, n in orders if d == i) for i in range(len(ready))]
        usd += sum(
            (ready[i] + ordered[i]) * fleet.usd[i] * STEP_S / 3600 for i in range(len(ready))
        )
        most = max(most, sum(ready))
        for device, count in enumerate(scaler.wanted(rate, in_flight(), ready)):
            have = ready[device] + ordered[device]
            if count > have:
                orders.append((now + COLD_S, device, count - have))
            elif count < ready[device] and not ordered[device]:
                ready[device] = count
                resize(device, count, now)
    return usd, most


def exact(fleet: Fleet, luck: int) -> Outcome:
    ledger = Ledger(fleet.targets)
    gateway = Gateway(GatewaySettings(), ledger)
    names: list[list[str]] = [[] for _ in fleet.devices]
    made = 0
    coming = deque(arrivals(fleet, luck))

    def advance(until: float) -> int:
        before = len(coming)
        while coming and coming[0].arrival < until:
            gateway.arrive(coming.popleft())
        gateway.advance(until)
        return before - len(coming)

    def resize(device: int, count: int, now: float) -> None:
        nonlocal made
        while len(names[device]) < count:
            made += 1
            names[device].append(f"r{made}")
            gateway.add(
                names[device][-1], Engine(pace(fleet.devices[device]), SETTINGS), ignore, now
            )
        while len(names[device]) > count:
            gateway.accept(names[device].pop(), False, now)

    usd, most = simulate(fleet, lambda: float(gateway.in_flight), advance, resize)
    gateway.advance(fleet.span_s + 2000)
    total = ledger.total
    return Outcome(usd, total.met / total.settled, total.settled, total.timed_out, most)


def fluid(fleet: Fleet, luck: int) -> Outcome:
    rng = np.random.default_rng((7, luck))
    variants = [FluidReplicas(curves(fleet, device), rng) for device in fleet.devices]
    service = FluidService(variants)
    counts = [0] * math.ceil(fleet.span_s / STEP_S)
    for request in arrivals(fleet, luck):
        counts[int(request.arrival / STEP_S)] += 1
    total = Counts()

    def advance(until: float) -> int:
        came = counts[round(until / STEP_S) - 1]
        total.add(service.advance(until, came))
        return came

    def resize(device: int, count: int, now: float) -> None:
        variants[device].resize(count)

    usd, most = simulate(fleet, lambda: service.in_flight, advance, resize)
    total.add(service.advance(fleet.span_s + 2000, 0.0))
    return Outcome(usd, total.met / total.settled, total.settled, total.timed_out, most)


def ignore(_: list[Event]) -> None:
    pass
