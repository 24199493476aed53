"""Applying decisions: only what differs, ups before downs, ours only, one failure stops one."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest

import builders
from fakes import FakeCluster
from trimtab.actuate.apply import Applier, Outcome, Work
from trimtab.actuate.attempts import Attempts
from trimtab.actuate.kinds import Document, Reference, controller_uid
from trimtab.actuate.writer import WriteFailed
from trimtab.api.naming import HASH_ANNOTATION
from trimtab.models.plan import Decision
from trimtab.models.snapshot import DeploymentState, Key

POOLS = {name: builders.pool(name=name) for name in ("h100", "l40s")}
STATE = builders.deployment_state()
OTHER = builders.deployment_state(key=Key(namespace="assistants", name="other"), uid="other-uid")
CHAT = Reference(kind="Deployment", namespace="assistants", name="chat-h100-tp1")


class Bench:
    """An applier against a cluster in memory, with a clock that the test moves."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.now = 0.0
        self.seen: list[tuple[str, Document]] = []
        self.applier = Applier(
            writer=self.cluster,
            attempts=Attempts(clock=lambda: self.now, jitter=lambda: 0.0),
            seen=lambda event, body: self.seen.append((event, body)),
            clock=lambda: self.now,
        )

    def apply(
        self,
        *decided: tuple[DeploymentState, Decision],
        live: tuple[Document, ...] | None = None,
        deadline: float = float("inf"),
    ) -> list[Outcome]:
        """Apply and return the outcomes; the log starts anew."""
        self.cluster.log.clear()
        bodies = self.cluster.all() if live is None else live
        works = [Work(state=state, decision=item, live=bodies) for state, item in decided]
        return self.applier.apply(works, POOLS, deadline)

    def replicas(self) -> dict[str, int]:
        """Return the replicas of every child Deployment."""
        return {
            target.name: document["spec"]["replicas"]
            for target, document in self.cluster.objects.items()
            if target.kind == "Deployment"
        }


@pytest.fixture
def bench() -> Bench:
    return Bench()


def decided(**replicas: int) -> Decision:
    """A decision for STATE with so many replicas on each pool."""
    targets = tuple(builders.target(pool=name, replicas=n) for name, n in replicas.items())
    return builders.decision(targets=targets)


def with_pods(**pods: int) -> DeploymentState:
    """STATE with so many running pods on each pool."""
    variants = tuple(builders.variant_state(pool=name, pods=n) for name, n in pods.items())
    return dataclasses.replace(STATE, variants=variants)


def test_a_first_decision_creates_every_child_and_the_mirror_hears_of_each(bench: Bench) -> None:
    (outcome,) = bench.apply((STATE, decided(h100=2)))
    assert outcome == Outcome()
    assert bench.cluster.log == [
        "apply Service/chat",
        "apply Service/chat-h100-tp1",
        "apply Deployment/chat-h100-tp1",
        "apply PodDisruptionBudget/chat",
    ]
    assert [event for event, _ in bench.seen] == ["MODIFIED"] * 4
    assert all(controller_uid(document) == STATE.uid for document in bench.cluster.all())


def test_the_same_decision_again_writes_nothing(bench: Bench) -> None:
    bench.apply((STATE, decided(h100=2)))
    assert bench.apply((STATE, decided(h100=2))) == [Outcome()]
    assert bench.cluster.log == []


def test_a_decision_that_may_not_be_written_writes_nothing(bench: Bench) -> None:
    bench.apply((STATE, builders.decision(write=False)))
    assert bench.cluster.log == []


def test_an_edited_child_is_restored_and_foreign_fields_survive(bench: Bench) -> None:
    bench.apply((STATE, decided(h100=2)))
    child = bench.cluster.objects[CHAT]
    child["spec"]["replicas"] = 7
    child["metadata"]["annotations"]["team"] = "search"
    bench.cluster.put(child)
    bench.apply((STATE, decided(h100=2)))
    assert bench.cluster.log == ["apply Deployment/chat-h100-tp1"]
    assert bench.replicas() == {"chat-h100-tp1": 2}
    assert bench.cluster.objects[CHAT]["metadata"]["annotations"]["team"] == "search"


def test_a_field_that_we_no_longer_set_is_noticed_by_the_digest(bench: Bench) -> None:
    bench.apply((STATE, decided(h100=2)))
    child = bench.cluster.objects[CHAT]
    child["metadata"]["annotations"][HASH_ANNOTATION] = "of an older version"
    bench.cluster.put(child)
    bench.apply((STATE, decided(h100=2)))
    assert bench.cluster.log == ["apply Deployment/chat-h100-tp1"]


def test_ups_of_all_deployments_come_before_downs_of_any(bench: Bench) -> None:
    other = dataclasses.replace(decided(h100=2), key=OTHER.key, uid=OTHER.uid)
    bench.apply((STATE, decided(h100=4)), (OTHER, other))
    more = dataclasses.replace(decided(h100=5), key=OTHER.key, uid=OTHER.uid)
    bench.apply((STATE, decided(h100=1)), (OTHER, more))
    assert bench.cluster.log == [
        "apply Deployment/other-h100-tp1",
        "apply Deployment/chat-h100-tp1",
    ]


