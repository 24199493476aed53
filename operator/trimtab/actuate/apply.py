"""Makes the children of every deployment what was decided: scale-ups first, deletions last."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from trimtab.actuate.attempts import Attempts
from trimtab.actuate.compare import first_difference
from trimtab.actuate.kinds import Document, Reference, controller_uid, kind_of, reference
from trimtab.actuate.manifests import children, digest, variant_name_of
from trimtab.actuate.writer import ClusterWriter, WriteFailed
from trimtab.api.llmdeployment import LLMDeployment
from trimtab.api.naming import DEPLOYMENT_LABEL, HASH_ANNOTATION
from trimtab.models.capacity import Pool
from trimtab.models.plan import Decision, VariantTarget
from trimtab.models.snapshot import DeploymentState

THREADS = 8
_ABSENT = "absent"
"""Stands for the digest of a child that shall not exist."""

_log = structlog.get_logger(__name__)

Seen = Callable[[str, Document], None]
"""Told MODIFIED or DELETED and the object, so that the mirror knows our own writes at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One deployment with what was decided for it and what is there."""

    state: DeploymentState
    decision: Decision
    live: tuple[Document, ...]
    """Its children, as the mirror has them; children of others are ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A child that could not be written."""

    target: Reference
    message: str
    refused: bool
    """Whether only a person can help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one deployment."""

    failures: tuple[Failure, ...] = ()
    deferred: bool = False
    """Whether time ran out: the next cycle goes on."""


@dataclass(slots=True)
class _Steps:
    """What one deployment still needs; `rise` may run at once, `fall` only after all rises."""

    work: Work
    rise: list[tuple[Document, Document | None]] = field(default_factory=list)
    fall: list[tuple[Document, Document]] = field(default_factory=list)
    prune: list[Document] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    deferred: bool = False


@dataclass(slots=True, kw_only=True)
class Applier:
    """Applies decisions with a bounded number of threads and a bounded time."""

    writer: ClusterWriter
    attempts: Attempts
    seen: Seen
    clock: Callable[[], float]
    """Monotonic seconds."""

    def apply(
        self, works: Sequence[Work], pools: Mapping[str, Pool], deadline: float
    ) -> list[Outcome]:
        """Write what differs and return one outcome per work, in the same order.

        Nothing is written for a decision that must not be written. A failure stops nothing but
        the scale-downs and deletions of its own deployment.

        Args:
            works: The deployments.
            pools: All pools, by name.
            deadline: Monotonic time after which no further write is begun.

        Raises:
            LostLeadership: The lease is gone; nothing more was sent.
        """
        spare = _spare_devices(works, pools)
        plans = [self._compare(work, pools, spare) for work in works]
        self._in_threads(
            (steps for steps in plans if steps.rise), lambda steps: self._rise(steps, deadline)
        )
        self._in_threads(
            (steps for steps in plans if steps.fall or steps.prune),
            lambda steps: self._fall(steps, deadline),
        )
        return [Outcome(failures=tuple(steps.failures), deferred=steps.deferred) for steps in plans]

    def _compare(self, work: Work, pools: Mapping[str, Pool], spare: Mapping[str, int]) -> _Steps:
        steps = _Steps(work)
        if not work.decision.write:
            return steps
        own = {
            reference(document): document
            for document in work.live
            if controller_uid(document) == work.state.uid
        }
        documents, kept = _wanted(work, own, pools, spare)
        for document in documents:
            live = own.pop(reference(document), None)
            if live is None:
                steps.rise.append((document, None))
            elif "deletionTimestamp" in live["metadata"]:
                steps.failures.append(_pending(document))
            elif first_difference(document, live) is None:
                self.attempts.settled(reference(document))
            elif _shrinks(document, live):
                steps.fall.append((document, live))
            else:
                steps.rise.append((document, live))
        steps.prune = [
            document
            for target, document in sorted(own.items())
            if target not in kept and "deletionTimestamp" not in document["metadata"]
        ]
        return steps

    def _rise(self, steps: _Steps, deadline: float) -> None:
        for document, live in steps.rise:
            if self.clock() >= deadline:
                steps.deferred = True
                return
            self._attempt(steps, document, live, lambda d, n: self._put(steps, d, n))

    def _fall(self, steps: _Steps, deadline: float) -> None:
        if steps.failures or steps.deferred:
            return  # what should replace it is not there yet
        for document, live in steps.fall:
            if self.clock() >= deadline:
                steps.deferred = True
                return
            self._attempt(steps, document, live, lambda d, n: self._send(d, n, exact=True))
        for live in steps.prune:
            if self.clock() >= deadline:
                steps.deferred = True
                return
            self._attempt(steps, live, live, lambda d, _: self._delete(d))

    def _attempt(
        self,
        steps: _Steps,
        document: Document,
        live: Document | None,
        write: Callable[[Document, Document | None], Document | None],
    ) -> None:
        target = reference(document)
        wanted = _ABSENT if document is live else digest_of(document)
        if self.attempts.blocked(target, wanted, live):
            known = self.attempts.failure(target)
            if known is not None:
                steps.failures.append(_failure(target, known))
            return
        try:
            result = write(document, live)
        except WriteFailed as failure:
            self.attempts.failed(target, wanted, failure)
            steps.failures.append(_failure(target, failure))
            _log.warning(
                "child not written", child=str(target), refused=failure.refused, why=str(failure)
            )
            return
        if result is None:
            self.attempts.forget(target)
        else:
            self.attempts.succeeded(target, wanted, result)

    def _put(self, steps: _Steps, document: Document, live: Document | None) -> Document:
        """Create or change a child, after making sure that an object of its name is ours."""
        if live is None:
            target = reference(document)
            live = self.writer.read(kind_of(document), target.namespace, target.name)
            if live is not None and not _ours(live, steps.work.state):
                raise _foreign(live, steps.work.state)
        return self._send(document, live, exact=False)

    def _send(self, document: Document, live: Document | None, *, exact: bool) -> Document:
        metadata, why = dict(document["metadata"]), "missing"
        if live is not None:
            why = first_difference(document, live) or "nothing"
            metadata["uid"] = live["metadata"]["uid"]
            if exact:
                metadata["resourceVersion"] = live["metadata"]["resourceVersion"]
        result = self.writer.apply({**document, "metadata": metadata})
        self.seen("MODIFIED", result)
        _log.info("child written", child=str(reference(document)), because=why)
        return result

    def _delete(self, live: Document) -> None:
        self.writer.delete(live)
        self.seen("DELETED", live)
        _log.info("child deleted", child=str(reference(live)))

    def _in_threads(self, items: Iterable[_Steps], act: Callable[[_Steps], None]) -> None:
        pending = list(items)
        if not pending:
            return
        with ThreadPoolExecutor(THREADS, thread_name_prefix="trimtab-write") as executor:
            for _ in executor.map(act, pending):
                pass


def digest_of(document: Document) -> str:
    """Return a digest of what a document asks for, whatever version of the object it came from."""
    metadata = document["metadata"]
    return digest({"spec": document.get("spec", {}), "labels": metadata.get("labels", {})})


def _spare_devices(works: Sequence[Work], pools: Mapping[str, Pool]) -> dict[str, int]:
    """Return the devices of each pool that no decision takes."""
    spare = {name: pool.usable_devices for name, pool in pools.items()}
    for work in works:
        for target in work.decision.targets:
            if target.pool in spare:
                spare[target.pool] -= target.replicas * target.parallelism.devices
    return spare


def _wanted(
    work: Work,
    own: Mapping[Reference, Document],
    pools: Mapping[str, Pool],
    spare: Mapping[str, int],
) -> tuple[list[Document], frozenset[Reference]]:
    """Return the documents that shall exist, and the children that stay without being touched.

    A variant whose pool is gone cannot be rendered any more: while it is wanted it stays as it is.
    """
    pods = {(state.pool, state.parallelism): state.pods for state in work.state.variants}
    existing = {target.name for target in own if target.kind == "Deployment"}
    targets: list[VariantTarget] = []
    unknown: set[str] = set()
    for target in work.decision.targets:
        name = variant_name_of(work.state, target)
        drained = name not in existing or pods.get((target.pool, target.parallelism), 0) == 0
        if target.replicas == 0 and drained:
            continue
        if target.pool in pools:
            targets.append(target)
        elif target.replicas > 0:
            unknown.add(name)
    kept = frozenset(target for target in own if target.name in unknown)
    return children(work.state, targets, pools, spare), kept


def _shrinks(document: Document, live: Document) -> bool:
    wanted = document.get("spec", {}).get("replicas")
    found = live.get("spec", {}).get("replicas", 1)
    return wanted is not None and wanted < found


def _failure(target: Reference, failure: WriteFailed) -> Failure:
    return Failure(target=target, message=str(failure), refused=failure.refused)


def _pending(document: Document) -> Failure:
    return Failure(
        target=reference(document), message="the former object is being deleted", refused=False
    )


def _ours(live: Document, state: DeploymentState) -> bool:
    """Return whether we may write to `live`: we control it, or we made it and nobody does.

    The latter is a child whose owner was taken away, by hand or by an orphaning deletion.
    """
    owner = controller_uid(live)
    if owner is not None:
        return owner == state.uid
    metadata = live["metadata"]
    return HASH_ANNOTATION in (metadata.get("annotations") or {}) and (
        (metadata.get("labels") or {}).get(DEPLOYMENT_LABEL) == state.key.name
    )


def _foreign(live: Document, state: DeploymentState) -> WriteFailed:
    name = str(reference(live))
    for owner in live["metadata"].get("ownerReferences") or ():
        if not owner.get("controller"):
            continue
        if owner.get("kind") == LLMDeployment.KIND and owner.get("name") == state.key.name:
            return WriteFailed(
                f"{name} belongs to a former LLMDeployment of this name and is being removed",
                refused=False,
            )
        return WriteFailed(
            f"{name} exists already and belongs to {owner.get('kind')} {owner.get('name')}. "
            "Rename one of the two",
            refused=True,
        )
    return WriteFailed(
        f"{name} exists already and Trimtab did not make it. Rename it or the LLMDeployment",
        refused=True,
    )
