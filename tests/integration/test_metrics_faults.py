"""Faults F32 to F49 of the metrics, between a real Prometheus and a running operator.

One operator serves ten deployments of two replicas each. Every case breaks something, holds it
for longer than the scale-down window, and heals it. It passes when nobody lost a replica, the
condition said what is wrong within 30 s and nothing was written once all was well again. What each
test was seen to fail with is in docs/contract.md.
"""

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import bodies
from faultworld import (
    HEALED_S,
    HOLD_S,
    KEYS,
    RATE_WINDOW_S,
    REPLICAS,
    SAID_S,
    SCRAPE_S,
    WINDOW_S,
    Look,
    World,
    broken_world,
)
from trimtab.actuate.connection import connect
from trimtab.config import OperatorConfig
from trimtab.models.signals import Fresh
from trimtab.models.snapshot import Key
from trimtab.observe.history import demand_history, known, replay
from trimtab.observe.listing import resync
from trimtab.observe.prometheus import PrometheusSource
from trimtab.observe.store import Store
from trimtab.telemetry.names import DEMAND
from trimtab_e2e import promproxy
from trimtab_e2e.nodes import make_nodes
from trimtab_e2e.promproxy import ELSEWHERE, Fault, Series
from trimtab_e2e.steadyengines import Edit, Name
from trimtab_e2e.waiting import eventually

ALL_KINDS = {"MetricsMissing", "MetricsStale", "MetricsPartial", "MetricsInvalid"}
DOWN = {"PrometheusUnavailable"}
INVALID = {"MetricsInvalid"}
OLD = {"MetricsStale", "MetricsMissing"}
"""A gauge keeps its last value and is stale; a rate has no value any more."""
NOWHERE = "<html><body>Sign in to continue</body></html>"
ERROR = '{"status": "error", "errorType": "internal", "error": "out of memory"}'


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with broken_world() as world:
        yield world


def hold(world: World, fault: Fault, reasons: set[str]) -> float:
    """Let every answer be at fault for a while, judge it, and return when it began."""
    with world.broken(reasons) as began, world.answering(fault):
        time.sleep(HOLD_S)
    return began


def test_prometheus_refuses_connections(world: World) -> None:
    """F32."""
    with world.broken(DOWN):
        world.proxy.refuse()
        time.sleep(HOLD_S)
        world.proxy.accept()


def test_prometheus_takes_questions_and_never_answers(world: World) -> None:
    """F33: one deadline is lost a pass, and not one a question; nothing else waits."""
    began = hold(world, promproxy.black_hole, DOWN)
    asked = [each.at for each in world.proxy.asked_since(began) if each.at < began + HOLD_S]
    assert 2 <= len(asked) <= HOLD_S / 2 + 2, "a pass asks once, for the 2 s of a deadline"
    assert world.healthy


def test_prometheus_answers_a_byte_a_second(world: World) -> None:
    """F34."""
    hold(world, promproxy.drip, DOWN)


def test_prometheus_asks_for_a_day_of_patience(world: World) -> None:
    """F35: the next pass asks again."""
    fault = promproxy.answering(503, "too many", Retry_After="86400")
    began = hold(world, fault, DOWN)
    asked = [each.at for each in world.proxy.asked_since(began) if each.at < began + HOLD_S]
    assert len(asked) >= HOLD_S / 2


@pytest.mark.parametrize(
    ("fault", "reasons"),
    [
        (promproxy.answering(422, ERROR), INVALID),
        (promproxy.answering(200, ERROR), DOWN),
        (promproxy.answering(200, NOWHERE, Content_Type="text/html"), DOWN),
        (promproxy.saying(warnings=["a store did not answer"]), INVALID),
    ],
    ids=["422", "status-error", "html", "warnings"],
)
def test_prometheus_gives_no_whole_answer(world: World, fault: Fault, reasons: set[str]) -> None:
    """F36."""
    hold(world, fault, reasons)


def test_prometheus_sends_us_elsewhere(world: World) -> None:
    """F36: nobody goes there."""
    began = hold(world, promproxy.elsewhere, DOWN)
    assert ELSEWHERE not in {each.path for each in world.proxy.asked_since(began)}


