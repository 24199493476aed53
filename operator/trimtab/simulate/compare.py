"""One row for each policy: what it cost and what its users got, over seeds, with confidence."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, stdev
from typing import Any

from rich.table import Table

from trimtab.simulate.result import RunResult

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedFleet:
    """The cheapest fleet that never changes and does as well as some result."""

    usd: float
    replica_hours: float
    replicas: Mapping[str, float]
    """By `NAMESPACE/NAME on POOL/tpN`; fractions are shares of the time between two counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One result beside what hindsight says of its scenario and seed."""

    result: RunResult
    optimum_usd: float | None = None
    """Cost of the clairvoyant schedule; None where none was found."""
    bound_usd: float | None = None
    """No policy that misses as few requests of each deployment costs less: proven."""
    fixed: FixedFleet | None = None
    """The best fixed fleet at equal goodput; None where none does as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One column."""

    name: str
    """In files."""
    title: str
    unit: str
    of: Callable[[Measured], float | None]
    digits: int
    """After the point."""
    share: bool = False
    """Whether it is shown in percent."""
    better: int = 0
    """1 where more is better, -1 where less is, 0 where neither is."""

    def text(self, value: float | None) -> str:
        """Return `value` as people read it; a dash where there is none."""
        if value is None:
            return "-"
        return f"{value * 100:.{self.digits}f}" if self.share else f"{value:,.{self.digits}f}"

    @property
    def heading(self) -> str:
        """Title and unit."""
        unit = "%" if self.share else self.unit
        return f"{self.title} ({unit})" if unit else self.title


def _attained(target: str) -> Callable[[Measured], float | None]:
    """Share of all requests that met one target; a deployment without it has met it."""

    def of(measured: Measured) -> float | None:
        parts = measured.result.deployments.values()
        settled = sum(part.tally.settled for part in parts)
        met = sum(getattr(part.tally, f"met_{target}") for part in parts)
        return met / settled if settled else None

    return of


def _gaps_within(measured: Measured) -> float | None:
    """Share of single gaps between tokens within the target that answers' means have."""
    tallies = [part.tally for part in measured.result.deployments.values()]
    gaps = sum(tally.gaps for tally in tallies)
    return sum(tally.gaps_within for tally in tallies) / gaps if gaps else None


def _replica_hours(measured: Measured) -> float:
    return sum(pool.replica_hours for pool in measured.result.pools.values())


def _over(part: float, whole: float | None) -> float | None:
    return part / whole if whole else None


FIGURES: tuple[Figure, ...] = (
    Figure(name="usd", title="cost", unit="$", of=lambda m: m.result.cost_usd, digits=2, better=-1),
    Figure(name="usd_per_million_tokens", title="per 1M tokens", unit="$",
           of=lambda m: m.result.usd_per_million_tokens, digits=2, better=-1),
    Figure(name="attainment", title="attained", unit="", of=lambda m: m.result.attainment,
           digits=2, share=True, better=1),
    Figure(name="usd_to_optimum", title="cost / optimum", unit="",
           of=lambda m: _over(m.result.cost_usd, m.optimum_usd), digits=2, better=-1),
    Figure(name="usd_to_bound", title="cost / bound", unit="",
           of=lambda m: _over(m.result.cost_usd, m.bound_usd), digits=2, better=-1),
    Figure(name="usd_to_fixed", title="cost / fixed", unit="",
           of=lambda m: _over(m.result.cost_usd, m.fixed.usd if m.fixed else None), digits=2,
           better=-1),
    Figure(name="replica_hours_to_fixed", title="replica-hours / fixed", unit="",
           of=lambda m: _over(_replica_hours(m), m.fixed.replica_hours if m.fixed else None),
           digits=2, better=-1),
    Figure(name="errors", title="errors", unit="requests", of=lambda m: float(m.result.errors),
           digits=0, better=-1),
    Figure(name="direction_changes_per_hour", title="turns", unit="1/h",
           of=lambda m: m.result.direction_changes / (m.result.duration_s / 3600.0), digits=1,
           better=-1),
    Figure(name="over_target_s", title="time over target", unit="s",
           of=lambda m: sum(d.over_target_s for d in m.result.deployments.values()), digits=0,
           better=-1),
    Figure(name="short_s", title="short", unit="s",
           of=lambda m: sum(d.short_s for d in m.result.deployments.values()), digits=0,
           better=-1),
    Figure(name="goodput_rps", title="goodput", unit="req/s", of=lambda m: m.result.goodput_rps,
           digits=2, better=1),
    Figure(name="attainment_ttft", title="TTFT", unit="", of=_attained("ttft"), digits=2,
           share=True, better=1),
    Figure(name="attainment_itl", title="ITL", unit="", of=_attained("itl"), digits=2,
           share=True, better=1),
    Figure(name="gaps_within", title="gaps within ITL", unit="", of=_gaps_within, digits=2,
           share=True, better=1),
    Figure(name="attainment_e2e", title="E2E", unit="", of=_attained("e2e"), digits=2,
           share=True, better=1),
    Figure(name="replica_hours", title="replicas", unit="h", of=_replica_hours, digits=2),
    Figure(name="device_hours", title="devices", unit="h", of=lambda m: m.result.device_hours,
           digits=2),
    Figure(name="watts", title="power", unit="W",
           of=lambda m: m.result.watt_hours / (m.result.duration_s / 3600.0), digits=0),
)  # fmt: skip
"""What every form of the comparison shows, in this order."""

