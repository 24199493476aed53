"""Reads objects of ours for the command line, which may not talk to Kubernetes itself."""

from typing import Any

from trimtab.actuate.connection import connect
from trimtab.actuate.kinds import LLM_DEPLOYMENT
from trimtab.actuate.writer import REQUEST_ERRORS, failure_of, plain
from trimtab.api.acceleratorpool import AcceleratorPool
from trimtab.api.base import API_VERSION, Resource
from trimtab.api.fleetbudget import FleetBudget
from trimtab.api.llmdeployment import LLMDeployment
from trimtab.api.performanceprofile import PerformanceProfile
from trimtab.api.policy import ServingPolicy
from trimtab.errors import InvalidInput, Unavailable
from trimtab.observe.kinds import BY_KIND, Kind
from trimtab.observe.listing import list_kind

TIMEOUT_S = 10.0
_WORLD: tuple[type[Resource], ...] = (
    LLMDeployment,
    AcceleratorPool,
    ServingPolicy,
    PerformanceProfile,
    FleetBudget,
)
"""What a decision can be asked about with: no nodes, pods or namespaces."""


def read_deployment(kubeconfig: str | None, namespace: str, name: str) -> dict[str, Any]:
    """Return the LLMDeployment as it is live.

    Raises:
        InvalidInput: There is no such object, or no cluster.
        Unavailable: The API server does not answer.
    """
    connection = connect(kubeconfig)
    try:
        document: dict[str, Any] = connection.dynamic.get(
            connection.resource(LLM_DEPLOYMENT),
            name=name,
            namespace=namespace,
            serializer=plain,
            _request_timeout=TIMEOUT_S,
        )
    except REQUEST_ERRORS as error:
        failure = failure_of(error)
        if failure.status == 404:
            raise InvalidInput(
                "NAME",
                f"there is no LLMDeployment {name} in namespace {namespace}",
                "See which there are with: kubectl get llmd -A",
            ) from error
        raise Unavailable(f"the API server does not answer: {failure}") from error
    return document


def read_world(kubeconfig: str | None) -> list[dict[str, Any]]:
    """Return every object of our kinds in the cluster.

    Raises:
        InvalidInput: No cluster can be reached with `kubeconfig`.
        Unavailable: The API server does not answer, or forbids to list one of the kinds.
    """
    return [document for kind in _WORLD for document in _listed(kubeconfig, kind, ())]


def read_fleet(kubeconfig: str | None, namespace: str | None) -> list[dict[str, Any]]:
    """Return LLMDeployments and ServingPolicies of `namespace`, of all where it is None.

    Raises:
        InvalidInput: No cluster can be reached with `kubeconfig`.
        Unavailable: The API server does not answer, or forbids it.
    """
    where = () if namespace is None else (namespace,)
    return [
        document
        for kind in (LLMDeployment, ServingPolicy)
        for document in _listed(kubeconfig, kind, where)
    ]


def _listed(
    kubeconfig: str | None, kind: type[Resource], namespaces: tuple[str, ...]
) -> list[dict[str, Any]]:
    listed = list_kind(connect(kubeconfig).dynamic, BY_KIND[Kind(kind.KIND)], namespaces)
    # Items of a list do not say what they are.
    return [{**item, "apiVersion": API_VERSION, "kind": kind.KIND} for item in listed.items]
