"""Reads single objects for the command line, which may not talk to Kubernetes itself."""

from typing import Any

from trimtab.actuate.connection import connect
from trimtab.actuate.kinds import LLM_DEPLOYMENT
from trimtab.actuate.writer import REQUEST_ERRORS, failure_of, plain
from trimtab.errors import InvalidInput, Unavailable

TIMEOUT_S = 10.0


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
