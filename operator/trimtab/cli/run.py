"""`trimtab run`: the operator itself, inside a cluster or beside one."""

import logging
import os
import socket
import sys
import uuid
from typing import Annotated, Any

import typer

from trimtab.cli.output import examples
from trimtab.config import MetricsFrom, OperatorConfig, PlannerConfig
from trimtab.errors import InvalidInput
from trimtab.observe.access import parse_header
from trimtab.observe.promql import parse_label
from trimtab.telemetry.logs import LogFormat, configure
from trimtab.units import format_duration, parse_duration

EPILOG = examples(
    "trimtab run --prometheus-url http://prometheus.monitoring:9090",
    "KUBECONFIG=~/.kube/config trimtab run --log-format text --period 5s",
    more="Every option can be set by an environment variable too, such as TRIMTAB_PERIOD=5s.",
)

_OPERATOR = OperatorConfig()
_PLANNER = PlannerConfig()


def _seconds(text: str | float) -> float:
    try:
        return text if isinstance(text, float) else parse_duration(text)  # the default is parsed
    except InvalidInput as error:
        raise typer.BadParameter(f"{error.problem}. {error.remedy}") from error


def _variable(flag: str) -> str:
    return "TRIMTAB_" + flag.lstrip("-").partition("/")[0].replace("-", "_").upper()


def _option(flag: str, explanation: str, **more: Any) -> Any:
    return typer.Option(flag, envvar=_variable(flag), help=explanation, **more)


def _duration(flag: str, explanation: str, default: float) -> Any:
    return _option(
        flag,
        explanation,
        parser=_seconds,
        metavar="DURATION",
        show_default=format_duration(default),
    )


def _share(flag: str, explanation: str) -> Any:
    return _option(flag, explanation, min=0.0, max=1.0)


def _port(flag: str, explanation: str) -> Any:
    return _option(flag, explanation, min=1, max=65535)


