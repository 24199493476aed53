"""The simulated engine beside real ones: what issue 5 asks of it, figure by figure.

It serves the arrivals of every real run that is at hand with our step times, from data sheets: no
figure of a run goes in but what its engine said of its cache. Below saturation it is about first
tokens, the time between tokens and throughput, above it about how fast the queue grows. Of sweeps
only the rate is known, or how long all took: they are served with several draws of Poisson
arrivals, and their mean counts. Where single requests are known, the measured figure has an
interval, too: from resampling them. It tells how sure such a figure is of the engine, and excuses
no miss, for ours had the very same arrivals. A run whose log refutes its label is shown and not
counted. Run as
`python -m bench.simulate.real` in tests/; prints, and asserts nothing.
"""

import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from statistics import fmean, median

import numpy as np

from bench.accuracy import lentgpu
from bench.accuracy.files import rows
from bench.accuracy.runs import RUNS, Run
from bench.accuracy.weightsread import refuted
from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.performance.efficiency import ENGINES
from trimtab.performance.fit import kv_tokens
from trimtab.performance.steptime import step_model
from trimtab.simulate.compare import estimate
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Event, Finished, Request, Steps
from trimtab.simulate.pace import Pace

BAR = 0.15
KV_TOKENS = {"vllm_rtx4090_llama-3.1-8b": 41_408}
"""As the engine itself reported."""
BELOW = 0.95
"""Of the rate at which an engine saturates."""
COMING_S = 30
"""How long requests came in the runs, in whole seconds."""
HOST_S = ENGINES["vllm"].request_s
DRAWS = 8
"""Of the arrivals of a stage of a sweep."""
RESAMPLES = 400
"""Of the requests of a run."""
BLOCKS = 10
"""Into which those of a stage are cut for that: three seconds each."""
MATCHED = 1e-3
"""By which part the end of a stage may be off."""


@dataclass(frozen=True)
class Figure:
    """One figure of one run: as it was measured, and as it is simulated."""

    source: str
    what: str
    stage: str
    measured: float
    ours: float
    half_width: float | None = None
    """Of the 95 % confidence interval of `ours` over draws; None where arrivals are known."""
    counts: bool = True
    again: tuple[float, float] | None = None
    """95 % interval of `measured` over resampled requests; None where they are not known."""

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
        counts = not refuted(run)
        for what, look in _LOOKS:
            source = f"{run.name.removeprefix('nvidia-')}, vLLM 0.19"
            share, values = _RESAMPLED.get(what, (0.0, None))
            # A queue that grows all the time has no two stretches that are alike.
            again = _again(values(real), share, blocks=None) if values else None
            yield Figure(
                source, what, "the whole run", look(real), look(ours), counts=counts, again=again
            )


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
    return Engine(Pace(step, tokens), settings)


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


_RESAMPLED: dict[str, tuple[float, Callable[[Seen], list[float]]]] = {
    TTFT_P50: (0.5, lambda seen: seen.ttft),
    TTFT_P95: (0.95, lambda seen: seen.ttft),
    ITL_P50: (0.5, lambda seen: seen.itl),
    ITL_P95: (0.95, lambda seen: seen.itl),
}
"""Figures that are quantiles of requests: which, and of what."""


