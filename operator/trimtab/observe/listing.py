"""Paginated LISTs of all mirrored kinds: at the start, and at every resync to prune the mirror."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import DynamicApiError
from urllib3.exceptions import HTTPError

from trimtab.errors import Unavailable
from trimtab.observe.kinds import BY_KIND, WATCHED, Kind, WatchedKind
from trimtab.observe.parse import mapping, text
from trimtab.observe.store import Store

PAGE = 500
"""Objects a page, as kubectl asks for them."""
TIMEOUT_S = (5.0, 30.0)
"""To connect, and between two pieces of an answer."""
ATTEMPTS = 3
"""How often a LIST is begun anew when its continue token expires (410) half way."""

_GONE = 410


class Client(Protocol):
    """The part of `kubernetes.dynamic.DynamicClient` that is used."""

    def request(self, method: str, path: str, **params: Any) -> Any:
        """Send one request; with `serialize=False` return the raw answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One collection at one resourceVersion."""

    items: tuple[Mapping[str, Any], ...]
    resource_version: str


def resync(client: Client, store: Store, namespaces: Sequence[str] = ()) -> bool:
    """LIST every kind into `store` and return whether a plan could depend on what changed.

    A kind that cannot be listed keeps what the mirror has of it, and the others are listed all
    the same.

    Args:
        client: A dynamic client.
        store: The mirror.
        namespaces: Where namespaced kinds are served; empty means everywhere.

    Raises:
        Unavailable: Some kinds could not be listed; the message names them.
    """
    matters = False
    failed = []
    for watched in WATCHED:
        try:
            listed = list_kind(client, watched, namespaces)
        except Unavailable as error:
            failed.append(str(error))
        else:
            matters |= store.replace(watched.kind, listed.items, listed.resource_version)
    try:
        matters |= list_foreign(client, store, namespaces)
    except Unavailable as error:
        failed.append(str(error))
    if failed:
        raise Unavailable("; ".join(failed))
    return matters


def list_kind(client: Client, watched: WatchedKind, namespaces: Sequence[str] = ()) -> Listed:
    """Return all objects of one kind, page by page, at one resourceVersion.

    Where several namespaces are listed, the resourceVersion is that of the oldest LIST.

    Raises:
        Unavailable: The API server does not answer, refuses, or answers nonsense.
    """
    if not watched.namespaced or not namespaces:
        return _list(client, watched.path(), watched.label_selector, None)
    parts = [
        _list(client, watched.path(namespace), watched.label_selector, None)
        for namespace in namespaces
    ]
    versions = [part.resource_version for part in parts]
    oldest = min(versions, key=int) if all(each.isdigit() for each in versions) else ""
    return Listed(
        items=tuple(item for part in parts for item in part.items), resource_version=oldest
    )


def list_foreign(client: Client, store: Store, namespaces: Sequence[str] = ()) -> bool:
    """LIST the pods on every accelerator node of the mirror, for devices that others hold.

    One request a node, each answered from the API server's index of pods by node
    (`spec.nodeName`, from its watch cache): a watch of all pods of a large cluster, or a LIST of
    them, would cost far more than the few accelerator nodes do. What others take in between shows
    at the next call; until then a replica that finds no device stays Pending, which is seen at
    once.

    Raises:
        Unavailable: The API server does not answer, refuses, or answers nonsense.
    """
    pods: list[Mapping[str, Any]] = []
    for node in store.view().nodes:
        if node.devices and node.kind is not None:
            selector = f"spec.nodeName={node.name},status.phase!=Succeeded,status.phase!=Failed"
            listed = _list(client, BY_KIND[Kind.POD].path(), None, selector).items
            pods += (pod for pod in listed if not _is_watched(pod, namespaces))
    return store.replace(Kind.FOREIGN_POD, pods, "")


def list_events_of_pod(client: Client, namespace: str, name: str) -> tuple[Mapping[str, Any], ...]:
    """Return the Events on one pod, which the API server keeps for an hour.

    Raises:
        Unavailable: The API server does not answer, refuses, or answers nonsense.
    """
    selector = f"involvedObject.kind=Pod,involvedObject.name={name}"
    return _list(client, f"/api/v1/namespaces/{namespace}/events", None, selector).items


def _is_watched(pod: Mapping[str, Any], namespaces: Sequence[str]) -> bool:
    """Return whether the mirror has this pod as a Pod: another Trimtab's pods are foreign too."""
    metadata = mapping(pod, "metadata")
    labels = mapping(metadata, "labels")
    selected = all(labels.get(key) == value for key, value in BY_KIND[Kind.POD].labels)
    return selected and (not namespaces or metadata.get("namespace") in namespaces)


def _list(client: Client, path: str, labels: str | None, fields: str | None) -> Listed:
    for _ in range(ATTEMPTS):
        items: list[Mapping[str, Any]] = []
        version = ""
        try:
            for page in _pages(client, path, labels, fields):
                items += _items(page, path)
                version = text(mapping(page, "metadata").get("resourceVersion"))
        except (ApiException, DynamicApiError) as error:
            if error.status == _GONE:
                continue
            raise Unavailable(f"LIST {path}: HTTP {error.status} {error.reason}") from error
        except (HTTPError, OSError) as error:
            raise Unavailable(f"LIST {path}: {error}") from error
        return Listed(items=tuple(items), resource_version=version)
    raise Unavailable(f"LIST {path}: the server dropped the list half way, {ATTEMPTS} times")


def _pages(
    client: Client, path: str, labels: str | None, fields: str | None
) -> Iterator[Mapping[str, Any]]:
    # A LIST by field is of one node's pods: the cache has them, and no page cuts them.
    rest: str | None = None
    while True:
        answer = client.request(
            "get",
            path,
            label_selector=labels,
            field_selector=fields,
            limit=PAGE if fields is None else None,
            resource_version="0" if fields is not None else None,
            _continue=rest,
            _request_timeout=TIMEOUT_S,
            serialize=False,
        )
        page = _document(answer.data, path)
        yield page
        rest = text(mapping(page, "metadata").get("continue")) or None
        if rest is None:
            return


def _document(data: bytes, path: str) -> Mapping[str, Any]:
    try:
        page = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unavailable(f"LIST {path}: the answer is no JSON") from error
    if not isinstance(page, Mapping):
        raise Unavailable(f"LIST {path}: the answer is no list of objects")
    return page


def _items(page: Mapping[str, Any], path: str) -> list[Mapping[str, Any]]:
    items = page.get("items")
    if not isinstance(items, list):
        raise Unavailable(f"LIST {path}: the answer is no list of objects")
    return [item for item in items if isinstance(item, Mapping)]
