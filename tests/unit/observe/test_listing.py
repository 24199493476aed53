"""LISTs that break off, fail in part, or answer nonsense. The real API server is in integration."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import urllib3.exceptions
from kubernetes.client.exceptions import ApiException

import bodies
from trimtab.errors import Unavailable
from trimtab.observe.kinds import BY_KIND, WATCHED, Kind
from trimtab.observe.listing import Listed, list_foreign, list_kind, resync
from trimtab.observe.store import Store

Answer = object
"""A document, raw bytes, or an exception to raise."""


class Server:
    """Answers what it is told, one request after the other, in place of an API server."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], Answer]) -> None:
        self.answer = answer
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def request(self, method: str, path: str, **params: Any) -> Any:
        assert method == "get"
        assert params["_request_timeout"]
        assert params["serialize"] is False
        self.requests.append((path, params))
        answer = self.answer(path, params)
        if isinstance(answer, Exception):
            raise answer
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return type("Response", (), {"data": data})()


def page(items: list[Any], version: str = "7", rest: str | None = None) -> dict[str, Any]:
    metadata = {"resourceVersion": version} | ({"continue": rest} if rest else {})
    return {"kind": "List", "metadata": metadata, "items": items}


def namespaces(server: Server, limit: list[str] | None = None) -> Listed:
    return list_kind(server, BY_KIND[Kind.POD], limit or ())


def test_pages_follow_the_continue_token() -> None:
    pages = {None: page(["a"], rest="x"), "x": page(["b"], rest="y"), "y": page(["c"])}
    bodies_ = {key: {**each, "items": [{"n": each["items"][0]}]} for key, each in pages.items()}
    server = Server(lambda path, params: bodies_[params["_continue"]])
    assert [item["n"] for item in namespaces(server).items] == ["a", "b", "c"]
    assert all(params["limit"] == 500 for _, params in server.requests)
    assert all(
        params["label_selector"] == "app.kubernetes.io/managed-by=trimtab"
        for _, params in server.requests
    )


def test_an_expired_token_begins_the_list_anew() -> None:
    expired = iter([True, False])

    def answer(path: str, params: dict[str, Any]) -> Answer:
        if params["_continue"] is None:
            return page([{"n": 1}], rest="x")
        return ApiException(status=410, reason="Expired") if next(expired) else page([{"n": 2}])

    assert [item["n"] for item in namespaces(Server(answer)).items] == [1, 2]


def test_a_token_that_always_expires_is_given_up() -> None:
    def answer(path: str, params: dict[str, Any]) -> Answer:
        if params["_continue"] is None:
            return page([{"n": 1}], rest="x")
        return ApiException(status=410, reason="Expired")

    server = Server(answer)
    with pytest.raises(Unavailable, match="dropped the list half way, 3 times"):
        namespaces(server)
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ApiException(status=403, reason="Forbidden"), "LIST /api/v1/pods: HTTP 403 Forbidden"),
        (urllib3.exceptions.ReadTimeoutError(None, "/", "read timed out"), "read timed out"),  # type: ignore[arg-type]
        (ConnectionResetError("reset"), "reset"),
        (b"<html>", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[1]", "no list of objects"),
        ({"metadata": {}, "items": "many"}, "no list of objects"),
        ({"kind": "Status"}, "no list of objects"),
    ],
)
def test_failures_name_the_collection(answer: Answer, message: str) -> None:
    with pytest.raises(Unavailable, match=message):
        namespaces(Server(lambda path, params: answer))


def test_several_namespaces_are_as_old_as_the_oldest() -> None:
    versions = {"/api/v1/namespaces/a/pods": "12", "/api/v1/namespaces/b/pods": "9"}
    server = Server(lambda path, params: page([{"in": path}], versions[path]))
    listed = namespaces(server, ["a", "b"])
    assert (len(listed.items), listed.resource_version) == (2, "9")


def test_cluster_scoped_kinds_are_listed_once_whatever_the_namespaces() -> None:
    server = Server(lambda path, params: page([]))
    list_kind(server, BY_KIND[Kind.NODE], ["a", "b"])
    assert [path for path, _ in server.requests] == ["/api/v1/nodes"]


def test_a_resync_fills_the_mirror() -> None:
    objects = {
        "/apis/trimtab.dev/v1alpha1/llmdeployments": [bodies.llm_deployment()],
        "/api/v1/nodes": [bodies.node()],
    }
    store = Store()
    assert resync(Server(lambda path, params: page(objects.get(path, []))), store)
    assert store.synced
    assert [each.metadata.name for each in store.view().deployments] == ["chat"]
    assert not resync(Server(lambda path, params: page(objects.get(path, []))), store)


def test_one_kind_that_fails_does_not_stop_the_others() -> None:
    def answer(path: str, params: dict[str, Any]) -> Answer:
        if path.endswith("/servingpolicies"):
            return ApiException(status=500, reason="Boom")
        return page([bodies.node()] if path == "/api/v1/nodes" else [])

    store = Store()
    store.observe(
        Kind.SERVING_POLICY, "ADDED", bodies.serving_policy("gold", {"scaling": {"minReplicas": 1}})
    )
    with pytest.raises(Unavailable, match="servingpolicies: HTTP 500"):
        resync(Server(answer), store)
    assert not store.synced
    assert [each.name for each in store.view().nodes] == ["node-1"]
    assert [each.metadata.name for each in store.view().policies] == ["gold"]


def test_foreign_pods_are_asked_for_on_accelerator_nodes_only() -> None:
    store = Store()
    store.replace(Kind.NODE, [bodies.node("gpu"), bodies.node("cpu", labels={}, devices={})], "3")
    ours, other_trimtab = bodies.pod(), bodies.pod("zzzzz", namespace="elsewhere")
    server = Server(
        lambda path, params: page([bodies.foreign_pod(node="gpu"), ours, other_trimtab])
    )
    list_foreign(server, store, ["assistants"])
    ((path, params),) = server.requests
    assert path == "/api/v1/pods"
    assert params["field_selector"] == (
        "spec.nodeName=gpu,status.phase!=Succeeded,status.phase!=Failed"
    )
    assert {each.namespace for each in store.view().foreign_pods} == {"research", "elsewhere"}
    list_foreign(server, store)
    assert {each.namespace for each in store.view().foreign_pods} == {"research"}


def test_devices_that_others_gave_back_are_free_again() -> None:
    store = Store()
    store.replace(Kind.NODE, [bodies.node("gpu")], "3")
    list_foreign(Server(lambda path, params: page([bodies.foreign_pod(node="gpu")])), store)
    assert len(store.view().foreign_pods) == 1
    assert list_foreign(Server(lambda path, params: page([])), store)
    assert store.view().foreign_pods == ()


def test_every_kind_has_a_path() -> None:
    paths = {watched.kind: watched.path("ns") for watched in WATCHED}
    assert paths[Kind.DEPLOYMENT] == "/apis/apps/v1/namespaces/ns/deployments"
    assert paths[Kind.POD] == "/api/v1/namespaces/ns/pods"
    assert paths[Kind.NODE] == "/api/v1/nodes"
    assert paths[Kind.ACCELERATOR_POOL] == "/apis/trimtab.dev/v1alpha1/acceleratorpools"
    assert set(paths) == set(Kind) - {Kind.FOREIGN_POD}
