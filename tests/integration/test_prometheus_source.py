"""The signals of real pods through a real API server and a real Prometheus, faults included.

The pages are those of a real vLLM (tests/pages.py); a small server in this file stands where the
engines would, and does to Prometheus what each test wants.
"""

import base64
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

import bodies
import pages
from trimtab.actuate.connection import Connection, connect
from trimtab.config import OperatorConfig
from trimtab.errors import Unavailable
from trimtab.models.load import ObservedLoad
from trimtab.models.memory import PlannerMemory
from trimtab.models.signals import Fresh, Missing, Partial, Signal, Stale
from trimtab.models.snapshot import Snapshot
from trimtab.observe import histogram
from trimtab.observe.access import Access
from trimtab.observe.collect import collect
from trimtab.observe.discovery import drafts
from trimtab.observe.kinds import BY_KIND, Kind
from trimtab.observe.listing import list_foreign, list_kind, resync
from trimtab.observe.pools import pool_facts
from trimtab.observe.prometheus import PrometheusSource
from trimtab.observe.promql import one_of, series, string
from trimtab.observe.store import Store
from trimtab_e2e.cluster import LocalCluster
from trimtab_e2e.nodes import make_nodes
from trimtab_e2e.waiting import eventually

CRDS = Path(__file__).parents[2] / "crds"
SCRAPE_S = 5.0
CONFIG = OperatorConfig(scrape_interval_s=SCRAPE_S, rate_window_s=20.0, prometheus_timeout_s=5.0)
NAMESPACE, ROGUE = "signals", "signals-rogue"
SETTLED_S = 60.0
"""Until a window is full of samples again, with room for a busy machine."""

Page = Callable[[float], str | None]
"""A metrics page after so many seconds, or None for a failing one."""


def normal(seconds: float) -> str | None:
    return pages.under_load(seconds)


def failing(seconds: float) -> str | None:
    return None


def absurd(seconds: float) -> str | None:
    """A billion at once of every gauge, a billion more each second of everything else."""
    lines = []
    for line in pages.under_load(seconds).splitlines():
        series_ = line.rpartition(" ")[0]
        gauge = series_.startswith(("vllm:num_requests", "vllm:kv_cache_usage"))
        lines.append(f"{series_} {1e9 if gauge else 1e9 * (1 + seconds)!r}\n")
    return "".join(lines)


def overloaded(seconds: float) -> str | None:
    """Two more requests wait each second, and one is refused."""
    lines = []
    for line in pages.under_load(seconds).splitlines():
        series_, _, value = line.rpartition(" ")
        if series_.startswith("vllm:num_requests_waiting{"):
            value = repr(30.0 + 2.0 * seconds)
        elif series_.startswith("vllm:admission_rejections_total") and "queued_reqs" in series_:
            value = repr(seconds)
        lines.append(f"{series_} {value}\n")
    return "".join(lines)


def renamed(seconds: float) -> str | None:
    """The next release of the engine calls its queue something else."""
    return pages.under_load(seconds).replace("num_requests_waiting", "num_requests_queued")


