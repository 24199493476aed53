"""What the judge plays: traffic, models, pools, and what goes wrong with them."""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from bench.judge.engine import Request
from bench.judge.fleet import Pool, Router, Service
from bench.judge.hardware import (
    A100,
    H100,
    L4,
    L40S,
    LLAMA_8B,
    QWEN_7B,
    QWEN_14B,
    QWEN_32B,
    Weights,
)
from bench.judge.traffic import agents, clients, course, levels, trace

HOUR_S = 3600.0
DAY_S = 86_400.0
_DEVICES = {"l4": L4, "l40s": L40S, "a100": A100, "h100": H100}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One model with its traffic and its targets."""

    weights: Weights
    requests: Callable[[int], list[Request]]
    """Of a seed."""
    ttft_s: float
    itl_s: float
    work: tuple[int, int, float]
    """What its spec says of lengths and rate."""
    longest: int | None = None

    def service(self, router: Router, seed: int) -> Service:
        """Return it for one run."""
        return Service(weights=self.weights, requests=self.requests(seed), router=router)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing to be judged by."""

    name: str
    deployments: Mapping[str, Deployment]
    pools: Mapping[str, Pool]
    lasts_s: float
    router: Router = Router.LEAST
    percentile: int = 99


def pools(*devices: str, start_s: float = 120.0, slow: float | None = None) -> dict[str, Pool]:
    """Return pools whose replicas take so long from being asked to ready, two fifths of it to load.

    Unless `slow` says how far they are from the law, some are faster than it and one is slower.
    """
    usual = {"l4": 1.0, "l40s": 0.9, "a100": 1.15, "h100": 0.8}
    return {
        name: Pool(
            device=_DEVICES[name],
            node_s=0.6 * start_s,
            load_s=0.4 * start_s,
            slow=usual[name] if slow is None else slow,
        )
        for name in devices
    }


def chat(rate: Callable[[float], float], lasts_s: float, rps: float) -> Deployment:
    """Return a 14B chat model with made-up requests."""
    return Deployment(
        weights=QWEN_14B,
        requests=lambda seed: course(rate, lasts_s, seed),
        ttft_s=1.0,
        itl_s=0.06,
        work=(1200, 200, rps),
    )


def _chatted(
    name: str,
    rate: Callable[[float], float],
    lasts_s: float,
    rps: float,
    on: Mapping[str, Pool],
) -> Case:
    return Case(
        name=name, deployments={"chat": chat(rate, lasts_s, rps)}, pools=on, lasts_s=lasts_s
    )


def _traced(name: str, of: str, weights: Weights, device: str, start_s: float) -> Case:
    code = of == "azure-code"
    return Case(
        name=name,
        deployments={
            of: Deployment(
                weights=weights,
                requests=lambda seed: trace(of, 3, 2400.0, seed),
                ttft_s=1.5 if code else 1.0,
                itl_s=0.2 if code else 0.06,
                work=(2048, 28, 9.0) if code else (1195, 201, 18.0),
            )
        },
        pools=pools(device, start_s=start_s),
        lasts_s=2400.0,
    )


def _measured(
    name: str,
    weights: Weights,
    of: tuple[str, float, float, float],
    targets: tuple[float, float],
    work: tuple[int, int, float],
    on: Mapping[str, Pool],
) -> Case:
    client, start_s, lasts_s, rps = of
    return Case(
        name=name,
        deployments={
            client: Deployment(
                weights=weights,
                requests=lambda seed: clients(client, start_s, lasts_s, rps, seed),
                ttft_s=targets[0],
                itl_s=targets[1],
                work=work,
            )
        },
        pools=on,
        lasts_s=lasts_s,
    )


def _reclaimed() -> dict[str, Pool]:
    dice, at, strokes = random.Random(3), 0.0, []
    while at < 2 * HOUR_S:
        at += dice.expovariate(1 / 1200.0)
        strokes.append((at, dice.choice([0.2, 0.5, 1.0])))
    (dear,) = pools("l40s").values()
    return {"l40s": dear, "spot": replace(dear, spot_per_hour=0.80, reclaims=tuple(strokes))}


def _shortened() -> dict[str, Pool]:
    found = pools("l40s", "a100")
    return {**found, "l40s": replace(found["l40s"], short=((1200.0, 3600.0),))}


