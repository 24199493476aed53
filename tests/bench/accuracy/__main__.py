"""Scores the performance model against every measured set and writes docs/accuracy.md.

Run it with `make accuracy`, or as `python -m bench.accuracy` in tests/. `--quick` leaves out the
token-level simulations, which take minutes.
"""

import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from bench.accuracy import (
    drift,
    grid,
    leftout,
    lentpage,
    mlperf,
    older,
    percentiles,
    runs,
    silicon,
    simulated,
    sweeps,
)
from bench.accuracy.plot import scatter
from bench.accuracy.score import Pair, Score, by, score, table
from bench.accuracy.weightsread import label_bytes, refuted, weights_read

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "accuracy.md"
PLOT = ROOT / "docs" / "images" / "accuracy.svg"

CLEAR = math.log(1.1)
"""Difference of costs, in logarithms, above which a rank is no toss-up."""

_INTRODUCTION = """# How accurate the performance model is

Written by `make accuracy` from what it just ran; every number here can be made again that way.

Errors are relative: *median* and *p90* of the absolute error, *bias* is the median signed error
(positive: predicted slower or more than measured). *Fitted* rows are those that constants were
fitted to; *held out* is the third of the deployments, by a hash of their names, the one model of
the step grid that no constant has seen, and of first tokens all that NVIDIA measured itself.
`python -m bench.accuracy.fit` repeats the fit from round figures, the same for every family, lands
on the constants that stand and fails where it does not.
No constant belongs to a model, a row or a data set. They belong to a device family or an engine,
and stand with their meaning in `efficiency.py` and `coefficients.py` of
`operator/trimtab/performance/`.

![Predicted against measured](images/accuracy.svg)
"""
_GB200 = """These rows cannot be one aggregated replica each, and no constant follows them. Over 20
to 72 devices they are whole racks: the degree of tensor parallelism is the count of all devices,
some of which only work off prompts, and with the same devices, engine and lengths 512 users wait
9.6 ms for a token where 256 wait 14.8 (with and without speculation, or split otherwise). 448 users
with 15,000 tokens each, answered in 7.5 s by two devices, would be 56 PFLOP/s, nearly three times
the 4-bit peak of both, unless most of it was cached. And Qwen3-32B in 16 bit takes 8 ms with one
user, as predicted, but 21 and 42 with two and 28 with eight. What one GB200 does is seen in its
kernels below: 5 % in the median for decoding, 14 % for prompts. Rates of any GB200 carry the
standard error of a family of which no deployment is known (31 %), over more than eight devices
71 % or more, so plans leave them the least of their rates.
"""

