"""Exported metrics: bounded, without stale series, unknown left out."""

from typing import Any

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from trimtab.telemetry.names import DeploymentSample, Metrics, PoolSample


def sample(**over: Any) -> DeploymentSample:
    values: dict[str, Any] = {
        "namespace": "assistants",
        "name": "chat",
        "desired": 3,
        "ready": 2,
        "recommended": False,
        "usd_per_hour": 7.5,
        "slo": None,
        "demand_rps": 4.0,
        "queued": 0.0,
        "signals": (("fresh", 9), ("missing", 1)),
    }
    return DeploymentSample(**(values | over))


def exported(metrics: Metrics) -> dict[str, dict[str, float]]:
    """Family and labels of every series of ours, with its value."""
    text = generate_latest(metrics.registry).decode()
    return {
        family.name: {
            ",".join(f"{key}={value}" for key, value in sorted(item.labels.items())): item.value
            for item in family.samples
        }
        for family in text_string_to_metric_families(text)
        if family.name.startswith("trimtab_")
    }


def test_the_fleet_is_exported_and_unknown_is_left_out() -> None:
    metrics = Metrics()
    metrics.fleet.show([sample()], [PoolSample(name="h100", total=16, promised=3, foreign=1)])
    got = exported(metrics)
    assert got["trimtab_desired_replicas"] == {"name=chat,namespace=assistants": 3}
    assert got["trimtab_recommended"] == {"name=chat,namespace=assistants": 0}
    assert got["trimtab_queued_requests"] == {"name=chat,namespace=assistants": 0}
    assert got["trimtab_slo_attainment_ratio"] == {}
    assert got["trimtab_signals"]["name=chat,namespace=assistants,state=fresh"] == 9
    assert got["trimtab_pool_devices"] == {
        "pool=h100,state=total": 16,
        "pool=h100,state=promised": 3,
        "pool=h100,state=foreign": 1,
    }


def test_a_deployment_that_is_gone_leaves_no_series() -> None:
    metrics = Metrics()
    metrics.fleet.show([sample()], [])
    metrics.fleet.show([], [])
    assert not any("chat" in labels for family in exported(metrics).values() for labels in family)


def test_a_deployment_has_at_most_twenty_series() -> None:
    metrics = Metrics()
    states = tuple((state, 1) for state in ("fresh", "partial", "stale", "missing", "invalid"))
    metrics.fleet.show([sample(slo=0.9, signals=states)], [])
    series = [
        labels for family in exported(metrics).values() for labels in family if "chat" in labels
    ]
    assert len(series) <= 20


def test_two_processes_in_one_do_not_share_metrics() -> None:
    one, two = Metrics(), Metrics()
    one.written("Deployment", "apply", "ok")
    assert exported(one)["trimtab_writes"]["kind=Deployment,outcome=ok,verb=apply"] == 1
    assert exported(two)["trimtab_writes"] == {}
