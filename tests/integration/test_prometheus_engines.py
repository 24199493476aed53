"""Engines, gateways and custom PromQL through a real Prometheus, without a cluster."""

import math
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

import bodies
import releases
from releases import Release, Served
from trimtab.api.engine import EngineType
from trimtab.api.enginemetrics import EngineMetrics
from trimtab.api.gateway import GatewayType
from trimtab.config import OperatorConfig
from trimtab.errors import Unavailable
from trimtab.models.load import RUNGS, LatencyTargets, ObservedLoad
from trimtab.models.signals import Fresh, Invalid, Missing, Signal
from trimtab.models.snapshot import Key
from trimtab.observe import engines, pricing, queries
from trimtab.observe.gateways import Asked
from trimtab.observe.kinds import Kind
from trimtab.observe.parse import parse
from trimtab.observe.prometheus import PrometheusSource
from trimtab.observe.queries import PART_LABEL
from trimtab.observe.reader import NONE_FINISHED, NONE_YET, Subject
from trimtab.observe.readings import take
from trimtab.observe.signals import read
from trimtab.observe.world import PodFacts
from trimtab_e2e import prometheus
from trimtab_e2e.binaries import build
from trimtab_e2e.waiting import eventually

CONFIG = OperatorConfig(scrape_interval_s=1.0, rate_window_s=8.0, prometheus_timeout_s=5.0)
NAMESPACE = "assistants"
SETTLED_S = 60.0

Page = Callable[[float], str | None]
"""A page after so many seconds; None where it fails."""


SECONDS = ("0.1", "1.0", "10.0", "+Inf")


def histogram(
    name: str, labels: str, count: float, value: float, bounds: tuple[str, ...] = SECONDS
) -> str:
    """Observations of which all are `value`."""
    lines = [
        f'{name}_bucket{{{labels},le="{bound}"}} {count if value <= float(bound) else 0}'
        for bound in bounds
    ]
    lines += [f"{name}_sum{{{labels}}} {count * value}", f"{name}_count{{{labels}}} {count}", ""]
    return "\n".join(lines)


def vllm(rps: float, *, total: str = "_total", model: str = "m") -> Page:
    """Two ranks and an adapter; the queue grows by one in a second, one in ten gives up."""

    def page(at: float) -> str:
        lines = ""
        for rank in ("0", "1"):
            labels = f'engine="{rank}",model_name="{model}",added="{rank}"'
            lines += histogram("vllm:time_to_first_token_seconds", labels, rps / 2 * at, 0.5)
            lines += histogram("vllm:inter_token_latency_seconds", labels, 10 * rps * at, 0.05)
            lines += f"vllm:num_requests_running{{{labels}}} 3\n"
            lines += f"vllm:num_requests_waiting{{{labels}}} {at / 2}\n"
            lines += f"vllm:kv_cache_usage_perc{{{labels}}} 0.{rank}5\n"
            lines += f"vllm:prompt_tokens_cached{total}{{{labels}}} {25 * at}\n"
            lines += f"vllm:prompt_tokens{total}{{{labels}}} {100 * at}\n"
            abort = f'{labels},finished_reason="abort"'
            lines += f"vllm:request_success{total}{{{abort}}} {0.25 * at}\n"
        return lines

    return page


PROMPTS = ("40.95", "81.9", "300.0", "500.0", "+Inf")
"""Bounds that are those of no other engine."""


def sglang(rps: float) -> Page:
    def page(at: float) -> str:
        counted = 'model_name="m",is_streaming="true"'
        return (
            histogram("sglang:time_to_first_token_seconds", 'model_name="m"', rps * at, 0.5)
            + 'sglang:num_running_reqs{tp_rank="0",pp_rank="0"} 2\n'
            + 'sglang:num_queue_reqs{tp_rank="0",pp_rank="0"} 0\n'
            + 'sglang:token_usage{tp_rank="0",pp_rank="0"} 0.5\n'
            + histogram("sglang:prompt_tokens_histogram", 'model_name="m"', rps * at, 300, PROMPTS)
            + f"sglang:prompt_tokens_total{{{counted}}} {300 * rps * at}\n"
            + f"sglang:num_requests_total{{{counted}}} {rps * at}\n"
        )

    return page


