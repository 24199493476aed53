"""The pictures of one run: demand and capacity, replicas, latencies, cost, decisions."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from trimtab.models.load import LatencyTargets
from trimtab.simulate.report.chart import Chart, Line, Mark
from trimtab.simulate.report.svg import stamp
from trimtab.simulate.result import DeploymentSeries, Marker, RunResult

MOST_POINTS = 180
"""Of one line; longer series are gathered in equal groups."""
COLOURS = 7

Value = float | None
Gather = Callable[[Sequence[float]], float]


def charts_of(
    result: RunResult, targets: Mapping[str, LatencyTargets]
) -> Iterator[tuple[str, list[Chart]]]:
    """Yield each deployment with its pictures, then the whole fleet with its cost.

    `targets` are by NAMESPACE/NAME; without them latencies are shown without a limit.
    """
    times = _gathered(result.series.at_s, max)
    at = [time or 0.0 for time in times]
    for key, series in result.series.deployments.items():
        marks = [_mark(each) for each in result.decisions if each.deployment == key]
        yield key, list(_of_deployment(at, series, targets.get(key, LatencyTargets()), marks))
    yield (
        "the whole fleet",
        [
            Chart(
                title="Cost",
                unit="$/h",
                at_s=at,
                lines=[
                    Line(
                        label="devices in use",
                        values=_gathered(result.series.usd_per_hour, _mean),
                        colour=0,
                        filled=True,
                        steps=True,
                    )
                ],
            ),
            Chart(
                title="Devices in use",
                unit="devices",
                at_s=at,
                stacked=True,
                lines=[
                    Line(
                        label=pool,
                        values=_gathered(devices, _last),
                        colour=number % COLOURS,
                        filled=True,
                        steps=True,
                    )
                    for number, (pool, devices) in enumerate(sorted(result.series.devices.items()))
                    if any(devices)
                ],
            ),
        ],
    )


def _of_deployment(
    at: Sequence[float], series: DeploymentSeries, targets: LatencyTargets, marks: Sequence[Mark]
) -> Iterator[Chart]:
    yield Chart(
        title="Demand and capacity",
        unit="requests/s",
        at_s=at,
        lines=[
            Line(label="demand", values=_gathered(series.demand_rps, max), colour=6, filled=True),
            Line(
                label="capacity within targets",
                values=_gathered(series.capacity_rps, min),
                colour=0,
                steps=True,
            ),
        ],
        marks=marks,
    )
    labels = sorted({*series.ready, *series.wanted})
    none = [0] * len(series.demand_rps)
    wanted = [sum(counts) for counts in zip(none, *series.wanted.values(), strict=True)]
    yield Chart(
        title="Replicas",
        unit="replicas",
        at_s=at,
        stacked=True,
        lines=[
            *(
                Line(
                    label=label,
                    values=_gathered(series.ready.get(label, none), _last),
                    colour=number % COLOURS,
                    filled=True,
                    steps=True,
                )
                for number, label in enumerate(labels)
            ),
            Line(label="wanted", values=_gathered(wanted, _last), colour=6, dashed=True,
                 steps=True),
        ],
        marks=marks,
    )  # fmt: skip
    for title, values, target, colour in (
        ("TTFT", series.ttft_s, targets.ttft_s, 1),
        ("ITL", series.itl_s, targets.itl_s, 3),
    ):
        seconds = title == "TTFT"
        factor = 1.0 if seconds else 1e3
        unit = "s" if seconds else "ms"
        yield Chart(
            title=f"{title}, p{targets.percentile * 100:.0f} of the last minute",
            unit=unit,
            at_s=at,
            lines=[
                Line(
                    label=title,
                    values=_gathered([None if v is None else v * factor for v in values], max),
                    colour=colour,
                )
            ],
            limit=None if target is None else (f"target {target * factor:g} {unit}",
                                               target * factor),
        )  # fmt: skip
    yield Chart(
        title="Queue",
        unit="requests",
        at_s=at,
        lines=[Line(label="waiting", values=_gathered(series.queue, max), colour=4, filled=True)],
    )


def fleet_text(marker: Marker) -> str:
    """Return the fleet that a decision asks for."""
    return ", ".join(f"{count} x {label}" for label, count in sorted(marker.fleet.items())) or (
        "no replica"
    )


def _mark(marker: Marker) -> Mark:
    return Mark(
        at_s=marker.at_s,
        words=f"{stamp(marker.at_s)} {marker.why} {marker.message} ({fleet_text(marker)})",
    )


def _gathered(values: Sequence[Value], gather: Gather) -> list[Value]:
    """Return at most `MOST_POINTS` values, each of a group of neighbours."""
    size = -(-len(values) // MOST_POINTS) or 1
    groups = (values[start : start + size] for start in range(0, len(values), size))
    known = ([value for value in group if value is not None] for group in groups)
    return [float(gather(group)) if group else None for group in known]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _last(values: Sequence[float]) -> float:
    return values[-1]
