"""The page of engines, gateways and prices, generated from the data files that the code reads."""

from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.api.engine import EngineType
from trimtab.api.enginemetrics import EngineMetrics
from trimtab.api.gateway import GatewayType
from trimtab.catalog.engines import document, server
from trimtab.observe import custom, engines, gateways, queries
from trimtab.observe.pages import names_of
from trimtab.observe.pricing import APART, MOVED, PERIOD_S, SPOT_LEAST, SPOT_MOST
from trimtab.observe.scrape import MAX_AT_ONCE, MAX_PAGE_BYTES

_HEAD = """# Engines and where their metrics come from

Generated from the data files of the code by `trimtab crds write`; a test holds it current. One file
per engine is all there is: `operator/trimtab/catalog/engines/`.

## Engines

`spec.engine.type` names one. Trimtab starts it so that every variant serves on port 8000 under one
name, and pins what decides capacity. Only vLLM's arguments and metrics were held against a real
release; the others are from the sources and documentation of theirs.

| `type` | engine | versions | default image | own port | health | metrics page | on SIGTERM |
|---|---|---|---|---|---|---|---|
"""

_METRICS = """
## What is read of their pages

The first name that a replica exports counts, so old and new releases serve side by side. Counters
are known with and without `_total`. Whatever labels split a replica's series (`engine` of a
data-parallel rank, `model_name` of an adapter, and any that a release adds) add up, but for KV use,
of which the fullest rank counts. An engine that lacks a signal has it *missing*, and says so;
nothing stands in for it. Without a histogram of lengths, prompts and answers are taken to spread
about their means as they mostly do.
"""

_SIGNALS = (
    ("running", "requests in the batch"),
    ("waiting", "requests in the queue"),
    ("kv_utilization", "share of the KV cache in use, 0 to 1"),
)
_HISTOGRAMS = (
    ("ttft", "time to first token, seconds"),
    ("itl", "time between two tokens, seconds"),
    ("pace", "its mean over an answer, which targets are held against, seconds"),
    ("e2e", "end-to-end latency, seconds"),
    ("steps", "steps, of which only the number is read, new tokens"),
    ("inputs", "prompts, tokens"),
    ("outputs", "answers, tokens"),
)
_MEANS = (
    ("input_tokens", "mean prompt, tokens"),
    ("output_tokens", "mean answer, tokens"),
    ("prefix_hit", "share of prompt tokens found in the cache"),
)


def page() -> str:
    """Return the page, as it stands in docs/engines.md."""
    return "".join(
        [
            _HEAD,
            *(_engine_row(kind) for kind in EngineType),
            _METRICS,
            *(_engine(kind) for kind in EngineType if kind is not EngineType.CUSTOM),
            _custom(),
            _arrivals(),
            _sources(),
            _prices(),
        ]
    )


def _engine_row(kind: EngineType) -> str:
    known = server(kind)
    image = f"`{known.image}`" if known.image else "`spec.engine.image` is required"
    health, metrics = f"`{known.health}`", f"`{known.page}`"
    if kind is EngineType.CUSTOM:
        health += ", or `spec.engine.healthPath`"
    return _row(
        f"`{kind}`",
        document(kind)["title"],
        document(kind)["versions"],
        image,
        str(known.port),
        health,
        metrics,
        known.drain.removeprefix("SIGTERM; "),
    )


def _engine(kind: EngineType) -> str:
    data = document(kind)
    eager = "from the start" if data["eager"] else "with their first observation"
    begun = data["begun"]
    if begun["served"]:
        eager += (
            f". What a release shows only once it has counted something is no gap while"
            f" {_names(begun['served'])} is 0 or, of finished requests,"
            f" {_names(begun['finished'])} is 0 or not there"
        )
    rows = [
        f"\n### {data['title']}\n\nIts series are on the page {eager}.\n\n",
        "| signal | kind | names, newest first |\n|---|---|---|\n",
        *(_row(text, "gauge", _names(data["gauges"][name]["names"])) for name, text in _SIGNALS),
    ]
    arrivals = data["arrivals"]
    counts = arrivals["counts"] if arrivals["counted"] else "arrivals"
    rows.append(_row(counts, "counter", _names(arrivals["counted"])))
    for name, text in (("refused", "turned away"), ("aborted", "given up by the client")):
        if arrivals[name]:
            rows.append(_row(text, "counter", _names(arrivals[name])))
    if data["preempted"]:
        text = "put out of the batch for want of KV cache, to be computed again"
        rows.append(_row(text, "counter", _names(data["preempted"])))
    for name, text in _HISTOGRAMS:
        entry = data["histograms"][name]
        kind_of = "histogram" + (f", {entry['buckets']}" if entry["buckets"] else "")
        rows.append(_row(text, kind_of, _names(entry["names"])))
    for name, text in _MEANS:
        pairs = (f"`{each['above']}` / `{each['below']}`" for each in data["means"][name])
        rows.append(_row(text, "two counters", ", ".join(pairs) or "none"))
    arguments = (f"`{each.text}`" for each in server(kind).arguments)
    rows.append(f"\nIt is started with {', '.join(arguments)}.\n")
    return "".join(rows)


