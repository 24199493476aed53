"""What must be there before the operator starts."""

from http import HTTPStatus

from trimtab.actuate.connection import Connection
from trimtab.actuate.writer import REQUEST_ERRORS, failure_of, plain
from trimtab.api.base import API_VERSION
from trimtab.errors import InvalidInput, Unavailable
from trimtab.observe.kinds import WATCHED

TIMEOUT_S = 10.0


def require_kinds(connection: Connection) -> None:
    """Return when the cluster serves every kind of ours.

    Raises:
        InvalidInput: Some CustomResourceDefinitions are missing.
        Unavailable: The API server does not answer.
    """
    wanted = {watched.plural for watched in WATCHED if watched.api_version == API_VERSION}
    missing = wanted - _served(connection)
    if missing:
        raise InvalidInput(
            "CustomResourceDefinitions",
            f"the cluster does not know {', '.join(sorted(missing))} of {API_VERSION}",
            "Install them with: kubectl apply -f crds/",
        )


def _served(connection: Connection) -> set[str]:
    try:
        answer = connection.dynamic.request(
            "get", f"/apis/{API_VERSION}", serializer=plain, _request_timeout=TIMEOUT_S
        )
    except REQUEST_ERRORS as error:
        failure = failure_of(error)
        if failure.status == HTTPStatus.NOT_FOUND:
            return set()
        raise Unavailable(
            f"the API server at {connection.configuration.host}: {failure}"
        ) from error
    resources = answer.get("resources") if isinstance(answer, dict) else None
    if not isinstance(resources, list):
        raise Unavailable(f"what answers at {connection.configuration.host} is no API server")
    return {item["name"] for item in resources}
