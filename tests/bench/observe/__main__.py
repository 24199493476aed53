"""Prints what one observation pass over a large fleet costs: time, memory, queries.

    cd tests && python -m bench.observe [--deployments 1000] [--passes 500]

A pass is `collect`: the mirror and the answers of Prometheus become the Snapshot of a plan. A real
HTTP server in a process of its own answers with what a Prometheus would say of
replicas with vLLM's metrics and buckets; each answer is read, checked and parsed as in production.
Targets: 2 s for 1,000 deployments of 5 pods on one core, at most 15 queries, and no growth.
"""

import argparse
import gc
import json
import multiprocessing
import resource
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import parse_qs, urlsplit

import bodies
import pages
from trimtab.api.engine import EngineType
from trimtab.config import OperatorConfig
from trimtab.controller.garbage import keep, sweep
from trimtab.models.load import RUNGS
from trimtab.models.memory import PlannerMemory
from trimtab.models.signals import Fresh
from trimtab.models.snapshot import Snapshot
from trimtab.observe import engines, queries
from trimtab.observe.collect import collect
from trimtab.observe.kinds import Kind
from trimtab.observe.prometheus import PrometheusSource
from trimtab.observe.store import Store
from trimtab.observe.world import WorldView, pod_stem

PODS = 5
NAMESPACES = 50
CONFIG = OperatorConfig(scrape_interval_s=15.0, rate_window_s=60.0, prometheus_timeout_s=120.0)
"""The deadline of a query is long: CPU is what is measured, and other work may share the cores."""
TARGET_S, MOST_QUERIES, MOST_GROWTH_MIB = 2.0, 15, 10.0
MOST_BLOCKS = 10.0
"""Blocks of Python's memory that a pass may leave behind; our own notes of it are three."""
_WARM = 5
_TELL = 50
"""Passes between two lines about how it goes."""
_HISTOGRAMS = ("ttft", "itl", "e2e")
_MEANS = {"input_tokens": 800.0, "output_tokens": 200.0, "prefix_hit": 0.25}
_CONTEXT = 131_072
"""Longest context of the engines: their histograms of lengths have bounds up to it."""
_GAUGES = {"running": 4.0, "waiting": 0.0, "kv_utilization": 0.3}
_SEEN = {"seen": -5.0, "covered": 58.0, "samples": 4.0, "served": 8e6, "finished": 8e3}

Series = dict[str, Any]
Place = tuple[str, str]
"""Namespace, and a pod's name."""


