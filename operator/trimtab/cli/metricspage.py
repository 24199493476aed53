"""The metrics reference, generated from the metrics that the operator really exports."""

from collections.abc import Iterator

from prometheus_client.core import Metric

from trimtab.telemetry.names import PHASES, DeploymentSample, Metrics, PoolSample

_HEAD = """# Metrics of the operator

Generated from the code by `trimtab crds write`; a test holds it current. The operator exports these
on port 9090, path `/metrics`. A value that is unknown is absent, never zero.

| metric | type | labels | what it says |
|---|---|---|---|
"""
_TAIL = """
`process_*` are those of the Prometheus client: CPU seconds, memory, open files, start time.

| question | query |
|---|---|
| what does it cost now | \
`sum(trimtab_cost_dollars_per_hour unless on (namespace, name) trimtab_recommended == 1)` |
| which deployments miss their targets | `trimtab_slo_attainment_ratio < 0.95` |
| what was decided in the last hour | `sum by (why) (increase(trimtab_decisions_total[1h]))` |
| which replicas are missing | \
`trimtab_desired_replicas - trimtab_ready_replicas > 0 \
unless on (namespace, name) trimtab_recommended == 1` |
| how many devices are promised | `sum by (pool) (trimtab_pool_devices{state="promised"})` |
| does anybody lead | `sum(trimtab_leader)` |
| what takes time in a cycle | `rate(trimtab_cycle_seconds_sum[5m])` |

The chart's [alerts](alerts.md) and its dashboard are made of these.
"""


def page() -> str:
    """Return the page, as it stands in docs/metrics.md."""
    rows = sorted(_row(family) for family in _families())
    return _HEAD + "\n".join(rows) + "\n" + _TAIL


def _families() -> Iterator[Metric]:
    metrics = Metrics()
    metrics.cycles.labels(outcome="ok").inc()
    for phase in PHASES:
        metrics.cycle_seconds.labels(phase=phase).observe(0.0)
    metrics.decisions.labels(why="DemandRose").inc()
    metrics.written("Deployment", "apply", "ok")
    metrics.watch_age.labels(kind="Node").set(0.0)
    deployment = DeploymentSample(
        namespace="",
        name="",
        desired=0,
        ready=0,
        recommended=False,
        usd_per_hour=0.0,
        slo=0.0,
        demand_rps=0.0,
        queued=0.0,
        signals=(("fresh", 0),),
    )
    metrics.fleet.show([deployment], [PoolSample(name="", total=0, promised=0, foreign=0)])
    for family in metrics.registry.collect():
        if not family.name.startswith("process"):
            yield family


def _row(family: Metric) -> str:
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    labels = {name for sample in family.samples for name in sample.labels} - {"le"}
    named = ", ".join(f"`{name}`" for name in sorted(labels))
    return f"| `{family.name}{suffix}` | {family.type} | {named} | {family.documentation} |"
