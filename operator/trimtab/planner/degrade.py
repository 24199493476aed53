"""Who gives replicas back: the least important, at a budget's cap and where a pool is full."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trimtab.api.conditions import Reason
from trimtab.api.fleetbudget import AtCap
from trimtab.api.llmdeployment import Mode
from trimtab.config import PlannerConfig
from trimtab.models.plan import DemandSource, Why
from trimtab.models.snapshot import Budget, Key
from trimtab.planner.allocate import Fleet
from trimtab.planner.case import Case
from trimtab.planner.ledger import money_cap
from trimtab.planner.place import Place, PlaceKey
from trimtab.planner.problem import BudgetRoom, Room

Targets = Counter[PlaceKey]


def degrade(
    budgets: Iterable[Budget],
    cases: Sequence[Case],
    fleets: Mapping[Key, Fleet],
    left: Room,
    targets: Mapping[Key, Targets],
    config: PlannerConfig,
) -> dict[Key, Why]:
    """Take replicas from `targets` of the least important; return from whom, and what for.

    Each gives at most one step, and keeps its minimum and at least one replica. They give when
    a budget that degrades is exceeded, when one that is more important finds no room in it, and
    when one that is more important finds a pool full that they have replicas on.
    """
    givers: dict[Key, Why] = {}
    books = _Books(left=left, targets=targets, config=config)
    rooms = {room.name: room for room in left.budgets}
    for budget in budgets:
        if budget.spec.at_cap is not AtCap.DEGRADE:
            continue
        room = rooms[budget.name]
        members = [case for case in cases if case.state.key in room.members]
        over = math.fsum(_spent(case) for case in members) - money_cap(budget)
        most = budget.spec.max_devices
        devices = -math.inf if most is None else sum(_devices(case) for case in members) - most
        exceeded = over > 0 or devices > 0
        below = math.inf
        blocked = [case for case in members if _is_blocked(case, fleets[case.state.key], room)]
        if blocked and not exceeded:
            first = max(blocked, key=lambda case: (case.policy.priority, case.state.key))
            below = first.policy.priority
            over, devices = _asked(first, room, members)
        for case in sorted(members, key=lambda c: (c.policy.priority, c.state.key)):
            if case.policy.mode is not Mode.AUTO or case.policy.priority >= below:
                continue
            # Who lowers a cap wants less at once; to make room for another, doubt gives nothing.
            if not (exceeded or case.may_fall):
                continue
            mine = targets[case.state.key]
            for place in books.given(case):
                if over <= 1e-9 and devices <= 0:
                    break
                mine[place.key] -= 1
                over -= place.price or 0.0
                devices -= place.parallelism.devices
                givers[case.state.key] = Why.BUDGET
                # Those that are more important give only once these have nothing left to give.
                below = case.policy.priority + 1
    for case in sorted(cases, key=lambda c: (-c.policy.priority, c.state.key)):
        if _seeks(fleets[case.state.key]):
            others = [other for other in cases if other.policy.priority < case.policy.priority]
            for key in _make_room(case, fleets[case.state.key], others, books):
                givers.setdefault(key, Why.CAPACITY_SHORT)
    return givers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Books:
    """What giving starts from, and is written to."""

    left: Room
    targets: Mapping[Key, Targets]
    config: PlannerConfig

    def given(self, case: Case, pool: str | None = None) -> list[Place]:
        """Return the replicas that one deployment may give in one step, the dearest first.

        Of all pools, or of this one.
        """
        mine = self.targets[case.state.key]
        total = sum(mine.values())
        if total > case.total:
            return []
        step = max(1, int(self.config.scale_down_share * case.total))
        floor = max(1, case.minimum, case.total - step)
        places = sorted(case.places, key=lambda p: (-(p.price or 0.0), p.name))
        replicas = [
            place for place in places if pool in (None, place.pool) for _ in range(mine[place.key])
        ]
        return replicas[: max(0, total - floor)]


def _make_room(case: Case, fleet: Fleet, others: Sequence[Case], books: _Books) -> Iterable[Key]:
    """Take from `others`, the least important first, what `case` lacks where it would grow.

    Only for a demand that is sure: a doubtful one takes nothing from anybody. Nor does one give
    whose own demand is in doubt.
    """
    unit = _unit(case)
    if unit is None or not _is_sure(case) or unit.usable_rps <= 0:
        return
    size = unit.parallelism.devices
    if books.left.free.get(unit.pool, 0) >= size:
        return
    lacking = math.ceil(fleet.short_rps / unit.usable_rps) * size
    # What leaves already, and what is given back from this plan on, comes first.
    for one in (case, *others):
        mine = books.targets[one.state.key]
        lacking -= sum(
            max(0, place.held - mine[place.key]) * place.parallelism.devices
            for place in one.running
            if place.pool == unit.pool
        )
    for other in sorted(others, key=lambda c: (c.policy.priority, c.state.key)):
        if other.policy.mode is not Mode.AUTO or not other.may_fall:
            continue
        for place in books.given(other, unit.pool):
            if lacking <= 0:
                return
            books.targets[other.state.key][place.key] -= 1
            lacking -= place.parallelism.devices
            yield other.state.key


def _seeks(fleet: Fleet) -> bool:
    """Return whether one would take a replica more: it lacks some now, and could use it.

    One that is at its own maximum could not. One that covers the demand of now asks for none, even
    where it would not carry what its window held: it would leave free what another gave for it.
    """
    grows = any(option.upper > option.current for option in fleet.problem.options)
    return grows and fleet.is_short and not fleet.is_full


def _is_sure(case: Case) -> bool:
    """Return whether a demand is at least what it is taken for.

    What those replicas serve that report is. In a burst some are always too new to report, and who
    waited for them would wait until it is over.
    """
    measured = case.need.source is DemandSource.PROMETHEUS
    return case.evidence.fresh or (case.evidence.reason is Reason.METRICS_PARTIAL and measured)


def _is_blocked(case: Case, fleet: Fleet, room: BudgetRoom) -> bool:
    unit = _unit(case)
    if unit is None or not _seeks(fleet):
        return False
    return (unit.price or 0.0) > room.money or unit.parallelism.devices > room.devices


def _asked(case: Case, room: BudgetRoom, members: Iterable[Case]) -> tuple[float, float]:
    """Return the $/h and the devices that one more replica lacks, beyond what already leaves."""
    unit = _unit(case)
    if unit is None:
        return 0.0, 0.0
    leaving = [(place, place.held - place.replicas) for c in members for place in c.places]
    money = math.fsum((place.price or 0.0) * n for place, n in leaving)
    devices = sum(place.parallelism.devices * n for place, n in leaving)
    return (
        (unit.price or 0.0) - room.money - money,
        unit.parallelism.devices - room.devices - devices,
    )


def _unit(case: Case) -> Place | None:
    """Return where one more replica would be cheapest."""
    growing = [place for place in case.places if place.choice is not None and place.choice.grows]
    return min(growing, key=lambda p: (p.ratio, p.name), default=None)


def _spent(case: Case) -> float:
    return math.fsum((place.price or 0.0) * place.replicas for place in case.places)


def _devices(case: Case) -> int:
    return sum(place.parallelism.devices * place.replicas for place in case.places)
