"""One deployment behind a router that tells classes apart: its removals, its routes.

What other routers do is left as it is.
"""

from collections.abc import Mapping
from dataclasses import replace

from trimtab.models.load import resized
from trimtab.models.plan import ClassRoute, RoutePart
from trimtab.planner.allocate import Fleet
from trimtab.planner.case import Case
from trimtab.planner.classes import carried_by, shares_of
from trimtab.planner.place import Place, PlaceKey
from trimtab.planner.problem import COVERED
from trimtab.planner.split import split_of
from trimtab.planner.wishes import option_places


def careful(case: Case, fleet: Fleet) -> Case:
    """Return `case` as removals may see it, where the router tells classes apart.

    Replicas that serve one class are no substitute for those of another. So what is Ready goes
    only once what is Ready of `fleet` serves all classes alone, and then needs no other reason:
    removals never go below `fleet`.
    """
    if not case.policy.classes:
        return case
    stays = [
        (place, min(place.stable, count))
        for place, count in zip(option_places(case, fleet.problem), fleet.counts, strict=True)
    ]
    alone = _carried(case, stays) >= case.keep_rps * COVERED
    return replace(case, may_fall=case.may_fall and alone, keep_rps=0.0)


def routes_of(case: Case, counts: Mapping[PlaceKey, int]) -> tuple[ClassRoute, ...]:
    """Return where each class shall go: to what is Ready of `counts`, to all where that lacks one.

    It is the split at which the fleet carries most, so that it is loaded as evenly as can be.
    """
    classes = case.policy.classes
    if not classes:
        return ()
    used = [(place, n) for place, n in case.used(counts) if place.choice and place.choice.by_class]
    ready = [(place, min(place.ready, n)) for place, n in used if min(place.ready, n) > 0]
    if ready and _carried(case, ready) > 0:
        used = ready
    kinds = tuple((place.choice.by_class, n) for place, n in used if place.choice)
    parts = split_of(shares_of(case.policy), kinds).parts if kinds else ((),) * len(classes)
    return tuple(
        ClassRoute(
            name=one.name,
            input_tokens=one.shape.input_tokens,
            output_tokens=one.shape.output_tokens,
            share=one.share,
            parts=tuple(
                RoutePart(pool=place.pool, parallelism=place.parallelism, share=share)
                for (place, _), share in zip(used, mine, strict=True)
                if share > 0
            ),
        )
        for one, mine in zip(resized(classes, case.need.shape), parts, strict=True)
    )


def _carried(case: Case, replicas: list[tuple[Place, int]]) -> float:
    return carried_by(
        case.policy,
        ((place.choice, place.usable_rps, n) for place, n in replicas if place.choice is not None),
    )
