"""The checks of `trimtab doctor`, from the API server to the last signal. It only reads."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from trimtab.actuate.connection import connect
from trimtab.config import OperatorConfig
from trimtab.controller.lease import NAME, KubernetesLease
from trimtab.controller.preflight import require_kinds
from trimtab.errors import InvalidInput, Unavailable
from trimtab.models.memory import PlannerMemory
from trimtab.observe.collect import collect
from trimtab.observe.diagnosis import Finding, Level, diagnose
from trimtab.observe.listing import resync
from trimtab.observe.pricing import PriceBook
from trimtab.observe.prometheus import MetricsSource
from trimtab.observe.refusals import Refusals
from trimtab.observe.selftest import renamed
from trimtab.observe.store import Store

TIMEOUT_S = 10.0


def examine(
    kubeconfig: str | None, source: MetricsSource | None, config: OperatorConfig, now: float
) -> Iterator[Finding]:
    """Yield findings, each as soon as it is known; the first that stops the rest is the last.

    Args:
        kubeconfig: The cluster, as for `connect`.
        source: Prometheus as the operator asks it, or None.
        config: Where the lease is, and the windows and intervals of the operator.
        now: Unix seconds.
    """
    try:
        connection = connect(kubeconfig)
        require_kinds(connection)
    except InvalidInput as error:
        yield Finding(
            level=Level.FAILED, subject=error.field, message=error.problem, remedy=error.remedy
        )
        return
    except Unavailable as error:
        yield _unreachable("API server", error, "Does `kubectl get llmd -A` answer?")
        return
    host = connection.configuration.host
    yield Finding(level=Level.OK, subject="API server", message=f"{host} serves all our kinds")
    lease = KubernetesLease(connection=connection, namespace=config.namespace, timeout_s=TIMEOUT_S)
    yield _leader(lease, config, now)
    yield _prometheus(source)
    store = Store()
    try:
        resync(connection.dynamic, store, config.watch_namespaces)
    except Unavailable as error:
        remedy = "You need to list what the operator lists: try it as a cluster reader"
        yield _unreachable("Cluster", error, remedy)
        if not store.synced:
            return
    view = store.view()
    view = replace(
        view,
        prices=PriceBook(config.prometheus_labels).refresh(source, view, now),
        refusals=Refusals(client=connection.dynamic)(view, now),
    )
    snapshot = collect(view, source, now=now, memory=PlannerMemory(), config=config)
    yield from diagnose(view, snapshot)
    if source is not None:
        yield from renamed(source, view, snapshot)


def _unreachable(subject: str, error: Exception, remedy: str) -> Finding:
    return Finding(level=Level.FAILED, subject=subject, message=str(error), remedy=remedy)


def _leader(lease: KubernetesLease, config: OperatorConfig, now: float) -> Finding:
    subject = f"Lease {config.namespace}/{NAME}"
    remedy = f"Look at the operator: kubectl -n {config.namespace} get pods"
    try:
        found = lease.read()
    except Unavailable as error:
        return _unreachable(subject, error, "You need to get leases there")
    spec = (found or {}).get("spec") or {}
    holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
    if not holder or not renewed:
        message = "nobody holds it, so nothing is scaled"
        return Finding(level=Level.FAILED, subject=subject, message=message, remedy=remedy)
    age = now - datetime.fromisoformat(renewed).astimezone(UTC).timestamp()
    if age > config.lease_duration_s:
        message = f"{holder} held it and has not renewed it for {age:.0f} s"
        return Finding(level=Level.FAILED, subject=subject, message=message, remedy=remedy)
    return Finding(level=Level.OK, subject=subject, message=f"{holder} leads")


def _prometheus(source: MetricsSource | None) -> Finding:
    if source is None:
        return Finding(
            level=Level.WARNING,
            subject="Prometheus",
            message="no address was given, so no signal is looked at",
            remedy="Give --prometheus-url, as the operator has it",
        )
    try:
        source.query("vector(1)")
    except Unavailable as error:
        remedy = "From here it may need: kubectl port-forward"
        return _unreachable("Prometheus", error, remedy)
    return Finding(level=Level.OK, subject="Prometheus", message="it answers")