_READING = """## How to read it, and where the model is blind

- The deployments ran engines of many versions; two versions of one engine on one machine differ by
  up to 30 % here, which no model of the hardware can see. Calibration (above) is for that.
- TTFT of a closed loop depends on how its users fall into step. SGLang and TensorRT-LLM rows come
  from recipes that stream tokens in groups; their constants describe those recipes, and are not
  used for requests that arrive at random. Recipes differ: of TensorRT-LLM the rows of one model
  and release ask for 4 steps and those of another for 30, which nothing in a model's shape tells.
  So TTFT of a family that is in no file is off by as much as its recipes are unusual: with the
  steps of each engine fitted to the family's own rows it would be off by 33 % for Llama and as much
  for DeepSeek's, with those of each release of an engine by 24 and 25.
- TensorRT-LLM's recipes for attention that is spread over ranks hold a prompt back until each rank
  has one, for 50 steps at most. How long follows from how often requests come; nothing is fitted.
  Of DeepSeek's rows, left out, it takes TTFT from 44 % to 41. The eight such rows of gpt-oss are as
  far off as before, late instead of early (22 % of all its rows before, 23 now).
- The time that one request takes beside the device is one figure for all engines, 10 ms. Fitted to
  each by itself it was 11, 12 and 34: the 34 of TensorRT-LLM came from NVIDIA's own rows, which ask
  for 107 (and 41 of vLLM), where InferenceX's ask for 7 (and 10). Another client or older releases
  are in those, so no engine's constant follows their first tokens, and they count as held out
  above. With three constants fewer TTFT was as near as before in all (27.3 %, and 27.5 before), and
  in the third that a hash holds out a little farther with less bias (25.9 and +3 %, 24.3 and +7 %
  before). Of the families left out it was nearer for two and farther for DeepSeek's: Llama 38 %,
  gpt-oss 22, DeepSeek's 44 and Qwen 25, where they were 41, 28, 41 and 24. With NVIDIA's rows it
  would have been 28.5 % in all, whether that one figure is fitted or 10 ms.
- Deployments over more than eight devices are predicted badly: exchanges between nodes follow
  data sheets of networks and no measurement, and how attention is spread is not always known. Their
  rates carry a standard error of 55 % or more, which leaves the least share of them to plan with.
- The RTX PRO 6000 and RTX 4090 runs and the A10 sweep gave one constant each for cards at their
  power limit, so their own figures are no test of it.
- MLPerf's offline results of the H100 SXM and the MI300X gave constants; the rest of its table is
  held out.
- Mixtures of experts: how unequally experts are chosen is one constant for all models, and fitted
  mostly to benchmarks with random tokens. Where chats prefer fewer experts, predictions are late,
  on the safe side.
- Rows of DeepSeek, GLM and Qwen3.5 with and without speculation are measured under one name; the
  model predicts those without, and the others are up to twice as fast.
- The grid's 8-bit experts on Hopper and its mxfp4 experts on Blackwell ran kernels that were not
  tuned and half as fast as in deployments; constants follow the deployments.
- Engines that sort a large vocabulary for every token saturate far earlier than others. The model
  counts that where it is told so (`sorted_sampling`), as for the Phi-4-mini sweeps here. Their
  clients add a quarter of a second to every first token, which is taken from the A100's lightest
  stage and added to all others.
- The H100 sweep's client counts two pieces of the stream for a token, so its own TPOT is half of
  the time between tokens; its vLLM 0.11 takes turns with the device, where newer ones do both at
  once (`takes_turns`). What that costs is taken from the sweep with cached prompts; the other one
  is a test of it.
- 4-bit experts are bound by widening them where the device cannot multiply them, so an H200 serves
  gpt-oss hardly faster than an H100.
- Accelerators of families without measurements (Gaudi, TPU, Trainium, V100, T4) carry the medians
  of the others and `confidence` 0.6: their capacities come with a standard error of 31 %. So do
  GB200 and Arc Pro B60, of which only kernels are known.
- A model that is in no list is taken for the usual one of the size in its name, with provenance
  `guessed`. Of the known models that state a size, so guessed, rates are off by 17 % in the median
  and 44 % in the mean square; the standard error is 45 % or more.
- Engines of 2023 and 2024 are shown at the end only to say how far today's constants are from them.
"""


def main() -> None:
    """Score everything and write the page and the plot."""
    quick = "--quick" in sys.argv[1:]
    points, refused = silicon.points()
    tpot, ttft = silicon.tpot(points), silicon.ttft(points)
    parts = [
        _INTRODUCTION,
        _deployments(tpot, ttft, refused),
        _unseen(silicon.points(unseen=True)[0]),
        _left_out(leftout.found()),
        _gb200(silicon.gb200(points)),
        _calibration(points),
        _steps(grid.steps(), grid.unseen()),
        _sweeps(sweeps.sweeps()),
        _replays(),
        lentpage.section(),
        _mlperf(mlperf.results()),
        *(
            []
            if quick
            else [
                _simulated(simulated.run()),
                _percentiles(percentiles.pairs()),
                _drift(drift.cases(), drift.uncounted()),
            ]
        ),
        _older(),
        _READING,
    ]
    PAGE.write_text("\n".join(parts), encoding="utf-8")
    PLOT.parent.mkdir(exist_ok=True)
    series = {"TPOT, held out": [p for p in tpot if p.held_out], "TPOT, fitted": tpot}
    PLOT.write_text(
        scatter(
            {name: _milliseconds(pairs) for name, pairs in reversed(series.items())},
            title="Time per output token of 2,443 measured deployments",
            unit="ms",
        ),
        encoding="utf-8",
    )
    sys.stdout.write(f"wrote {PAGE.relative_to(ROOT)}\n{_line('TPOT', score(tpot))}\n")


