"""A cluster with an operator whose metrics a test breaks, and the judge of what came of it."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import requests

from trimtab.actuate.connection import connect
from trimtab_e2e.cluster import LocalCluster, Options, select_cluster
from trimtab_e2e.nodes import make_nodes
from trimtab_e2e.promproxy import Fault, PrometheusProxy
from trimtab_e2e.stack import Stack
from trimtab_e2e.steadyengines import Edit, Flow, Name, SteadyEngines
from trimtab_e2e.waiting import eventually

SCRAPE_S = 2
RATE_WINDOW_S = 4 * SCRAPE_S
WINDOW_S = RATE_WINDOW_S + SCRAPE_S
"""Scale-down window of every deployment; as in production it is longer than that of rates."""
HOLD_S = WINDOW_S + 3.0
"""How long a fault lasts: a plan that takes doubt for low load scales down well within it."""
SAID_S = 30.0
HEALED_S = 60.0
QUIET_S = 3.0
"""Without any write for so long, the operator is at rest: it plans every second."""

# As many of each as the production settings are to each other, and as short as a scrape allows.
FLAGS = {
    "--scrape-interval": f"{SCRAPE_S}s",
    "--rate-window": f"{RATE_WINDOW_S}s",
    "--period": "1s",
    "--ready-stability": "2s",
    "--prometheus-timeout": "2s",
    "--identity": "faults",
}
TENANTS = ("tenant-a", "tenant-b")
NAMES = ("one", "two", "three", "four", "five")
KEYS = tuple((tenant, name) for tenant in TENANTS for name in NAMES)
REPLICAS = 2
LOAD = 1.24
"""Replicas' worth of requests: one is too few and three are too many, each by a fifth, also while a
third more is expected because there is no forecast yet (planner/foresight.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the API server said at one time."""

    at: float
    """Monotonic seconds."""
    replicas: dict[Name, int]
    metrics: dict[Name, tuple[str, str, str]]
    """Status, reason and message of MetricsAvailable."""


class Watcher:
    """Looks at every deployment and its replicas, twice a second."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._client = connect(str(cluster.kubeconfig)).dynamic
        self._looks = [self._look()]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def last(self) -> Look:
        return self._looks[-1]

    def since(self, moment: float) -> list[Look]:
        return [look for look in self._looks if look.at > moment]

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            self._looks.append(self._look())

    def _look(self) -> Look:
        llmds = self._items("/apis/trimtab.dev/v1alpha1/llmdeployments")
        children = self._items("/apis/apps/v1/deployments")
        replicas = dict.fromkeys(KEYS, 0)
        for child in children:
            labels = child["metadata"].get("labels", {})
            key = child["metadata"]["namespace"], labels.get("trimtab.dev/deployment", "")
            if key in replicas:
                replicas[key] += child["spec"]["replicas"]
        metrics = {
            (each["metadata"]["namespace"], each["metadata"]["name"]): _metrics(each)
            for each in llmds
        }
        return Look(at=time.monotonic(), replicas=replicas, metrics=metrics)

    def _items(self, path: str) -> list[dict[str, Any]]:
        answer = self._client.request("get", path, serialize=False)
        found: list[dict[str, Any]] = json.loads(answer.data)["items"]
        return found


def _metrics(body: dict[str, Any]) -> tuple[str, str, str]:
    for condition in body.get("status", {}).get("conditions", []):
        if condition["type"] == "MetricsAvailable":
            return condition["status"], condition["reason"], condition["message"]
    return "", "", ""


@dataclass(kw_only=True)
class World:
    """A cluster with an operator that asks its Prometheus through the proxy."""

    stack: Stack
    proxy: PrometheusProxy
    engines: SteadyEngines
    watcher: Watcher
    said: list[str] = field(default_factory=list)

    def restart_operator(self) -> None:
        """Let another process take over, which asks for everything at once."""
        self.stack.stop_operator()
        self.stack.start_operator({**FLAGS, "--prometheus-url": self.proxy.url}, wait=False)
        self.stack.wait_operator_ready(120)

    def at_rest(self) -> bool:
        look = self.watcher.last()
        return all(look.replicas[key] == REPLICAS for key in KEYS) and all(
            look.metrics.get(key, ("",))[0] == "True" for key in KEYS
        )

    def comes_to_rest(self, within_s: float) -> None:
        try:
            eventually(self.at_rest, "all serve and are measured", within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; last seen: {self.watcher.last()}") from None

    @contextmanager
    def broken(self, reasons: set[str], keys: tuple[Name, ...] = KEYS) -> Iterator[float]:
        """Judge what the body breaks: it is healed when the body of the `with` is left.

        Args:
            reasons: What MetricsAvailable may say of `keys`; of the others it stays True.
            keys: Whom the fault hits.
        """
        self.comes_to_rest(HEALED_S)
        began = time.monotonic()
        yield began
        held = self.watcher.since(began)
        for key in KEYS:
            fewest = min(look.replicas[key] for look in held)
            assert fewest >= REPLICAS, f"{key} fell to {fewest} replicas: {self.decisions()}"
        for key in keys:
            said = [(look.at - began, *look.metrics[key]) for look in held]
            found = [each for each in said if each[1] != "True" and each[2] in reasons]
            assert found, f"{key}: {sorted({each[1:] for each in said})}"
            assert found[0][0] < SAID_S
            self.said.append(f"{found[0][2]}: {found[0][3]}")
        for key in set(KEYS) - set(keys):
            assert {look.metrics[key][0] for look in held} == {"True"}, key
        self.heals()

    def heals(self) -> None:
        healed = time.monotonic()
        self.comes_to_rest(HEALED_S)
        while True:
            since = datetime.now(UTC)
            time.sleep(QUIET_S)
            written = self.stack.operator_writes(since)
            if not written:
                break
            left_s = healed + HEALED_S - time.monotonic()
            assert left_s > 0, f"it still writes: {[f'{w.verb} {w.name}' for w in written]}"
        looks = self.watcher.since(healed)
        fewest = {key: min(look.replicas[key] for look in looks) for key in KEYS}
        assert fewest == dict.fromkeys(KEYS, REPLICAS), self.decisions()

    @contextmanager
    def answering(self, fault: Fault) -> Iterator[None]:
        self.proxy.fault = fault
        try:
            yield
        finally:
            self.proxy.fault = None

    @contextmanager
    def editing(self, edits: dict[Name, Edit]) -> Iterator[None]:
        self.engines.edits.update(edits)
        try:
            yield
        finally:
            self.engines.edits.clear()

    def decisions(self) -> str:
        """What the operator said lately of fleets that it changed."""
        log = self.stack.operator.tail(200).splitlines()
        return "\n".join(line for line in log if "fleet decided" in line)[-2000:]

    @property
    def healthy(self) -> bool:
        port = self.stack.cluster.operator_health_port
        return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=2).status_code == 200

    def own_metrics(self) -> str:
        port = self.stack.cluster.operator_metrics_port
        return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=2).text

    def count(self, query: str) -> float:
        """Ask Prometheus itself for one number; 0 for none."""
        url = f"{self.stack.cluster.prometheus_url}/api/v1/query"
        answer = requests.get(url, params={"query": query}, timeout=5).json()
        return sum(float(series["value"][1]) for series in answer["data"]["result"])

    def reload_prometheus(self) -> None:
        for child in self.stack.cluster.processes:
            if child.name == "prometheus":
                child.send(signal.SIGHUP)

    def pods(self, key: Name) -> list[str]:
        found = self.stack.cluster.get(
            "pods", "-n", key[0], "-l", f"trimtab.dev/deployment={key[1]}"
        )["items"]
        return [pod["metadata"]["name"] for pod in found]


