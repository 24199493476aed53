"""Demand as the gateways count it: what their metrics are called, and what they say."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from trimtab.api.gateway import GatewayType
from trimtab.api.llmdeployment import LLMDeploymentSpec
from trimtab.config import OperatorConfig
from trimtab.errors import Unavailable
from trimtab.models.gateway import Demand
from trimtab.models.signals import Fresh, Invalid, Missing, Signal, Stale
from trimtab.models.snapshot import Key
from trimtab.observe.coverage import AHEAD_S, STALE_AFTER_SCRAPES
from trimtab.observe.engines import Series, parse_series
from trimtab.observe.prometheus import MetricsSource, Track
from trimtab.observe.promql import Labels, labelled, one_of, series
from trimtab.observe.queries import MAX_URL_CHARS, PART_LABEL, TARGET_LABELS, either, quoted_length

NAME_LABEL = "trimtab_name"
NAMESPACE_LABEL = "trimtab_namespace"
GATEWAY_LABEL = "trimtab_gateway"
MAX_RPS = 1e7
"""More requests than this in a second is no measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Metric names of one kind of gateway."""

    type: GatewayType
    title: str
    label: str
    """Label with the name of a deployment."""
    namespace_label: str | None
    """Label with its namespace, where there is one."""
    named_after: str
    """What the name is, if the user gives none: model, service, or nothing."""
    requests: tuple[Series, ...]
    """Counters of requests, newest first."""
    refused: tuple[Series, ...]
    """Counters of requests that are not among those, for want of a replica."""
    queue: tuple[Series, ...]
    """Gauges of requests that it holds back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a gateway calls one deployment."""

    type: GatewayType
    name: str
    namespace: str
    """Empty where the gateway knows none."""


@cache
def get(kind: GatewayType) -> Gateway:
    """Return the metric names of `kind`."""
    file = resources.files(__package__).joinpath("gateways", f"{kind.value}.yaml")
    data: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    return Gateway(
        type=kind,
        title=data["title"],
        label=data["label"],
        namespace_label=data.get("namespace_label"),
        named_after=data["named_after"],
        requests=tuple(map(parse_series, data["requests"])),
        refused=tuple(map(parse_series, data["refused"])),
        queue=tuple(map(parse_series, data["queue"])),
    )


def asked(key: Key, spec: LLMDeploymentSpec) -> Asked | None:
    """Return what the gateway of a deployment calls it; None where it has no gateway."""
    if spec.gateway is None:
        return None
    gateway = get(spec.gateway.type)
    own = (
        key.name if gateway.named_after == "service" else spec.model.served_name or spec.model.name
    )
    namespace = key.namespace if gateway.namespace_label else ""
    return Asked(type=gateway.type, name=spec.gateway.name or own, namespace=namespace)


def queries(wanted: Iterable[Asked], window_s: float, labels: Labels = ()) -> tuple[str, ...]:
    """Return the queries for the demand of all of them: one, or two where one would be too long.

    Args:
        wanted: Whose demand.
        window_s: Time that rates are over, in seconds.
        labels: What all series have that are of this cluster.
    """
    names: dict[GatewayType, set[str]] = defaultdict(set)
    for each in wanted:
        names[each.type].add(each.name)
    exprs = {kind: _expression(kind, sorted(names[kind]), window_s, labels) for kind in names}
    for kind in sorted(exprs, key=lambda kind: len(exprs[kind]), reverse=True):
        if all(quoted_length(each) <= MAX_URL_CHARS for each in _packed(exprs)):
            break
        exprs[kind] = _expression(kind, [], window_s, labels)  # of all names
    return _packed(exprs)


def _packed(exprs: Mapping[GatewayType, str]) -> tuple[str, ...]:
    """Return `exprs` as one query or, where that is too long, as two that are alike in length."""
    each = [exprs[kind] for kind in sorted(exprs)]
    every = either(each)
    if len(each) < 2 or quoted_length(every) <= MAX_URL_CHARS:
        return (every,) if every else ()
    cuts = ((either(each[:at]), either(each[at:])) for at in range(1, len(each)))
    return min(cuts, key=lambda pair: max(map(quoted_length, pair)))


def _expression(kind: GatewayType, names: list[str], window_s: float, labels: Labels) -> str:
    question = _Question(get(kind), names, f"[{round(window_s * 1000)}ms]", labels)
    return labelled(question.expression(window_s), {GATEWAY_LABEL: kind.value})


class _Question:
    """What is asked of one kind of gateway. Its pods add up; a page that is scraped twice not."""

    def __init__(self, gateway: Gateway, names: list[str], window: str, labels: Labels) -> None:
        self._gateway = gateway
        self._labels = labels
        self._names = names
        self._window = window
        own = [gateway.label, *([gateway.namespace_label] if gateway.namespace_label else [])]
        self._own = ", ".join(own)
        self._target = ", ".join((*TARGET_LABELS, *own))

    def expression(self, window_s: float) -> str:
        gateway = self._gateway
        found = self._rate("rate", gateway.requests, window_s)
        found += self._rate("refused", gateway.refused, window_s)
        if gateway.queue:
            queue = [self._selector(one) for one in gateway.queue]
            deltas = self._page(f"delta({each}{self._window})" for each in queue)
            found.append(_part("queue", self._page(queue)))
            found.append(_part("growth", f"{deltas} / {window_s:g}"))
        by_pod = f"max by (namespace, pod, {self._own}, {PART_LABEL}) ({either(found)})"
        stamps = either(f"timestamp({self._selector(one)})" for one in gateway.requests)
        seen = _part("seen", f"max by ({self._own}) ({stamps})")
        return self._named(f"sum by ({self._own}, {PART_LABEL}) ({by_pod}) or {seen}")

    def _rate(self, name: str, counters: tuple[Series, ...], window_s: float) -> list[str]:
        """Return the requests per second, and one in the window for a series that begins.

        A series begins with a request, and of what came before its first sample rate() knows
        nothing: without this, one request would not wake a deployment that has no replica.
        """
        if not counters:
            return []
        selectors = [self._selector(one) for one in counters]
        rate = self._page(f"rate({each}{self._window})" for each in selectors)
        before = self._page(f"{each} offset {self._window[1:-1]}" for each in selectors)
        first = f"clamp_max({self._page(selectors)}, 1) / {window_s:g} unless {before}"
        return [_part(name, rate), _part(f"{name}_new", first)]

    def _selector(self, one: Series) -> str:
        named = {self._gateway.label: one_of(self._names)} if self._names else {}
        return series(one.name, where=(*one.where, *self._labels), matching=named)

    def _page(self, exprs: Iterable[str]) -> str:
        return f"sum by ({self._target}) ({either(exprs)})"

    def _named(self, expr: str) -> str:
        expr = f'label_replace({expr}, "{NAME_LABEL}", "$1", "{self._gateway.label}", "(.*)")'
        if self._gateway.namespace_label:
            label = self._gateway.namespace_label
            expr = f'label_replace({expr}, "{NAMESPACE_LABEL}", "$1", "{label}", "(.*)")'
        return expr


def _part(name: str, expr: str) -> str:
    return labelled(expr, {PART_LABEL: name})


def ask(
    metrics: MetricsSource, wanted: Mapping[Key, Asked], now: float, config: OperatorConfig
) -> Mapping[Key, Demand]:
    """Return what the gateways say of each deployment; no failure raises."""
    if not wanted:
        return {}
    try:
        samples = [
            sample
            for expr in queries(wanted.values(), config.rate_window_s, config.prometheus_labels)
            for sample in metrics.query(expr)
        ]
    except Unavailable as error:
        invalid = Invalid(why=str(error))
        return {key: Demand(arrival_rps=invalid, queued=invalid) for key in wanted}
    found = {_place(each.labels): each.value for each in samples}
    return {key: _demand(each, found, now, config) for key, each in wanted.items()}


_Place = tuple[str, str, str, str]


def _place(labels: Mapping[str, str]) -> _Place:
    wanted = (GATEWAY_LABEL, NAME_LABEL, NAMESPACE_LABEL, PART_LABEL)
    kind, name, namespace, part = (labels.get(label, "") for label in wanted)
    return kind, name, namespace, part


def rates(tracks: Iterable[Track], wanted: Iterable[Asked]) -> dict[Asked, dict[float, float]]:
    """Return what arrived for each of `wanted` over time, from what `queries` brought of a range.

    By Unix seconds, in requests/s; a time of which its gateway says nothing is not in it.
    """
    by_time: dict[float, dict[_Place, float]] = defaultdict(dict)
    for track in tracks:
        for at, value in track.points:
            by_time[at][_place(track.labels)] = value
    found: dict[Asked, dict[float, float]] = {each: {} for each in wanted}
    for at, values in by_time.items():
        for each, points in found.items():
            rps = _arrived(each, values)
            if rps is not None and math.isfinite(rps) and abs(rps) <= MAX_RPS:
                points[at] = max(0.0, rps)
    return found


def _arrived(each: Asked, found: Mapping[_Place, float]) -> float | None:
    """Return the requests/s that its gateway counts, or None where it counts none of it."""

    def parts(*names: str) -> list[float]:
        places = ((each.type.value, each.name, each.namespace, name) for name in names)
        return [found[place] for place in places if place in found]

    counted = parts("rate", "rate_new")
    return sum(counted + parts("refused", "refused_new", "growth")) if counted else None


def _demand(
    each: Asked, found: Mapping[_Place, float], now: float, config: OperatorConfig
) -> Demand:
    gateway = get(each.type)

    def part(name: str) -> float | None:
        return found.get((each.type.value, each.name, each.namespace, name))

    metric = gateway.requests[0].name
    arrivals, seen = _arrived(each, found), part("seen")
    if seen is None or arrivals is None:
        label = f'{gateway.label}="{each.name}"'
        missing = Missing(why=f"Prometheus has no {metric} with {label}: see spec.gateway.name")
        return Demand(arrival_rps=missing, queued=missing)
    age = now - seen
    return Demand(
        arrival_rps=_judged(arrivals, age, metric, config),
        queued=_judged(part("queue") or 0.0, age, metric, config),
    )


def _judged(value: float, age: float, metric: str, config: OperatorConfig) -> Signal:
    if not math.isfinite(age) or age < -AHEAD_S:
        return Invalid(why=f"samples of {metric} are {-age:.0f} s ahead of this clock")
    if not math.isfinite(value) or abs(value) > MAX_RPS:
        return Invalid(why=f"{metric} gives {value:g}")
    value = max(0.0, value)  # a queue may shrink a little faster than it is seen to be served
    if age > STALE_AFTER_SCRAPES * config.scrape_interval_s:
        return Stale(value=value, age_s=age)
    return Fresh(value=value, age_s=max(0.0, age))