def _deployments(tpot: Sequence[Pair], ttft: Sequence[Pair], refused: int) -> str:
    rows: dict[str, Score] = {}
    for name, pairs in (("TPOT", tpot), ("TTFT below saturation", ttft)):
        rows[f"**{name}**, all"] = score(pairs)
        rows[f"{name}, fitted"] = score([p for p in pairs if not p.held_out])
        rows[f"{name}, held out"] = score([p for p in pairs if p.held_out])
    names = {"model": 0, "accelerator": 1, "engine": 2}
    details = "\n\n".join(
        table(
            f"TPOT by {what}",
            by(tpot, lambda pair, i=i: pair.group.split("|")[i]),  # type: ignore[misc]
        )
        for what, i in names.items()
    )
    return (
        "## Measured deployments, from data sheets alone\n\n"
        "InferenceX and NVIDIA, 2025-10 to 2026-04: vLLM, SGLang and TensorRT-LLM at a fixed "
        f"number of users (`inferencex_silicon`, aggregated). {refused} rows are said not to fit "
        "and are left out.\n\n" + table("", rows) + "\n\n" + details + "\n"
    )


def _unseen(points: list[silicon.Point]) -> str:
    rates = silicon.rates(points)
    spread = math.sqrt(fmean(math.log(p.predicted / p.measured) ** 2 for p in rates))
    return (
        "### TPOT, as if nobody had measured the device\n\n"
        "Of each accelerator's family all constants are left out, and the medians of the other "
        "families taken, as for any that is in no file.\n\n"
        + table("", by(silicon.tpot(points), lambda pair: pair.group.split("|")[1]))
        + f"\n\nRequests per second, on one node, are off by {spread:.0%} in the mean square of "
        f"their logarithms, and by {score(rates).bias:+.0%} in the median.\n"
    )


def _left_out(found: dict[str, Score]) -> str:
    return (
        "### As if nobody had measured a family of models\n\n"
        "All constants are fitted again without the family's steps and deployments (`python -m "
        "bench.accuracy.leftout`, run beforehand, for it takes minutes for each), and its rows "
        "predicted with those: what to expect of a family that is in no file.\n\n"
        + table("", found)
        + "\n"
    )


def _gb200(pairs: list[Pair]) -> str:
    return (
        "### Why the GB200 is off\n\n"
        + table("", by(pairs, lambda pair: pair.group))
        + "\n\n"
        + _GB200
    )


def _calibration(points: list[silicon.Point]) -> str:
    ranks = silicon.ranked(points)
    clear = [right for apart, right in ranks if apart > CLEAR]
    rows = {"TPOT after three rows": score(silicon.calibrated_tpot(points))}
    return (
        "## After three measurements, and rank\n\n"
        "Three rows of the same replica and engine version stretch all times by one factor; the "
        "other rows are scored.\n\n"
        + table("", rows)
        + f"\n\nOf {len(ranks)} pairs of accelerators that served one model under one load, the "
        "one with the cheaper token (catalogue prices) is named in "
        f"{sum(right for _, right in ranks) / len(ranks):.1%}; of the {len(clear)} whose costs "
        f"differ by more than 10 %, in {sum(clear) / len(clear):.1%}.\n"
    )


def _steps(pairs: list[Pair], unseen: list[Pair]) -> str:
    split = {
        "all models but " + grid.HELD_OUT: score([p for p in pairs if not p.held_out]),
        grid.HELD_OUT + ", held out": score([p for p in pairs if p.held_out]),
    }
    return (
        "## Engine steps against measured kernels\n\n"
        "AIConfigurator's grid (`aic_step_grid`), without an engine's own time.\n\n"
        + table("", split)
        + "\n\n"
        + table("By accelerator and phase", by(pairs, lambda pair: pair.group))
        + "\n\n"
        + table("The same, as if nobody had measured it", by(unseen, lambda pair: pair.group))
        + "\n\nOf each accelerator's family, all constants are left out here and the medians of "
        "the other families taken: what to expect of one that is in no file.\n"
    )