def tgi(rps: float) -> Page:
    def page(at: float) -> str:
        return (
            f"tgi_request_count {rps * at}\ntgi_queue_size {at}\ntgi_batch_current_size 2\n"
            + histogram("tgi_request_input_length", 'shard="0"', rps * at, 50, PROMPTS)
        )

    return page


def triton(at: float) -> str:
    return (
        'nv_trt_llm_request_metrics{model="m",request_type="scheduled"} 4\n'
        'nv_trt_llm_request_metrics{model="m",request_type="waiting"} 6\n'
        'nv_trt_llm_request_metrics{model="m",request_type="max"} 64\n'
        'nv_trt_llm_kv_cache_block_metrics{model="m",kv_cache_block_type="fraction"} 0.75\n'
        'nv_trt_llm_kv_cache_block_metrics{model="m",kv_cache_block_type="max"} 900\n'
    )


def prices(at: float) -> str:
    estimate = "karpenter_cloudprovider_instance_type_offering_price_estimate"
    offer = 'instance_type="p5.48xlarge",capacity_type="spot",zone="{zone}"'
    return (
        f"{estimate}{{{offer.format(zone='a')}}} 20\n{estimate}{{{offer.format(zone='b')}}} 28\n"
        'node_total_hourly_cost{node="n1",instance="n1"} 32\nnode_gpu_count{node="n1"} 8\n'
        'node_total_hourly_cost{node="n2",instance="n2"} 1\nnode_gpu_count{node="n2"} 0\n'
    )


def mine(at: float) -> str:
    return f"my_requests_total {5 * at}\nmy_queue 2\nmy_cache_percent 40\n"