def test_a_move_creates_the_new_variant_before_it_shrinks_the_old(bench: Bench) -> None:
    bench.apply((STATE, decided(h100=4)))
    bench.apply((with_pods(h100=4), decided(h100=2, l40s=2)))
    assert bench.cluster.log[-2:] == [
        "apply Deployment/chat-l40s-tp1",
        "apply Deployment/chat-h100-tp1",
    ]


def test_a_variant_goes_to_zero_first_and_is_deleted_once_its_pods_are_gone(bench: Bench) -> None:
    bench.apply((STATE, decided(h100=2, l40s=1)))
    bench.apply((with_pods(h100=2, l40s=1), decided(h100=2, l40s=0)))
    assert bench.replicas() == {"chat-h100-tp1": 2, "chat-l40s-tp1": 0}
    bench.apply((with_pods(h100=2, l40s=0), decided(h100=2, l40s=0)))
    assert sorted(bench.cluster.log) == [
        "delete Deployment/chat-l40s-tp1",
        "delete Service/chat-l40s-tp1",
    ]
    bench.apply((with_pods(h100=2), decided(h100=2, l40s=0)))
    assert bench.cluster.log == []


def test_a_variant_whose_pool_is_gone_stays_as_it_is_while_it_is_wanted(bench: Bench) -> None:
    bench.apply((STATE, decided(h100=2, l40s=1)))
    bench.applier.attempts.forget(CHAT)
    bench.cluster.log.clear()
    work = Work(state=STATE, decision=decided(h100=2, l40s=1), live=bench.cluster.all())
    (outcome,) = bench.applier.apply([work], {"h100": POOLS["h100"]}, float("inf"))
    assert (outcome, bench.cluster.log) == (Outcome(), [])


def test_what_all_deployments_were_promised_fills_a_pool(bench: Bench) -> None:
    def unavailable(mine: int, others: int) -> int:
        bench.apply((STATE, decided(h100=mine)), (OTHER, decided(h100=others)))
        strategy = bench.cluster.objects[CHAT]["spec"]["strategy"]
        return int(strategy["rollingUpdate"]["maxUnavailable"])

    devices = POOLS["h100"].devices
    assert unavailable(2, devices - 3) == 0
    assert unavailable(2, devices - 2) == 1
    assert unavailable(2, devices - 3) == 0