def _sweeps(found: list[sweeps.Sweep]) -> str:
    lines = [
        "## Open loops up to saturation\n",
        "| sweep | knee, req/s | predicted | error | TPOT below it | p95 TTFT below it |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.name} | {one.knee.measured:.1f} | {one.knee.predicted:.1f} | "
        f"{one.knee.error:+.0%} | {score(one.tpot).median:.0%} | {score(one.ttft_p95).median:.0%} |"
        for one in found
    ]
    return "\n".join(lines) + "\n"


def _replays() -> str:
    standing = [run for run in runs.RUNS if not refuted(run)]
    labelled = [run for run in runs.RUNS if refuted(run)]
    return (
        "## Requests of real vLLM runs, played again\n\n"
        "The simulated engine serves the same 300 arrivals with our step times. All runs are "
        "labelled 16 bit. One rule for all: a label does not count where no step in the run's own "
        "log is long enough to read two thirds of the weights that it says (below).\n\n"
        + _values([pair for run in standing for pair in runs.replay(run)], "s")
        + "\n### As labelled, where the log refutes it\n\n"
        + _values([pair for run in labelled for pair in runs.replay(run)], "s")
        + "\n"
        + _weights_read()
    )


def _weights_read() -> str:
    lines = [
        "### What the steps of those runs can have read\n",
        "From the engine's log, in seconds without prompts: a step takes as long as the batch over "
        "the tokens per second. Less keys and values (of the request log) and what is no reading "
        "(launches, engine, activations), both by the model, it leaves time in which so many bytes "
        "of weights can be read at the usual share of the bandwidth.\n",
        "| run | all weights, 16 bit | 8 bit | batch | step | keys and values | no reading "
        "| weights read |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in runs.RUNS:
        if run.dtype != "none":
            continue
        wide, narrow = label_bytes(run, "none"), label_bytes(run, "fp8")
        lines += [
            f"| {run.name} | {wide / 1e9:.1f} GB | {narrow / 1e9:.1f} GB | {one.batch:.0f} | "
            f"{one.step_s * 1e3:.1f} ms | {one.kv_s * 1e3:.1f} ms | {one.rest_s * 1e3:.1f} ms | "
            f"{one.weight_bytes / 1e9:.1f} GB |"
            for one in weights_read(run)
        ]
    lines.append(
        "\nFor the Llama runs the figure is all of the weights, give or take what computing adds. "
        "For Qwen3-30B-A3B it is all of 8-bit weights and half of 16-bit ones, and no more with "
        "185 chats than with 23. For the label to hold, 200 chats would have to use about the same "
        "half of each layer's 128 experts, all of it already with two dozen chats, and never the "
        "others: then a batch reads 64 x (1 - (1 - 8 / 64)^n) experts of 9.4 MB in each of 48 "
        "layers. That is possible where weights were made up and every token is routed alike, and "
        "unlike any published count of a trained router. And the 336,007 tokens that it held at "
        "once, none preempted, take 33.0 GB: beside 61.0 GB of 16-bit weights that is 94 % of the "
        "card's memory, where vLLM takes 90 % unless told otherwise. With 8 bit both need nothing "
        "said. No constant follows this run. Its p95 TTFT is time in a queue that grows for half a "
        "minute: 7 % of the time of the whole run are 40 % of that.\n"
    )
    return "\n".join(lines)


def _mlperf(pairs: list[Pair]) -> str:
    return (
        "## MLPerf v4.1: tokens per second and accelerator\n\n"
        "Server results are under the limits of 2 s TTFT and 200 ms TPOT at p99; the best of 1, 2, "
        "4 and 8 devices is predicted, the median of the submitters is measured.\n\n"
        + _values(pairs, "")
    )


def _simulated(found: list[simulated.Case]) -> str:
    broken = sum(case.overshoot > 0.1 for case in found)
    rows = {"largest rate": score(simulated.pairs(found))}
    worst = sorted(found, key=lambda case: -abs(case.predicted / case.simulated - 1.0))[:5]
    lines = [
        f"| {case.name} | {case.predicted:.3g} | {case.simulated:.3g} | {case.overshoot:+.0%} |"
        for case in worst
    ]
    return (
        "## Largest rate under a p95 target, against the token-level simulation\n\n"
        "Same step times on both sides, so this is the error of the mean-field model alone.\n\n"
        + table("", rows)
        + f"\n\nAt the predicted rate {broken} of {len(found)} cases break a target by more than "
        "10 %. The five largest errors:\n\n| case | predicted | simulated | worst target |\n"
        "|---|---|---|---|\n" + "\n".join(lines) + "\n"
    )


def _percentiles(pairs: list[Pair]) -> str:
    return (
        "## Percentiles, against the token-level simulation\n\n"
        "The same replicas and loads at 30, 60 and 80 % of their saturation. ITL is a request's "
        "mean gap between tokens, which targets are for; gap is a single one, as engines count.\n\n"
        + table("", by(pairs, lambda pair: pair.group))
        + "\n"
    )


def _drift(found: list[drift.Case], uncounted: list[drift.Case]) -> str:
    kinds = {
        "below saturation": [case for case in found if case.load < 1.0],
        "overload, batch full": [case for case in found if case.load > 1.0 and not case.full],
        "overload, cache full": [case for case in found if case.load > 1.0 and case.full],
        "the same, steps not counted": [case for case in uncounted if case.full],
    }
    lines = [
        "## Calibration against a drifting engine\n",
        "The simulated engine runs at another speed than the model says, steady or swinging, and "
        "shows what Prometheus shows of it. Step time believed after "
        f"{drift.SCORED} scrapes, and by how much the belief ever was worse than the estimate.\n",
        "| | n | median error | largest | within 5 % | largest harm |",
        "|---|---|---|---|---|---|",
    ]
    for name, cases in kinds.items():
        errors = sorted(abs(case.error) for case in cases)
        lines.append(
            f"| {name} | {len(cases)} | {errors[len(errors) // 2]:.1%} | {errors[-1]:.1%} | "
            f"{sum(one <= 0.05 for one in errors)} | {max(case.harm for case in cases):+.1%} |"
        )
    lines.append(
        "\nWith a full cache the mean gap has the time in it that requests spend without a place. "
        "vLLM counts its steps and who lost a place, which tells the batch and what is computed "
        "again; of an engine that does not, the batch is known at its scrapes only.\n"
    )
    return "\n".join(lines) + "\n"


def _older() -> str:
    return (
        "## Engines of 2023 and 2024, for comparison\n\n"
        + table("Splitwise: vLLM of 2023", by(older.splitwise(), lambda pair: pair.group))
        + "\n\n"
        + table("dstack: Llama-3.1-405B, 2024", by(older.dstack(), lambda pair: pair.group))
        + "\n"
    )


def _values(pairs: Iterable[Pair], unit: str) -> str:
    lines = ["| | measured | predicted | error |", "|---|---|---|---|"]
    lines += [
        f"| {pair.group.replace('|', ', ')} | {pair.measured:.4g} {unit} | "
        f"{pair.predicted:.4g} {unit} | {pair.error:+.0%} |"
        for pair in pairs
    ]
    return "\n".join(lines) + "\n"


def _line(name: str, value: Score) -> str:
    return f"{name}: median {value.median:.1%}, p90 {value.p90:.1%}, bias {value.bias:+.1%}"


def _milliseconds(pairs: Iterable[Pair]) -> list[Pair]:
    return [
        Pair(group=p.group, predicted=p.predicted * 1e3, measured=p.measured * 1e3) for p in pairs
    ]


if __name__ == "__main__":
    main()