def run(
    kubeconfig: Annotated[
        str | None,
        _option("--kubeconfig", "Cluster to serve. Default: the pod's own, else KUBECONFIG."),
    ] = None,
    metrics_source: Annotated[
        MetricsFrom,
        _option(
            "--metrics-source",
            "Ask Prometheus, read the pods' own pages, or those while it is down.",
        ),
    ] = _OPERATOR.metrics_source,
    prometheus_url: Annotated[
        str | None,
        _option("--prometheus-url", "Where demand is measured. Default: only priors count."),
    ] = None,
    prometheus_auth_dir: Annotated[
        str | None,
        _option(
            "--prometheus-auth-dir",
            "Folder of a mounted Secret: token, or username and password; ca.crt.",
        ),
    ] = None,
    prometheus_headers: Annotated[
        list[str] | None,
        _option("--prometheus-header", "NAME=VALUE of a header, such as a tenant's; repeat it."),
    ] = None,
    prometheus_labels: Annotated[
        list[str] | None,
        _option(
            "--prometheus-label", "NAME=VALUE that only this cluster's series have; repeat it."
        ),
    ] = None,
    watch_namespaces: Annotated[
        list[str] | None,
        _option("--watch-namespaces", "Namespace to serve; repeat for several. Default: all."),
    ] = None,
    namespace: Annotated[
        str, _option("--namespace", "Where the lease lives.")
    ] = _OPERATOR.namespace,
    identity: Annotated[
        str | None,
        _option("--identity", "Name in the lease, never shared. Default: the pod's, else unique."),
    ] = None,
    discover_pools: Annotated[
        bool,
        _option(
            "--discover-pools/--no-discover-pools", "Make AcceleratorPools of the nodes there are."
        ),
    ] = _OPERATOR.discover_pools,
    decision_log: Annotated[
        str | None,
        _option("--decision-log", "File that receives what every change was decided on."),
    ] = None,
    period_s: Annotated[
        float, _duration("--period", "Time between plans at rest.", _OPERATOR.period_s)
    ] = _OPERATOR.period_s,
    debounce_s: Annotated[
        float, _duration("--debounce", "Time to gather events before a plan.", _OPERATOR.debounce_s)
    ] = _OPERATOR.debounce_s,
    resync_s: Annotated[
        float, _duration("--resync", "Time between complete lists.", _OPERATOR.resync_s)
    ] = _OPERATOR.resync_s,
    prometheus_timeout_s: Annotated[
        float,
        _duration(
            "--prometheus-timeout", "Longest time of a query.", _OPERATOR.prometheus_timeout_s
        ),
    ] = _OPERATOR.prometheus_timeout_s,
    rate_window_s: Annotated[
        float, _duration("--rate-window", "Window of rates and latencies.", _OPERATOR.rate_window_s)
    ] = _OPERATOR.rate_window_s,
    scrape_interval_s: Annotated[
        float,
        _duration("--scrape-interval", "How often pods are scraped.", _OPERATOR.scrape_interval_s),
    ] = _OPERATOR.scrape_interval_s,
    headroom: Annotated[
        float, _share("--headroom", "Share of a replica's capacity that is kept free.")
    ] = _PLANNER.headroom,
    scale_down_window_s: Annotated[
        float,
        _duration(
            "--scale-down-window",
            "Evidence needed for a scale-down where the policy names no window.",
            _PLANNER.scale_down_window_s,
        ),
    ] = _PLANNER.scale_down_window_s,
    scale_down_share: Annotated[
        float, _share("--scale-down-share", "Largest share of replicas removed in one step.")
    ] = _PLANNER.scale_down_share,
    switch_saving: Annotated[
        float, _share("--switch-saving", "Share that a move to another pool must save.")
    ] = _PLANNER.switch_saving,
    pending_patience_s: Annotated[
        float,
        _duration(
            "--pending-patience",
            "Pods unschedulable for longer mark their pool short.",
            _PLANNER.pending_patience_s,
        ),
    ] = _PLANNER.pending_patience_s,
    shortage_backoff_s: Annotated[
        float,
        _duration(
            "--shortage-backoff",
            "First rest of a pool that ran short; it doubles.",
            _PLANNER.shortage_backoff_s,
        ),
    ] = _PLANNER.shortage_backoff_s,
    shortage_backoff_max_s: Annotated[
        float,
        _duration("--shortage-backoff-max", "Longest such rest.", _PLANNER.shortage_backoff_max_s),
    ] = _PLANNER.shortage_backoff_max_s,
    ready_stability_s: Annotated[
        float,
        _duration(
            "--ready-stability",
            "Time a replica must be Ready to replace another.",
            _PLANNER.ready_stability_s,
        ),
    ] = _PLANNER.ready_stability_s,
    bind_address: Annotated[
        str, _option("--bind-address", "Address of both endpoints.")
    ] = _OPERATOR.bind_address,
    health_port: Annotated[
        int, _port("--health-port", "Port of /healthz and /readyz.")
    ] = _OPERATOR.health_port,
    metrics_port: Annotated[
        int, _port("--metrics-port", "Port of /metrics.")
    ] = _OPERATOR.metrics_port,
    log_level: Annotated[str, _option("--log-level", "Lowest level that is logged.")] = "INFO",
    log_format: Annotated[
        LogFormat, _option("--log-format", "How log lines look.")
    ] = LogFormat.JSON,
) -> None:
    """Run the operator: decide pools and replicas, and keep them so.

    Needs the CustomResourceDefinitions and the rules of deploy/rbac.yaml. Several may run at
    once; the one that holds the lease acts.
    """
    # kopf and the Kubernetes client take a second to import, which no other command should pay.
    from trimtab.controller.process import run as run_process

    level = log_level.upper()
    if level not in logging.getLevelNamesMapping():
        raise typer.BadParameter(f"{log_level!r} is no level. Write debug, info, warning or error")
    configure(level, log_format)
    planner = PlannerConfig(
        headroom=headroom,
        scale_down_window_s=scale_down_window_s,
        scale_down_share=scale_down_share,
        switch_saving=switch_saving,
        pending_patience_s=pending_patience_s,
        shortage_backoff_s=shortage_backoff_s,
        shortage_backoff_max_s=shortage_backoff_max_s,
        ready_stability_s=ready_stability_s,
    )
    config = OperatorConfig(
        namespace=namespace,
        identity=identity or default_identity(),
        watch_namespaces=tuple(watch_namespaces or ()),
        metrics_source=metrics_source,
        prometheus_url=prometheus_url,
        prometheus_timeout_s=prometheus_timeout_s,
        prometheus_auth_dir=prometheus_auth_dir,
        prometheus_headers=tuple(parse_header(each) for each in prometheus_headers or ()),
        prometheus_labels=tuple(parse_label(each) for each in prometheus_labels or ()),
        rate_window_s=rate_window_s,
        scrape_interval_s=scrape_interval_s,
        period_s=period_s,
        debounce_s=debounce_s,
        resync_s=resync_s,
        health_port=health_port,
        metrics_port=metrics_port,
        bind_address=bind_address,
        discover_pools=discover_pools,
        decision_log=decision_log,
        planner=planner,
    )
    code = run_process(config, kubeconfig)
    # A thread that is stuck, or a write whose lease is lost, must not keep the process alive.
    sys.stdout.flush()
    os._exit(code)


def default_identity() -> str:
    """Return the name of this process in the lease.

    In a pod it is the pod's name, so that a container that restarts takes its own lease back at
    once; elsewhere nothing says that no second operator runs on this machine.
    """
    host = socket.gethostname()
    in_pod = "KUBERNETES_SERVICE_HOST" in os.environ
    return host if in_pod else f"{host}-{uuid.uuid4().hex[:8]}"