@pytest.mark.parametrize(
    "fault",
    [promproxy.truncated, promproxy.endless],
    ids=["truncated", "endless"],
)
def test_prometheus_answers_what_nobody_can_read(world: World, fault: Fault) -> None:
    """F37: and memory stays what it was."""
    before = world.stack.operator.rss_mib()
    hold(world, fault, DOWN)
    assert world.stack.operator.rss_mib() - before < 50


Lie = Callable[[str, Series], Series | None]
"""What becomes of a series of an answer to a query; None and it is not in it."""


def clock_ahead(seconds: float) -> Lie:
    """Return the answers of a Prometheus whose clock is ahead: its samples' times are, too."""

    def lie(query: str, series: Series) -> Series:
        at, value = series["value"]
        if promproxy.is_time(query, series):
            value = repr(float(value) + seconds)
        return series | {"value": [at + seconds, value]}

    return lie


def saying(value: object) -> Lie:
    """Return the answers in which every value is this one, but the times of samples."""

    def lie(query: str, series: Series) -> Series:
        if promproxy.is_time(query, series):
            return series
        return series | {"value": [series["value"][0], value]}

    return lie


NO_NUMBERS: tuple[object, ...] = ("NaN", "+Inf", "-1", "1e308", "1e400", "", None)
LIES: dict[str, Lie] = {
    "no series": lambda query, series: None,
    "behind": clock_ahead(-300.0),
    "ahead": clock_ahead(300.0),
    **{repr(value): saying(value) for value in NO_NUMBERS},
}
LIED_TO = dict(zip(LIES, KEYS, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lied:
    """What came of lies, of which every deployment had its own."""

    looks: list[Look]
    page: str
    """The operator's own metrics."""
    bodies: list[Any]
    """All deployments."""

    def said_of(self, lie: str, reasons: set[str]) -> set[str]:
        """Return the messages of the condition, which must have come in time."""
        key = LIED_TO[lie]
        assert {look.replicas[key] for look in self.looks} == {REPLICAS}
        began = self.looks[0].at
        said = [(look.at - began, *look.metrics[key]) for look in self.looks]
        found = [each for each in said if each[1] != "True" and each[2] in reasons]
        assert found, said
        assert found[0][0] < SAID_S
        return {message for *_, message in found}


@pytest.fixture(scope="module")
def lied(world: World) -> Lied:
    """What was seen while all lasted."""
    lies = {LIED_TO[name]: lie for name, lie in LIES.items()}

    def change(query: str, series: Series) -> Series | None:
        labels = series["metric"]
        name = labels.get("pod") or labels["trimtab_stem"]
        return lies[labels["namespace"], name.partition("-")[0]](query, series)

    world.comes_to_rest(HEALED_S)
    began = time.monotonic()
    with world.answering(promproxy.changing(change)):
        time.sleep(HOLD_S)
        page = world.own_metrics()
        bodies_ = [world.stack.llmd(*key) for key in KEYS]
    return Lied(looks=world.watcher.since(began), page=page, bodies=bodies_)


def test_prometheus_has_no_series(lied: Lied) -> None:
    """F38."""
    said = lied.said_of("no series", {"MetricsMissing"})
    assert any("is there a PodMonitor?" in message for message in said), said


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_prometheus_answers_no_usable_number(lied: Lied, value: object) -> None:
    """F40."""
    lied.said_of(repr(value), INVALID)


def test_no_such_number_leaves_the_operator(lied: Lied) -> None:
    """F40: neither in a status nor in a metric."""
    for line in lied.page.splitlines():
        value = float(line.rpartition(" ")[2]) if line and line[0] != "#" else 0.0
        assert math.isfinite(value), line
    for status in (body["status"] for body in lied.bodies):
        figures = json.dumps([status["variants"], status["cost"]])
        assert not re.search(r"(?i)\b(nan|inf|infinity)\b", figures)


@pytest.mark.parametrize(
    ("lie", "reasons", "pattern"),
    [("behind", OLD, r"is \d\d\d s old"), ("ahead", INVALID, r"\d\d\d s ahead of this clock")],
    ids=["behind", "ahead"],
)
def test_prometheus_has_another_time(lied: Lied, lie: str, reasons: set[str], pattern: str) -> None:
    """F48."""
    said = lied.said_of(lie, reasons)
    assert any(re.search(pattern, message) for message in said), said


def test_all_is_well_once_the_lies_end(world: World, lied: Lied) -> None:
    """F38, F40 and F48: within 60 s, and then nothing is written."""
    world.heals()


def test_prometheus_answers_one_poll_in_three(world: World) -> None:
    """F46: nothing moves, in either direction, though what is seen now and then asks for less."""
    flows = dict(world.engines.flows)
    with world.broken(DOWN) as began, world.answering(promproxy.except_one_in(3)):
        world.engines.flows = {key: replace(flow, rps=flow.rps / 3) for key, flow in flows.items()}
        # Until the lull fills the window of rates, and then that of the evidence, were it whole.
        time.sleep(RATE_WINDOW_S + HOLD_S)
        looks = world.watcher.since(began)
        world.engines.flows = flows  # its rise may be followed at once
        time.sleep(RATE_WINDOW_S + SCRAPE_S)
    assert {look.replicas[key] for look in looks for key in KEYS} == {REPLICAS}


def test_all_deployments_fall_to_zero_at_once(world: World) -> None:
    """F45: true zeros, as of a recording rule that lost its input; held for a window at least."""

    def change(query: str, series: Series) -> Series:
        if promproxy.is_time(query, series):
            return series
        return series | {"value": [series["value"][0], "0"]}

    world.comes_to_rest(HEALED_S)
    began = time.monotonic()
    with world.answering(promproxy.changing(change)):
        time.sleep(WINDOW_S - 1.0)
    held = world.watcher.since(began)
    assert {look.replicas[key] for look in held for key in KEYS} == {REPLICAS}
    world.heals()


def test_every_engine_is_lost_at_once(world: World) -> None:
    """F45: the scrape configuration is gone."""
    with world.broken(ALL_KINDS), world.editing(dict.fromkeys(KEYS, lambda page: None)):
        time.sleep(HOLD_S + 2 * SCRAPE_S)


def test_another_tenant_s_pod_claims_to_be_ours(world: World) -> None:
    """F47: in the victim's name, and with its labels, from another namespace."""
    victim = KEYS[0]
    (name, *_) = world.pods(victim)
    labels = bodies.replica_labels(victim[1]) | {"pod-template-hash": bodies.HASH}
    world.stack.cluster.kubectl("create", "namespace", "rogue")
    world.comes_to_rest(HEALED_S)
    began = time.monotonic()
    with world.editing({("rogue", name): lambda page: _multiplied(page, 1e9)}):
        world.stack.cluster.apply(_rogue(name, labels))
        eventually(
            lambda: world.count('max(vllm:num_requests_running{namespace="rogue"})') >= 1e9,
            "the rogue pod is scraped",
            30,
        )
        time.sleep(HOLD_S)
    looks = world.watcher.since(began)
    assert {look.replicas[key] for look in looks for key in KEYS} == {REPLICAS}
    assert not {look.metrics[victim][1] for look in looks} & INVALID
    world.comes_to_rest(HEALED_S)
    world.stack.cluster.kubectl("delete", "namespace", "rogue", "--wait=false")


def _rogue(name: str, labels: dict[str, str]) -> dict[str, Any]:
    container = {"name": "main", "image": "x", "ports": [{"name": "http", "containerPort": 8000}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "rogue", "labels": labels},
        "spec": {"containers": [container], "tolerations": [{"operator": "Exists"}]},
    }


def _multiplied(page: str, factor: float) -> str:
    lines = []
    for line in page.splitlines():
        series, _, value = line.rpartition(" ")
        wanted = line.startswith("vllm:")
        lines.append(f"{series} {(float(value) + 1) * factor!r}" if wanted else line)
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is wrong with the engines of one deployment, and what is to be said of it."""

    edit: Edit
    reasons: set[str]
    pods: int = REPLICAS
    """How many of them."""


def setting(metric: str, value: str) -> Edit:
    """Return the edit that lets a metric have this value."""
    sample = re.compile(rf"^({re.escape(metric)}(?:{{.*}})?) \S+$", re.MULTILINE)
    return lambda page: sample.sub(rf"\1 {value}", page)


def renaming(old: str, new: str) -> Edit:
    return lambda page: page.replace(old, new)


def frozen_at(moment: float) -> Edit:
    """Return the edit that dates every sample: Prometheus keeps them for five minutes."""
    sample = re.compile(r"^([a-z].*)$", re.MULTILINE)
    return lambda page: sample.sub(rf"\1 {round(moment * 1000)}", page)


QUEUE, KV = "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"
TTFT = "vllm:time_to_first_token_seconds"
TROUBLES: dict[str, Callable[[], Trouble]] = {
    "one-of-two-is-silent": lambda: Trouble(
        edit=lambda page: None, reasons={"MetricsPartial"}, pods=1
    ),
    "all-are-silent": lambda: Trouble(edit=lambda page: None, reasons={"MetricsMissing"}),
    "queue-is-renamed": lambda: Trouble(
        edit=renaming(QUEUE, "vllm:queued_requests"), reasons={"MetricsMissing"}
    ),
    "first-tokens-are-renamed": lambda: Trouble(
        edit=renaming(TTFT, "vllm:ttft_seconds"), reasons={"MetricsMissing"}
    ),
    "kv-use-in-percent": lambda: Trouble(edit=setting(KV, "45.0"), reasons=INVALID),
    "queue-is-nan": lambda: Trouble(edit=setting(QUEUE, "NaN"), reasons=INVALID),
    "queue-is-infinite": lambda: Trouble(edit=setting(QUEUE, "+Inf"), reasons=INVALID),
    "queue-is-negative": lambda: Trouble(edit=setting(QUEUE, "-1"), reasons=INVALID),
    "samples-are-old": lambda: Trouble(edit=frozen_at(time.time()), reasons=OLD),
    "engines-restart": lambda: Trouble(edit=lambda page: page, reasons=set()),
}
VICTIMS = dict(zip(TROUBLES, KEYS, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubled:
    """What was seen while each deployment had its own trouble."""

    looks: list[Look]
    demands: dict[Name, list[float]]
    """Demand that the operator saw, once a second, in requests/s."""


def demands(page: str) -> dict[Name, float]:
    """Return the demand of each deployment on the operator's page."""
    (family,) = [each for each in text_string_to_metric_families(page) if each.name == DEMAND]
    return {(one.labels["namespace"], one.labels["name"]): one.value for one in family.samples}


@pytest.fixture(scope="module")
def troubled(world: World) -> Troubled:
    """What was seen while all lasted, and that all was well again."""
    world.comes_to_rest(HEALED_S)
    edits: dict[Name, Edit] = {}
    for name, make in TROUBLES.items():
        key, trouble = VICTIMS[name], make()
        edits |= {(key[0], pod): trouble.edit for pod in world.pods(key)[: trouble.pods]}
    seen: dict[Name, list[float]] = {key: [] for key in KEYS}
    began = time.monotonic()
    with world.editing(edits):
        world.engines.restart(VICTIMS["engines-restart"])
        # Until the last true sample is old, and a window more.
        while time.monotonic() < began + 3 * SCRAPE_S + HOLD_S:
            for key, rps in demands(world.own_metrics()).items():
                seen[key].append(rps)
            time.sleep(1.0)
    ended = time.monotonic()
    world.heals()
    return Troubled(
        looks=[look for look in world.watcher.since(began) if look.at < ended], demands=seen
    )


@pytest.mark.parametrize("name", list(TROUBLES))
def test_engines_report_what_cannot_be_used(troubled: Troubled, name: str) -> None:
    """F38 to F42 and F44, of real pages through a real Prometheus."""
    key, reasons = VICTIMS[name], TROUBLES[name]().reasons
    said = {look.metrics[key][:2] for look in troubled.looks}
    assert {look.replicas[key] for look in troubled.looks} == {REPLICAS}
    if reasons:
        assert {reason for _, reason in said} & reasons, said
    else:
        assert {status for status, _ in said} == {"True"}, said


def test_a_restart_of_all_engines_is_neither_spike_nor_dip(
    world: World, troubled: Troubled
) -> None:
    """F42: what came between the last scrape and the restart is lost.

    That is one of three intervals of the window, and two where a busy machine scrapes late; the
    difference of the counter would be below zero.
    """
    key = VICTIMS["engines-restart"]
    seen, rps = troubled.demands[key], world.engines.flows[key].rps
    assert len(seen) > HOLD_S / 2
    assert 0.25 * rps < min(seen) <= max(seen) < 1.5 * rps


def test_the_past_comes_back_as_prometheus_kept_it(world: World) -> None:
    """What a restart would find: the demand of the last minutes, and the signals of then."""
    world.comes_to_rest(HEALED_S)
    time.sleep(60)  # without a fault: a rate over a minute
    cluster, store = world.stack.cluster, Store()
    resync(connect(str(cluster.kubeconfig)).dynamic, store)
    source, now = PrometheusSource(cluster.prometheus_url, 20.0), time.time()
    found = demand_history(source, known(store.view()), now)
    for key in KEYS:
        at, rps = found[Key(namespace=key[0], name=key[1])][-1]
        assert now - at < 2.0
        assert rps == pytest.approx(world.engines.flows[key].rps, rel=0.2)
    config = OperatorConfig(scrape_interval_s=SCRAPE_S, rate_window_s=RATE_WINDOW_S)
    last = list(replay(source, store.view(), now, config))[-1]
    assert {(state.key.namespace, state.key.name) for state in last.deployments} >= set(KEYS)
    for state in last.deployments:
        assert isinstance(state.load.waiting, Fresh)
        assert state.load.source_error is None


def offers(node_type: str, usd: str) -> Edit:
    """Return the edit that adds what Karpenter says of a node's price."""
    labels = f'instance_type="{node_type}",capacity_type="on-demand",zone="a"'
    name = "karpenter_cloudprovider_instance_type_offering_price_estimate"
    return lambda page: f"{page}{name}{{{labels}}} {usd}\n"


@pytest.mark.timeout(420)
def test_a_price_that_cannot_be_true_moves_nobody(world: World) -> None:
    """F49: there are other devices to go to, and a process that has only just been started asks."""
    cluster = world.stack.cluster
    cluster.add_nodes(make_nodes("h100-gke", 2, start_delay_s=1))
    eventually(lambda: len(cluster.get("apool")["items"]) == 2, "the other pool is found", 60)
    world.comes_to_rest(HEALED_S)
    (mine,) = world.stack.replicas(*KEYS[0])
    nodes = cluster.get("nodes", "-l", "cloud.google.com/gke-accelerator=nvidia-l4")["items"]
    node_type = nodes[0]["metadata"]["labels"]["node.kubernetes.io/instance-type"]

    def price() -> dict[str, str]:
        found: dict[str, str] = cluster.get("apool", mine)["status"]["price"]
        return found

    listed, devices = price(), int(nodes[0]["status"]["allocatable"]["nvidia.com/gpu"])
    assert listed["source"].startswith("Catalogue")
    true = 0.9 * devices * float(listed["perDeviceHour"])
    pod = (KEYS[0][0], world.pods(KEYS[0])[0])
    query = "count(karpenter_cloudprovider_instance_type_offering_price_estimate)"
    began = time.monotonic()
    with world.editing({pod: offers(node_type, f"{true}")}):
        eventually(lambda: world.count(query) == 1, "the price is scraped", 30)
        world.restart_operator()
        eventually(lambda: price()["source"] == "Karpenter", "the price is read", 60)
    good = price()
    assert float(good["perDeviceHour"]) == pytest.approx(true / devices, rel=0.02)
    for wrong in ("NaN", f"{-true}", "0", f"{true * 1000}"):
        with world.editing({pod: offers(node_type, wrong)}):
            time.sleep(2 * SCRAPE_S)
            world.restart_operator()
            time.sleep(HOLD_S)
        assert price() == good, wrong
    looks = world.watcher.since(began)
    assert {look.replicas[key] for look in looks for key in KEYS} == {REPLICAS}
    assert all(world.stack.replicas(*key).get(mine) == REPLICAS for key in KEYS)
    world.heals()


def test_every_pod_is_scraped_by_two_jobs(world: World) -> None:
    """F43: nobody counts double.

    Last, for Prometheus answers with what a job that is gone scraped for five minutes more.
    """
    path = world.stack.cluster.dir / "prometheus" / "prometheus.yaml"
    before = path.read_text()
    document = yaml.safe_load(before)
    (job,) = document["scrape_configs"]
    twin = job | {"job_name": "monitoring/twin"}
    world.comes_to_rest(HEALED_S)
    began = time.monotonic()
    path.write_text(yaml.safe_dump(document | {"scrape_configs": [job, twin]}))
    world.reload_prometheus()
    try:
        eventually(
            lambda: world.count("count(vllm:num_requests_running)") == 2 * REPLICAS * len(KEYS),
            "both jobs scrape every pod",
            60,
        )
        time.sleep(HOLD_S)
    finally:
        path.write_text(before)
        world.reload_prometheus()
    looks = world.watcher.since(began)
    assert {look.replicas[key] for look in looks for key in KEYS} == {REPLICAS}
    world.heals()