@dataclass
class Pages:
    """Every page of the test, at `/NAMESPACE/POD`."""

    pages: dict[tuple[str, str], Page] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, namespace, pod = self.path.split("/")
                page = pages.pages.get((namespace, pod))
                text = page(time.monotonic() - pages.began) if page else None
                self.send_response(500 if text is None else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write((text or "").encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@dataclass
class World:
    """A Prometheus that scrapes the pages, each as the pod of its name, some of them twice."""

    pages: Pages
    source: PrometheusSource

    config: OperatorConfig = CONFIG

    def load(self, *subjects: Subject) -> dict[Key, ObservedLoad]:
        return dict(read(self.source, subjects, now=time.time(), config=self.config))

    def until(self, wanted: Callable[[ObservedLoad], bool], subject: Subject) -> ObservedLoad:
        found: list[ObservedLoad] = []

        def holds() -> bool:
            found.append(self.load(subject)[subject.key])
            return wanted(found[-1])

        eventually(holds, f"{subject.key} is as it should be", SETTLED_S)
        return found[-1]


def place(name: str) -> str:
    return f"{name}-h100-tp1-{bodies.HASH}-abcde"


def twin(name: str) -> str:
    """The pod of the same LLMDeployment in another cluster: its template has the same hash."""
    return place(name).removesuffix("abcde") + "fghij"


def subject(name: str, engine: EngineType = EngineType.VLLM, **over: Any) -> Subject:
    facts = parse(Kind.POD, bodies.pod("abcde", variant=f"{name}-h100-tp1", deployment=name)).facts
    assert isinstance(facts, PodFacts)
    values: dict[str, Any] = {
        "key": Key(namespace=NAMESPACE, name=name),
        "targets": LatencyTargets(percentile=0.9, ttft_s=1.0),
        "pods": (replace(facts, ready_since=time.time() - 3600),),
        "engine": engine,
    }
    return Subject(**(values | over))


V0 = next(each for each in releases.RELEASES if not each.eager)
"""A release whose page has a histogram only from its first observation on."""


def release(each: Release) -> Page:
    """Four requests a second, each of which is finished at once."""
    return lambda at: releases.page(each, Served(first=4 * at, finished=4 * at))


SERVED: dict[str, Page] = {
    "fresh": lambda at: releases.page(V0, Served()),
    **{each.name.replace(".", "-"): release(each) for each in releases.RELEASES},
    "vllm": vllm(4.0),
    "shared": vllm(4.0),
    "bare": vllm(4.0, total=""),
    "sglang": sglang(2.0),
    "tgi": tgi(6.0),
    "triton": triton,
    "mine": mine,
}
GATEWAY = ("gateways", "router-0")
PRICES = ("prices", "karpenter-0")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    pages = Pages()
    for name, page in SERVED.items():
        pages.pages[NAMESPACE, place(name)] = page
    pages.pages[NAMESPACE, twin("shared")] = SERVED["shared"]
    pages.pages[GATEWAY] = lambda at: "up_and_running 1\n"
    pages.pages[PRICES] = prices
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path_factory.mktemp("prometheus") / "prometheus.yml"
    config.write_text(yaml.safe_dump(_config(pages)))
    listen = f"127.0.0.1:{port}"
    process = subprocess.Popen(prometheus.command(build(), config, listen))
    try:
        yield World(pages=pages, source=PrometheusSource(f"http://{listen}", 5.0))
    finally:
        process.terminate()
        process.wait(10)
        pages.server.shutdown()
        pages.server.server_close()


def _config(pages: Pages) -> dict[str, Any]:
    target = f"127.0.0.1:{pages.server.server_address[1]}"

    def job(name: str, namespace: str, pod: str) -> dict[str, Any]:
        labels = {"namespace": namespace, "pod": pod, "instance": pod}
        labels["cluster"] = "there" if pod == twin("shared") else "here"
        return {
            "job_name": name,
            "metrics_path": f"/{namespace}/{pod}",
            "static_configs": [{"targets": [target], "labels": labels}],
        }

    jobs = [job("-".join(at), *at) for at in pages.pages]
    jobs.append(job("again", NAMESPACE, place("vllm")))  # it must not count twice
    return {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}


def number(signal: Signal) -> float:
    assert isinstance(signal, Fresh), signal
    return signal.value


def settled(rps: float) -> Callable[[ObservedLoad], bool]:
    def holds(load: ObservedLoad) -> bool:
        arrivals = load.arrival_rps
        return isinstance(arrivals, Fresh) and arrivals.value == pytest.approx(rps, rel=0.03)

    return holds


@pytest.mark.parametrize("name", ["vllm", "bare"])
def test_vllm_with_ranks_new_labels_and_two_jobs(world: World, name: str) -> None:
    """4 first tokens, 1 more in the queue and half a request that gives up in a second."""
    found = world.until(settled(4.0 + 1.0 + 0.5), subject(name))
    assert number(found.running) == 6.0
    assert number(found.kv_utilization) == 0.15
    assert number(found.prefix_hit) == pytest.approx(0.25)
    assert number(found.ttft_s) == pytest.approx(0.1 + 0.9 * 0.9)
    assert number(found.variants[0].ttft_s) == pytest.approx(0.5)
    assert number(found.slo_attainment) == pytest.approx(1.0)


def test_samples_are_counted_once_whatever_the_ranks_and_jobs(world: World) -> None:
    world.until(settled(4.0 + 1.0 + 0.5), subject("vllm"))
    wanted = queries.build([engines.get(EngineType.VLLM)], CONFIG, [NAMESPACE])

    def whole() -> bool:
        values = take(world.source, {"seen": wanted["seen"]}, 5.0).values
        samples, covered = (
            values[part].get((NAMESPACE, place("vllm")), math.nan)
            for part in ("samples", "covered")
        )
        return samples == pytest.approx(8, abs=1) and covered == pytest.approx(8, abs=1.5)

    eventually(whole, "a window is full of samples, each counted once", SETTLED_S)


def test_of_one_store_for_two_clusters_only_ours_counts(world: World) -> None:
    """And without the label that tells them apart it would be twice as much."""
    world.until(settled(2 * (4.0 + 1.0 + 0.5)), subject("shared"))
    here = replace(CONFIG, prometheus_labels=(("cluster", "here"),))
    ours = replace(world, config=here)
    ours.until(settled(4.0 + 1.0 + 0.5), subject("shared"))

    def learnt(load: ObservedLoad) -> bool:
        rate = load.variants[0].first_tokens_per_s
        return isinstance(rate, Fresh) and rate.value == pytest.approx(4.0, rel=0.03)

    ours.until(learnt, subject("shared"))
    elsewhere = replace(world, config=replace(CONFIG, prometheus_labels=(("cluster", "x"),)))
    assert isinstance(elsewhere.load(subject("shared"))[subject("shared").key].running, Missing)


@pytest.mark.parametrize("each", releases.RELEASES, ids=lambda each: each.name)
def test_every_release_of_vllm_under_load(world: World, each: Release) -> None:
    found = world.until(settled(4.0), subject(each.name.replace(".", "-")))
    assert number(found.kv_utilization) == 0.25
    assert number(found.input_tokens) == pytest.approx(releases.PROMPT)
    assert number(found.output_tokens) == pytest.approx(releases.ANSWER)
    assert 0.025 < number(found.ttft_s) <= 0.1
    assert 0.01 < number(found.itl_s) <= 0.025
    assert 1.0 < number(found.e2e_s) <= 2.5


def test_the_first_requests_of_a_replica_are_seen_at_once_and_none_is_no_gap(world: World) -> None:
    """Of one sample rate() makes nothing: the first scrape that shows them must not be doubt."""
    wanted = subject("fresh")
    found = world.until(settled(0.0), wanted)
    assert number(found.waiting) == 0.0
    assert found.ttft_s == found.input_tokens == found.e2e_s == Missing(why=NONE_YET)
    began = time.monotonic() - world.pages.began
    world.pages.pages[NAMESPACE, place("fresh")] = lambda at: releases.page(
        V0, Served(first=4 * max(0.0, at - began))
    )

    def served(load: ObservedLoad) -> bool:
        number(load.arrival_rps)  # fresh, all the time
        return settled(4.0)(load)

    found = world.until(served, wanted)
    assert found.input_tokens == found.e2e_s == Missing(why=NONE_FINISHED)


def spread(load: ObservedLoad) -> dict[float, float]:
    """The shares of the prompts that are not 0, by the rung that they are up to."""
    assert load.inputs is not None
    return {upto: share for upto, share in zip(RUNGS, load.inputs.shares, strict=False) if share}


def test_other_engines_in_the_same_queries(world: World) -> None:
    wanted = {
        "sglang": subject("sglang", EngineType.SGLANG),
        "tgi": subject("tgi", EngineType.TGI),
        "triton": subject("triton", EngineType.TENSORRT_LLM),
        "vllm": subject("vllm"),
    }
    world.until(settled(6.0), wanted["tgi"])  # it counts what comes, whatever waits
    loads = world.load(*wanted.values())
    sglang_load, tgi_load, triton_load, vllm_load = (loads[each.key] for each in wanted.values())
    assert number(sglang_load.arrival_rps) == pytest.approx(2.0, rel=0.03)
    assert number(sglang_load.input_tokens) == pytest.approx(300.0)
    assert spread(sglang_load) == pytest.approx(
        {
            100.0: math.log(100 / 81.9) / math.log(300 / 81.9),
            200.0: math.log(2) / math.log(300 / 81.9),
            500.0: math.log(1.5) / math.log(300 / 81.9),
        }
    )
    assert number(sglang_load.kv_utilization) == 0.5
    assert number(tgi_load.input_tokens) == pytest.approx(50.0)
    assert spread(tgi_load) == pytest.approx(
        {50.0: math.log(50 / 40.95) / math.log(2), 100.0: math.log(81.9 / 50) / math.log(2)}
    )
    assert isinstance(tgi_load.ttft_s, Missing)
    assert (number(triton_load.running), number(triton_load.waiting)) == (4.0, 6.0)
    assert number(triton_load.kv_utilization) == 0.75
    assert isinstance(triton_load.arrival_rps, Missing)
    assert number(vllm_load.arrival_rps) == pytest.approx(5.5, rel=0.03)


def test_a_custom_engine_by_its_own_promql(world: World) -> None:
    metrics = EngineMetrics(
        requests_per_second="rate(my_requests_total[8s]) # what comes",
        waiting_requests="my_queue",
        kv_utilization="my_cache_percent / 100",
    )
    wanted = subject("mine", EngineType.CUSTOM, metrics=metrics)
    found = world.until(settled(5.0), wanted)
    assert number(found.waiting) == 2.0
    assert number(found.kv_utilization) == pytest.approx(0.4)
    broken = replace(wanted, metrics=metrics.model_copy(update={"waiting_requests": "my_queue)"}))
    healthy = subject("vllm")
    loads = world.load(broken, healthy)
    assert isinstance(loads[broken.key].arrival_rps, Invalid)
    assert isinstance(loads[healthy.key].arrival_rps, Fresh)


GATEWAYS: dict[GatewayType, Callable[[float], str]] = {
    GatewayType.LLM_D: lambda n: (
        f'llm_d_epp_request_total{{model_name="m",target_model_name="m"}} {n}\n'
        'llm_d_epp_flow_control_queue_size{model_name="m",priority="0"} 2\n'
    ),
    GatewayType.VLLM_ROUTER: lambda n: f'vllm:num_incoming_requests_total{{model="m"}} {n}\n',
    GatewayType.ENVOY: lambda n: (
        'envoy_cluster_upstream_rq_total{envoy_cluster_name="m"} 0\n'
        f'envoy_cluster_upstream_cx_none_healthy{{envoy_cluster_name="m"}} {n}\n'
    ),
    GatewayType.ISTIO: lambda n: "".join(
        f'istio_requests_total{{reporter="{reporter}",response_code="503",'
        f'destination_service_name="m",destination_service_namespace="{namespace}"}} {n}\n'
        for reporter in ("source", "destination")
        for namespace in (NAMESPACE, "rogue")
    ),
    GatewayType.LITELLM: lambda n: (
        f'litellm_proxy_total_requests_metric_total{{requested_model="m"}} {n}\n'
    ),
}


@pytest.mark.parametrize("kind", list(GATEWAYS))
def test_one_request_wakes_a_deployment_without_a_replica(world: World, kind: GatewayType) -> None:
    """Nothing is known of it; then one request came; then three in each second."""
    namespace = NAMESPACE if kind is GatewayType.ISTIO else ""
    wanted = subject("asleep", pods=(), gateway=Asked(type=kind, name="m", namespace=namespace))
    world.pages.pages[GATEWAY] = lambda at: "up_and_running 1\n"
    world.until(lambda load: isinstance(load.arrival_rps, Missing), wanted)
    world.pages.pages[GATEWAY] = lambda at: GATEWAYS[kind](1.0)
    awake = world.until(lambda load: isinstance(load.arrival_rps, Fresh), wanted)
    assert 1 / 8 <= number(awake.arrival_rps) < 1.0
    assert number(awake.waiting) == (2.0 if kind is GatewayType.LLM_D else 0.0)
    began = time.monotonic() - world.pages.began
    world.pages.pages[GATEWAY] = lambda at: GATEWAYS[kind](1.0 + 3.0 * max(0.0, at - began))
    world.until(settled(3.0), wanted)


def test_prices_of_both_feeds(world: World) -> None:
    def found() -> dict[tuple[str, str], float]:
        try:
            samples = world.source.query(pricing.query())
        except Unavailable:  # it has only just been started
            return {}
        return {
            (
                each.labels[PART_LABEL],
                each.labels.get("capacity_type", each.labels.get("node", "")),
            ): each.value
            for each in samples
        }

    wanted = {("karpenter", "spot"): 24.0, ("opencost", "n1"): 4.0}
    eventually(lambda: found() == wanted, "both feeds are read", SETTLED_S)