def _custom() -> str:
    rows = "".join(
        _row(f"`{field.alias}`", _first_line(field.description))
        for field in EngineMetrics.model_fields.values()
    )
    return f"""
### Custom

`type: custom` takes `image`, `args`, `port` and `healthPath` from the resource, and its signals
from PromQL in `spec.engine.metrics`. Each expression gives one series for each replica, with the
labels `namespace` and `pod`. What it returns counts for the replicas of this LLMDeployment alone,
and an expression that fails makes only them unknown. At most {custom.MAX_DIFFERENT} different
`spec.engine.metrics` are asked in a pass; deployments with equal ones share the query.

```yaml
engine:
  type: custom
  image: registry.example/my-engine:1.4
  args: [--port=8000]
  metrics:
    requestsPerSecond: rate(my_requests_total[1m])
    waitingRequests: my_queue_length
```

| field | what it gives |
|---|---|
{rows}"""


def _arrivals() -> str:
    rows = "".join(_gateway_row(kind) for kind in GatewayType)
    return f"""
## Arrivals, and demand without a replica

An engine counts a request when it has its first token, so what waits, what was turned away, and
what was given up while there was a queue, is added: completions alone never show an overload.
Without a replica only the gateway knows of a request. Name it in `spec.gateway`, and the larger of
both counts is the demand; one request that comes is enough to wake a deployment.

```yaml
gateway: {{type: istio}}
```

| `type` | gateway | label with the name | `name` by default | requests | beside them | queue |
|---|---|---|---|---|---|---|
{rows}"""


def _gateway_row(kind: GatewayType) -> str:
    known = gateways.get(kind)
    usual = {"model": "the model as clients ask for it", "service": "the Service", "": "none"}
    return _row(
        f"`{kind}`",
        known.title,
        f"`{known.label}`",
        usual[known.named_after],
        _series(known.requests),
        _series(known.refused),
        _series(known.queue),
    )


def _sources() -> str:
    wanted = len(names_of(engines.get(EngineType.VLLM)))
    return f"""
## Prometheus, or the pods themselves

With `--metrics-source=prometheus` (the chart's `metricsSource`) one pass is at most
{queries.MAX_QUERIES} queries, whatever the size of the fleet. Prometheus has to scrape the pods:
the chart's `podMonitor.enabled` does it, with the page of each engine. Where one store has the
series of several clusters, `--prometheus-label=cluster=eu-1` confines every query to one: the same
LLMDeployment in two clusters has pods whose names differ in their random ends alone. PromQL of a
custom engine says so itself.

With `--metrics-source=scrape` the operator reads the pods' pages itself, of vLLM the {wanted}
names above, once in a scrape interval: {MAX_AT_ONCE} at a time, each within
`--prometheus-timeout`, none longer than {MAX_PAGE_BYTES // 2**20} MiB, no redirect followed. It
keeps the pages of one `--rate-window`, and takes rates and histograms from their differences; a
counter that begins anew is no fall. It is meant for a few hundred pods without a Prometheus:
gateways, custom engines and prices need PromQL, and a restart begins with an empty window, so
nothing is removed in the first one.

With `--metrics-source=prometheus-or-scrape` Prometheus is asked first, and while it does not answer
the pages are read, from the first pass on that failed. So an outage begins with two scrapes of
doubt, then demand is known again, and `MetricsAvailable` says where from. What only Prometheus
knows stays unknown, and holds: demand without a replica, arrivals behind a gateway, custom engines.

Whichever it is, each signal is one of these, and only *fresh* ones remove a replica.

| signal | what was seen |
|---|---|
| fresh | all Ready replicas report, within three scrapes |
| partial | some of them do: a lower bound |
| stale | the newest sample is older than three scrapes |
| invalid | not finite, negative, out of range, from the future, or a query that was refused |
| missing | no series, no replica, or no request in the window; the message says which |

`trimtab doctor` names every series that replicas lack, and the one that they export instead when a
release has renamed it.
"""


def _prices() -> str:
    return f"""
## Prices

The first of these that has one counts; `status.price` of the AcceleratorPool says which, and of
when.

| source | where |
|---|---|
| `Pool` | `spec.price` of the AcceleratorPool |
| `Karpenter` | its offers' price of the instance type, over zones; spot and on-demand apart |
| `OpenCost` | hourly cost of the pool's nodes over their devices |
| `Catalogue` | dated list prices that come with Trimtab |

Feeds are asked every {PERIOD_S:.0f} s through Prometheus. A price is not taken that is not finite
or not positive, or more than {APART:.0f} times off the last good one or the list price (a spot
price: above {SPOT_MOST:g} times or below {SPOT_LEAST:g} of the on-demand price). A change of less
than {MOVED:.0%} is no news. A feed that fails leaves its last good price, and no feed stops a
replica that is needed.
"""


def _names(entries: Iterable[str | Mapping[str, Any]]) -> str:
    return ", ".join(map(_name, entries)) or "none"


def _name(entry: str | Mapping[str, Any]) -> str:
    if isinstance(entry, str):
        return f"`{entry}`"
    where = ",".join(f'{label}="{value}"' for label, value in entry["where"].items())
    return f"`{entry['name']}{{{where}}}`"


def _series(every: Iterable[engines.Series]) -> str:
    return _names(
        {"name": one.name, "where": dict(one.where)} if one.where else one.name for one in every
    )


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def _first_line(text: str | None) -> str:
    return (text or "").splitlines()[0]
