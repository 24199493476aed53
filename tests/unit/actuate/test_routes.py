"""Routes for gateways: whole percents that are 100 together, and still while little moves."""

from typing import Any

import builders
from trimtab.actuate.routes import published_routes
from trimtab.api.llmdeployment import ClassRouteStatus
from trimtab.models.hardware import Parallelism
from trimtab.models.plan import ClassRoute, RoutePart

SPEC = builders.spec(
    routing="BySize",
    workload={
        "classes": [
            {"name": "small", "weight": 3, "inputTokens": 100, "outputTokens": 50},
            {"name": "large", "weight": 1, "inputTokens": 4000, "outputTokens": 50},
        ]
    },
)
STATE = builders.deployment_state(spec=SPEC)
POOLS = ("a", "b", "c")


def route(name: str, *shares: float) -> ClassRoute:
    parts = tuple(
        RoutePart(pool=pool, parallelism=Parallelism(), share=share)
        for pool, share in zip(POOLS, shares, strict=False)
        if share
    )
    return ClassRoute(name=name, input_tokens=1.0, output_tokens=1.0, share=0.5, parts=parts)


def published(*routes: ClassRoute, before: Any = None, **over: Any) -> list[ClassRouteStatus]:
    targets = tuple(builders.target(pool=pool) for pool in POOLS)
    decision = builders.decision(targets=targets, routes=routes)
    found = published_routes(over.get("state", STATE), decision, before)
    assert found is not None
    return found


def weights(route: ClassRouteStatus) -> dict[str, int]:
    return {item.service: item.weight for item in route.backends}


def test_weights_are_whole_percents_of_the_services_of_variants() -> None:
    small, large = published(route("small", 1 / 3, 1 / 3, 1 / 3), route("large", 0.0, 1.0))
    assert sorted(weights(small).values()) == [33, 33, 34]
    assert set(weights(small)) == {f"chat-{pool}-tp1" for pool in POOLS}
    assert weights(large) == {"chat-b-tp1": 100}


def test_what_little_there_is_of_a_part_is_no_backend() -> None:
    (small,) = published(route("small", 0.998, 0.002))
    assert weights(small) == {"chat-a-tp1": 100}


def test_a_class_without_replicas_has_no_backend() -> None:
    (small,) = published(route("small"))
    assert small.backends == []


def test_small_changes_are_not_published_and_large_ones_are() -> None:
    first = published(route("small", 0.50, 0.50))
    assert published(route("small", 0.53, 0.47), before=first) is first
    assert weights(published(route("small", 0.56, 0.44), before=first)[0]) == {
        "chat-a-tp1": 56,
        "chat-b-tp1": 44,
    }
    assert len(published(route("small", 0.53, 0.45, 0.02), before=first)[0].backends) == 3


def test_a_paused_deployment_keeps_its_routes_and_one_without_classes_has_none() -> None:
    first = published(route("small", 1.0))
    assert published(before=first) is first
    plain = builders.deployment_state()
    assert published_routes(plain, builders.decision(), first) is None
