"""What replicas export under other names than we know: the self-test, also of `trimtab doctor`."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

from trimtab.api.engine import EngineType
from trimtab.errors import Unavailable
from trimtab.models.load import ObservedLoad
from trimtab.models.signals import Missing, Partial
from trimtab.models.snapshot import DeploymentState, Key, Snapshot
from trimtab.observe import engines
from trimtab.observe.diagnosis import Finding, Level
from trimtab.observe.pages import names_of
from trimtab.observe.prometheus import MetricsSource
from trimtab.observe.promql import string
from trimtab.observe.reader import REMEDY
from trimtab.observe.world import PodFacts, WorldView, pod_stem

ALIKE = 0.5
"""Share of the words of two names, taken together, that both have, for them to look alike: a rename
mostly exchanges, adds or drops one word."""
UPGRADE = (
    "Is this engine newer than docs/engines.md? Upgrade Trimtab, or use a custom engine"
    " with that name in spec.engine.metrics"
)
_PARTS = ("_bucket", "_sum", "_count", "_total", "_created")


def lacking(load: ObservedLoad) -> tuple[str, ...]:
    """Return the fields of `load` whose series replicas report without."""
    return tuple(each.name for each in fields(load) if _lacks(getattr(load, each.name)))


def _lacks(signal: object) -> bool:
    return (isinstance(signal, Missing) and signal.absent) or (
        isinstance(signal, Partial) and bool(signal.why)
    )


def renamed(source: MetricsSource, view: WorldView, snapshot: Snapshot) -> Iterator[Finding]:
    """Yield, for each deployment that lacks a series, what its pods export instead."""
    pods = _one_of_each_template(view)
    for state in snapshot.deployments:
        if not lacking(state.load):
            continue
        for (key, _), pod in pods.items():
            if key == state.key:
                yield from _findings(source, state, pod)


def _findings(source: MetricsSource, state: DeploymentState, pod: PodFacts) -> Iterator[Finding]:
    try:
        found = _lookalikes(source, state, pod)
    except Unavailable:
        return  # the source has its own finding
    for wanted, exported in found.items():
        yield Finding(
            level=Level.WARNING,
            subject=f"LLMDeployment {state.key}",
            message=f"{pod.name} exports no {wanted}, and {exported}, which looks like it",
            remedy=UPGRADE,
        )


class SelfTest:
    """What replicas export instead of what they lack, asked once of each pod template."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._found: dict[tuple[Key, str], Mapping[str, str]] = {}

    def told(self, source: MetricsSource | None, view: WorldView, snapshot: Snapshot) -> Snapshot:
        """Return `snapshot` where signals that replicas lack say what they export instead.

        One question at most; what there is more to ask waits for the next pass.
        """
        lack = {state.key: state for state in snapshot.deployments if lacking(state.load)}
        pods = {at: pod for at, pod in _one_of_each_template(view).items() if at[0] in lack}
        self._found = {at: found for at, found in self._found.items() if at in pods}
        unknown = next((at for at in pods if at not in self._found), None)
        if source is not None and unknown is not None:
            with suppress(Unavailable):
                found = _lookalikes(source, lack[unknown[0]], pods[unknown])
                self._found[unknown] = found
        if not any(self._found.values()):
            return snapshot
        states = (
            replace(state, load=self._explained(state)) if state.key in lack else state
            for state in snapshot.deployments
        )
        return replace(snapshot, deployments=tuple(states))

    def _explained(self, state: DeploymentState) -> ObservedLoad:
        names = {
            wanted: exported
            for (key, _), found in self._found.items()
            if key == state.key
            for wanted, exported in found.items()
        }
        changed: dict[str, Any] = {}
        for field in lacking(state.load):
            signal = getattr(state.load, field)
            for wanted, exported in names.items():
                if wanted in signal.why:
                    told = f"they export {exported}, which looks like it. {UPGRADE}"
                    changed[field] = replace(signal, why=signal.why.replace(REMEDY, told))
        return replace(state.load, **changed)


def _one_of_each_template(view: WorldView) -> dict[tuple[Key, str], PodFacts]:
    return {
        (Key(namespace=pod.namespace, name=pod.deployment), pod_stem(pod.name)): pod
        for pod in view.pods
        if pod.deployment is not None and pod.ready_since is not None and not pod.terminating
    }


def _lookalikes(source: MetricsSource, state: DeploymentState, pod: PodFacts) -> Mapping[str, str]:
    """Return, by the name of each metric that a pod lacks, the one that looks like it.

    Raises:
        Unavailable: The source does not answer.
    """
    selector = f"{{namespace={string(pod.namespace)},pod={string(pod.name)}}}"
    samples = source.query(f"count by (__name__) ({selector})")
    exported = {_whole(each.labels.get("__name__", "")) for each in samples}
    engine = state.spec.engine
    known = engines.get((engine.type if engine else None) or EngineType.VLLM)
    ours = {_whole(name) for name in names_of(known)}
    result: dict[str, str] = {}
    for one in known.needed():
        names = {_whole(name) for name in one.names()}
        if not names or names & exported:
            continue
        found = _lookalike(_whole(one.newest), exported - ours)
        if found is not None:
            result[one.newest] = found
    return result


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
