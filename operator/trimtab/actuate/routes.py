"""What a gateway must do for a deployment whose requests are told apart by class."""

from collections.abc import Mapping

from trimtab.actuate.manifests import variant_name_of
from trimtab.api.llmdeployment import ClassRouteStatus, RouteBackend
from trimtab.models.hardware import Parallelism
from trimtab.models.plan import ClassRoute, Decision
from trimtab.models.snapshot import DeploymentState

MAX_BACKENDS = 8
MOVED = 5
"""Percent by which a weight moves before it is published: gateways need not follow each figure."""


def published_routes(
    state: DeploymentState, decision: Decision, before: list[ClassRouteStatus] | None
) -> list[ClassRouteStatus] | None:
    """Return the routes to publish, those of `before` where nothing moved; None without classes."""
    if state.policy is None or not state.policy.classes:
        return None
    if not decision.routes:
        return before  # paused: nothing was decided
    names = {(t.pool, t.parallelism): variant_name_of(state, t) for t in decision.targets}
    new = [
        ClassRouteStatus(name=route.name, backends=_backends(route, names))
        for route in decision.routes
    ]
    return before if before is not None and _alike(before, new) else new


def _backends(
    route: ClassRoute, names: Mapping[tuple[str, Parallelism], str]
) -> list[RouteBackend]:
    """Return the largest parts in whole percents that are 100 together; none for no parts."""
    parts = sorted(route.parts, key=lambda part: (-part.share, part.pool))[:MAX_BACKENDS]
    total = sum(part.share for part in parts)
    exact = [100.0 * part.share / total for part in parts]
    weights = [int(each) for each in exact]
    # The largest remainders get what rounding down has left.
    order = sorted(range(len(parts)), key=lambda i: weights[i] - exact[i])
    for i in order[: 100 - sum(weights)]:
        weights[i] += 1
    return [
        RouteBackend(service=names[part.pool, part.parallelism], weight=weight)
        for part, weight in zip(parts, weights, strict=True)
        if weight
    ]


def _alike(before: list[ClassRouteStatus], new: list[ClassRouteStatus]) -> bool:
    old, now = _weights(before), _weights(new)
    return [one.name for one in before] == [one.name for one in new] and (
        old.keys() == now.keys() and all(abs(old[key] - now[key]) < MOVED for key in now)
    )


def _weights(routes: list[ClassRouteStatus]) -> dict[tuple[str, str], int]:
    return {(one.name, item.service): item.weight for one in routes for item in one.backends}
