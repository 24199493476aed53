"""The page that says how good forecasts are, from scores that were just made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.forecast.baselines import BASELINES
from bench.forecast.daily import AHEAD
from bench.forecast.floor import DRAWS, FLOOR_LEVELS
from bench.forecast.score import HORIZONS, LEVELS, OURS, START, Scores
from bench.forecast.series import Floats, Series
from bench.forecast.young import EVERY, MINUTES

Scored = Sequence[tuple[Series, Scores]]
BAR = 0.85
"""Loss over that of the best baseline that is asked for (research/models.md 4.2)."""
WITHIN = 0.02
"""Difference of shares up to which a quantile covers what it says."""
WORST = 1.05
"""Loss over that of the last value that no series is to exceed."""

_HEAD = """# How good forecasts of demand are

Written by `python -m bench.forecast` (in `tests/`) from what it just ran.

Forecast is the **largest one-minute arrival rate** of the next 1, 5 and 10 minutes, at quantiles
0.5, 0.9 and 0.98. The loss is the pinball loss; smaller is better. Each series is read minute by
minute from nothing, without a look ahead, and scored from minute 15 on.

Baselines are last value, seasonal-naive (yesterday), ARIMA(p, 1, 0) with the order by AIC, and a
Kalman local linear trend with variances by likelihood. Each gets quantiles of the errors that it
has made so far on the very same maximum, so that none is a straw man.

Series: the ServeGen services that come with Trimtab, sampled client by client at three levels,
three days of each (R1: 18 hours); the two largest clients of each alone; Azure's and Mooncake's
traces, which are 40 minutes long and say little.

Constants stand with their meaning in `operator/trimtab/planner/forecast/constants.py`, one set for
all series. The structure and five of them (shares and half-lives of surprises, sharpness, weight of
the prior, half-lives of levels) were chosen among round values with these services in view; around
each the mean loss changes by less than 1 %. Other slices are the better judge.

What is said is a blend of two: a learner with experts of many half-lives, and the plain opinion
that the rate stays, give or take what that was wrong by (`plain.py`); each counts by what it lost
of late.

A mean over a group can be dragged by one run-away of a baseline (an autoregression that was
unstable for an hour, say): *best of four* cannot. Weak: the first half hour of a rate that climbs,
as in Azure's conversation trace, where the median lags behind; and single clients whose
rate stands still and jumps, where the last value is nearly all there is to know.