@dataclass
class Engines:
    """Serves `/pods/NAMESPACE/POD/metrics`, where Prometheus looks for every pod's page."""

    port: int
    pages: dict[tuple[str, str], Page] = field(default_factory=dict)
    """By namespace and pod; the namespace's own pods are normal unless given."""
    everyone: Page = normal
    started: dict[tuple[str, str], float] = field(default_factory=dict)
    """When each pod's engine started: when it was first asked."""

    def __post_init__(self) -> None:
        handler = partial(_Handler, self)
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def page(self, namespace: str, pod: str) -> str | None:
        started = self.started.setdefault((namespace, pod), time.monotonic())
        page = self.pages.get((namespace, pod), self.everyone)
        return page(time.monotonic() - started)

    def restart(self) -> None:
        """Let every engine begin anew, in its pod."""
        self.started = dict.fromkeys(self.started, time.monotonic())

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, engines: Engines, *args: Any) -> None:
        self._engines = engines
        super().__init__(*args)

    def do_GET(self) -> None:
        parts = self.path.split("/")
        page = self._engines.page(parts[2], parts[3]) if len(parts) == 5 else None
        self.send_response(500 if page is None else 200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write((page or "").encode())

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@dataclass
class World:
    """A deployment of three replicas on a real cluster, and what Trimtab sees of it."""

    cluster: LocalCluster
    engines: Engines
    connection: Connection
    store: Store
    source: PrometheusSource

    def snapshot(self) -> Snapshot:
        resync(self.connection.dynamic, self.store)
        now = time.time()
        return collect(
            self.store.view(), self.source, now=now, memory=PlannerMemory(), config=CONFIG
        )

    def load(self) -> ObservedLoad:
        (state,) = [s for s in self.snapshot().deployments if s.key.namespace == NAMESPACE]
        return state.load

    def pods(self) -> list[str]:
        return [pod.name for pod in self.store.view().pods if pod.namespace == NAMESPACE]

    def until(self, holds: Callable[[ObservedLoad], bool], what: str) -> ObservedLoad:
        """Look until it holds, and return what was seen then."""
        seen: list[ObservedLoad] = []

        def check() -> bool:
            seen.append(self.load())
            return holds(seen[-1])

        try:
            eventually(check, what, SETTLED_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; last seen: {seen[-1:]}") from None
        return seen[-1]


@pytest.fixture(scope="module")
def world(cluster: LocalCluster) -> Iterator[World]:
    for crd in CRDS.glob("*.yaml"):
        cluster.apply(crd)
        name = f"crd/{crd.stem}"
        cluster.kubectl("wait", "--for=condition=Established", name, "--timeout=30s")
    cluster.add_nodes(make_nodes("h100-gke", 2, name_prefix="signals"))
    for namespace in (NAMESPACE, ROGUE):
        cluster.kubectl("create", "namespace", namespace)
    engines = Engines(cluster.fleet_port)
    found = World(
        cluster=cluster,
        engines=engines,
        connection=connect(str(cluster.kubeconfig)),
        store=Store(),
        source=PrometheusSource(str(cluster.prometheus_url), CONFIG.prometheus_timeout_s),
    )
    deploy(cluster)
    yield found
    engines.close()
    for namespace in (NAMESPACE, ROGUE):
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    cluster.kubectl("delete", "node", "signals-0", "signals-1", "--wait=false")


@pytest.fixture
def settled(world: World) -> World:
    """Three healthy replicas, seen for a whole window."""
    world.engines.pages.clear()
    world.engines.everyone = normal
    world.until(all_fresh, "all signals are fresh")
    return world


def all_fresh(load: ObservedLoad) -> bool:
    return all(
        isinstance(signal, Fresh)
        for signal in (load.arrival_rps, load.running, load.waiting, load.ttft_s, load.itl_s)
    )


def steady(load: ObservedLoad) -> bool:
    """Whether the arrivals of a whole window are those of three real engines."""
    return all_fresh(load) and number(load.arrival_rps) == pytest.approx(TRUTH, rel=0.05)


def deploy(cluster: LocalCluster) -> None:
    """Write what `trimtab run` would: an LLMDeployment and the child of its one variant."""
    latency = {"percentile": 90, "timeToFirstToken": "5s"}
    cluster.apply(
        {
            "apiVersion": "trimtab.dev/v1alpha1",
            "kind": "LLMDeployment",
            "metadata": {"name": "chat", "namespace": NAMESPACE},
            "spec": {"model": {"name": "tiny"}, "latency": latency, "mode": "Recommend"},
        }
    )
    owner = cluster.get("llmdeployment", "chat", "-n", NAMESPACE)["metadata"]["uid"]
    labels = bodies.replica_labels("chat-h100-tp1")
    cluster.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "chat-h100-tp1",
                "namespace": NAMESPACE,
                "labels": labels,
                "ownerReferences": [
                    {
                        "apiVersion": "trimtab.dev/v1alpha1",
                        "kind": "LLMDeployment",
                        "name": "chat",
                        "uid": owner,
                        "controller": True,
                    }
                ],
            },
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": serving()},
            },
        }
    )
    cluster.kubectl(
        "wait", "--for=condition=Available", "deployment/chat-h100-tp1", "-n", NAMESPACE,
        "--timeout=60s",
    )  # fmt: skip