def _again(values: Sequence[float], share: float, *, blocks: int | None) -> tuple[float, float]:
    """Return what holds 95 % of a quantile over resampled values, which are in order of arrival.

    They are taken in so many blocks of neighbours, for requests that come together wait together;
    one by one where that is None.
    """
    dice = np.random.default_rng(0)
    many = len(values)
    size = 1 if blocks is None else max(1, many // blocks)
    starts = dice.integers(0, many, (RESAMPLES, math.ceil(many / size)))
    picked = (starts[:, :, None] + np.arange(size)) % many
    drawn = np.array(values)[picked.reshape(RESAMPLES, -1)[:, :many]]
    found = np.sort(drawn, axis=1)[:, min(int(share * many), many - 1)]
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


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
    lasts_s: float | None = None
    """When the last answer was there, where requests did not come as fast as they should have."""


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
    return [
        _perf("vllm", 204),
        *(replace(sweep, stages=sweep.stages[1:]) for sweep in map(_kaito, ("a100", "a10"))),
    ]


def clients() -> list[Sweep]:
    """Return for each sweep what tells by how much its client is later than the engine.

    For the H100 the same with its prompts cached, of which a twentieth is computed, and of it the
    stage of the nearest rate, for a machine that idles answers later; for both others their
    lightest stage.
    """
    cached = _perf("vllm_chunking_and_prefix_caching", 10)
    below = [stage for stage in cached.stages if stage.rps < BELOW * cached.knee]
    return [
        replace(cached, stages=below),
        *(replace(sweep, stages=sweep.stages[:1]) for sweep in map(_kaito, ("a100", "a10"))),
    ]


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
                lasts_s=float(row["duration_s"]) if row["duration_s"] else None,
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
        added = [
            (one.rps, one.ttft_p50_s - fmean(draw.ttft_p50_s for draw in _draws(client, one)))
            for one in client.stages
        ]
        for stage in sweep.stages:
            _, client_s = min(added, key=lambda pair: abs(pair[0] - stage.rps))
            looks: tuple[tuple[str, Callable[[Stage], float], float], ...] = ()
            if stage.rps < BELOW * sweep.knee:
                looks = (
                    (TTFT_P50, lambda one: one.ttft_p50_s, client_s),
                    (TTFT_P95, lambda one: one.ttft_p95_s, client_s),
                    (ITL_MEAN, lambda one: one.itl_s, 0.0),
                )
                if stage.lasts_s is None:  # else its rate is from there
                    looks += (("throughput (requests/s)", lambda one: one.done_rps, 0.0),)
            elif stage.rps > sweep.knee / BELOW and not math.isnan(stage.done_rps):
                # When the last answer of a queue is there says nothing of when requests came.
                stage, looks = replace(stage, lasts_s=None), ((GROWTH, _outrun, 0.0),)
            draws = _draws(sweep, stage) if looks else []
            for what, of, more in looks:
                ours = estimate(of(one) + more for one in draws)
                assert ours is not None
                at = f"{stage.rps:.3g} requests/s"
                yield Figure(sweep.name, what, at, of(stage), ours.mean, ours.half_width)


def _outrun(stage: Stage) -> float:
    """Return by how many requests/s those that come outrun those that are answered."""
    return stage.rps - stage.done_rps


def _draws(sweep: Sweep, stage: Stage) -> list[Stage]:
    return [_served(sweep, stage, seed) for seed in range(DRAWS)]


def _served(sweep: Sweep, stage: Stage, seed: int) -> Stage:
    """Return what our engine makes of a stage with one draw of arrivals.

    They are drawn out until the last answer is there when it was, where that is to be so.
    """
    dice = random.Random(seed)
    gaps = [dice.expovariate(stage.rps) for _ in range(stage.requests)]
    slower = 1.0
    while True:
        events = _events(sweep, [gap * slower for gap in gaps])
        lasts_s = max(event.at for event in events)
        late_s = 0.0 if stage.lasts_s is None else lasts_s - stage.lasts_s
        if abs(late_s) <= MATCHED * lasts_s:
            break
        slower -= late_s / sum(gaps)
    ends = [event for event in events if isinstance(event, Finished)]
    ttft = [e.first_token_at - e.reached_at + HOST_S for e in ends if e.first_token_at]
    steps = [
        (step.first_s + step.growth_s * (step.count - 1) / 2, step.count * step.decoding)
        for step in events
        if isinstance(step, Steps)
    ]
    return Stage(
        rps=stage.rps,
        done_rps=len(ends) / lasts_s,
        itl_s=sum(gap * count for gap, count in steps) / sum(count for _, count in steps),
        ttft_p50_s=_quantile(ttft, 0.5),
        ttft_p95_s=_quantile(ttft, 0.95),
        requests=len(ends),
    )


def _events(sweep: Sweep, gaps: Sequence[float]) -> list[Event]:
    engine = _engine(sweep.model, sweep.device, sweep.settings)
    for i, now in enumerate(accumulate(gaps)):
        request = Request(
            id=i,
            arrival=now,
            input_tokens=sweep.input_tokens,
            output_tokens=sweep.output_tokens,
        )
        engine.submit(request, now)
    return engine.advance(math.inf)


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
                    seen = [getattr(one, what.lower()) for one in stage.real]
                    again = _again(
                        [value for value in seen if value is not None],
                        float(share[1:]) / 100.0,
                        blocks=BLOCKS,
                    )
                    yield Figure(
                        source, column, stage.name, pair.measured, pair.predicted, again=again
                    )


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
    out("| engine | figure | at | measured | resampled | simulated | |\n")
    out("|---|---|---|---:|---:|---:|---:|\n")
    for one in found:
        again = "" if one.again is None else f"{one.again[0]:.4g} to {one.again[1]:.4g}"
        spread = "" if one.half_width is None else f" ± {one.half_width:.2g}"
        out(
            f"| {one.source} | {one.what} | {one.stage} | {one.measured:.4g} | {again} "
            f"| {one.ours:.4g}{spread} | {one.error:+.0%} |\n"
        )
    missed = [one for one in found if one.counts and abs(one.error) > BAR and one.again]
    covered = sum(one.again[0] <= one.ours <= one.again[1] for one in missed if one.again)
    out(
        f"\nOf {len(missed)} counted misses with known requests {covered} are within what "
        "resampling them gives.\n"
    )
    kinds = ("TTFT", "ITL", "throughput", "queue growth", "")
    out(f"\nWithin {BAR:.0%}, and the median error:\n\n")
    out(f"| engine | {' | '.join(kinds[:-1])} | all |\n|---|{'---|' * len(kinds)}\n")
    counted = [one for one in found if one.counts]
    groups = {
        source: [one for one in found if one.source == source]
        for source in dict.fromkeys(one.source for one in found)
    }
    for source, figures in {**groups, "all": counted}.items():
        cells = [_cell([one for one in figures if one.what.startswith(kind)]) for kind in kinds]
        name = source if any(one.counts for one in figures) else f"({source}: not counted)"
        out(f"| {name} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
