"""Fake nodes that behave: KWOK in place of kubelets, with the Stages that say how."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from trimtab_e2e.binaries import Binaries

# On a node: the seconds from a pod's start there to its readiness, which are our cold start.
START_DELAY = "trimtab.dev/start-delay-seconds"
# Nodes that carry it are KWOK's; it leaves all others alone.
FAKE_NODE = {"kwok.x-k8s.io/node": "fake"}

Manifest = dict[str, Any]

_DATA = Path(__file__).with_name("data")


def command(binaries: Binaries, kubeconfig: Path, config: Path) -> list[str]:
    """Give the command line of KWOK, which takes its Stages from the API server."""
    config.write_text("")  # else it would read one in the user's home
    annotation, value = next(iter(FAKE_NODE.items()))
    return [
        str(binaries.kwok / "kwok"),
        f"--config={config}",
        f"--kubeconfig={kubeconfig}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={annotation}={value}",
        "--enable-crds=Stage",
        "--node-lease-duration-seconds=40",
        "--cidr=10.200.0.1/16",  # for pods on nodes without a podCIDR
    ]


def crd(binaries: Binaries) -> Path:
    """Give the CustomResourceDefinition of Stages."""
    return binaries.kwok / "stages-crd.yaml"


def base_stages() -> list[Manifest]:
    """Give the Stages that every cluster has."""
    return list(yaml.safe_load_all((_DATA / "stages.yaml").read_text()))


def start_delay_stages(nodes: Iterable[Manifest]) -> list[Manifest]:
    """Give a Stage for each group of nodes whose annotations tell a start delay.

    KWOK sees only the pod when it decides, and the operator that makes the pod knows nothing of
    KWOK. What the pod does have is its node's name, so a Stage selects by that: nodes whose
    names differ in their last number only (h100-0, h100-1) are a group and share a delay.
    """
    delays: dict[str, int] = {}
    for node in nodes:
        metadata = node["metadata"]
        delay = metadata.get("annotations", {}).get(START_DELAY)
        if delay is not None:
            delays[re.sub(r"-\d+$", "", metadata["name"])] = int(delay)
    return [_pod_ready_on(group, delay) for group, delay in delays.items()]


def _pod_ready_on(group: str, delay_s: int) -> Manifest:
    stage = next(stage for stage in base_stages() if stage["metadata"]["name"] == "pod-ready")
    stage["metadata"]["name"] = f"pod-ready-{group}"
    spec = stage["spec"]
    spec["weight"] = 1  # before the general one, which has 0
    pattern = f"^{re.escape(group)}(-[0-9]+)?$".replace("\\", "\\\\")
    spec["selector"]["matchExpressions"].append(
        {"jq": {"key": f'.spec.nodeName | test("{pattern}")', "operator": "In", "values": ["true"]}}
    )
    spec["delay"]["durationFrom"]["jq"]["expression"] = (
        f"(.status.startTime | fromdate) + {delay_s} | todate"
    )
    return stage