def serving(devices: int = 1) -> dict[str, Any]:
    return {
        "nodeSelector": {"cloud.google.com/gke-nodepool": "h100"},
        "tolerations": [{"operator": "Exists"}],
        "containers": [
            {
                "name": "main",
                "image": "vllm/vllm-openai:v0.33.0",
                "ports": [{"name": "http", "containerPort": 8000}],
                "resources": {"limits": {"nvidia.com/gpu": str(devices)}},
            }
        ],
    }


def pod(name: str, namespace: str, labels: dict[str, str], devices: int = 1) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": serving(devices),
    }


def gained(metric: str) -> float:
    """What a counter of one replica gains in a second, by the real pages."""
    before, after = pages.samples(pages.page("load1")), pages.samples(pages.page("load2"))
    series_ = f'{metric}{{engine="0",model_name="tiny"}}'
    return (after[series_] - before[series_]) / pages.LOAD_GAP_S


def gained_buckets(metric: str) -> dict[float, float]:
    before, after = pages.samples(pages.page("load1")), pages.samples(pages.page("load2"))
    return {
        float(name.split('le="')[1].split('"')[0]): (after[name] - before[name]) / pages.LOAD_GAP_S
        for name in after
        if name.startswith(f"{metric}_bucket")
    }


TRUTH = 3 * gained("vllm:time_to_first_token_seconds_count")
"""Arrivals at three replicas, requests/s: the queue of the pages neither grows nor shrinks."""


def number(signal: Signal) -> float:
    assert isinstance(signal, Fresh), signal
    return signal.value


def test_signals_are_those_of_the_pages(settled: World) -> None:
    load = settled.until(steady, "arrivals over a whole window")
    assert number(load.running) == 3 * 8
    assert number(load.waiting) == 3 * 30
    assert number(load.kv_utilization) == pytest.approx(0.0010986998718183205)
    for signal, metric in (
        (load.input_tokens, "vllm:request_prompt_tokens"),
        (load.output_tokens, "vllm:request_generation_tokens"),
    ):
        mean = gained(f"{metric}_sum") / gained(f"{metric}_count")
        assert number(signal) == pytest.approx(mean, rel=0.01)
    for spread, metric in (
        (load.inputs, "vllm:request_prompt_tokens"),
        (load.outputs, "vllm:request_generation_tokens"),
    ):
        truth = histogram.spread([gained_buckets(metric)])
        assert spread is not None
        assert truth is not None
        assert spread.shares == pytest.approx(truth.shares, abs=0.01)
    assert number(load.prefix_hit) == 0.0
    for signal, metric in (
        (load.ttft_s, "vllm:time_to_first_token_seconds"),
        (load.itl_s, "vllm:inter_token_latency_seconds"),
        (load.e2e_s, "vllm:e2e_request_latency_seconds"),
    ):
        expected = histogram.quantile(gained_buckets(metric), 0.9)
        assert number(signal) == pytest.approx(expected, rel=0.02)
    within = histogram.share_within(gained_buckets("vllm:time_to_first_token_seconds"), 5.0)
    assert number(load.slo_attainment) == pytest.approx(within, abs=0.01)
    assert isinstance(load.running, Fresh)
    assert load.running.age_s <= 2 * SCRAPE_S


def test_what_waits_or_is_refused_has_arrived_too(settled: World) -> None:
    settled.engines.everyone = overloaded

    def all_counted(load: ObservedLoad) -> bool:
        return number(load.arrival_rps) == pytest.approx(TRUTH + 3 * (2.0 + 1.0), rel=0.03)

    load = settled.until(all_counted, "arrivals of served, waiting and refused requests")
    assert number(load.waiting) > 3 * 30


def test_the_mirror_and_the_pools_of_the_real_cluster(settled: World) -> None:
    view = settled.store.view()
    assert settled.store.synced
    assert view.broken == ()
    (child,) = [each for each in view.children if each.namespace == NAMESPACE]
    assert (child.deployment, child.shape.pool, child.replicas) == ("chat", "h100", 3)
    assert all(pod.deployment == "chat" for pod in view.pods if pod.namespace == NAMESPACE)
    draft = next(each for each in drafts(view) if each.name == "gke-h100")
    spec = {"apiVersion": "trimtab.dev/v1alpha1", "kind": "AcceleratorPool"}
    settled.cluster.apply(spec | {"metadata": {"name": draft.name}, "spec": dict(draft.spec)})
    try:
        settled.snapshot()
        facts = {each.name: each for each in pool_facts(settled.store.view())}[draft.name]
        assert facts.ready
        assert facts.devices == 8 * facts.nodes >= 16
        assert facts.price is not None
        assert "GCP" in facts.price.source
    finally:
        settled.cluster.kubectl("delete", "acceleratorpool", draft.name)