What the user knows beforehand stands in `spec.demand.schedule` and is the planner's; it is not
scored here.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that was measured."""

    scored: Scored
    floors: Mapping[str, Floats]
    """Least loss that chance leaves by name of a series, (horizons, levels), requests/s."""
    young: Mapping[str, Floats]
    """Losses of pieces by group, as `young` returns them."""
    daily: Mapping[str, Floats]
    """Loss over that without the time of day by name of a series, (horizons, levels)."""
    shifts: Mapping[tuple[float, float], float]
    """Minutes by rates before and after, requests/s."""


def page(findings: Findings) -> str:
    """Return the page, in Markdown."""
    scored = findings.scored
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
    lines += _uncovered(scored)
    lines += _young(findings)
    lines += _floors(findings)
    lines += _daily(findings)
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
        [[f"{a:g}", f"{b:g}", f"{taken:.0f}"] for (a, b), taken in findings.shifts.items()],
    )
    return "\n".join(lines) + "\n"


def _uncovered(scored: Scored) -> list[str]:
    """Return which quantiles cover more or less than they say."""
    lines, cells, missed = [], 0, 0
    for series, scores in scored:
        off = (np.abs(scores.coverage - np.array(LEVELS)) > WITHIN + 1e-9).ravel().tolist()
        named = [cell for cell, is_off in zip(_cells(), off, strict=True) if is_off]
        cells, missed = cells + len(off), missed + len(named)
        if named:
            lines.append(f"- {series.name}: {', '.join(named)}")
    return [
        f"\nMore than {100 * WITHIN:g} points from what was meant are {missed} of {cells} cells:\n",
        *lines,
    ]


def _young(findings: Findings) -> list[str]:
    """Return how pieces as short as the public traces are scored."""
    rows = []
    for group, losses in findings.young.items():
        ours, last = losses[:, 0], losses[:, 1]
        head = f"{group} ({len(losses)})"
        rows.append([head, "all together", *_flat(ours.sum(axis=0) / last.sum(axis=0), "{:.2f}")])
        worse = (ours > WORST * last).mean(axis=0)
        rows.append(["", f"share above {WORST:g}", *_flat(worse, "{:.2f}")])
        with np.errstate(divide="ignore", invalid="ignore"):
            rows.append(["", "largest", *_flat(np.nanmax(ours / last, axis=0), "{:.2f}")])
    scored = MINUTES - START - HORIZONS[-1]
    return [
        "\n## The first forty minutes\n",
        f"Our loss over that of the last value in pieces of {MINUTES} minutes, {EVERY // 60} hours "
        "apart, each read from nothing: as long as Azure's and Mooncake's traces. "
        f"{scored} minutes of a piece are scored, and the ten minutes after one are nearly those "
        "after the next, so that a piece is one or two draws. What is better in nearly all cells "
        "together is worse by more than 5 % in many pieces, and most pieces have such a cell. "
        "(inf: the last value lost nothing.) "
        "In Azure's conversation trace the rate goes from 3 to 6/s in the first four minutes, and "
        "climbs slowly after. The last value has few errors yet, those of the start among them, "
        "and its upper quantiles reach what is to come; we take the first five minutes for a "
        "start, and believe in chance alone until more is seen.\n",
        *_table(["series (pieces)", "", *_cells()], rows),
    ]


def _floors(findings: Findings) -> list[str]:
    """Return what the best forecast that there can be would reach, beside the bar."""
    rows = []
    reachable = cells = 0
    for series, scores in findings.scored:
        if series.name not in findings.floors:
            continue
        least = scores.best()[:, : len(FLOOR_LEVELS)]
        floor = findings.floors[series.name] / least
        ours = scores.losses[OURS][:, : len(FLOOR_LEVELS)] / least
        reachable += int((floor <= BAR).sum())
        cells += floor.size
        pairs = zip(floor.ravel().tolist(), ours.ravel().tolist(), strict=True)
        rows.append([series.name, *(f"{a:.2f} ({b:.2f})" for a, b in pairs)])
    return [
        "\n## What chance alone leaves\n",
        "The loss of one who knows the rate of every client at every minute, now and to come, over "
        f"that of the best baseline; ours in brackets. From {DRAWS} draws of the same clients with "
        f"the same rates, so the highest quantile is left out. The bar is {BAR:g}: in "
        f"{cells - reachable} of {cells} cells not even perfect knowledge of the rates reaches it, "
        "for what is left is the chance of arrivals; in others the rest is foreknowledge of jumps. "
        "Above 1: the state of a burst tells more of "
        "the next minute than all rates do.\n",
        *_table(["series", *_cells(HORIZONS, FLOOR_LEVELS)], rows),
    ]


def _daily(findings: Findings) -> list[str]:
    return [
        "\n## The time of day\n",
        "Our loss over that of the same forecaster that takes no notice of the time of day. It is "
        "believed as far as usual changes have come true before; where they have not, nothing "
        "changes. Made-up days are alike but for their level; real ones are those from above. A "
        "jump at an uncertain time is foreseen by the upper quantiles, which is what replicas are "
        "asked for by, at some cost in the median.\n",
        *_table(
            ["series", *_cells(AHEAD, LEVELS)],
            [[name, *_flat(ratios, "{:.3f}")] for name, ratios in findings.daily.items()],
        ),
    ]


def _cells(horizons: Sequence[int] = HORIZONS, levels: Sequence[float] = LEVELS) -> list[str]:
    return [f"{h} min q{q:g}" for h in horizons for q in levels]


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
