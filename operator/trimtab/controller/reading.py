"""Reads objects of ours for the command line, which may not talk to Kubernetes itself."""

from difflib import get_close_matches
from http import HTTPStatus
from typing import Any

from trimtab.actuate.connection import Connection, connect, own_namespace
from trimtab.actuate.kinds import LLM_DEPLOYMENT
from trimtab.actuate.writer import REQUEST_ERRORS, failure_of, plain
from trimtab.api.acceleratorpool import AcceleratorPool
from trimtab.api.base import API_VERSION, Resource
from trimtab.api.fleetbudget import FleetBudget
from trimtab.api.llmdeployment import LLMDeployment
from trimtab.api.performanceprofile import PerformanceProfile
from trimtab.api.policy import ServingPolicy
from trimtab.controller.preflight import require_kinds
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


def read_deployment(kubeconfig: str | None, namespace: str | None, name: str) -> dict[str, Any]:
    """Return the LLMDeployment as it is live; None is the namespace of the kubeconfig's context.

    Raises:
        InvalidInput: There is no such object, no such kind, or no cluster.
        Unavailable: The API server does not answer, or forbids it.
    """
    connection = connect(kubeconfig)
    namespace = namespace or own_namespace(kubeconfig)
    try:
        document = connection.dynamic.get(
            connection.resource(LLM_DEPLOYMENT),
            name=name,
            namespace=namespace,
            serializer=plain,
            _request_timeout=TIMEOUT_S,
        )
    except REQUEST_ERRORS as error:
        if failure_of(error).status == HTTPStatus.NOT_FOUND:
            require_kinds(connection)
            raise InvalidInput(
                "NAME",
                f"there is no LLMDeployment {name} in namespace {namespace}",
                _nearest(connection, namespace, name),
            ) from error
        raise _unavailable(connection, error, f"read LLMDeployments in {namespace}") from error
    if not isinstance(document, dict):
        raise Unavailable(f"what answers at {connection.configuration.host} is no API server")
    return document


def _nearest(connection: Connection, namespace: str, name: str) -> str:
    """Return what may have been meant instead."""
    try:
        listed = list_kind(connection.dynamic, BY_KIND[Kind.LLM_DEPLOYMENT])
    except Unavailable:  # who may read one namespace need not be let into all
        return f"See which there are with: kubectl get llmd -n {namespace}"
    there = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in listed.items]
    elsewhere = sorted(place for place, found in there if found == name)
    if elsewhere:
        return f"There is one in {', '.join(elsewhere)}: add -n {elsewhere[0]}"
    similar = get_close_matches(name, [found for place, found in there if place == namespace], 1)
    if similar:
        return f"Did you mean {similar[0]}?"
    return "See which there are with: kubectl get llmd -A"


def read_world(kubeconfig: str | None) -> list[dict[str, Any]]:
    """Return every object of our kinds in the cluster.

    Raises:
        InvalidInput: No cluster can be reached with `kubeconfig`, or it does not know our kinds.
        Unavailable: The API server does not answer, or forbids to list one of the kinds.
    """
    return [document for kind in _WORLD for document in _listed(kubeconfig, kind, ())]


def read_fleet(kubeconfig: str | None, namespace: str | None) -> list[dict[str, Any]]:
    """Return LLMDeployments and ServingPolicies of `namespace`, of all where it is None.

    Raises:
        InvalidInput: No cluster can be reached with `kubeconfig`, or it does not know our kinds.
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
    connection = connect(kubeconfig)
    try:
        listed = list_kind(connection.dynamic, BY_KIND[Kind(kind.KIND)], namespaces)
    except Unavailable as error:
        cause = error.__cause__
        if not isinstance(cause, REQUEST_ERRORS):
            raise
        if failure_of(cause).status == HTTPStatus.NOT_FOUND:
            require_kinds(connection)
        where = f"in {namespaces[0]}" if namespaces else "in all namespaces"
        raise _unavailable(connection, cause, f"list {kind.KIND}s {where}") from error
    # Items of a list do not say what they are.
    return [{**item, "apiVersion": API_VERSION, "kind": kind.KIND} for item in listed.items]


def _unavailable(connection: Connection, error: Exception, what: str) -> Unavailable:
    """Return what a request that failed means to the person who asked, and what to do."""
    failure = failure_of(error)
    host = connection.configuration.host
    if failure.status == HTTPStatus.FORBIDDEN:
        remedy = "Name a namespace that you may read with -n, or ask for the built-in role view"
        return Unavailable(f"you may not {what}: {failure}\n{remedy}")
    if failure.status == HTTPStatus.UNAUTHORIZED:
        remedy = "Log in to the cluster again, until this answers: kubectl get llmd"
        return Unavailable(f"the API server at {host} does not know who you are\n{remedy}")
    remedy = "Is it the right cluster? See: kubectl config current-context"
    return Unavailable(f"the API server at {host}: {failure}\n{remedy}")
