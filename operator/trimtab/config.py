"""One frozen settings object, read once by the command line and passed down as an argument."""

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerConfig:
    """What the platform sets for every decision. All times are seconds."""

    headroom: float = 0.10
    """Share of a replica's capacity kept free on top of what uncertainty costs."""
    scale_down_window_s: float = 300.0
    """Fresh evidence needed for a scale-down where the policy names no window of its own."""
    scale_down_share: float = 0.25
    """Largest share of the replicas removed in one step (at least one replica)."""
    switch_saving: float = 0.10
    """A move to another pool must save at least this share, or it is not worth the churn."""
    pending_patience_s: float = 600.0
    """Pods unschedulable for longer mark their pool short."""
    shortage_backoff_s: float = 300.0
    """First rest of a pool that ran short; doubles up to `shortage_backoff_max_s`."""
    shortage_backoff_max_s: float = 1800.0
    ready_stability_s: float = 30.0
    """A replica counts as a replacement only after being Ready for this long."""


class MetricsFrom(StrEnum):
    """Where demand is measured."""

    PROMETHEUS = "prometheus"
    SCRAPE = "scrape"
    """The pods' own pages, which the operator reads itself."""
    EITHER = "prometheus-or-scrape"
    """Prometheus, and the pods' own pages while it does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorConfig:
    """Settings of `trimtab run`. All times are seconds."""

    namespace: str = "trimtab-system"
    """Where the lease lives."""
    identity: str = "trimtab"
    """Name of this process in the lease."""
    watch_namespaces: tuple[str, ...] = ()
    """Namespaces to serve; empty means all."""
    metrics_source: MetricsFrom = MetricsFrom.PROMETHEUS
    prometheus_url: str | None = None
    """Base URL of Prometheus; where it is the source and None, only priors count."""
    prometheus_timeout_s: float = 5.0
    prometheus_auth_dir: str | None = None
    """Folder with the keys of a mounted Secret: token, or username and password; and ca.crt."""
    prometheus_headers: tuple[tuple[str, str], ...] = ()
    """Further headers of every query, such as the tenant's."""
    prometheus_labels: tuple[tuple[str, str], ...] = ()
    """Labels of this cluster's series, where one store has those of several clusters."""
    rate_window_s: float = 60.0
    """Window over which arrival rates and latencies are taken; at least four scrapes long."""
    scrape_interval_s: float = 15.0
    """How often Prometheus scrapes the pods: a sample older than three of these is stale."""
    period_s: float = 15.0
    """Time between two plans when nothing happens."""
    debounce_s: float = 0.5
    """Events that arrive within this time are planned together."""
    resync_s: float = 600.0
    """Time between two full LISTs that prune the mirror."""
    health_port: int = 8080
    metrics_port: int = 9090
    bind_address: str = "0.0.0.0"
    lease_duration_s: float = 15.0
    lease_renew_s: float = 10.0
    lease_retry_s: float = 2.0
    write_timeout_s: float = 4.0
    """A write takes no longer, so that none is in flight when the lease expires."""
    discover_pools: bool = True
    decision_log: str | None = None
    """File that receives every plan that changed something, with what it was made from."""
    planner: PlannerConfig = field(default_factory=PlannerConfig)
