"""The simulated engine beside real ones: what issue 5 asks of it, figure by figure.

It serves the arrivals of every real run that is at hand with our step times, from data sheets: no
figure of a run goes in but what its engine said of its cache. Below saturation it is about first
tokens, the time between tokens and throughput, above it about how fast the queue grows. Run as
`python -m bench.simulate.real` in tests/; prints, and asserts nothing.
"""

import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from bench.accuracy import lentgpu
from bench.accuracy.files import rows
from bench.accuracy.runs import RUNS, Run
from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.performance.efficiency import ENGINES
from trimtab.performance.fit import kv_tokens
from trimtab.performance.steptime import step_model
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Finished, Request, Steps
from trimtab.simulate.launch import launched
from trimtab.simulate.pace import Pace

BAR = 0.15
KV_TOKENS = {"vllm_rtx4090_llama-3.1-8b": 41_408}
"""As the engine itself reported."""
BELOW = 0.95
"""Of the rate at which an engine saturates."""
COMING_S = 30
"""How long requests came in the runs, in whole seconds."""
HOST_S = ENGINES["vllm"].request_s


@dataclass(frozen=True)
class Figure:
    """One figure of one run: as it was measured, and as it is simulated."""

    source: str
    what: str
    stage: str
    measured: float
    ours: float

    @property
    def error(self) -> float:
        """Relative error, signed."""
        return self.ours / self.measured - 1.0


@dataclass(frozen=True)
class Seen:
    """What users and the log saw, with times in seconds."""

    ttft: list[float]
    itl: list[float]
    tokens_per_s: float
    waiting: list[float]
    """Every second."""


def runs() -> Iterator[Figure]:
    """Yield the figures of three runs of vLLM 0.19 that were overloaded on purpose."""
    for run in RUNS:
        real, ours = _logged(run), _simulated(run)
        for what, look in _LOOKS:
            source = f"{run.name.removeprefix('nvidia-')}, vLLM 0.19"
            yield Figure(source, what, "the whole run", look(real), look(ours))


def _logged(run: Run) -> Seen:
    found = [{k: float(v) for k, v in row.items()} for row in rows(run.file)]
    end = max(row["arrival_s"] + row["e2e_s"] for row in found)
    return Seen(
        ttft=[row["ttft_s"] for row in found],
        itl=[row["tpot_s"] for row in found if row["output_tokens"] > 1],
        tokens_per_s=sum(row["output_tokens"] for row in found) / end,
        waiting=[float(row["waiting"]) for row in rows(f"{run.file}_engine")],
    )


def _simulated(run: Run) -> Seen:
    settings = EngineSettings(
        max_num_seqs=run.max_num_seqs, max_num_batched_tokens=2048, weight_dtype=run.dtype
    )
    engine = _engine(run.model, run.device, settings, KV_TOKENS.get(run.file))
    for i, row in enumerate(rows(run.file)):
        request = Request(
            id=i,
            arrival=float(row["arrival_s"]),
            input_tokens=int(row["input_tokens"]),
            output_tokens=int(row["output_tokens"]),
        )
        engine.submit(request, request.arrival)
    ends: list[Finished] = []
    waiting: list[float] = []
    while engine.outstanding:
        now = len(waiting) + 1.0
        ends += [event for event in engine.advance(now) if isinstance(event, Finished)]
        waiting.append(engine.waiting(now))
    return Seen(
        ttft=[e.first_token_at - e.reached_at + HOST_S for e in ends if e.first_token_at],
        itl=[e.mean_itl_s for e in ends if e.mean_itl_s],
        tokens_per_s=sum(e.generated for e in ends) / max(e.at for e in ends),
        waiting=waiting,
    )


def _engine(model: str, device: str, settings: EngineSettings, kv: int | None = None) -> Engine:
    geometry, accelerator = geometries.get(model), accelerators.get(device)
    assert geometry is not None
    assert accelerator is not None
    tokens = kv or kv_tokens(geometry, accelerator, Parallelism(), settings)
    assert isinstance(tokens, int)
    step = step_model(geometry, accelerator, Parallelism(), settings)
    return Engine(Pace(launched(step, geometry, settings), tokens), settings)


def _growth(waiting: Sequence[float]) -> float:
    """Return the slope of the line that is closest to a queue while requests came."""
    return float(np.polyfit(np.arange(COMING_S), waiting[:COMING_S], 1)[0])


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


