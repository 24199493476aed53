"""What replicas export under other names than we know: the self-test behind `trimtab doctor`."""

from collections.abc import Iterable, Iterator
from dataclasses import fields

from trimtab.api.engine import EngineType
from trimtab.errors import Unavailable
from trimtab.models.load import ObservedLoad
from trimtab.models.signals import Missing
from trimtab.models.snapshot import DeploymentState, Key, Snapshot
from trimtab.observe import engines
from trimtab.observe.diagnosis import Finding, Level
from trimtab.observe.pages import names_of
from trimtab.observe.prometheus import MetricsSource
from trimtab.observe.promql import string
from trimtab.observe.world import PodFacts, WorldView

ALIKE = 0.5
"""Share of the words of two names, taken together, that both have, for them to look alike: a rename
mostly exchanges, adds or drops one word."""
_PARTS = ("_bucket", "_sum", "_count", "_total", "_created")


def lacking(load: ObservedLoad) -> tuple[str, ...]:
    """Return the fields of `load` whose series replicas report without."""
    return tuple(
        each.name
        for each in fields(load)
        if isinstance(signal := getattr(load, each.name), Missing) and signal.absent
    )


def renamed(source: MetricsSource, view: WorldView, snapshot: Snapshot) -> Iterator[Finding]:
    """Yield, for each deployment that lacks a series, what one of its pods exports instead."""
    pods = {
        Key(namespace=pod.namespace, name=pod.deployment): pod
        for pod in view.pods
        if pod.deployment is not None and pod.ready_since is not None and not pod.terminating
    }
    for state in snapshot.deployments:
        pod = pods.get(state.key)
        if pod is not None and lacking(state.load):
            yield from _lookalikes(source, state, pod)


def _lookalikes(source: MetricsSource, state: DeploymentState, pod: PodFacts) -> Iterator[Finding]:
    selector = f"{{namespace={string(pod.namespace)},pod={string(pod.name)}}}"
    try:
        samples = source.query(f"count by (__name__) ({selector})")
    except Unavailable:
        return  # the source has its own finding
    exported = {_whole(each.labels.get("__name__", "")) for each in samples}
    engine = state.spec.engine
    known = engines.get((engine.type if engine else None) or EngineType.VLLM)
    ours = {_whole(name) for name in names_of(known)}
    for one in known.needed():
        names = {_whole(name) for name in one.names()}
        if not names or names & exported:
            continue
        found = _lookalike(_whole(one.newest), exported - ours)
        if found is not None:
            yield Finding(
                level=Level.WARNING,
                subject=f"LLMDeployment {state.key}",
                message=f"{pod.name} exports no {one.newest}, and {found}, which looks like it",
                remedy="Is this engine newer than docs/engines.md? Upgrade Trimtab, or use a custom"
                " engine with that name in spec.engine.metrics",
            )


def _lookalike(name: str, others: Iterable[str]) -> str | None:
    words = _words(name)
    shares = {
        other: len(words & _words(other)) / len(words | _words(other)) for other in sorted(others)
    }
    best = max(shares, key=lambda other: shares[other], default=None)
    return best if best is not None and shares[best] >= ALIKE else None


def _words(name: str) -> set[str]:
    return set(name.rpartition(":")[2].split("_"))


def _whole(name: str) -> str:
    """Return the name of the metric that a sample belongs to."""
    for part in _PARTS:
        if name.endswith(part):
            return name.removesuffix(part)
    return name
