"""The engine model beside real engines, with the step model's own error taken out of it.

One factor on all step times of a run is worked out from the engine's log alone (time of a step =
requests in the batch / tokens per second) or, in a sweep without a log, from the mean gap between
tokens of each stage; what the web server adds to a first token there is that of the lightest stage.
What is then left is the error of the scheduler model. `as shipped` has no factor. Prints a table;
run as `python -m bench.simulate.real` in tests/.
"""

import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.accuracy.files import rows
from bench.accuracy.runs import RUNS, Run
from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.performance.efficiency import ENGINES
from trimtab.performance.fit import kv_tokens
from trimtab.performance.steptime import step_model
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Finished, Request, Steps
from trimtab.simulate.pace import Pace

KV_TOKENS = {"vllm_rtx4090_llama-3.1-8b": 41_408}
"""As the engine itself reported."""
ROUNDS = 6
CHUNK = 2048
BUSY = 8
"""Requests in the batch from which on a second of the log is looked at."""


@dataclass(frozen=True)
class Second:
    """One second of an engine."""

    running: float
    waiting: float
    tokens: float
    """Of answers, in that second."""


@dataclass(frozen=True)
class Seen:
    """What users and the log saw, with times in seconds."""

    ttft: list[float]
    itl: list[float]
    end: float
    tokens: float
    seconds: list[Second]


@dataclass(frozen=True)
class Row:
    """One figure of the table."""

    what: str
    figure: str
    measured: float
    shipped: float
    scaled: float


def run_rows() -> list[Row]:
    """Return the figures of the three runs that were saturated on purpose."""
    return [row for run in RUNS for row in _run(run)]


def _run(run: Run) -> list[Row]:
    requests = [
        Request(
            id=i,
            arrival=float(row["arrival_s"]),
            input_tokens=int(row["input_tokens"]),
            output_tokens=int(row["output_tokens"]),
        )
        for i, row in enumerate(rows(run.file))
    ]
    real = _measured(run)
    factor = 1.0
    shipped = scaled = _simulated(run, requests, factor)
    for _ in range(ROUNDS):
        factor *= _step_s(real.seconds) / _step_s(scaled.seconds)
        scaled = _simulated(run, requests, factor)
    name = f"{run.device.removeprefix('nvidia-')} {run.model}, steps x {factor:.2f}"
    return [Row(name, figure, look(real), look(shipped), look(scaled)) for figure, look in _FIGURES]


def _measured(run: Run) -> Seen:
    found = [{k: float(v) for k, v in row.items()} for row in rows(run.file)]
    return Seen(
        ttft=[row["ttft_s"] for row in found],
        itl=[row["tpot_s"] for row in found if row["output_tokens"] > 1],
        end=max(row["arrival_s"] + row["e2e_s"] for row in found),
        tokens=sum(row["output_tokens"] for row in found),
        seconds=[
            Second(float(row["running"]), float(row["waiting"]), float(row["gen_throughput"]))
            for row in rows(f"{run.file}_engine")
        ],
    )


def _simulated(run: Run, requests: list[Request], factor: float) -> Seen:
    settings = EngineSettings(max_num_seqs=run.max_num_seqs, max_num_batched_tokens=CHUNK)
    engine = _engine(run.model, run.device, settings, factor, KV_TOKENS.get(run.file))
    for request in requests:
        engine.submit(request, request.arrival)
    ends: list[Finished] = []
    seconds = []
    now = 0.0
    while engine.outstanding:
        now += 1.0
        tokens = 0.0
        for event in engine.advance(now):
            if isinstance(event, Steps):
                tokens += event.count * (event.decoding + event.prompts_done)
            elif isinstance(event, Finished):
                ends.append(event)
        seconds.append(Second(engine.running, engine.waiting(now), tokens))
    host_s = ENGINES["vllm"].request_s
    return Seen(
        ttft=[e.first_token_at - e.reached_at + host_s for e in ends if e.first_token_at],
        itl=[e.mean_itl_s for e in ends if e.mean_itl_s],
        end=max(e.at for e in ends),
        tokens=sum(e.generated for e in ends),
        seconds=seconds,
    )


