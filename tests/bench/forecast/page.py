"""The page that says how good forecasts are, from scores that were just made."""

from collections.abc import Mapping, Sequence

import numpy as np

from bench.forecast.baselines import BASELINES
from bench.forecast.score import HORIZONS, LEVELS, OURS, Scores
from bench.forecast.series import Floats, Series

Scored = Sequence[tuple[Series, Scores]]

_HEAD = """# How good forecasts of demand are

Written by `python -m bench.forecast` (in `tests/`) from what it just ran.

Forecast is the **largest one-minute arrival rate** of the next 1, 5 and 10 minutes, at quantiles
0.5, 0.9 and 0.98. The loss is the pinball loss; smaller is better. Each series is read minute by
minute from nothing, without a look ahead, and scored from minute 15 on.

Baselines are last value, seasonal-naive (yesterday), ARIMA(p, 1, 0) with the order by AIC, and a
Kalman local linear trend with variances by likelihood. Each gets quantiles of the errors that it
has made so far on the very same maximum, so that none is a straw man.

Series: the ServeGen services that come with Trimtab, sampled client by client at three levels,
two days of each (R1: 18 hours); the two largest clients of each alone; Azure's and Mooncake's
traces, which are 40 minutes long and say little.

Constants stand with their meaning in `operator/trimtab/planner/forecast/constants.py`, one set for
all series. The structure and five of them (shares and half-lives of surprises, sharpness, weight of
the prior, half-lives of levels) were chosen among round values with these services in view; around
each the mean loss changes by less than 1 %. Other slices are the better judge.

A mean over a group can be dragged by one run-away of a baseline (an autoregression that was
unstable for an hour, say): *best of four* cannot. Weak: the first half hour of a rate that climbs,
as in Azure's conversation trace, where the prior belief is too narrow; and single clients whose
rate stands still and jumps, where the last value is all there is to know.

Left out: a profile by time of day or week. Over the ten minutes that are scored yesterday helped
nothing here; hints of the schedule are the planner's.
"""


def page(scored: Scored, shifts: Mapping[tuple[float, float], float]) -> str:
    """Return the page, in Markdown."""
    lines = [_HEAD, "## Over all series\n"]
    groups = list(dict.fromkeys(series.group for series, _ in scored))
    lines += _table(
        ["group", "against", *_cells()],
        [row for group in groups for row in _group(group, _of(group, scored))],
    )
    lines.append(
        "\n*best of four*: the best baseline of each series and cell, in hindsight; by name: that "
        "baseline on all. Both are geometric means of our loss over its. *covered* is the mean "
        "share of maxima at or below our quantile.\n"
    )
    lines.append("## By series\n")
    lines.append(
        "Our loss over that of the best baseline; then the worst cell against last value.\n"
    )
    lines += _table(
        ["series", "req/s", "min", *_cells(), "worst against last value"],
        [_series(series, scores) for series, scores in scored],
    )
    lines.append("\nCoverage of our quantiles.\n")
    lines += _table(
        ["series", *_cells()],
        [[series.name, *_flat(scores.coverage, "{:.3f}")] for series, scores in scored],
    )
    lines.append("\n## Losses\n")
    lines.append("Mean pinball loss as a percentage of the series' mean rate.\n")
    lines += _table(
        ["series", "forecaster", *_cells()],
        [
            [series.name, name, *_flat(100.0 * loss / scores.mean_rps, "{:.2f}")]
            for series, scores in scored
            for name, loss in scores.losses.items()
        ],
    )
    lines.append("\n## A level shift\n")
    lines.append(
        "Minutes after a lasting change of a Poisson rate until nine tenths of it are, and stay, "
        "in the median of the next minute, and the 0.9 quantile is no further below that of a "
        "forecaster that knew only the new rate. After a fall the 0.9 quantile stays wider for "
        "longer: where the rate has just changed, it may again.\n"
    )
    lines += _table(
        ["from, req/s", "to, req/s", "minutes"],
        [[f"{a:g}", f"{b:g}", f"{taken:.0f}"] for (a, b), taken in shifts.items()],
    )
    return "\n".join(lines) + "\n"


def _cells() -> list[str]:
    return [f"{h} min q{q:g}" for h in HORIZONS for q in LEVELS]


def _of(group: str, scored: Scored) -> list[Scores]:
    return [scores for series, scores in scored if series.group == group]


def _group(group: str, scores: Sequence[Scores]) -> list[list[str]]:
    rows = [[f"{group} ({len(scores)})", "best of four", *_mean([s.ratio() for s in scores])]]
    for name in BASELINES:
        ratios = [s.losses[OURS] / s.losses[name] for s in scores]
        rows.append(["", name, *_mean(ratios)])
    covered = np.mean([s.coverage for s in scores], axis=0)
    rows.append(["", "covered", *_flat(covered, "{:.3f}")])
    return rows


def _series(series: Series, scores: Scores) -> list[str]:
    worst = float(scores.against_last().max())
    head = [series.name, f"{scores.mean_rps:.3g}", str(scores.minutes)]
    return [*head, *_flat(scores.ratio(), "{:.2f}"), f"{worst:.2f}"]


def _mean(ratios: Sequence[Floats]) -> list[str]:
    return _flat(np.exp(np.mean(np.log(ratios), axis=0)), "{:.2f}")


def _flat(values: Floats, form: str) -> list[str]:
    return [form.format(value) for value in values.ravel().tolist()]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
