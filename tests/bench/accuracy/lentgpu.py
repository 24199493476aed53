"""Our own runs of vLLM 0.26 with random weights on one H100: a check only.

Nothing is fitted to them but what launching a layer with experts takes (`coefficients`).
Method, machine and versions are in tests/bench/data/h100_random_weights/README.md.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean, median, pstdev

import numpy as np

from bench.accuracy.files import rows
from bench.accuracy.score import Pair
from bench.realengine.models import MODELS
from trimtab.catalog import accelerators
from trimtab.catalog.hubconfig import from_config
from trimtab.models.hardware import Accelerator, EngineSettings, ModelGeometry, Parallelism
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.performance import Infeasible
from trimtab.performance.capacity import CapacityRequest, replica_of
from trimtab.performance.efficiency import ENGINES
from trimtab.performance.fit import kv_tokens
from trimtab.performance.meanfield import Replica
from trimtab.performance.outlook import open_loop
from trimtab.performance.steptime import StepModel, step_model
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Finished, Request
from trimtab.simulate.pace import Pace

FOLDER = "h100_random_weights"
KV_TOKENS = {"llama-3.1-8b": 462_944, "own-dense-14b": 350_576, "own-moe-26b": 319_392}
"""What each engine said at its start."""
OVERLOAD = "overload"
OVERLOAD_S, STAGE_S = 44.0, 32.0
WARM_S = 8.0
"""From the start of a stage to the first request that the steady state is compared with."""
_SETTINGS = EngineSettings(max_num_seqs=1024, max_num_batched_tokens=8192, max_model_len=16384)
"""What vLLM takes on such a card unless it is told otherwise; the longest length was given."""


@dataclass(frozen=True)
class Served:
    """What a client saw of a request; seconds, None where it never came."""

    at: float
    ttft: float | None
    tpot: float | None
    e2e: float | None


@dataclass(frozen=True)
class Stage:
    """One rate: what was asked, what came of it, and what our engine does with the same."""

    model: str
    name: str
    asked: list[Request]
    real: list[Served]

    @property
    def rps(self) -> float:
        """Requests that came in a second."""
        return len(self.asked) / (OVERLOAD_S if self.name == OVERLOAD else STAGE_S)


def kv() -> list[Pair]:
    """Return the room for keys and values, in tokens."""
    found = []
    for model, measured in KV_TOKENS.items():
        predicted = kv_tokens(*_replica(model))
        assert isinstance(predicted, int)
        found.append(Pair(group=model, predicted=predicted, measured=measured))
    return found


def decodes() -> list[Pair]:
    """Return steps that only decode, all greedy."""
    return [
        Pair(
            group=row["model"],
            predicted=times(row["model"]).decode_s(
                float(row["batch"]), float(row["batch"]) * float(row["context"])
            ),
            measured=float(row["step_ms"]) / 1e3,
        )
        for row in rows(f"{FOLDER}/decode")
        if row["sampling"] == "greedy"
    ]


def prefills() -> list[Pair]:
    """Return prompts that come to an idle engine, alone or together, with one token to answer."""
    groups: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    for row in rows(f"{FOLDER}/prefill"):
        groups[row["model"], int(row["prompt"]), int(row["count"])].append(float(row["seconds"]))
    found = []
    for (model, prompt, count), seconds in groups.items():
        asked = [
            Request(id=i, arrival=0.0, input_tokens=prompt, output_tokens=1) for i in range(count)
        ]
        last = max(one.at for one in _finished(model, times(model), asked, math.inf))
        found.append(
            Pair(
                group=model,
                predicted=last + ENGINES["vllm"].request_s,
                measured=median(seconds),
            )
        )
    return found


@cache
def stages() -> tuple[Stage, ...]:
    """Return all stages, the overloaded one of each model first."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows(f"{FOLDER}/requests"):
        groups[row["model"], row["stage"]].append(row)
    return tuple(
        Stage(
            model=model,
            name=name,
            asked=[
                Request(
                    id=i,
                    arrival=float(row["at"]),
                    input_tokens=int(row["prompt"]),
                    output_tokens=int(row["answer"]),
                )
                for i, row in enumerate(members)
            ],
            real=[_served(row) for row in members],
        )
        for (model, name), members in groups.items()
    )