SHORT = (
    "usd", "usd_per_million_tokens", "attainment", "errors", "direction_changes_per_hour",
    "replica_hours", "short_s", "usd_to_optimum", "replica_hours_to_fixed", "usd_to_fixed",
)  # fmt: skip
"""Figures that fit on a terminal."""

_BESIDE_A_CELL = 3
"""Characters of a column of a table beside its text: a space on both sides, and a line."""

BY_NAME: Mapping[str, Figure] = {figure.name: figure for figure in FIGURES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over seeds and how far the true one may be from it."""

    mean: float
    half_width: float | None
    """Of the confidence interval, by Student's t; None with one seed."""
    seeds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One policy on one scenario."""

    scenario: str
    policy: str
    seeds: int
    figures: Mapping[str, Estimate | None]
    """By name; None where a seed has none."""
    pool_hours: Mapping[str, float]
    """Mean replica-hours by pool."""
    deployments: Mapping[str, float | None]
    """Mean attainment of each deployment."""

    def mean(self, name: str) -> float | None:
        """Return the mean of a figure, or None."""
        estimate = self.figures[name]
        return None if estimate is None else estimate.mean


def rows_of(measured: Iterable[Measured]) -> tuple[Row, ...]:
    """Return a row for each (scenario, policy), in order of first appearance."""
    groups: dict[tuple[str, str], list[Measured]] = {}
    for each in measured:
        groups.setdefault((each.result.scenario, each.result.policy), []).append(each)
    return tuple(_row(scenario, policy, runs) for (scenario, policy), runs in groups.items())


def _row(scenario: str, policy: str, runs: Sequence[Measured]) -> Row:
    pools = sorted({name for run in runs for name in run.result.pools})
    keys = sorted({key for run in runs for key in run.result.deployments})
    return Row(
        scenario=scenario,
        policy=policy,
        seeds=len(runs),
        figures={figure.name: estimate(figure.of(run) for run in runs) for figure in FIGURES},
        pool_hours={
            name: fmean(
                run.result.pools[name].replica_hours if name in run.result.pools else 0.0
                for run in runs
            )
            for name in pools
        },
        deployments={
            key: _mean(run.result.deployments[key].attainment["all"] for run in runs)
            for key in keys
        },
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def estimate(values: Iterable[float | None]) -> Estimate | None:
    """Return the mean of `values` with its confidence, None where one is missing."""
    known: list[float] = []
    for value in values:
        if value is None or not math.isfinite(value):
            return None
        known.append(value)
    if not known:
        return None
    half = None
    if len(known) > 1:
        half = t_quantile(len(known) - 1) * stdev(known) / math.sqrt(len(known))
    return Estimate(mean=fmean(known), half_width=half, seeds=len(known))


def t_quantile(freedom: int, confidence: float = CONFIDENCE) -> float:
    """Return the two-sided quantile of Student's t with whole degrees of freedom.

    By bisection on its distribution function, which is a finite sum (Abramowitz and Stegun 26.7.3
    and 26.7.4).
    """
    low, high = 0.0, 1e3
    for _ in range(100):
        middle = (low + high) / 2.0
        if _t_within(middle, freedom) < confidence:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _t_within(t: float, freedom: int) -> float:
    """Return the chance that a t-distributed value is within -t .. t."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2 == 1
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(1 if odd else 0, freedom - 1, 2):
        total += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    return 2.0 / math.pi * (angle + sine * total) if odd else sine * total


def table(rows: Sequence[Row], width: int) -> Table:
    """Return the rows of one scenario for a terminal; `±` is half of the confidence interval.

    Figures are never cut: columns that do not fit into `width` characters are left out, from the
    right, and the caption says so.
    """
    seeds = max((row.seeds for row in rows), default=0)
    columns = [
        ("policy", [row.policy for row in rows]),
        *((BY_NAME[name].heading, [cell(row, name) for row in rows]) for name in SHORT),
        *(
            (f"on {pool} (h)", [f"{row.pool_hours.get(pool, 0.0):.2f}" for row in rows])
            for pool in _pools(rows)
        ),
    ]
    widths = [max(map(len, (heading, *cells))) + _BESIDE_A_CELL for heading, cells in columns]
    if sum(widths) >= width:  # a heading may be broken between its words
        widths = [
            max(map(len, (*heading.split(), *cells))) + _BESIDE_A_CELL for heading, cells in columns
        ]
    shown = max(2, sum(total < width for total in accumulate(widths)))
    caption = "± is half of the 95 % confidence interval; errors are misses"
    if shown < len(columns):
        caption += f"\n{len(columns) - shown} figures more on a wider terminal; all with -o csv"
    found = Table(title=f"{rows[0].scenario}: {_seeds(seeds)}" if rows else None, caption=caption)
    for (heading, _), least in list(zip(columns, widths, strict=True))[:shown]:
        found.add_column(
            heading,
            justify="left" if heading == "policy" else "right",
            width=least - _BESIDE_A_CELL,
        )
    for line in zip(*(cells for _, cells in columns[:shown]), strict=True):
        found.add_row(*line)
    return found


def _seeds(seeds: int) -> str:
    return f"mean of {seeds} seeds" if seeds > 1 else "one seed"


def cell(row: Row, name: str) -> str:
    """Return a figure of a row with its confidence, as people read it."""
    figure, found = BY_NAME[name], row.figures[name]
    if found is None:
        return figure.text(None)
    text = figure.text(found.mean)
    return text if found.half_width is None else f"{text} ±{figure.text(found.half_width)}"


def _pools(rows: Iterable[Row]) -> list[str]:
    return sorted({pool for row in rows for pool in row.pool_hours})


def to_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows as JSON values; every figure with its confidence."""
    return [
        {
            "scenario": row.scenario,
            "policy": row.policy,
            "seeds": row.seeds,
            "figures": {
                name: None if each is None else {"mean": each.mean, "half_width": each.half_width}
                for name, each in row.figures.items()
            },
            "replica_hours_by_pool": dict(row.pool_hours),
            "attainment_by_deployment": dict(row.deployments),
        }
        for row in rows
    ]


def to_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV: a mean and half an interval for each figure, empty where unknown.

    Then come the replica-hours of each pool and the attainment of each deployment.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [figure.name for figure in FIGURES]
    pools = _pools(rows)
    deployments = sorted({key for row in rows for key in row.deployments})
    writer.writerow(
        ["scenario", "policy", "seeds"]
        + [f"{n}{end}" for n in names for end in ("", "_ci95")]
        + [f"replica_hours on {pool}" for pool in pools]
        + [f"attainment of {key}" for key in deployments]
    )
    for row in rows:
        cells: list[object] = [row.scenario, row.policy, row.seeds]
        for name in names:
            found = row.figures[name]
            cells += ["", ""] if found is None else [found.mean, found.half_width]
        cells += [row.pool_hours.get(pool) for pool in pools]
        cells += [row.deployments.get(key) for key in deployments]
        writer.writerow(cells)
    return text.getvalue()
