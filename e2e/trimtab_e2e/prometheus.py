"""A real Prometheus that finds serving pods by Kubernetes service discovery.

A serving pod on a fake node runs nothing, so the engine stand-in serves every pod's page at
`/pods/NAMESPACE/POD/metrics` of one local port. Relabelling sends each scrape there; everything
else about a target (its labels, when it appears and goes) is what a PodMonitor would give. The pods
of a real node are scraped where they are.
"""

from pathlib import Path
from typing import Any

import yaml

from trimtab_e2e.binaries import Binaries

NAMESPACE = "trimtab-e2e"
SERVICE_ACCOUNT = "prometheus"
SERVING_JOB = "trimtab-system/trimtab-serving"  # a PodMonitor's job is its NAMESPACE/NAME
OPERATOR_JOB = "trimtab"

Manifest = dict[str, Any]

_META = "__meta_kubernetes_pod"
# Retention long enough for any test; the folder goes with the cluster.
_RETENTION = "1d"


def rbac() -> list[Manifest]:
    """Give the ServiceAccount that Prometheus discovers pods as, and its rights."""
    meta = {"name": f"{NAMESPACE}-{SERVICE_ACCOUNT}"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": SERVICE_ACCOUNT, "namespace": NAMESPACE},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": meta,
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": meta,
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": meta["name"],
            },
            "subjects": [
                {"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": NAMESPACE}
            ],
        },
    ]


def write_config(
    path: Path,
    *,
    kubeconfig: Path,
    fleet_port: int | None,
    scrape_interval_s: int,
    operator_metrics: str | None,
) -> Path:
    """Write the configuration file; without a stand-in's port pods are scraped themselves."""
    jobs = [_serving_job(kubeconfig, fleet_port)]
    if operator_metrics is not None:
        jobs.append({"job_name": OPERATOR_JOB, "static_configs": [{"targets": [operator_metrics]}]})
    interval = f"{scrape_interval_s}s"
    document = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "scrape_configs": jobs,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def command(binaries: Binaries, config: Path, listen: str) -> list[str]:
    """Give the command line of a Prometheus that listens on HOST:PORT."""
    return [
        str(binaries.prometheus / "prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'data'}",
        f"--storage.tsdb.retention.time={_RETENTION}",
        f"--web.listen-address={listen}",
        "--log.level=warn",
    ]


def _serving_job(kubeconfig: Path, fleet_port: int | None) -> dict[str, Any]:
    return {
        "job_name": SERVING_JOB,
        "kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": str(kubeconfig)}],
        "relabel_configs": [
            # Ours, the port that serves, and not over: what the PodMonitor selects.
            _keep(f"{_META}_label_app_kubernetes_io_managed_by", "trimtab"),
            _keep(f"{_META}_container_port_name", "http"),
            _drop(f"{_META}_phase", "Failed|Succeeded"),
            # The labels that the Prometheus operator gives a PodMonitor's targets.
            _label("namespace", "__meta_kubernetes_namespace"),
            _label("container", f"{_META}_container_name"),
            _label("pod", f"{_META}_name"),
            _label("endpoint", f"{_META}_container_port_name"),
            _label("instance", "__address__"),
            *([] if fleet_port is None else _at_stand_in(fleet_port)),
        ],
    }


def _at_stand_in(port: int) -> list[dict[str, Any]]:
    """Send the scrape of a pod to where the stand-in serves its page."""
    return [
        {
            "source_labels": ["__meta_kubernetes_namespace", f"{_META}_name"],
            "separator": "/",
            "target_label": "__metrics_path__",
            "replacement": "/pods/$1/metrics",
        },
        {"target_label": "__address__", "replacement": f"127.0.0.1:{port}"},
    ]


def _keep(source: str, pattern: str) -> dict[str, Any]:
    return {"source_labels": [source], "action": "keep", "regex": pattern}


def _drop(source: str, pattern: str) -> dict[str, Any]:
    return {"source_labels": [source], "action": "drop", "regex": pattern}


def _label(target: str, source: str) -> dict[str, Any]:
    return {"source_labels": [source], "target_label": target}
