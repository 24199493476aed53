"""Names the objects that Trimtab writes to the API server, without any discovery request."""

from dataclasses import dataclass
from typing import Any

from trimtab.api.acceleratorpool import AcceleratorPool
from trimtab.api.base import API_VERSION, Resource
from trimtab.api.fleetbudget import FleetBudget
from trimtab.api.llmdeployment import LLMDeployment

Document = dict[str, Any]
"""A Kubernetes object as the API server spells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of object, as its URL needs it."""

    api_version: str
    """Group and version, such as `apps/v1`."""
    kind: str
    plural: str
    namespaced: bool = True


def custom(resource: type[Resource]) -> Kind:
    """Return the kind of one of our own resources."""
    return Kind(
        api_version=API_VERSION,
        kind=resource.KIND,
        plural=resource.PLURAL,
        namespaced=resource.NAMESPACED,
    )


DEPLOYMENT = Kind(api_version="apps/v1", kind="Deployment", plural="deployments")
SERVICE = Kind(api_version="v1", kind="Service", plural="services")
DISRUPTION_BUDGET = Kind(
    api_version="policy/v1", kind="PodDisruptionBudget", plural="poddisruptionbudgets"
)
EVENT = Kind(api_version="v1", kind="Event", plural="events")
LEASE = Kind(api_version="coordination.k8s.io/v1", kind="Lease", plural="leases")
LLM_DEPLOYMENT = custom(LLMDeployment)
POOL = custom(AcceleratorPool)
BUDGET = custom(FleetBudget)

_ALL = (DEPLOYMENT, SERVICE, DISRUPTION_BUDGET, EVENT, LEASE, LLM_DEPLOYMENT, POOL, BUDGET)
_BY_NAME = {(kind.api_version, kind.kind): kind for kind in _ALL}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Reference:
    """Names one object."""

    kind: str
    namespace: str
    """Empty for a cluster-scoped object."""
    name: str

    def __str__(self) -> str:
        """Return `Kind namespace/name`."""
        place = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {place}{self.name}"


def kind_of(document: Document) -> Kind:
    """Return the kind of `document`, which is one of those that Trimtab writes."""
    return _BY_NAME[document["apiVersion"], document["kind"]]


def reference(document: Document) -> Reference:
    """Return the name of `document`."""
    metadata = document["metadata"]
    return Reference(
        kind=document["kind"],
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
    )


def controller_uid(document: Document) -> str | None:
    """Return the uid of the object that controls `document`, or None."""
    for owner in document.get("metadata", {}).get("ownerReferences") or ():
        if owner.get("controller"):
            return str(owner.get("uid"))
    return None