def replayed(stage: Stage, step: StepModel) -> list[Pair]:
    """Return median and p95 of a stage that our engine serves, too, with the given step times."""
    host = ENGINES["vllm"].request_s
    ours = [
        Served(
            at=one.request.arrival,
            ttft=one.first_token_at - one.request.arrival + host if one.first_token_at else None,
            tpot=one.mean_itl_s,
            e2e=one.at - one.request.arrival + host,
        )
        for one in _finished(stage.model, step, stage.asked, math.inf)
    ]
    return [
        Pair(
            group=f"p{share * 100:.0f} {what}",
            predicted=_quantile(ours, what, share),
            measured=_quantile(stage.real, what, share),
        )
        for what in ("TTFT", "TPOT", "E2E")
        for share in (0.5, 0.95)
    ]


def answered(stage: Stage, step: StepModel) -> Pair:
    """Return how many requests of an overloaded stage were answered until its end."""
    return Pair(
        group=stage.model,
        predicted=len(_finished(stage.model, step, stage.asked, OVERLOAD_S)),
        measured=sum(one.e2e is not None for one in stage.real),
    )


def steady(stage: Stage) -> list[Pair]:
    """Return mean TPOT and the percentiles that targets are for, from rate and lengths alone."""
    replica = _described(stage)
    at = {share: open_loop(replica, np.array([stage.rps]), share) for share in (0.5, 0.95)}
    seen = [one for one in stage.real if one.at >= WARM_S]
    return [
        Pair(
            group="mean TPOT",
            predicted=float(at[0.5].tpot_mean_s[0]),
            measured=_mean_tpot(stage),
        ),
        *(
            Pair(
                group=f"p{share * 100:.0f} {what}",
                predicted=float(predicted[0]),
                measured=_quantile(seen, what, share),
            )
            for share, outlook in at.items()
            for what, predicted in (("TTFT", outlook.ttft_s), ("TPOT", outlook.itl_s))
        ),
    ]


def _mean_tpot(stage: Stage) -> float:
    """Return the mean gap of all answers that came once the stage was steady."""
    spent = [
        (one.tpot * (asked.output_tokens - 1), asked.output_tokens - 1)
        for one, asked in zip(stage.real, stage.asked, strict=True)
        if one.tpot is not None and one.at >= WARM_S
    ]
    return sum(seconds for seconds, _ in spent) / sum(count for _, count in spent)


def _described(stage: Stage) -> Replica:
    """Return the replica under the lengths of `stage`, as a planner knows them."""
    inputs = [one.input_tokens for one in stage.asked]
    outputs = [one.output_tokens for one in stage.asked]
    geometry, accelerator, parallelism, settings = _replica(stage.model)
    replica = replica_of(
        CapacityRequest(
            geometry=geometry,
            accelerator=accelerator,
            parallelism=parallelism,
            engine=settings,
            shape=TokenShape(
                input_tokens=fmean(inputs),
                output_tokens=fmean(outputs),
                input_cv=pstdev(inputs) / fmean(inputs),
                output_cv=pstdev(outputs) / fmean(outputs),
            ),
            targets=LatencyTargets(),
        )
    )
    assert not isinstance(replica, Infeasible)
    return replica


@cache
def times(model: str) -> StepModel:
    """Return the step times of `model` on the card, from data sheets alone."""
    return step_model(*_replica(model))


def unlimited(model: str) -> StepModel:
    """Return step times as if the card had no power limit."""
    return replace(times(model), held_token_s=0.0)


@cache
def _replica(model: str) -> tuple[ModelGeometry, Accelerator, Parallelism, EngineSettings]:
    accelerator = accelerators.get("nvidia-h100-sxm")
    assert accelerator is not None
    return from_config(model, MODELS[model]), accelerator, Parallelism(), _SETTINGS


def _finished(model: str, step: StepModel, asked: list[Request], until: float) -> list[Finished]:
    engine = Engine(Pace(step, KV_TOKENS[model]), _SETTINGS)
    for one in asked:
        engine.submit(one, one.arrival)
    return [event for event in engine.advance(until) if isinstance(event, Finished)]


def _served(row: dict[str, str]) -> Served:
    def since(column: str, start: float) -> float | None:
        return float(row[column]) - start if row[column] else None

    at = float(row["at"])
    tokens = int(row["tokens"])
    later = since("last", float(row["first"])) if row["first"] and row["done"] else None
    return Served(
        at=at,
        ttft=since("first", at),
        tpot=later / (tokens - 1) if later is not None and tokens > 1 else None,
        e2e=since("done", at),
    )


def _quantile(served: list[Served], what: str, share: float) -> float:
    values = sorted(value for one in served if (value := getattr(one, what.lower())) is not None)
    return float(values[min(int(share * len(values)), len(values) - 1)])
