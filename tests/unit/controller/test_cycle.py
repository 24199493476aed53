"""One cycle with the real mirror and the real planner, against a cluster in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bodies
from fakes import FakeCluster
from trimtab.actuate.apply import Applier
from trimtab.actuate.attempts import Attempts
from trimtab.actuate.budgets import BudgetWriter
from trimtab.actuate.events import Allowance
from trimtab.actuate.kinds import Document, Reference
from trimtab.actuate.objects import ObjectWriter
from trimtab.actuate.pools import PoolWriter
from trimtab.actuate.publisher import Publisher
from trimtab.actuate.writer import WriteFailed
from trimtab.config import OperatorConfig
from trimtab.controller.context import Context
from trimtab.controller.cycle import Clocks, Cycle, Hands
from trimtab.controller.decisionlog import DecisionLog
from trimtab.errors import LostLeadership
from trimtab.models.codec import load_record
from trimtab.observe.kinds import Kind
from trimtab.planner.plan import plan

WORKLOAD = {"inputTokens": 512, "outputTokens": 128, "requestsPerSecond": "1"}


class World:
    """A cluster, its mirror, and an operator that turns when the test says so."""

    def __init__(self, log: Path, cluster: FakeCluster | None = None, **config: Any) -> None:
        self.cluster = cluster or FakeCluster()
        self.context = Context(config=OperatorConfig(decision_log=str(log), **config))
        self.now = bodies.NOW
        self.refusals: dict[tuple[str, str], str] = {}
        self.log = log
        attempts = Attempts(clock=self.monotonic, jitter=lambda: 0.0)
        parts: dict[str, Any] = {
            "writer": self.cluster,
            "attempts": attempts,
            "seen": self.seen,
        }
        publisher = Publisher(
            allowance=Allowance(clock=self.monotonic), clock=self.monotonic, **parts
        )
        self.cycle = Cycle(
            context=self.context,
            source=None,
            refusals=lambda view, now: self.refusals,
            hands=Hands(
                applier=Applier(clock=self.monotonic, **parts),
                pools=PoolWriter(objects=ObjectWriter(**parts)),
                budgets=BudgetWriter(objects=ObjectWriter(**parts)),
                publisher=publisher,
                log=DecisionLog(str(log)),
            ),
            clocks=Clocks(now=lambda: self.now, monotonic=self.monotonic),
        )

    def monotonic(self) -> float:
        return self.now

    def seen(self, event: str, body: Document) -> None:
        self.context.store.observe(Kind(body["kind"]), event, body)

    def put(self, *documents: Document) -> None:
        """Let a user create or change objects; the mirror hears of it."""
        for document in documents:
            self.seen("MODIFIED", self.cluster.put(document))

    def node(self, name: str) -> None:
        self.context.store.observe(Kind.NODE, "ADDED", bodies.node(name))

    def turn(self, later: float = 15.0) -> list[str]:
        """Let time pass, run a cycle, and return what was written."""
        self.now += later
        self.cluster.log.clear()
        self.cycle.run()
        return list(self.cluster.log)

    def status(self, name: str = "chat") -> Document:
        target = Reference(kind="LLMDeployment", namespace="assistants", name=name)
        status: Document = self.cluster.objects[target].get("status", {})
        return status

    def ready(self, name: str = "chat") -> tuple[str, str]:
        (ready,) = (item for item in self.status(name)["conditions"] if item["type"] == "Ready")
        return ready["status"], ready["reason"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "decisions.jsonl")
    world.node("node-1")
    return world


def chat(**over: Any) -> Document:
    spec = {"workload": WORKLOAD} | over.pop("spec", {})
    return bodies.llm_deployment(spec=spec, **over)


def test_nodes_and_a_model_are_enough(world: World) -> None:
    world.put(chat())
    written = world.turn()
    assert written[0].startswith("apply AcceleratorPool/")
    assert [entry for entry in written if entry.startswith("apply Deployment/chat-")]
    assert written[-1].startswith("apply-status AcceleratorPool/")
    kinds = [entry.split(" ")[0] + " " + entry.split(" ")[1].split("/")[0] for entry in written]
    assert kinds.index("apply Deployment") < kinds.index("apply-status LLMDeployment")
    assert kinds.index("apply-status LLMDeployment") < kinds.index("create Event")
    assert world.ready() == ("False", "ReplicasNotReady")


def test_at_rest_nothing_is_written_for_an_hour(world: World) -> None:
    world.put(chat())
    world.turn()
    world.turn()
    assert [world.turn() for _ in range(240)] == [[]] * 240


def test_a_restart_with_an_empty_memory_writes_nothing(world: World, tmp_path: Path) -> None:
    world.put(chat())
    world.turn()
    world.turn()
    again = World(tmp_path / "again.jsonl", cluster=world.cluster)
    again.now = world.now
    again.node("node-1")
    for document in world.cluster.all():
        if document["kind"] != "Event":
            again.seen("ADDED", document)
    assert again.turn() == []


def test_the_log_has_every_change_once_and_replays_to_the_same_decision(world: World) -> None:
    world.put(chat())
    for _ in range(5):
        world.turn()
    (line,) = world.log.read_text().splitlines()
    record = load_record(line)
    assert plan(record.snapshot, record.config) == record.plan
    (decision,) = record.plan.decisions
    fleet = {target.pool: target.replicas for target in decision.targets}
    assert {item["pool"]: item["desired"] for item in world.status()["variants"]} == fleet


def test_a_recommendation_that_stands_is_logged_once(world: World) -> None:
    world.put(chat(spec={"mode": "Recommend"}))
    for _ in range(5):
        world.turn()
    assert len(world.log.read_text().splitlines()) == 1
    assert not [target for target in world.cluster.objects if target.kind == "Deployment"]
    assert world.ready() == ("False", "Recommending")


def test_without_discovery_no_pool_is_made(tmp_path: Path) -> None:
    world = World(tmp_path / "log", discover_pools=False)
    world.node("node-1")
    world.put(chat())
    world.turn()
    assert not [target for target in world.cluster.objects if target.kind == "AcceleratorPool"]
    assert world.ready() == ("False", "NoFeasibleCandidate")


def test_an_object_that_cannot_be_understood_is_told_so_once_and_others_go_on(
    world: World,
) -> None:
    broken = bodies.llm_deployment("broken", uid="broken-uid")
    broken["spec"] = {"model": {"name": 5}}
    world.put(broken, chat())
    world.turn()
    assert world.ready("broken") == ("False", "InvalidSpec")
    assert world.ready() == ("False", "ReplicasNotReady")
    world.turn()
    assert world.turn() == []


def refusing(kind: str) -> Callable[[str, Reference], WriteFailed | None]:
    def refuse(verb: str, target: Reference) -> WriteFailed | None:
        refused = verb == "apply" and target.kind == kind
        return WriteFailed("denied by policy", refused=True, status=403) if refused else None

    return refuse


def test_a_refused_child_is_in_the_status_and_goes_from_it(world: World) -> None:
    world.put(chat())
    world.cluster.refuse = refusing("Deployment")
    world.turn()
    assert world.ready() == ("False", "ChildRejected")
    settled = [world.turn() for _ in range(10)]
    assert not [entry for written in settled[1:] for entry in written if "status" in entry]
    world.cluster.refuse = lambda verb, target: None
    for _ in range(25):
        world.turn()
    assert world.ready() == ("False", "ReplicasNotReady")


def test_a_lost_lease_comes_out_of_the_cycle(world: World) -> None:
    def refuse(verb: str, target: Reference) -> WriteFailed | None:
        raise LostLeadership("gone")

    world.put(chat())
    world.cluster.refuse = refuse
    with pytest.raises(LostLeadership):
        world.turn()


def test_a_deployment_that_is_being_deleted_is_left_alone(world: World) -> None:
    world.put(chat(deletionTimestamp=bodies.at(0)))
    assert [entry for entry in world.turn() if "chat" in entry] == []


def test_a_status_is_not_written_over_that_of_a_recreated_object(world: World) -> None:
    world.put(chat())
    world.turn()
    # The mirror has not heard of it yet.
    world.cluster.put(chat(uid="another"))
    world.turn()
    assert world.status() == {}


def test_metrics_show_the_fleet(world: World) -> None:
    world.put(chat())
    world.turn()
    registry = world.context.metrics.registry
    where = {"namespace": "assistants", "name": "chat"}
    assert registry.get_sample_value("trimtab_desired_replicas", where) == 1
    assert registry.get_sample_value("trimtab_ready_replicas", where) == 0
    assert registry.get_sample_value("trimtab_decisions_total", {"why": "Initial"}) == 1
    target = Reference(kind="LLMDeployment", namespace="assistants", name="chat")
    world.seen("DELETED", world.cluster.objects[target])
    world.turn()
    assert registry.get_sample_value("trimtab_desired_replicas", where) is None


@pytest.mark.parametrize(
    ("over", "recommended"),
    [
        ({}, 0),
        ({"spec": {"mode": "Recommend"}}, 1),
        ({"annotations": {"trimtab.dev/paused": "true"}}, 0),
    ],
    ids=["carried out", "only published", "paused: what runs is meant"],
)
def test_metrics_tell_a_recommended_fleet_from_one_that_shall_serve(
    world: World, over: dict[str, Any], recommended: int
) -> None:
    world.put(chat(**over))
    world.turn()
    where = {"namespace": "assistants", "name": "chat"}
    value = world.context.metrics.registry.get_sample_value("trimtab_recommended", where)
    assert value == recommended


def budget(**spec: Any) -> Document:
    return {
        "apiVersion": "trimtab.dev/v1alpha1",
        "kind": "FleetBudget",
        "metadata": bodies.metadata("team", generation=2),
        "spec": spec,
    }


def test_a_budget_says_what_is_held_and_whom_it_holds_back(world: World) -> None:
    world.put(budget(maxDevices=1), chat(spec={"scaling": {"minReplicas": 3}}))
    world.turn()
    world.turn()
    target = Reference(kind="FleetBudget", namespace="", name="team")
    status = world.cluster.objects[target]["status"]
    assert (status["devices"], status["observedGeneration"]) == (1, 2)
    assert float(status["perHour"]) > 0
    ready, within = status["conditions"]
    assert (ready["type"], ready["status"]) == ("Ready", "True")
    assert (within["type"], within["status"]) == ("WithinBudget", "False")
    assert "assistants/chat" in within["message"]
    assert world.turn() == []
    world.put(budget(maxDevices=8))
    world.turn()
    world.turn()
    status = world.cluster.objects[target]["status"]
    assert status["devices"] == 3
    assert status["conditions"][1]["status"] == "True"
