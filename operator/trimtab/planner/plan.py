"""The decision: one pure function from a snapshot to a plan, for the whole fleet at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trimtab.api.llmdeployment import Mode
from trimtab.config import PlannerConfig
from trimtab.models.memory import DeploymentMemory, PlannerMemory
from trimtab.models.plan import Decision, Plan, Why
from trimtab.models.snapshot import DeploymentState, Key, Snapshot
from trimtab.planner import brakes, cover, history, moves, outcome, reclaims, shortage
from trimtab.planner.allocate import Fleet, allocate
from trimtab.planner.bysize import careful
from trimtab.planner.case import Case, prepare
from trimtab.planner.degrade import Targets, degrade
from trimtab.planner.draft import Subject, World
from trimtab.planner.kept import Kept
from trimtab.planner.ledger import room_of
from trimtab.planner.lessons import taught
from trimtab.planner.outcome import Outcome
from trimtab.planner.place import vacant
from trimtab.planner.problem import Counts, Room
from trimtab.planner.query import Lessons, Market, Speeds
from trimtab.planner.record import decision_of, inert_decision
from trimtab.planner.settle import settle
from trimtab.planner.starts import Starts, watched
from trimtab.planner.wishes import demand_question, option_places, question

UNLIMITED = 10**9
"""Devices of a pool that cannot run out."""


def plan(snapshot: Snapshot, config: PlannerConfig) -> Plan:
    """Return what every deployment of `snapshot` gets, and what the next plan must remember.

    Pure and deterministic: no clock, no I/O, no dice. The order of deployments, pools and variants
    in the snapshot does not matter. Deployments that may be written are decided together; those
    in mode Recommend see what is left, as nothing is promised to them.
    """
    snapshot = _sorted(snapshot)
    pools, pool_memories = shortage.survey(snapshot, config)
    market = Market(pools=pools, speeds=Speeds(snapshot.profiles), config=config)
    calibrations = taught(snapshot, market)
    market = replace(market, lessons=Lessons(calibrations))
    starts, taken = watched(snapshot), reclaims.watched(snapshot)
    world = World(
        now=snapshot.now, market=market, starts=Starts(starts), reclaims=reclaims.rates(taken)
    )
    memories = {(m.namespace, m.name): m for m in snapshot.memory.deployments}
    decisions: list[Decision] = []
    remembered: list[DeploymentMemory] = []
    subjects: list[Subject] = []
    for state in snapshot.deployments:
        memory = _memory(state, memories.get((state.key.namespace, state.key.name)))
        if state.paused:
            text = "Paused by annotation: nothing is touched"
            decisions.append(inert_decision(state, Why.PAUSED, text, world))
        elif state.policy is None:
            text = state.error or "The spec cannot be followed"
            decisions.append(inert_decision(state, Why.INVALID, text, world))
        else:
            subjects.append((state, state.policy, memory))
            continue
        remembered.append(history.forget(memory))
    cases = prepare(subjects, world)
    if brakes.broken(snapshot.pools):
        cases = [replace(case, may_fall=False) for case in cases]
    writers = [case for case in cases if case.policy.mode is not Mode.RECOMMEND]
    readers = [case for case in cases if case.policy.mode is Mode.RECOMMEND]
    first = _decide(writers, room_of(snapshot, pools), snapshot, config)
    second = _decide(readers, first.room, snapshot, config)
    decisions += first.decisions + second.decisions
    remembered += first.memories + second.memories
    return Plan(
        decisions=tuple(sorted(decisions, key=lambda decision: decision.key)),
        memory=PlannerMemory(
            deployments=tuple(sorted(remembered, key=lambda m: (m.namespace, m.name))),
            pools=tuple(pool_memories),
            calibrations=calibrations,
            starts=starts,
            reclaims=taken,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """What a set of cases got."""

    decisions: list[Decision]
    memories: list[DeploymentMemory]
    room: Room
    """What they leave."""


def _decide(
    cases: Sequence[Case], room: Room, snapshot: Snapshot, config: PlannerConfig
) -> _Decided:
    asked = [question(case, config, room) for case in cases]
    fleets = allocate(asked, room)
    _ask_again(cases, fleets, room, config)
    found = moves.consider(cases, fleets, room, config=config, now=snapshot.now)
    settled = {
        case.state.key: settle(careful(case, fleet), fleet, config, snapshot.now)
        for case in cases
        for fleet in [found.fleets[case.state.key]]
    }
    brakes.hold_back(cases, settled)
    targets: dict[Key, Targets] = {key: item.targets.copy() for key, item in settled.items()}
    givers = degrade(snapshot.budgets, cases, found.fleets, found.room, targets, config)
    broken = brakes.broken(snapshot.pools)
    # Whatever the pools hold: what is asked for is not less for being short.
    endless = Room(free=dict.fromkeys(room.free, UNLIMITED))
    decisions, memories = [], []
    for case in cases:
        key = case.state.key
        fleet, memory = found.fleets[key], found.memories[key]
        if memory is not case.memory:
            case = replace(case, memory=memory)
        there = vacant(key, case.choices)
        result = _explained(
            Outcome(
                case=case,
                fleet=fleet,
                targets=targets[key],
                wanted=settled[key].wanted,
                asked_replicas=_asked(case, fleet, config, endless),
                left=found.room.left_to(
                    fleet.problem, there.pools, fleet.problem.surge * there.widest
                ),
                moving=fleet is not fleets[key],
                degraded=givers.get(key),
                broken=broken,
            )
        )
        decisions.append(decision_of(result))
        memories.append(_stamped(result, snapshot.now))
    return _Decided(decisions=decisions, memories=memories, room=found.room)


def _ask_again(
    cases: Sequence[Case], fleets: dict[Key, Fleet], room: Room, config: PlannerConfig
) -> None:
    """Ask once more where another pace may do better with what the others leave."""
    again = [case for case in cases if _is_held_up(case, fleets[case.state.key], room)]
    if not again:
        return
    for fleet in fleets.values():
        room = room.minus(fleet.problem, fleet.counts)
    for case in sorted(again, key=lambda case: (-case.policy.priority, case.state.key)):
        fleet = fleets[case.state.key]
        mine = room.plus(fleet.problem, fleet.counts)
        problem = question(case, config, mine)
        other = Fleet(problem=problem, counts=cover.cheapest(problem, mine.bounds(problem)))
        if _rank(other) < _rank(fleet):
            fleets[case.state.key] = other
            room = mine.minus(problem, other.counts)


def _is_held_up(case: Case, fleet: Fleet, room: Room) -> bool:
    """Return whether a fleet falls short, or counts fast replicas as slow ones for want of room.

    The pace was found as if it were alone: where others got the slow replicas that were to set it,
    the fast ones beside them carry more at their own.
    """
    if not case.policy.even or fleet.is_short:
        return case.policy.even
    problem, counts = fleet.problem, fleet.counts
    used = zip(option_places(case, problem), problem.options, counts, strict=True)
    if not any(n and place.usable_rps > option.rps * (1.0 + 1e-9) for place, option, n in used):
        return False
    return counts != cover.cheapest(problem, room.bounds(problem))


def _rank(fleet: Fleet) -> tuple[int, float, float]:
    """Return what answers at several paces are compared by; penalties are not alike at all."""
    problem, counts = fleet.problem, fleet.counts
    cost = problem.cost(counts) + problem.exposure(counts)
    return fleet.missing, fleet.short_rps, round(cost, 9)


def _asked(case: Case, fleet: Fleet, config: PlannerConfig, room: Room) -> int | None:
    """Return the replicas that the demand of now alone asks for; None when it is unknown."""
    if case.need.observed_rps is None and case.need.rps == 0 and case.total:
        return None
    problem = fleet.problem
    if case.is_covered:
        problem = demand_question(case, config, room)
    counts = _cheapest.answer(
        case.state.key, problem, lambda: cover.cheapest(problem, room.bounds(problem))
    )
    return max(case.minimum, sum(counts))


_cheapest: Kept[Key, Counts] = Kept()


def _explained(result: Outcome) -> Outcome:
    reason, text = outcome.shortfall(result)
    if reason is not None:
        result = replace(result, short_reason=reason, short_message=text)
    why, message = outcome.explain(result)
    return replace(result, why=why, message=message)


def _stamped(result: Outcome, now: float) -> DeploymentMemory:
    """Return the memory with the time of what will be written."""
    memory = result.case.memory
    if result.case.policy.mode is Mode.RECOMMEND:
        return memory
    if result.rises:
        memory = replace(memory, last_up_at=now)
    if result.falls:
        memory = replace(memory, last_down_at=now)
    return memory


def _memory(state: DeploymentState, before: DeploymentMemory | None) -> DeploymentMemory:
    if before is not None and before.uid == state.uid:
        return before
    return DeploymentMemory(namespace=state.key.namespace, name=state.key.name, uid=state.uid)


def _sorted(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot in one order, whatever order it was collected in."""
    return replace(
        snapshot,
        deployments=tuple(sorted(snapshot.deployments, key=lambda state: state.key)),
        pools=tuple(sorted(snapshot.pools, key=lambda pool: pool.name)),
        profiles=tuple(sorted(snapshot.profiles, key=lambda profile: profile.name)),
        budgets=tuple(sorted(snapshot.budgets, key=lambda budget: budget.name)),
    )