def _engine(
    model: str, device: str, settings: EngineSettings, factor: float, kv: int | None = None
) -> Engine:
    geometry, accelerator = geometries.get(model), accelerators.get(device)
    assert geometry is not None
    assert accelerator is not None
    tokens = kv or kv_tokens(geometry, accelerator, Parallelism(), settings)
    assert isinstance(tokens, int)
    times = step_model(geometry, accelerator, Parallelism(), settings).scaled(factor)
    return Engine(Pace(times, tokens), settings)


def _step_s(seconds: Sequence[Second]) -> float:
    return median(s.running / s.tokens for s in seconds if s.running >= BUSY and s.tokens > 0)


def _growth(seconds: Sequence[Second]) -> float:
    """Requests/s by which the queue grew from when it began to its peak."""
    waiting = [second.waiting for second in seconds]
    peak = waiting.index(max(waiting))
    begin = max((i for i in range(peak) if waiting[i] <= 1), default=0)
    return (waiting[peak] - waiting[begin]) / (peak - begin)


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


_FIGURES: tuple[tuple[str, Callable[[Seen], float]], ...] = (
    ("TTFT p50 s", lambda seen: _quantile(seen.ttft, 0.5)),
    ("TTFT p95 s", lambda seen: _quantile(seen.ttft, 0.95)),
    ("ITL p50 ms", lambda seen: 1e3 * _quantile(seen.itl, 0.5)),
    ("ITL p95 ms", lambda seen: 1e3 * _quantile(seen.itl, 0.95)),
    ("tokens/s", lambda seen: seen.tokens / seen.end),
    ("queue peak", lambda seen: max(second.waiting for second in seen.seconds)),
    ("queue growth /s", lambda seen: _growth(seen.seconds)),
)


@dataclass(frozen=True)
class Stage:
    """One rate of a sweep; None where the source is silent."""

    rps: float
    seconds: float
    done_rps: float
    """0 where the source is silent."""
    itl_mean_ms: float
    ttft_p50_ms: float
    ttft_p95_ms: float | None


@dataclass(frozen=True)
class Sweep:
    """One engine under rising rates; prompts and answers have one length each."""

    name: str
    model: str
    device: str
    settings: EngineSettings
    input_tokens: int
    output_tokens: int
    stages: list[Stage]


def sweeps() -> list[Sweep]:
    """Return the sweeps, the lightest stage first."""
    perf = [row for row in rows("openloop_inferenceperf_h100_llama3_8b") if row["config"] == "vllm"]
    found = [
        Sweep(
            name="h100 Llama-3-8B",
            model="Llama-3-8B",
            device="nvidia-h100-sxm",
            # One token alone takes less time than reading 16-bit weights; 64 ran when saturated.
            settings=EngineSettings(weight_dtype="fp8", max_num_seqs=64),
            input_tokens=204,
            output_tokens=62,
            stages=[
                Stage(
                    rps=float(row["requested_rps"]),
                    seconds=60.0,
                    done_rps=float(row["done_rps"]),
                    itl_mean_ms=float(row["itl_mean_ms"]),
                    ttft_p50_ms=float(row["ttft_p50_ms"]),
                    ttft_p95_ms=float(row["ttft_p95_ms"]),
                )
                for row in perf
            ],
        )
    ]
    return [*found, *(_kaito(gpu) for gpu in ("a10", "a100"))]


def _kaito(gpu: str) -> Sweep:
    return Sweep(
        name=f"{gpu} Phi-4-mini",
        model="phi-4-mini-instruct",
        device=gpu,
        settings=EngineSettings(max_num_batched_tokens=CHUNK),
        input_tokens=200,
        output_tokens=200,
        stages=[
            Stage(
                rps=float(row["rate_rps"]),
                seconds=1000.0 / float(row["rate_rps"]),
                done_rps=float(row["ok"] or 0) / float(row["duration_s"] or "inf"),
                itl_mean_ms=float(row["itl_mean_ms"]),
                ttft_p50_ms=float(row["ttft_p50_ms"]),
                ttft_p95_ms=float(row["ttft_p95_ms"]) if row["ttft_p95_ms"] else None,
            )
            for row in rows("openloop_kaito_phi4mini")
            if row["gpu"] == gpu
        ],
    )


