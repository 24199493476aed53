"""What node autoscalers say of pods that wait, as they really word it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

import bodies
from trimtab.observe.kinds import Kind
from trimtab.observe.refusals import LATE_S, LONGEST, MOST, Refusals, refusal_of
from trimtab.observe.store import Store
from trimtab.observe.world import WorldView

Event = dict[str, Any]
FULL = "pod didn't trigger scale-up: 1 max node group size reached"
OUT = "Failed to schedule pod, no instance type has available offerings"


def event(reason: str, at_s: float = 0.0, who: str = "cluster-autoscaler", says: str = "") -> Event:
    """An Event of the older kind, which Cluster Autoscaler and Karpenter write."""
    last = datetime.fromtimestamp(bodies.NOW + at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "reason": reason,
        "message": says,
        "source": {"component": who},
        "reportingComponent": "",
        "lastTimestamp": last,
    }


NO = event("NotTriggerScaleUp", says=FULL)


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([], None),
        ([NO], f"NotTriggerScaleUp: {FULL}"),
        ([event("FailedScaleUp", says="out of resources")], "FailedScaleUp: out of resources"),
        ([event("FailedScheduling", who="karpenter", says=OUT)], f"FailedScheduling: {OUT}"),
        ([event("NoCompatibleInstanceTypes", who="karpenter")], "NoCompatibleInstanceTypes: "),
        # The scheduler tries again for ever, and what else happens to pods says nothing.
        ([event("FailedScheduling", who="default-scheduler")], None),
        ([event("Pulling", who="kubelet"), event("TriggeredScaleUp")], None),
    ],
)
def test_a_word_of_an_autoscaler_counts_and_no_other(events: list[Event], says: str | None) -> None:
    assert refusal_of(events) == says


def test_the_last_word_counts_whatever_the_order() -> None:
    tries = event("TriggeredScaleUp", at_s=-60)
    later = event("TriggeredScaleUp", at_s=60)
    for events in ([tries, NO], [NO, tries]):
        assert refusal_of(events) is not None
    for events in ([later, NO], [NO, later], [NO, event("TriggeredScaleUp")]):
        assert refusal_of(events) is None


def test_beside_karpenter_a_cluster_autoscaler_does_not_decide() -> None:
    comes = event("Nominated", at_s=-30, who="karpenter")
    assert refusal_of([comes, NO]) is None
    assert refusal_of([comes, NO, event("FailedScheduling", who="karpenter", says=OUT)]) is not None


def test_newer_events_tell_their_time_elsewhere_and_a_series_when_it_was_seen_last() -> None:
    tries = event("TriggeredScaleUp", at_s=-60)
    newer = {
        "reason": "NotTriggerScaleUp",
        "message": FULL,
        "reportingComponent": "cluster-autoscaler",
        "lastTimestamp": None,
        "eventTime": bodies.at(600),
        "series": {"count": 9, "lastObservedTime": bodies.at(30)},
    }
    assert refusal_of([tries, newer]) == f"NotTriggerScaleUp: {FULL}"
    assert refusal_of([tries, {**newer, "series": None}]) is None
    created = {**newer, "eventTime": None, "series": None}
    assert refusal_of([tries, created]) is None
    made = {**created, "metadata": {"creationTimestamp": bodies.at(30)}}
    assert refusal_of([tries, made]) is not None


@pytest.mark.parametrize("broken", [{}, {"reason": 3}, {"reason": None, "source": "x"}])
def test_what_is_no_event_says_nothing(broken: Event) -> None:
    assert refusal_of([broken]) is None
    assert refusal_of([broken, NO]) is not None


def test_a_sentence_is_one_line_and_not_a_page() -> None:
    said = refusal_of([event("NotTriggerScaleUp", says="no\n  room " + "x" * 999)])
    assert said is not None
    assert said.startswith("NotTriggerScaleUp: no room x")
    assert len(said) == LONGEST


class ApiServer:
    """Answers LISTs of events, or not."""

    def __init__(self, *events: Event) -> None:
        self.events, self.error = events, OSError("connection refused")
        self.asked: list[str] = []
        self.down = False

    def request(self, method: str, path: str, **params: Any) -> Any:
        assert (method, path) == ("get", "/api/v1/namespaces/assistants/events")
        selector = params["field_selector"]
        kind, name = selector.split(",")
        assert kind == "involvedObject.kind=Pod"
        self.asked.append(name.removeprefix("involvedObject.name="))
        if self.down:
            raise self.error
        body = {"kind": "EventList", "metadata": {"resourceVersion": "7"}, "items": self.events}
        return type("Response", (), {"data": json.dumps(body).encode()})()


def view(*pods: Any) -> WorldView:
    store = Store()
    for pod in pods:
        store.observe(Kind.POD, "ADDED", pod)
    return store.view()


def waits(end: str, seconds: float, **over: Any) -> Any:
    return bodies.pod(end, ready_s=None, unschedulable_s=seconds, phase="Pending", **over)


def test_the_longest_waiting_pod_of_each_variant_is_asked_about_and_no_other() -> None:
    server = ApiServer(NO)
    found = Refusals(client=server)(
        view(
            waits("aaaaa", 40),
            waits("bbbbb", 90),
            waits("ccccc", LATE_S - 1, variant="chat-l40s-tp1", pool="l40s"),
            waits("ddddd", LATE_S, variant="chat-a100-tp1", pool="a100"),
            waits("eeeee", 99, deletionTimestamp=bodies.at(0)),
            bodies.pod("fffff"),
        ),
        bodies.NOW,
    )
    names = [bodies.pod(end)["metadata"]["name"] for end in ("bbbbb", "ddddd")]
    names[1] = names[1].replace("h100", "a100")
    assert server.asked == names
    assert found == {("assistants", name): f"NotTriggerScaleUp: {FULL}" for name in names}


def test_while_nothing_waits_nothing_is_asked() -> None:
    server = ApiServer(NO)
    assert Refusals(client=server)(view(bodies.pod("aaaaa")), bodies.NOW) == {}
    assert server.asked == []


def test_a_cluster_full_of_waiting_pods_is_asked_about_some() -> None:
    server = ApiServer()
    pods = [waits("aaaaa", 60 + i, variant=f"chat-p{i}-tp1", pool=f"p{i}") for i in range(MOST + 5)]
    assert Refusals(client=server)(view(*pods), bodies.NOW) == {}
    assert len(server.asked) == MOST
    assert server.asked[0].startswith(f"chat-p{MOST + 4}-")


def test_who_cannot_be_asked_is_asked_once_a_cycle_and_told_of_once() -> None:
    server = ApiServer(NO)
    refusals, pods = Refusals(client=server), [waits("aaaaa", 60), waits("bbbbb", 60, variant="b")]
    server.down = True
    with capture_logs() as logs:
        for _ in range(3):
            assert refusals(view(*pods), bodies.NOW) == {}
        assert len(server.asked) == 3
        server.down = False
        assert refusals(view(*pods), bodies.NOW)
        server.down = True
        assert refusals(view(*pods), bodies.NOW) == {}
    assert [each["event"] for each in logs] == ["events of waiting pods cannot be read"] * 2