def foreign(**metadata: Any) -> Document:
    """A Service called chat that is not ours."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "chat", "namespace": "assistants", "uid": "f", **metadata},
        "spec": {"ports": [{"port": 80}]},
    }


def owned_by(kind: str, name: str) -> list[dict[str, Any]]:
    return [{"kind": kind, "name": name, "uid": "somebody", "controller": True}]


@pytest.mark.parametrize(
    ("metadata", "refused", "says"),
    [
        ({}, True, "Trimtab did not make it"),
        ({"ownerReferences": owned_by("App", "web")}, True, "belongs to App web"),
        ({"ownerReferences": owned_by("LLMDeployment", "chat")}, False, "former LLMDeployment"),
        ({"labels": {"trimtab.dev/deployment": "chat"}}, True, "Trimtab did not make it"),
    ],
)
def test_what_is_not_ours_is_never_touched_and_the_rest_is_served(
    bench: Bench, metadata: dict[str, Any], refused: bool, says: str
) -> None:
    before = bench.cluster.put(foreign(**metadata))
    (outcome,) = bench.apply((STATE, decided(h100=2)), live=())
    (failure,) = outcome.failures
    assert failure.target.name == "chat"
    assert failure.refused is refused
    assert says in failure.message
    assert bench.cluster.objects[failure.target] == before
    assert bench.replicas() == {"chat-h100-tp1": 2}


def test_a_child_of_ours_that_the_mirror_lacks_is_updated_not_made_twice(bench: Bench) -> None:
    bench.apply((STATE, decided(h100=2)))
    bench.apply((STATE, decided(h100=3)), live=())
    assert bench.replicas() == {"chat-h100-tp1": 3}
    assert len(bench.cluster.objects) == 4


def test_a_child_that_lost_its_owner_is_taken_back(bench: Bench) -> None:
    bench.apply((STATE, decided(h100=2)))
    child = bench.cluster.objects[CHAT]
    del child["metadata"]["ownerReferences"]
    bench.cluster.put(child)
    assert bench.apply((STATE, decided(h100=2))) == [Outcome()]
    assert controller_uid(bench.cluster.objects[CHAT]) == STATE.uid


def test_children_of_others_are_never_pruned(bench: Bench) -> None:
    bench.apply((OTHER, dataclasses.replace(decided(h100=1), key=OTHER.key, uid=OTHER.uid)))
    bench.apply((STATE, decided(h100=1)))
    assert not [entry for entry in bench.cluster.log if entry.startswith("delete")]


def refusing(name: str, **failure: Any) -> Callable[[str, Reference], WriteFailed | None]:
    def refuse(verb: str, target: Reference) -> WriteFailed | None:
        return WriteFailed("quota exceeded", **failure) if target.name == name else None

    return refuse


def test_a_failure_stops_the_downs_of_its_deployment_and_nothing_of_others(bench: Bench) -> None:
    other = dataclasses.replace(decided(h100=4), key=OTHER.key, uid=OTHER.uid)
    bench.apply((STATE, decided(h100=4)), (OTHER, other))
    bench.cluster.refuse = refusing("chat-l40s-tp1", refused=True, status=403)
    less = dataclasses.replace(decided(h100=3), key=OTHER.key, uid=OTHER.uid)
    mine, theirs = bench.apply((with_pods(h100=4), decided(h100=2, l40s=2)), (OTHER, less))
    assert [failure.message for failure in mine.failures] == ["quota exceeded"] * 2
    assert theirs == Outcome()
    assert bench.replicas() == {"chat-h100-tp1": 4, "other-h100-tp1": 3}


def test_a_refused_child_is_tried_again_ever_more_slowly_and_reported_meanwhile(
    bench: Bench,
) -> None:
    tries: list[float] = []

    def refuse(verb: str, target: Reference) -> WriteFailed | None:
        if target.kind != "PodDisruptionBudget":
            return None
        tries.append(bench.now)
        return WriteFailed("denied", refused=True, status=403)

    bench.cluster.refuse = refuse
    for _ in range(2000):
        (outcome,) = bench.apply((STATE, decided(h100=1)))
        assert [failure.message for failure in outcome.failures] == ["denied"]
        bench.now += 1.0
    gaps = [after - before for before, after in itertools.pairwise(tries)]
    assert gaps[:6] == [1, 2, 4, 8, 16, 32]
    assert max(gaps) == 300


def test_a_child_that_somebody_keeps_undoing_is_restored_at_a_bounded_pace(bench: Bench) -> None:
    bench.apply((STATE, decided(h100=2)))
    restored: list[float] = []
    for _ in range(600):
        child = bench.cluster.objects[CHAT]
        if child["spec"]["replicas"] == 2:
            bench.cluster.put(child | {"spec": child["spec"] | {"replicas": 9}})
        bench.apply((STATE, decided(h100=2)))
        if bench.cluster.log:
            restored.append(bench.now)
        bench.now += 0.1
    gaps = [after - before for before, after in itertools.pairwise(restored)]
    assert max(gaps) <= 10
    assert len(restored) < 20


def test_what_the_server_makes_something_else_of_is_not_sent_again(bench: Bench) -> None:
    bench.apply((STATE, decided(h100=2)))
    live = bench.cluster.all()
    for document in live:
        if document["kind"] == "Deployment":  # as a mutating webhook would
            document["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 600
    bench.apply((STATE, decided(h100=2)), live=live)
    assert bench.cluster.log == []


def test_a_scale_down_of_an_object_that_changed_meanwhile_is_not_done(bench: Bench) -> None:
    bench.apply((STATE, decided(h100=4)))
    seen = bench.cluster.all()
    bench.cluster.put(bench.cluster.objects[CHAT])
    (outcome,) = bench.apply((with_pods(h100=4), decided(h100=1)), live=seen)
    assert [failure.refused for failure in outcome.failures] == [False]
    assert bench.replicas() == {"chat-h100-tp1": 4}


def test_an_object_that_was_replaced_meanwhile_is_not_updated(bench: Bench) -> None:
    bench.apply((STATE, decided(h100=1)))
    seen = bench.cluster.all()
    child = bench.cluster.objects[CHAT]
    child["metadata"]["uid"] = "another"
    bench.cluster.put(child)
    bench.apply((STATE, decided(h100=3)), live=seen)
    assert bench.replicas() == {"chat-h100-tp1": 1}


def test_when_time_is_up_the_rest_is_left_to_the_next_cycle(bench: Bench) -> None:
    (outcome,) = bench.apply((STATE, decided(h100=2)), deadline=0.0)
    assert (outcome, bench.cluster.log) == (Outcome(deferred=True), [])
    assert bench.apply((STATE, decided(h100=2))) == [Outcome()]
    assert bench.replicas() == {"chat-h100-tp1": 2}


def test_every_prefix_of_the_writes_leads_to_the_same_end() -> None:
    def run(stop_after: int | None) -> dict[str, int]:
        bench = Bench()
        bench.apply((STATE, decided(h100=4)))
        move = (with_pods(h100=4), decided(h100=1, l40s=3))
        count = 0

        def refuse(verb: str, target: Reference) -> WriteFailed | None:
            nonlocal count
            count += 1
            if stop_after is not None and count > stop_after:
                return WriteFailed("killed", refused=False)
            return None

        bench.cluster.refuse = refuse
        bench.apply(move)
        assert sum(bench.replicas().values()) >= 4
        fresh = Bench()
        fresh.cluster.objects = bench.cluster.objects
        fresh.cluster._versions = bench.cluster._versions
        fresh.apply(move)
        return fresh.replicas()

    undisturbed = run(None)
    assert undisturbed == {"chat-h100-tp1": 1, "chat-l40s-tp1": 3}
    for stop_after in range(5):
        assert run(stop_after) == undisturbed
