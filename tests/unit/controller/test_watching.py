"""kopf only watches: its handlers feed the mirror, its session tells what the watchers do."""

import asyncio
from typing import Any

import aiohttp
import kopf
import pytest
from aiohttp import web

from trimtab.config import OperatorConfig
from trimtab.controller.beats import ELECTING, LEADING, PLANNED, PLANNING, Beats, watch_of
from trimtab.controller.context import Context
from trimtab.controller.handlers import build_registry
from trimtab.controller.session import kind_at, login_with
from trimtab.controller.settings import build_settings
from trimtab.controller.watchdog import limits, overdue, unready
from trimtab.observe.kinds import WATCHED, Kind


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/v1/nodes", Kind.NODE),
        ("/api/v1/pods", Kind.POD),
        ("/api/v1/namespaces", Kind.NAMESPACE),
        ("/api/v1/namespaces/a/pods", Kind.POD),
        ("/apis/apps/v1/namespaces/a/deployments", Kind.DEPLOYMENT),
        ("/apis/trimtab.dev/v1alpha1/llmdeployments", Kind.LLM_DEPLOYMENT),
        ("/apis/trimtab.dev/v1alpha1/namespaces/a/llmdeployments", Kind.LLM_DEPLOYMENT),
        ("/api/v1/namespaces/a", None),
        ("/api/v1/namespaces/a/secrets", None),
        ("/apis/apps/v1/namespaces/a/deployments/x", None),
        ("/apis/trimtab.dev/v1alpha1", None),
        ("/", None),
    ],
)
def test_a_collection_is_known_by_its_path(path: str, kind: Kind | None) -> None:
    assert kind_at(path) == kind


def test_there_is_one_handler_for_each_kind_and_none_that_writes() -> None:
    context = Context(config=OperatorConfig())
    registry = build_registry(context, lambda: kopf.ConnectionInfo(server=""))
    ids = [str(handler.id) for handler in registry._watching.get_all_handlers()]
    assert sorted(ids) == sorted(str(watched.kind) for watched in WATCHED)
    for others in (registry._changing, registry._spawning, registry._indexing, registry._webhooks):
        assert not list(others.get_all_handlers())


def test_kopf_is_set_to_write_nothing() -> None:
    settings = build_settings()
    assert settings.posting.enabled is False
    assert settings.peering.standalone is True
    body = kopf.Body({"metadata": {"annotations": {"kopf.zalando.org/x": "{broken"}}})
    patch = kopf.Patch()
    diffbase, progress = (
        settings.persistence.diffbase_storage,
        settings.persistence.progress_storage,
    )
    assert diffbase.fetch(body=body) is None
    diffbase.store(body=body, patch=patch, essence=diffbase.build(body=body))
    progress.touch(body=body, patch=patch, value="x")
    progress.purge(key=kopf.HandlerId("x"), body=body, patch=patch)
    assert not patch


def test_built_in_kinds_are_selected_by_the_server() -> None:
    selectors = build_settings().watching.label_selectors
    assert len(selectors) == 4
    assert set(selectors.values()) == {"app.kubernetes.io/managed-by=trimtab"}


async def served(requests: list[str], context: Context) -> None:
    """Send `requests` through the traced session to a server that answers them."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({})

    application = web.Application()
    application.add_routes([web.get("/{path:.*}", answer)])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    info = kopf.ConnectionInfo(server=address, token="secret")
    session = (await login_with(context, lambda: info)()).aiohttp_session
    assert isinstance(session, aiohttp.ClientSession)
    assert session.headers["Authorization"] == "Bearer secret"
    async with session:
        for path in requests:
            async with session.get(address + path):
                pass
    await runner.cleanup()


def test_the_session_tells_lists_from_watches() -> None:
    context = Context(config=OperatorConfig())
    requests = [
        "/api/v1/nodes?limit=500",
        "/api/v1/pods?watch=true&resourceVersion=7",
        "/api/v1/namespaces/a/secrets",
    ]
    asyncio.run(served(requests, context))
    assert context.take_relisted() == {Kind.NODE}
    assert context.beats.age(watch_of(Kind.POD)) is not None
    assert context.beats.age(watch_of(Kind.NODE)) is None


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_part_that_is_silent_for_too_long_is_named() -> None:
    clock = Time()
    beats = Beats(clock=clock)
    allowed = limits(OperatorConfig(period_s=15.0))
    beats.beat(PLANNING)
    clock.now = 59.0
    assert list(overdue(beats, allowed)) == []
    clock.now = 61.0
    (problem,) = overdue(beats, allowed)
    assert problem.startswith("planning loop: no sign of life for 61 s")


def test_a_part_that_never_came_to_life_is_as_old_as_the_lead() -> None:
    clock = Time()
    beats = Beats(clock=clock)
    allowed = limits(OperatorConfig())
    clock.now = 10_000.0
    assert list(overdue(beats, allowed)) == []
    beats.beat(LEADING)
    clock.now += 361.0
    named = " ".join(overdue(beats, allowed))
    assert all(watch_of(watched.kind) in named for watched in WATCHED)


def test_a_standby_is_ready_and_a_leader_only_once_it_sees_and_plans() -> None:
    clock = Time()
    context = Context(config=OperatorConfig(), beats=Beats(clock=clock))
    assert list(unready(context)) == ["the lease has not been asked for yet"]
    context.beats.beat(ELECTING)
    assert list(unready(context)) == []
    clock.now = 20.0
    context.beats.beat(ELECTING)
    context.beats.beat(LEADING)
    assert "no plan has been made yet" in list(unready(context))
    for watched in WATCHED:
        context.beats.beat(watch_of(watched.kind))
    context.beats.beat(PLANNED)
    assert list(unready(context)) == []
    clock.now += 76.0
    assert any("last good plan is 76 s old" in problem for problem in unready(context))


def test_an_event_reaches_the_mirror_and_wakes_the_planner() -> None:
    context = Context(config=OperatorConfig())
    registry = build_registry(context, lambda: kopf.ConnectionInfo(server=""))
    (handler,) = (
        item
        for item in registry._watching.get_all_handlers()
        if str(item.id) == Kind.LLM_DEPLOYMENT
    )
    body: dict[str, Any] = {
        "metadata": {"name": "chat", "namespace": "a", "uid": "u", "resourceVersion": "5"},
        "spec": {"model": {"name": "meta-llama/Llama-3.1-8B-Instruct"}},
    }

    def send(kind: str | None) -> bool:
        context.wake.clear()
        event: dict[str, Any] = {"type": kind, "object": body}
        asyncio.run(handler.fn(event=event))  # type: ignore[arg-type,call-arg]
        return context.wake.is_set()

    assert send(None)
    assert [item.metadata.name for item in context.store.view().deployments] == ["chat"]
    assert not send("MODIFIED")
    body["metadata"]["resourceVersion"] = "6"
    assert send("DELETED")
    assert context.store.view().deployments == ()