TTFT_P50, TTFT_P95 = "TTFT p50 (s)", "TTFT p95 (s)"
ITL_P50, ITL_P95, ITL_MEAN = "ITL p50 (s)", "ITL p95 (s)", "ITL mean (s)"
GROWTH = "queue growth (requests/s)"
_LOOKS: tuple[tuple[str, Callable[[Seen], float]], ...] = (
    (TTFT_P50, lambda seen: _quantile(seen.ttft, 0.5)),
    (TTFT_P95, lambda seen: _quantile(seen.ttft, 0.95)),
    (ITL_P50, lambda seen: _quantile(seen.itl, 0.5)),
    (ITL_P95, lambda seen: _quantile(seen.itl, 0.95)),
    ("throughput (tokens/s)", lambda seen: seen.tokens_per_s),
    (GROWTH, lambda seen: _growth(seen.waiting)),
)


@dataclass(frozen=True)
class Stage:
    """One rate of a sweep; seconds, NaN where its source is silent."""

    rps: float
    done_rps: float
    itl_s: float
    """Mean."""
    ttft_p50_s: float
    ttft_p95_s: float
    requests: int


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

    @property
    def knee(self) -> float:
        """The most requests/s that were answered."""
        return max(stage.done_rps for stage in self.stages if not math.isnan(stage.done_rps))


def sweeps() -> list[Sweep]:
    """Return the sweeps that are scored, settings as in `bench.accuracy.sweeps`."""
    a100 = _kaito("a100")
    return [
        _perf("vllm", 204),
        replace(a100, stages=a100.stages[1:]),
        _kaito("a10"),
    ]


def clients() -> list[Sweep]:
    """Return for each sweep what tells by how much its client is later than the engine.

    For the H100 the same with its prompts cached, of which a twentieth is computed; for both others
    the lightest stage of the A100.
    """
    cached, a100 = _perf("vllm_chunking_and_prefix_caching", 10), _kaito("a100")
    below = [stage for stage in cached.stages if stage.rps < BELOW * cached.knee]
    lightest = replace(a100, stages=a100.stages[:1])
    return [replace(cached, stages=below), lightest, lightest]


def _perf(config: str, input_tokens: int) -> Sweep:
    return Sweep(
        name="H100 Llama-3-8B, vLLM 0.11",
        model="Llama-3-8B",
        device="nvidia-h100-sxm",
        settings=EngineSettings(max_num_seqs=128, takes_turns=True),
        input_tokens=input_tokens,
        output_tokens=62,
        stages=[
            Stage(
                rps=float(row["achieved_rps"]),
                done_rps=float(row["done_rps"]),
                # Its client counts two pieces of the stream for a token.
                itl_s=(float(row["latency_mean_ms"]) - float(row["ttft_mean_ms"]))
                / (float(row["osl_mean"]) - 1.0)
                / 1e3,
                ttft_p50_s=float(row["ttft_p50_ms"]) / 1e3,
                ttft_p95_s=float(row["ttft_p95_ms"]) / 1e3,
                requests=int(float(row["ok"])),
            )
            for row in rows("openloop_inferenceperf_h100_llama3_8b")
            if row["config"] == config
        ],
    )


def _kaito(gpu: str) -> Sweep:
    return Sweep(
        name=f"{gpu.upper()} Phi-4-mini",
        model="phi-4-mini-instruct",
        device=gpu,
        settings=EngineSettings(sorted_sampling=True),
        input_tokens=200,
        output_tokens=200,
        stages=[
            Stage(
                rps=float(row["rate_rps"]),
                done_rps=float(row["ok"] or "nan") / float(row["duration_s"] or "nan"),
                itl_s=float(row["itl_mean_ms"]) / 1e3,
                ttft_p50_s=float(row["ttft_p50_ms"] or "nan") / 1e3,
                ttft_p95_s=float(row["ttft_p95_ms"] or "nan") / 1e3,
                requests=1000,
            )
            for row in rows("openloop_kaito_phi4mini")
            if row["gpu"] == gpu
        ],
    )


