"""Names the kinds of objects that Trimtab mirrors, for the watchers and for LIST alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from trimtab.api.acceleratorpool import AcceleratorPool
from trimtab.api.base import API_VERSION, Resource
from trimtab.api.fleetbudget import FleetBudget
from trimtab.api.llmdeployment import LLMDeployment
from trimtab.api.naming import MANAGED_BY_LABEL, MANAGER
from trimtab.api.performanceprofile import PerformanceProfile
from trimtab.api.policy import ServingPolicy


class Kind(StrEnum):
    """A kind of object in the mirror."""

    LLM_DEPLOYMENT = "LLMDeployment"
    SERVING_POLICY = "ServingPolicy"
    ACCELERATOR_POOL = "AcceleratorPool"
    PERFORMANCE_PROFILE = "PerformanceProfile"
    FLEET_BUDGET = "FleetBudget"
    DEPLOYMENT = "Deployment"
    """Child Deployments, one per variant."""
    SERVICE = "Service"
    DISRUPTION_BUDGET = "PodDisruptionBudget"
    POD = "Pod"
    """Serving pods."""
    NODE = "Node"
    NAMESPACE = "Namespace"
    FOREIGN_POD = "ForeignPod"
    """Pods of others that hold devices: listed per accelerator node, never watched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedKind:
    """How the API server names one kind."""

    kind: Kind
    api_version: str
    """Group and version, such as `apps/v1`."""
    plural: str
    namespaced: bool
    labels: tuple[tuple[str, str], ...] = ()
    """Labels that the mirrored objects carry; empty means all objects."""

    def path(self, namespace: str | None = None) -> str:
        """Return the URL path of the collection, of one namespace or of the whole cluster."""
        root = "/api" if "/" not in self.api_version else "/apis"
        scope = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return f"{root}/{self.api_version}{scope}/{self.plural}"

    @property
    def label_selector(self) -> str | None:
        """The labels as the API server wants them, or None."""
        return ",".join(f"{key}={value}" for key, value in self.labels) or None


def _own(kind: Kind, resource: type[Resource]) -> WatchedKind:
    return WatchedKind(
        kind=kind,
        api_version=API_VERSION,
        plural=resource.PLURAL,
        namespaced=resource.NAMESPACED,
    )


def _managed(kind: Kind, api_version: str, plural: str) -> WatchedKind:
    labels = ((MANAGED_BY_LABEL, MANAGER),)
    return WatchedKind(
        kind=kind, api_version=api_version, plural=plural, namespaced=True, labels=labels
    )


WATCHED: tuple[WatchedKind, ...] = (
    _own(Kind.LLM_DEPLOYMENT, LLMDeployment),
    _own(Kind.SERVING_POLICY, ServingPolicy),
    _own(Kind.ACCELERATOR_POOL, AcceleratorPool),
    _own(Kind.PERFORMANCE_PROFILE, PerformanceProfile),
    _own(Kind.FLEET_BUDGET, FleetBudget),
    _managed(Kind.DEPLOYMENT, "apps/v1", "deployments"),
    _managed(Kind.SERVICE, "v1", "services"),
    _managed(Kind.DISRUPTION_BUDGET, "policy/v1", "poddisruptionbudgets"),
    _managed(Kind.POD, "v1", "pods"),
    WatchedKind(kind=Kind.NODE, api_version="v1", plural="nodes", namespaced=False),
    WatchedKind(kind=Kind.NAMESPACE, api_version="v1", plural="namespaces", namespaced=False),
)
"""Every kind that is watched; FOREIGN_POD is only listed."""

BY_KIND: Mapping[Kind, WatchedKind] = {watched.kind: watched for watched in WATCHED}