def main() -> None:
    """Run, print, and end with 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deployments", type=int, default=1000)
    parser.add_argument("--passes", type=int, default=500)
    asked = parser.parse_args()
    view = _view(asked.deployments)
    pods = [(pod.namespace, pod.name) for pod in view.pods]
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(
        target=_serve, args=(there, _answers(pods, time.time())), daemon=True
    )
    server.start()
    url, size = here.recv()
    keep()  # as the operator does once its mirror is full
    source = PrometheusSource(url, CONFIG.prometheus_timeout_s)
    _say(f"{asked.deployments} deployments, {len(pods)} pods, {size / 2**20:.1f} MiB of answers")
    wall, cpu, rss, blocks = [], [], [], []
    for index in range(asked.passes + _WARM):
        began = time.perf_counter(), time.process_time()
        snapshot = _pass(view, source)
        ended = time.perf_counter(), time.process_time()
        if index >= _WARM:
            wall.append(ended[0] - began[0])
            cpu.append(ended[1] - began[1])
            rss.append(_rss_mib())
            blocks.append(sys.getallocatedblocks())
        _check(snapshot)
        del snapshot
        sweep()  # as it does after each
        if len(rss) % _TELL == 1:
            _say(f"after {len(rss)} passes {rss[-1]:.1f} MiB, {median(cpu):.2f} s CPU each")
    here.send("count")
    per_pass = here.recv() / (asked.passes + _WARM)
    server.terminate()
    # The last fifth against the second: the first is where the allocator finds its size.
    fifth = max(1, len(rss) // 5)
    growth = median(rss[-fifth:]) - median(rss[fifth : 2 * fifth] or rss)
    _say(f"{'one pass, wall':32}{median(wall):8.2f} s    worst {max(wall):.2f} s")
    _say(f"{'one pass, CPU':32}{median(cpu):8.2f} s")
    _say(f"{'queries of a pass':32}{per_pass:8.0f}")
    _say(f"{'resident memory':32}{rss[-1]:8.0f} MiB  most {_most_mib():.0f} MiB")
    _say(f"{f'growth over {len(rss)} passes':32}{growth:8.1f} MiB")
    left = (blocks[-1] - blocks[len(blocks) // 2]) / max(1, len(blocks) - len(blocks) // 2 - 1)
    _say(f"{'blocks that a pass leaves':32}{left:8.1f}")
    missed = [
        name
        for name, met in (
            ("time", median(cpu) <= TARGET_S),
            ("queries", per_pass <= MOST_QUERIES),
            ("memory", growth <= MOST_GROWTH_MIB and left <= MOST_BLOCKS),
        )
        if not met
    ]
    _say(f"missed: {', '.join(missed)}" if missed else "all targets met")
    sys.exit(1 if missed else 0)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _pass(view: WorldView, source: PrometheusSource) -> Snapshot:
    return collect(view, source, now=time.time(), memory=PlannerMemory(), config=CONFIG)


def _check(snapshot: Snapshot) -> None:
    """Refuse to time a pass in which a signal was missing."""
    for state in snapshot.deployments:
        load = state.load
        needed = [load.arrival_rps, load.waiting, load.running, load.kv_utilization]
        needed += [load.input_tokens, load.output_tokens, load.ttft_s, load.itl_s]
        assert all(isinstance(signal, Fresh) for signal in needed), load
        assert load.inputs is not None
        assert load.outputs is not None
        assert len(load.variants) == 1


def _view(deployments: int) -> WorldView:
    store = Store()
    llmds, children, pods = [], [], []
    spec = {"latency": {"timeToFirstToken": "2s", "interTokenLatency": "80ms"}}
    for index in range(deployments):
        name, namespace = f"model-{index:05}", f"team-{index % NAMESPACES:02}"
        variant = f"{name}-h100-tp1"
        over = {"namespace": namespace, "uid": f"{index:032x}"}
        llmds.append(bodies.llm_deployment(name, spec=spec, **over))
        children.append(bodies.child(variant, deployment=name, replicas=PODS, namespace=namespace))
        pods += [
            bodies.pod(end, variant=variant, deployment=name, namespace=namespace)
            for end in ("aaaaa", "bbbbb", "ccccc", "ddddd", "eeeee")
        ]
    for kind, items in (
        (Kind.LLM_DEPLOYMENT, llmds),
        (Kind.DEPLOYMENT, children),
        (Kind.POD, pods),
    ):
        store.replace(kind, items, "")
    return store.view()


def _answers(pods: list[Place], now: float) -> Mapping[str, tuple[str, list[Series]]]:
    """Return what the server says to each query: whether its values are times, and its series."""
    namespaces = sorted({namespace for namespace, _ in pods})
    wanted = queries.build([engines.get(EngineType.VLLM)], CONFIG, namespaces)
    stems = sorted({(namespace, pod_stem(pod)) for namespace, pod in pods})
    return {expr: (name, _series(name, pods, stems)) for name, expr in wanted.items()}


def _series(name: str, pods: list[Place], stems: list[Place]) -> list[Series]:
    if name in _HISTOGRAMS:
        bounds = _bounds(name)
        rates = [min(10.0, 2.0 * (at + 1)) for at in range(len(bounds))]
        values = dict(zip(bounds, rates, strict=True)) | (
            {} if name == "e2e" else {"sum": 0.5, "count": rates[-1]}
        )
        return [_at_stem(at, rate, le=le) for at in stems for le, rate in values.items()]
    if name in _MEANS:
        values = {queries.SUM: 8.0 * _MEANS[name], queries.COUNT: 8.0}
        if name != "prefix_hit":
            bounds = [str(rung) for rung in RUNGS if rung <= _CONTEXT]
            values |= {le: min(8.0, max(0.0, at - 5.0)) for at, le in enumerate((*bounds, "+Inf"))}
        return [_at_stem(at, rate, le=le) for at in stems for le, rate in values.items()]
    if name == "seen":
        return [
            _at_pod(at, value, trimtab_part=part) for at in pods for part, value in _SEEN.items()
        ]
    if name == queries.GAUGES:
        return [
            _at_pod(at, value, trimtab_part=part) for at in pods for part, value in _GAUGES.items()
        ]
    assert name == "arrivals", name
    return [_at_pod(at, 2.0) for at in pods]


def _bounds(name: str) -> list[str]:
    """Return the bounds of the buckets on a real page."""
    metric = getattr(engines.get(EngineType.VLLM), name).newest
    found = [
        series.split('le="')[1].split('"')[0]
        for series in pages.samples(pages.page("load2"))
        if series.startswith(f"{metric}_bucket")
    ]
    assert found, metric
    return found


def _at_stem(at: Place, value: float, **more: str) -> Series:
    return {"metric": {"namespace": at[0], "trimtab_stem": at[1], **more}, "value": value}


def _at_pod(at: Place, value: float, **more: str) -> Series:
    return {"metric": {"namespace": at[0], "pod": at[1], **more}, "value": value}


def _serve(pipe: Connection, answers: Mapping[str, tuple[str, list[Series]]]) -> None:
    """Answer until killed; times are those of the moment, so that samples stay fresh."""
    made = {expr: _Body(name, series) for expr, (name, series) in answers.items()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, made))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(
        (f"http://127.0.0.1:{server.server_address[1]}", sum(len(b.text()) for b in made.values()))
    )
    pipe.recv()
    pipe.send(sum(body.asked for body in made.values()))
    pipe.recv()


class _Body:
    """One answer, made anew when its samples have become too old."""

    def __init__(self, name: str, series: list[Series]) -> None:
        self._name, self._series = name, series
        self._made = 0.0
        self._text = b""
        self.asked = 0

    def text(self) -> bytes:
        now = time.time()
        if now - self._made > 20.0:
            self._made = now
            result = [
                {"metric": one["metric"], "value": [now, repr(self._value(one, now))]}
                for one in self._series
            ]
            data = {"resultType": "vector", "result": result}
            self._text = json.dumps(
                {"status": "success", "data": data}, separators=(",", ":")
            ).encode()
        return self._text

    def _value(self, one: Series, now: float) -> float:
        value: float = one["value"]
        return now + value if one["metric"].get("trimtab_part") == "seen" else value


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, answers: Mapping[str, _Body], *args: Any) -> None:
        self._answers = answers
        super().__init__(*args)

    def do_GET(self) -> None:
        """Answer a query of a pass."""
        body = self._answers[parse_qs(urlsplit(self.path).query)["query"][0]]
        body.asked += 1
        text = body.text()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def _rss_mib() -> float:
    gc.collect()
    pages_ = int(Path("/proc/self/statm").read_text().split()[1])
    return pages_ * resource.getpagesize() / 2**20


def _most_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