def sweep_figures() -> Iterator[Figure]:
    """Yield what users saw below saturation, and above it by how much requests outran answers.

    What a client adds to each first token is taken from stages that are not among them.
    """
    for sweep, client in zip(sweeps(), clients(), strict=True):
        client_s = median(
            stage.ttft_p50_s - _served(client, stage).ttft_p50_s for stage in client.stages
        )
        for stage in sweep.stages:
            ours = _served(sweep, stage)
            at = f"{stage.rps:.3g} requests/s"
            if stage.rps < BELOW * sweep.knee:
                for what, measured, value in (
                    (TTFT_P50, stage.ttft_p50_s, ours.ttft_p50_s + client_s),
                    (TTFT_P95, stage.ttft_p95_s, ours.ttft_p95_s + client_s),
                    (ITL_MEAN, stage.itl_s, ours.itl_s),
                    ("throughput (requests/s)", stage.done_rps, ours.done_rps),
                ):
                    if not math.isnan(measured):
                        yield Figure(sweep.name, what, at, measured, value)
            elif stage.rps > sweep.knee / BELOW and not math.isnan(stage.done_rps):
                yield Figure(
                    sweep.name, GROWTH, at, stage.rps - stage.done_rps, stage.rps - ours.done_rps
                )


def _served(sweep: Sweep, stage: Stage) -> Stage:
    """Return what our engine makes of a stage."""
    engine = _engine(sweep.model, sweep.device, sweep.settings)
    dice = random.Random(1)
    now = 0.0
    for i in range(stage.requests):
        now += dice.expovariate(stage.rps)
        request = Request(
            id=i,
            arrival=now,
            input_tokens=sweep.input_tokens,
            output_tokens=sweep.output_tokens,
        )
        engine.submit(request, now)
    events = engine.advance(math.inf)
    ends = [event for event in events if isinstance(event, Finished)]
    ttft = [e.first_token_at - e.reached_at + HOST_S for e in ends if e.first_token_at]
    gaps = [
        (step.first_s + step.growth_s * (step.count - 1) / 2, step.count * step.decoding)
        for step in events
        if isinstance(step, Steps)
    ]
    return Stage(
        rps=stage.rps,
        done_rps=len(ends) / max(end.at for end in ends),
        itl_s=sum(gap * count for gap, count in gaps) / sum(count for _, count in gaps),
        ttft_p50_s=_quantile(ttft, 0.5),
        ttft_p95_s=_quantile(ttft, 0.95),
        requests=len(ends),
    )


def own() -> Iterator[Figure]:
    """Yield the figures of our own open loops; a stage is named by its share of the knee."""
    names = {"TTFT": (TTFT_P50, TTFT_P95), "TPOT": (ITL_P50, ITL_P95)}
    for stage in lentgpu.stages():
        source = f"H100 {stage.model}, vLLM 0.26"
        step = lentgpu.times(stage.model)
        if stage.name == lentgpu.OVERLOAD:
            answered = lentgpu.answered(stage, step)
            if answered.measured < BELOW * len(stage.asked):
                measured, ours = (
                    (len(stage.asked) - count) / lentgpu.OVERLOAD_S
                    for count in (answered.measured, answered.predicted)
                )
                yield Figure(source, GROWTH, stage.name, measured, ours)
        elif float(stage.name) < BELOW:
            for pair in lentgpu.replayed(stage, step):
                share, _, what = pair.group.partition(" ")
                if what in names:
                    column = names[what][share == "p95"]
                    yield Figure(source, column, stage.name, pair.measured, pair.predicted)


def _cell(figures: Sequence[Figure]) -> str:
    """Return how many are within the bar and how large the median error is."""
    if not figures:
        return "-"
    errors = [abs(one.error) for one in figures]
    return f"{sum(error <= BAR for error in errors)} of {len(errors)}, {median(errors):.0%}"


def main() -> None:
    """Print every figure, and by engine and kind how many are within the bar."""
    found = [*runs(), *sweep_figures(), *own()]
    out = sys.stdout.write
    out("| engine | figure | at | measured | simulated | |\n|---|---|---|---:|---:|---:|\n")
    for one in found:
        out(
            f"| {one.source} | {one.what} | {one.stage} | {one.measured:.4g} | {one.ours:.4g} "
            f"| {one.error:+.0%} |\n"
        )
    kinds = ("TTFT", "ITL", "throughput", "queue growth", "")
    out(f"\nWithin {BAR:.0%}, and the median error:\n\n")
    out(f"| engine | {' | '.join(kinds[:-1])} | all |\n|---|{'---|' * len(kinds)}\n")
    for source in (*dict.fromkeys(one.source for one in found), ""):
        cells = [
            _cell([o for o in found if o.source.startswith(source) and o.what.startswith(kind)])
            for kind in kinds
        ]
        out(f"| {source or 'all'} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
