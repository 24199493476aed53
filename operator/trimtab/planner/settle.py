"""From the fleet that is wanted to the replicas of this tick: make before break, in bounded steps.

What is added goes at once, but for one step of growth. What goes waits until the rest, Ready for
long enough, serves the window's demand; a step at a time, and never beyond what the step allows.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from trimtab.api.llmdeployment import Mode
from trimtab.config import PlannerConfig
from trimtab.planner.allocate import Fleet
from trimtab.planner.case import Case
from trimtab.planner.evenly import carried
from trimtab.planner.place import Place, PlaceKey
from trimtab.planner.problem import COVERED
from trimtab.planner.wishes import option_places

GROWTH = 1.0
"""Replicas that one tick may add, as a share of those that exist (HPA's default)."""
LEAST_GROWTH = 2
"""Replicas that one tick may always add."""
STEPS_PER_WINDOW = 5
"""Removals in the time of one scale-down window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What one deployment gets in this tick."""

    targets: Counter[PlaceKey]
    """Replicas at the places of the case; 0 where it has none."""
    wanted: Counter[PlaceKey]
    """Replicas that the fleet which is wanted has there."""


def settle(case: Case, fleet: Fleet, config: PlannerConfig, now: float) -> Settled:
    """Return the targets of this tick on the way to `fleet`."""
    counts = list(zip(option_places(case, fleet.problem), fleet.counts, strict=True))
    # Places without replicas are left out, and count as 0: there are hundreds of them.
    wanted = Counter({place.key: n for place, n in counts if n})
    targets = Counter({place.key: place.replicas for place in case.running})
    _add(case, [place for place, n in counts if n], wanted, targets)
    # In mode ScaleUpOnly what is lost gives way to what replaces it, and nothing else: it would be
    # replaced anew at every plan.
    only_up = case.policy.mode is Mode.SCALE_UP_ONLY
    rests = only_up or _rests(case, now)
    least = wanted | Counter({p.key: p.supply for p in case.running if rests})
    if least:
        # What has notice serves until it is drained, and is none of those that are wanted.
        least += Counter({p.key: p.going for p in case.running if p.stays})
    floor = case.total if only_up else _floor(case, fleet, config, now)
    _remove(case, fleet, targets, wanted, least, floor=floor)
    return Settled(targets=targets, wanted=wanted)


def _add(
    case: Case, places: Iterable[Place], wanted: Counter[PlaceKey], targets: Counter[PlaceKey]
) -> None:
    """Add what is wanted at `places`, the best worth first, up to one step of growth."""
    step = max(LEAST_GROWTH, int(GROWTH * case.total), case.minimum - case.supply)
    for place in sorted(places, key=lambda p: (p.ratio, p.name)):
        more = max(0, wanted[place.key] - place.supply)
        if not case.is_initial:
            more = min(more, step)
            step -= more
        targets[place.key] += more


def _floor(case: Case, fleet: Fleet, config: PlannerConfig, now: float) -> int:
    """Return the fewest replicas that this tick may leave."""
    floor = case.total
    if case.may_fall and not fleet.is_short and _is_due(case, now):
        floor -= max(1, int(config.scale_down_share * case.total))
    if case.counted > case.policy.max_replicas:
        serving = sum(place.ready for place in case.running if not place.stays)
        floor = min(floor, case.policy.max_replicas + serving)
    # On the way to a fleet of which one step adds only a part, what it replaces counts as well.
    return max(floor, case.minimum)


def _rests(case: Case, now: float) -> bool:
    """Return whether nothing that may stay goes, because something was added in this window.

    An addition can make another replica superfluous; taking that at once would be a swing. A move
    is no swing, and more than the maximum goes in any case.
    """
    memory = case.memory
    if case.counted > case.policy.max_replicas or memory.last_up_at is None:
        return False
    moving = memory.move_to is not None and memory.move_since is None
    return not moving and 0 <= now - memory.last_up_at < case.window_s


def _is_due(case: Case, now: float) -> bool:
    last = case.memory.last_down_at
    # A clock that went back must not hold removals for ever: it begins the pause anew elsewhere.
    return last is None or now < last or now - last >= case.window_s / STEPS_PER_WINDOW


def _remove(
    case: Case,
    fleet: Fleet,
    targets: Counter[PlaceKey],
    wanted: Counter[PlaceKey],
    least: Counter[PlaceKey],
    *,
    floor: int,
) -> None:
    """Remove down to `least` at each place, replica by replica, as long as it is safe."""
    total = sum(targets.values())
    for place in sorted((place for place, _ in case.used(targets)), key=_removal_order):
        while total > floor and targets[place.key] > least[place.key]:
            targets[place.key] -= 1
            if not _is_safe(case, fleet, targets, wanted, place):
                targets[place.key] += 1
                break
            total -= 1


def _is_overloaded(case: Case) -> bool:
    """Return whether what serves does not carry what is asked now, nothing kept free."""
    rates = ((place.largest_rps, place.ready) for place in case.running)
    return carried(rates, even=case.policy.even) < case.need.rps


def _removal_order(place: Place) -> tuple[bool, bool, float, str]:
    """What is lost first, then what must leave, then what gives least for its price."""
    return place.lost == 0, place.stays, -place.ratio, place.name


def _is_safe(
    case: Case,
    fleet: Fleet,
    targets: Counter[PlaceKey],
    wanted: Counter[PlaceKey],
    removed: Place,
) -> bool:
    """Return whether one replica of `removed` may be missing from `targets`.

    A replica that is not Ready is removed first by its Deployment, so removing fewer than those
    breaks nothing; but what starts is waited for while those that serve are overloaded. More than
    the maximum goes at once: the user asked for it.
    """
    left = targets[removed.key]
    if left >= removed.replicas - removed.lost:
        return True
    if case.counted > case.policy.max_replicas and removed.stays:
        return True
    if left >= removed.ready and not removed.late and not _is_overloaded(case):
        return True
    if not case.may_fall or fleet.is_short:
        return False
    ready = sum(min(place.stable, targets[place.key]) for place in case.running)
    if ready < case.minimum:
        return False
    even, least = case.policy.even, case.keep_rps * COVERED
    remain = {place.key: min(place.stable, targets[place.key]) for place in case.running}
    # What is wanted may do by itself what it cannot beside slower ones that get as many requests.
    alone = {place.key: min(remain[place.key], wanted[place.key]) for place in case.running}
    if any(
        carried(((p.usable_rps, replicas[p.key]) for p in case.running), even=even) >= least
        for replicas in (remain, alone)
    ):
        return True
    # What will not do makes late whatever it gets: it goes as soon as the rest serves what is asked
    # now, with nothing kept free.
    if not removed.is_unfit:
        return False
    rates = ((p.largest_rps, remain[p.key]) for p in case.running if p.stays)
    return carried(rates, even=even) >= case.need.rps