def test_a_list_comes_in_pages(settled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.observe.listing.PAGE", 2)
    asked: list[str] = []
    send = settled.connection.dynamic.request

    class Counting:
        def request(self, method: str, path: str, **params: Any) -> Any:
            asked.append(path)
            return send(method, path, **params)

    listed = list_kind(Counting(), BY_KIND[Kind.NAMESPACE])
    names = {item["metadata"]["name"] for item in listed.items}
    assert {"default", "kube-system", NAMESPACE, ROGUE} <= names
    assert len(names) == len(listed.items)
    assert len(asked) == -(-len(names) // 2)
    assert listed.resource_version.isdigit()


def test_devices_of_others_are_found_on_accelerator_nodes(settled: World) -> None:
    settled.cluster.apply(pod("trainer", ROGUE, {"app": "training"}, devices=2))
    running = ("wait", "--for=condition=Ready", "pod/trainer", "-n", ROGUE, "--timeout=30s")
    try:
        settled.cluster.kubectl(*running)
        list_foreign(settled.connection.dynamic, settled.store)
        foreign = [each for each in settled.store.view().foreign_pods if each.name == "trainer"]
        assert [each.requests("nvidia.com/gpu") for each in foreign] == [2]
    finally:
        settled.cluster.kubectl("delete", "pod", "trainer", "-n", ROGUE, "--wait=false")


def test_a_silent_replica_makes_the_signals_partial(settled: World) -> None:
    settled.engines.pages[NAMESPACE, settled.pods()[0]] = failing

    def silent(seen: ObservedLoad) -> bool:
        # A scrape fails between the questions of one pass, too: then only what is asked last lacks.
        return isinstance(seen.running, Partial) and isinstance(seen.arrival_rps, Partial)

    load = settled.until(silent, "running and arrivals are partial")
    assert load.running == Partial(value=16.0, reporting=2, expected=3)
    assert isinstance(load.ttft_s, Partial)
    assert isinstance(load.input_tokens, Partial)
    assert load.inputs is None


def test_no_replica_reports(settled: World) -> None:
    settled.engines.everyone = failing

    def silent(seen: ObservedLoad) -> bool:
        # Scrapes fail one by one, between the questions of one pass, too: no zero is Fresh then.
        assert not (isinstance(seen.arrival_rps, Fresh) and seen.arrival_rps.value == 0.0)
        return isinstance(seen.running, Missing) and isinstance(seen.arrival_rps, Missing)

    load = settled.until(silent, "running and arrivals are missing")
    assert load.source_error is None


def test_a_renamed_metric_is_missing_and_not_zero(settled: World) -> None:
    settled.engines.everyone = renamed
    load = settled.until(lambda seen: isinstance(seen.waiting, Missing), "waiting is missing")
    assert isinstance(load.waiting, Missing)
    assert load.waiting.absent
    assert "no replica exports vllm:num_requests_waiting" in load.waiting.why
    assert number(load.running) == 24


def test_a_start_from_nothing_is_not_taken_for_idle(settled: World) -> None:
    """At the second scrape of this window rate() alone gives a quarter of the truth or so.

    An engine that is first asked when it has counted nothing is the worst case: Prometheus takes
    nothing to have come before, and half a scrape is missing.
    """
    scale = ("scale", "deployment/chat-h100-tp1", "-n", NAMESPACE)
    settled.cluster.kubectl(*scale, "--replicas=0")
    load = settled.until(lambda seen: isinstance(seen.running, Missing), "no replica is left")
    assert load.arrival_rps == Missing(why="no ready replica")
    time.sleep(CONFIG.rate_window_s)
    settled.cluster.kubectl(*scale, "--replicas=3")
    load = settled.until(all_fresh, "the new replicas report")
    assert 0.45 * TRUTH < number(load.arrival_rps) < 1.3 * TRUTH


def test_other_pods_with_our_labels_have_no_influence(settled: World) -> None:
    before = settled.until(steady, "arrivals over a whole window")
    labels = bodies.replica_labels("chat-h100-tp1") | {"pod-template-hash": bodies.HASH}
    rogues = [
        (ROGUE, settled.pods()[0]),  # the name of a replica, in another tenant's namespace
        (ROGUE, "rogue"),
        (NAMESPACE, "rogue"),  # our labels, but no ReplicaSet of ours made it
    ]
    for namespace, name in rogues:
        settled.engines.pages[namespace, name] = absurd
        settled.cluster.apply(pod(name, namespace, labels, devices=1))
    try:
        scraped = f'count(vllm:num_requests_running{{namespace=~"{ROGUE}|{NAMESPACE}"}} == 1e9)'

        def seen() -> bool:
            found = settled.source.query(scraped)
            return bool(found) and found[0].value == len(rogues)

        eventually(seen, "Prometheus scrapes the rogue pods", SETTLED_S)
        time.sleep(3 * SCRAPE_S)  # until they have rates
        load = settled.load()
        for name in ("running", "waiting", "kv_utilization"):
            assert number(getattr(load, name)) == number(getattr(before, name)), name
        for name in ("arrival_rps", "input_tokens", "ttft_s", "slo_attainment"):
            now, then = number(getattr(load, name)), number(getattr(before, name))
            assert now == pytest.approx(then, rel=0.1), name
    finally:
        for namespace, name in rogues:
            settled.cluster.kubectl("delete", "pod", name, "-n", namespace, "--wait=false")


def test_a_restart_of_all_engines_is_neither_spike_nor_dip(settled: World) -> None:
    settled.until(steady, "arrivals over a whole window")
    settled.engines.restart()
    watched = []
    deadline = time.monotonic() + CONFIG.rate_window_s + SCRAPE_S
    while time.monotonic() < deadline:
        load = settled.load()
        watched.append(load.arrival_rps)
        time.sleep(1.0)
    rates = [signal.value for signal in watched if isinstance(signal, Fresh)]
    assert len(rates) == len(watched)
    # What came between the last scrape and the restart is lost: at most one scrape of the window.
    assert max(rates) < 1.2 * TRUTH
    assert min(rates) > 0.65 * TRUTH


def test_prometheus_down_and_back_with_old_samples(settled: World) -> None:
    settled.cluster.stop_prometheus()
    try:
        load = settled.load()
        assert load.source_error is not None
        assert isinstance(load.running, Missing)
        assert settled.load().configured
        # It comes back while no engine answers, and serves the samples from before it went.
        settled.engines.everyone = failing
        time.sleep(3 * SCRAPE_S + 1)
    finally:
        settled.cluster.start_prometheus()
    load = settled.load()
    assert load.source_error is None
    assert isinstance(load.running, Stale | Missing), load.running
    assert not isinstance(load.arrival_rps, Fresh)
    settled.engines.everyone = normal
    settled.until(all_fresh, "recovery")


def test_hostile_values_stay_values(world: World) -> None:
    """Prometheus itself says what it understood: it returns each string as a label's value."""
    dice = random.Random(7)
    alphabet = "abc\"'\\`{}[]()|.*+?^$,=~!#\n\r\t\x00\x7f é漢\u2028%&"
    for _ in range(150):
        value = "".join(dice.choices(alphabet, k=dice.randint(1, 12)))
        joined = f'label_join(vector(1), "x", {string(value)}, "a", "b")'
        (found,) = world.source.query(joined)
        assert found.labels == {"x": value}
        matched = f'label_replace({joined}, "hit", "yes", "x", {one_of(["other", value])})'
        (found,) = world.source.query(matched)
        assert found.labels == {"x": value, "hit": "yes"}
        assert world.source.query(series("up", [value])) == ()


def test_a_server_is_trusted_only_by_the_authority_that_was_given(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    """The API server stands for any HTTPS server: it answers 403, once its certificate is taken."""
    [entry] = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"]
    authority = base64.b64decode(entry["cluster"]["certificate-authority-data"])
    with pytest.raises(Unavailable, match=r"(?i)certificate verify failed"):
        PrometheusSource(cluster.server, 5.0).query("up")
    (tmp_path / "ca.crt").write_bytes(authority)
    with pytest.raises(Unavailable, match=r"answers HTTP 40[13]"):
        PrometheusSource(cluster.server, 5.0, Access(folder=tmp_path)).query("up")