def deployment(key: Name, flow: Flow) -> dict[str, Any]:
    return {
        "apiVersion": "trimtab.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": key[1], "namespace": key[0]},
        "spec": {
            "model": {"name": "meta-llama/Llama-3.1-8B-Instruct", "maxModelLen": 8192},
            "scaling": {
                "minReplicas": 1,
                "maxReplicas": 3 * REPLICAS,
                "scaleDownWindow": f"{WINDOW_S}s",
            },
            "workload": {
                "inputTokens": flow.input_tokens,
                "outputTokens": flow.output_tokens,
                "requestsPerSecond": f"{flow.rps:g}",
            },
        },
    }


SHAPE = Flow(rps=20.0, input_tokens=512, output_tokens=128)


def flow_for(stack: Stack, replicas: float) -> Flow:
    """Return the flow that takes so many replicas, by what the operator itself recommends."""
    probe = deployment((TENANTS[0], "probe"), SHAPE)
    probe["spec"] |= {"mode": "Recommend", "scaling": {"maxReplicas": len(KEYS) * REPLICAS}}
    stack.cluster.apply(probe)

    def recommended() -> int:
        variants = stack.llmd(TENANTS[0], "probe").get("status", {}).get("variants", [])
        return sum(variant["desired"] for variant in variants)

    eventually(lambda: recommended() > 0, "a fleet is recommended", 30)
    assert recommended() < len(KEYS) * REPLICAS, "the pool is too small to tell"
    rps = SHAPE.rps / recommended() * replicas
    stack.cluster.kubectl("delete", "llmd", "probe", "-n", TENANTS[0])
    return replace(SHAPE, rps=round(rps, 2))


@contextmanager
def broken_world() -> Iterator[World]:
    """Start all of it; it ends with the `with`."""
    with (
        select_cluster("faults", Options(scrape_interval_s=SCRAPE_S)) as cluster,
        PrometheusProxy(cluster.prometheus_url) as proxy,
        SteadyEngines(port=cluster.fleet_port) as engines,
    ):
        stack = Stack(cluster)
        stack.install()
        cluster.add_nodes(make_nodes("l4-gke", len(KEYS) * (REPLICAS + 1), start_delay_s=1))
        for tenant in TENANTS:
            cluster.kubectl("create", "namespace", tenant)
        stack.start_operator({**FLAGS, "--prometheus-url": proxy.url}, wait=False)
        stack.wait_operator_ready(120)
        flow = flow_for(stack, LOAD)
        engines.flows = dict.fromkeys(KEYS, flow)
        cluster.apply([deployment(key, flow) for key in KEYS])
        with Watcher(cluster) as watcher:
            world = World(stack=stack, proxy=proxy, engines=engines, watcher=watcher)
            world.comes_to_rest(150)
            yield world
        stack.stop_operator()