def sweep_rows() -> list[Row]:
    """Return latencies below saturation and throughput at every stage."""
    return [row for sweep in sweeps() for row in _sweep(sweep)]


def _sweep(sweep: Sweep) -> list[Row]:
    first = sweep.stages[0]
    _, light = _fitted(sweep, first)
    host_ms = first.ttft_p50_ms - light["TTFT p50 ms"]
    shipped_ms = 1e3 * ENGINES["vllm"].request_s
    found = []
    for stage in sweep.stages[1:]:
        factor, ours = _fitted(sweep, stage)
        plain = _stage(sweep, stage, 1.0)
        name = f"{sweep.name}, {stage.rps:g} rps, steps x {factor:.2f}"
        if stage.done_rps:
            figure = "done rps"
            found.append(Row(name, figure, stage.done_rps, plain[figure], ours[figure]))
        if stage.done_rps > 0.88 * stage.rps or not stage.done_rps:
            for figure, value in (
                ("TTFT p50 ms", stage.ttft_p50_ms),
                ("TTFT p95 ms", stage.ttft_p95_ms),
            ):
                if value is not None:
                    found.append(
                        Row(name, figure, value, plain[figure] + shipped_ms, ours[figure] + host_ms)
                    )
    return found


def _fitted(sweep: Sweep, stage: Stage) -> tuple[float, dict[str, float]]:
    factor = 1.0
    for _ in range(ROUNDS):
        factor *= stage.itl_mean_ms / _stage(sweep, stage, factor)["ITL mean ms"]
    return factor, _stage(sweep, stage, factor)


def _stage(sweep: Sweep, stage: Stage, factor: float) -> dict[str, float]:
    engine = _engine(sweep.model, sweep.device, sweep.settings, factor)
    dice = random.Random(1)
    now, count = 0.0, max(200, int(stage.rps * stage.seconds))
    for i in range(count):
        now += dice.expovariate(stage.rps)
        request = Request(
            id=i,
            arrival=now,
            input_tokens=sweep.input_tokens,
            output_tokens=sweep.output_tokens,
        )
        engine.submit(request, now)
    ends = [event for event in engine.advance(math.inf) if isinstance(event, Finished)]
    ttft = [1e3 * (e.first_token_at - e.reached_at) for e in ends if e.first_token_at]
    gaps = [1e3 * e.mean_itl_s for e in ends if e.mean_itl_s]
    return {
        "TTFT p50 ms": _quantile(ttft, 0.5),
        "TTFT p95 ms": _quantile(ttft, 0.95),
        "ITL mean ms": sum(gaps) / len(gaps),
        "done rps": len(ends) / max(end.at for end in ends),
    }


def main() -> None:
    """Print every figure, and how many are within 15 % and 8 %."""
    found = [*run_rows(), *sweep_rows()]
    out = sys.stdout.write
    out("| engine | figure | measured | as shipped | | with the factor | |\n")
    out("|---|---|---|---|---|---|---|\n")
    for row in found:
        errors = [value / row.measured - 1.0 for value in (row.shipped, row.scaled)]
        out(
            f"| {row.what} | {row.figure} | {row.measured:.4g} | {row.shipped:.4g} "
            f"| {errors[0]:+.0%} | {row.scaled:.4g} | {errors[1]:+.0%} |\n"
        )
    for limit in (0.15, 0.08):
        within = sum(abs(row.scaled / row.measured - 1.0) <= limit for row in found)
        out(f"\nWithin {limit:.0%} with the factor: {within} of {len(found)}\n")


if __name__ == "__main__":
    main()
