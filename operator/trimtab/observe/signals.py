"""What the replicas of each deployment report, and how far each number can be trusted.

| seen | signal |
|---|---|
| all Ready replicas report, within three scrapes | Fresh |
| some of them | Partial: a lower bound |
| the newest sample is older than three scrapes | Stale |
| a sample from the future, not finite, negative or out of range; a query refused | Invalid |
| no series, no replica, no request in the window | Missing, and why |
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from trimtab.api.engine import EngineType
from trimtab.config import OperatorConfig
from trimtab.errors import Unavailable
from trimtab.models.gateway import merged
from trimtab.models.load import ObservedLoad
from trimtab.models.signals import Missing
from trimtab.models.snapshot import Key
from trimtab.observe import custom, engines, gateways, queries
from trimtab.observe.coverage import NO_REPLICA
from trimtab.observe.prometheus import MetricsSource
from trimtab.observe.reader import Reader, Subject, Template, same
from trimtab.observe.readings import take
from trimtab.observe.scrape import Scraper, Target
from trimtab.observe.world import PodFacts, pod_stem

NO_SOURCE = "no metrics source is configured"
NEEDS_PROMETHEUS = "spec.engine.metrics is PromQL, which takes a Prometheus"
GATEWAY_UNSEEN = "the gateway is asked through Prometheus, which does not answer"
MEANWHILE = "the pods' own pages are read meanwhile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Either:
    """Prometheus, and the pods' own pages for while it does not answer."""

    prometheus: MetricsSource
    pods: Scraper


Source = MetricsSource | Scraper | Either
"""A server that has scraped the replicas, what scrapes them itself, or both."""


def read(
    metrics: Source | None,
    subjects: Sequence[Subject],
    *,
    now: float,
    config: OperatorConfig,
) -> Mapping[Key, ObservedLoad]:
    """Return the signals of every subject; no failure of the source raises.

    Args:
        metrics: Where to ask, or None.
        subjects: The deployments.
        now: Unix seconds.
        config: Window and scrape interval.
    """
    if metrics is None:
        return {each.key: _nothing(NO_SOURCE, configured=False) for each in subjects}
    if isinstance(metrics, Either):
        found = dict(read(metrics.prometheus, subjects, now=now, config=config))
        return found | _meanwhile(metrics.pods, subjects, found, now, config)
    found = _engines(metrics, subjects, now, config)
    wanted = {each.key: each.gateway for each in subjects if each.gateway is not None}
    if isinstance(metrics, Scraper) or any(load.source_error for load in found.values()):
        return found
    demands = gateways.ask(metrics, wanted, now, config)
    staying = {each.key for each in subjects if _stays(each)}
    return found | {
        key: merged(found[key], demand, pods=key in staying) for key, demand in demands.items()
    }


def _meanwhile(
    pods: Scraper,
    subjects: Sequence[Subject],
    found: Mapping[Key, ObservedLoad],
    now: float,
    config: OperatorConfig,
) -> dict[Key, ObservedLoad]:
    """Return what the pods' pages say of the deployments that Prometheus would not tell of.

    None of a deployment without replicas or with PromQL of its own, whose demand only Prometheus
    knows. A gateway may hold requests that no engine has seen, so arrivals behind one are unknown.
    """
    unknown = [
        each
        for each in subjects
        if found[each.key].source_error and each.engine is not EngineType.CUSTOM and _stays(each)
    ]
    if not unknown:
        return {}
    direct = dict(read(pods, unknown, now=now, config=config))
    for each in unknown:
        load = replace(direct[each.key], note=f"{found[each.key].source_error}: {MEANWHILE}")
        hidden = each.gateway is not None
        direct[each.key] = (
            replace(load, arrival_rps=Missing(why=GATEWAY_UNSEEN)) if hidden else load
        )
    return direct


def _stays(subject: Subject) -> bool:
    return any(not (pod.finished or pod.terminating) for pod in subject.pods)


def _engines(
    metrics: MetricsSource | Scraper,
    subjects: Sequence[Subject],
    now: float,
    config: OperatorConfig,
) -> dict[Key, ObservedLoad]:
    """Return what the replicas themselves say."""
    namespaces = {each.key.namespace for each in subjects if each.pods}
    if not namespaces:
        return {each.key: _nothing(NO_REPLICA) for each in subjects}
    try:
        if isinstance(metrics, Scraper):
            readings = metrics.readings(_targets(subjects), now)
        else:
            used = sorted({each.engine for each in subjects if each.pods} - {EngineType.CUSTOM})
            wanted = queries.build([engines.get(each) for each in used], config, sorted(namespaces))
            readings = take(metrics, wanted, 2 * config.prometheus_timeout_s)
    except Unavailable as error:
        return {each.key: _nothing(str(error), error=str(error)) for each in subjects}

    def reader(subject: Subject) -> Reader:
        return Reader(subject, readings, engines.get(subject.engine), now, config)

    unknown = [each for each in subjects if each.engine is EngineType.CUSTOM]
    found = {
        each.key: replace(
            reader(each).load(),
            variants=tuple(reader(one.subject).variant(one) for one in _templates(each)),
        )
        for each in subjects
        if each.engine is not EngineType.CUSTOM
    }
    if isinstance(metrics, Scraper):
        return found | {each.key: _nothing(NEEDS_PROMETHEUS) for each in unknown}
    parts = custom.ask(metrics, [each for each in unknown if each.pods])
    return found | {each.key: custom.load(each, parts, now, config) for each in unknown}


def _targets(subjects: Sequence[Subject]) -> list[Target]:
    return [
        Target(
            place=(pod.namespace, pod.name),
            address=pod.address,
            port=pod.port,
            engine=engines.get(each.engine),
        )
        for each in subjects
        for pod in each.pods
        if pod.address is not None and not pod.finished
    ]


def _templates(subject: Subject) -> list[Template]:
    """Return the pod templates that serve, sorted by pool, devices and name."""
    pods: dict[tuple[str, str], list[PodFacts]] = defaultdict(list)
    for pod in subject.pods:
        if pod.shape is not None and not (pod.terminating or pod.finished):
            pods[pod.shape.pool, pod_stem(pod.name)].append(pod)
    return [
        Template(
            shape=shape, stem=stem, subject=replace(subject, pods=tuple(those), stems=frozenset())
        )
        for (_, stem), those in sorted(pods.items())
        if (shape := those[0].shape) is not None
    ]


def _nothing(why: str, *, configured: bool = True, error: str | None = None) -> ObservedLoad:
    return replace(same(Missing(why=why)), source_error=error, configured=configured)