def _shared() -> Case:
    """Return three models on pools that hold them only just."""
    lasts_s = 2 * HOUR_S
    code = Deployment(
        weights=LLAMA_8B,
        requests=lambda seed: course(
            levels([1.0, 4.0, 10.0], 120.0, lasts_s, seed), lasts_s, seed, (2000, 0.8, 7000),
            (30, 0.6, 200),
        ),
        ttft_s=1.5,
        itl_s=0.1,
        work=(2000, 30, 5.0),
    )  # fmt: skip
    on = pools("l40s", "a100")
    return Case(
        name="shared",
        deployments={
            "chat": chat(lambda t: 6 + 5 * math.sin(2 * math.pi * t / 5400), lasts_s, 6.0),
            "code": code,
            "night": chat(lambda t: 6 - 5 * math.sin(2 * math.pi * t / 5400), lasts_s, 6.0),
        },
        pools={**on, "l40s": replace(on["l40s"], most=24)},
        lasts_s=lasts_s,
    )


def _agentic(name: str, router: Router) -> Case:
    lasts_s = 1.5 * HOUR_S
    return Case(
        name=name,
        deployments={
            "agents": Deployment(
                weights=LLAMA_8B,
                requests=lambda seed: agents(lambda t: 0.25 if t < 1800 else 0.6, lasts_s, seed),
                ttft_s=3.0,
                itl_s=0.08,
                work=(9000, 150, 2.5),
                longest=32_768,
            )
        },
        pools=pools("l40s", "h100"),
        lasts_s=lasts_s,
        router=router,
    )


def _wave(low: float, high: float, period_s: float) -> Callable[[float], float]:
    return lambda t: high if t % period_s < period_s / 2 else low


def _all() -> list[Case]:
    l40s, three = pools("l40s"), pools("l40s", "a100", "h100")
    flat = _chatted("flat", lambda _: 8.0, 1.5 * HOUR_S, 8.0, l40s)
    return [
        *(
            _traced(f"code-{start}", "azure-code", QWEN_32B, "h100", float(start))
            for start in (30, 120, 600)
        ),
        _traced("code-8b", "azure-code", LLAMA_8B, "l40s", 120.0),
        *(
            _traced(f"conv-{start}", "azure-conv", QWEN_14B, "l40s", float(start))
            for start in (30, 120, 600)
        ),
        _measured(
            "large", LLAMA_8B, ("m-large", 3 * DAY_S + 8 * HOUR_S, 2 * HOUR_S, 25.0), (2.0, 0.06),
            (922, 157, 25.0), three,
        ),
        _measured(
            "small", QWEN_7B, ("m-small", DAY_S + 9 * HOUR_S, HOUR_S, 40.0), (1.0, 0.1),
            (128, 19, 40.0), pools("l4", "l40s"),
        ),
        _measured(
            "reasoning", QWEN_32B, ("deepseek-r1", 0.0, 2 * HOUR_S, 2.0), (5.0, 0.06),
            (1375, 1828, 2.0), pools("a100", "h100"),
        ),
        flat,
        replace(flat, name="flat-turn", router=Router.TURN),
        replace(flat, name="flat-random", router=Router.RANDOM),
        replace(flat, name="flat-slower", pools=pools("l40s", slow=1.4)),
        replace(flat, name="flat-faster", pools=pools("l40s", slow=0.6)),
        _chatted("step", lambda t: 4.0 if t < 1500 else 16.0, HOUR_S, 4.0, three),
        _chatted("step-600", lambda t: 4.0 if t < 1500 else 16.0, 4800.0, 4.0,
                 pools("l40s", "h100", start_s=600.0)),
        _chatted("down", lambda t: 16.0 if t < 1500 else 4.0, 4800.0, 16.0, three),
        _chatted("spike", lambda t: 20.0 if 1800 <= t < 1890 else 4.0, HOUR_S, 4.0, three),
        _chatted("square", _wave(3.0, 12.0, 1200.0), 2 * HOUR_S, 7.0, l40s),
        _chatted("levels", levels([2, 5, 12, 20], 180.0, 2 * HOUR_S, 9), 2 * HOUR_S, 8.0, three),
        _chatted("diurnal", lambda t: 8 + 7 * math.sin(2 * math.pi * t / 5400), 3 * HOUR_S, 8.0,
                 l40s),
        _chatted("reclaims", lambda _: 12.0, 2 * HOUR_S, 12.0, _reclaimed()),
        _chatted("stock-out", lambda t: 4.0 if t < 1500 else 12.0, 1.5 * HOUR_S, 4.0,
                 _shortened()),
        _shared(),
        _agentic("agents", Router.LEAST),
        _agentic("agents-sticky", Router.STICKY),
    ]  # fmt: skip


CASES = {case.name: case for case in _all()}
