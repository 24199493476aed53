"""What would change the answer: the plan asked again with one price, demand, target or limit moved.

Every figure is one at which `plan()` was really asked; the edges between two answers are found by
halving the distance between an input with the one answer and an input with the other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from trimtab.api.conditions import ConditionType, Reason
from trimtab.api.llmdeployment import PlacementSpec
from trimtab.api.policy import CapacityType
from trimtab.config import PlannerConfig
from trimtab.models.plan import Candidate, Decision, Verdict
from trimtab.models.snapshot import Key, Snapshot
from trimtab.planner import texts
from trimtab.planner.afresh import Question, question_of
from trimtab.planner.choice import degree
from trimtab.planner.edges import cents, edge, first, round_up, usd_text
from trimtab.planner.plan import plan
from trimtab.units import format_duration, format_money

PRICES = 4
"""Pools that lost whose winning price is looked for, cheapest first."""
FREE = 0.001
"""Least price of a device that is tried, $/h."""
DEAREST = 1000.0
"""Dearest price that the API admits, $/h for a device."""
GROWTH = 1.25
"""Factor between the rates that are tried on the way to another fleet."""
MANY = 10_000
"""Replicas where maxReplicas is lifted: the most that the API admits."""
PLENTY = 1_000_000
"""Devices where pools are lifted: the most that the API admits."""

_LONGEST_S = {"ttft_s": 3600.0, "itl_s": 60.0, "e2e_s": 86400.0}
"""Longest targets that the API admits."""
_FIELDS = {
    "ttft_s": "timeToFirstToken",
    "itl_s": "interTokenLatency",
    "e2e_s": "endToEnd",
}
_MISSED = {
    Verdict.MISSES_TTFT: "ttft_s",
    Verdict.MISSES_ITL: "itl_s",
    Verdict.MISSES_E2E: "e2e_s",
}


class Lever(StrEnum):
    """What is moved."""

    PRICE = "Price"
    DEMAND = "Demand"
    TARGET = "Target"
    PERMISSION = "Permission"
    LIMIT = "Limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """One change, and the fleet that would be decided with it."""

    lever: Lever
    field: str
    """What to change, as its manifest spells it; `demand` for the request rate."""
    value: str
    """The value of it with which the answer is another."""
    fleet: str
    """The fleet, such as `2 x l40s/tp1`."""
    usd_per_hour: float | None
    """Its price; None when unknown."""
    message: str
    """One sentence."""


def whatif(snapshot: Snapshot, config: PlannerConfig, key: Key) -> tuple[WhatIf, ...]:
    """Return what would change the decision on `key`, most telling levers first.

    Pure, and about a hundred plans of one deployment: for a person who asks, not for a loop.
    Nothing is returned for a deployment whose spec cannot be followed.
    """
    decisions = plan(snapshot, config).decisions
    state = next((state for state in snapshot.deployments if state.key == key), None)
    if state is None or state.policy is None:
        return ()
    question = question_of(snapshot, config, decisions, key)
    base = question.answer()
    return (
        *_limits(question, base),
        *_rooms(question, base),
        *_permissions(question, base),
        *_targets(question, base),
        *_prices(question, base),
        *_demands(question, base),
    )


def fleet_of(decision: Decision) -> str:
    """Return the replicas of a decision, such as `3 x h100/tp1 + 2 x l40s/tp2`."""
    parts = [
        f"{target.replicas} x {target.pool}/{degree(target.parallelism)}"
        for target in decision.targets
        if target.replicas
    ]
    return " + ".join(parts) or "no replica"


def _priced(decision: Decision) -> str:
    return f"{fleet_of(decision)} at {texts.money(decision.usd_per_hour)}"


def _found(lever: Lever, field: str, value: str, decision: Decision, message: str) -> WhatIf:
    return WhatIf(
        lever=lever,
        field=field,
        value=value,
        fleet=fleet_of(decision),
        usd_per_hour=decision.usd_per_hour,
        message=message,
    )


def _short(decision: Decision) -> Reason | None:
    """Return why the fleet falls short, None when it does not."""
    for fact in decision.facts:
        if fact.type == ConditionType.CAPACITY_AVAILABLE and fact.status is False:
            return Reason(fact.reason)
    return None


def _limits(question: Question, base: Decision) -> Iterator[WhatIf]:
    """Yield what the fleet would be without the limit that holds it back."""
    reason, policy = _short(base), question.policy
    if reason is Reason.MAX_REPLICAS_REACHED:
        answer = question.with_policy(max_replicas=MANY).answer()
        count = str(sum(target.replicas for target in answer.targets))
        text = f"With maxReplicas {count} or more it would be {_priced(answer)}"
        yield _found(Lever.LIMIT, "spec.scaling.maxReplicas", count, answer, text)
    elif reason is Reason.BUDGET_REACHED:
        answer = question.without_budgets().with_policy(max_usd_per_hour=None).answer()
        cap = policy.max_usd_per_hour
        field = "FleetBudget" if cap is None else "spec.cost.maxPerHour"
        text = f"Without a cap on money or devices it would be {_priced(answer)}"
        yield _found(Lever.LIMIT, field, texts.money(answer.usd_per_hour), answer, text)
    elif reason in (Reason.CAPACITY_SHORT, Reason.POOL_SHORT):
        answer = question.with_devices(PLENTY).answer()
        text = f"If every pool had devices to spare it would be {_priced(answer)}"
        yield _found(Lever.LIMIT, "spec.capacity.maxDevices", "more", answer, text)


def _rooms(question: Question, base: Decision) -> Iterator[WhatIf]:
    """Yield the pools that are full or short and would serve for less if they were not."""
    full = (Verdict.NO_CAPACITY, Verdict.POOL_SHORT)
    names = dict.fromkeys(one.pool for one in base.candidates if one.verdict in full)
    for name in () if _short(base) else names:
        answer = question.with_devices(PLENTY, name).answer()
        if _better(answer, base):
            devices = sum(
                t.replicas * t.parallelism.devices for t in answer.targets if t.pool == name
            )
            text = f"With {devices} free devices on {name} it would be {_priced(answer)}"
            field = f"AcceleratorPool {name} spec.capacity.maxDevices"
            yield _found(Lever.LIMIT, field, str(devices), answer, f"{text}{_saves(answer, base)}")


def _permissions(question: Question, base: Decision) -> Iterator[WhatIf]:
    """Yield what the fleet would be where more is allowed, if that serves better or for less."""
    allowed = question.policy.capacity_types
    known = sorted({pool.capacity_type for pool in question.world.pools} - set(allowed))
    for kind in known:
        answer = question.with_policy(capacity_types=(*allowed, kind)).answer()
        if _better(answer, base):
            text = f"With {kind} allowed it would be {_priced(answer)}{_saves(answer, base)}"
            if kind is CapacityType.SPOT:
                text += "; spot nodes may be taken away"
            yield _found(Lever.PERMISSION, "spec.cost.capacityTypes", kind, answer, text)
    if question.policy.placement != PlacementSpec():
        answer = question.with_policy(placement=PlacementSpec()).answer()
        if _better(answer, base):
            text = f"Without spec.placement it would be {_priced(answer)}{_saves(answer, base)}"
            yield _found(Lever.PERMISSION, "spec.placement", "none", answer, text)


def _better(answer: Decision, base: Decision) -> bool:
    if _short(base) is not None and _short(answer) is None:
        return True
    if answer.usd_per_hour is None or base.usd_per_hour is None or _short(answer):
        return False
    return answer.usd_per_hour < base.usd_per_hour * (1.0 - 1e-6)


def _saves(answer: Decision, base: Decision) -> str:
    if not answer.usd_per_hour or not base.usd_per_hour or _short(base):
        return ""
    return f", {1.0 - answer.usd_per_hour / base.usd_per_hour:.0%} less"


def _targets(question: Question, base: Decision) -> Iterator[WhatIf]:
    """Yield the target with which a pool that misses one becomes feasible, one for each pool."""
    served = {one.pool for one in base.candidates if one.capacity and one.verdict not in _MISSED}
    seen = set(served)
    for candidate in base.candidates:
        name = _MISSED.get(candidate.verdict)
        if name is None or candidate.pool in seen:
            continue
        seen.add(candidate.pool)
        found = _target(question, candidate, name)
        if found is not None:
            yield found


def _target(question: Question, candidate: Candidate, name: str) -> WhatIf | None:
    targets = question.policy.targets
    now = getattr(targets, name)
    alone = question.only(candidate.pool)

    def meets(value: float) -> bool:
        changed = alone.with_policy(targets=replace(targets, **{name: value})).answer()
        return any(
            one.capacity is not None and one.verdict not in _MISSED for one in changed.candidates
        )

    value = edge(now, _LONGEST_S[name], meets)
    if value is None:
        return None
    value = round_up(value)
    answer = question.with_policy(targets=replace(targets, **{name: value})).answer()
    pool, field = candidate.pool, _FIELDS[name]
    wins = any(target.pool == pool and target.replicas for target in answer.targets)
    then = "and would be chosen" if wins else "and would not be chosen"
    text = (
        f"With {field} {format_duration(value)} (now {format_duration(now)}) {pool} becomes "
        f"feasible {then}: {_priced(answer)}"
    )
    written = format_duration(value) or ""
    return _found(Lever.TARGET, f"spec.latency.{field}", written, answer, text)


def _prices(question: Question, base: Decision) -> Iterator[WhatIf]:
    """Yield the price at which a pool that lost would win, and at which one that won would lose."""
    chosen = {target.pool for target in base.targets if target.replicas}
    for name in sorted(chosen):
        found = _losing(question, name)
        if found is not None:
            yield found
    lost = [
        one
        for one in base.candidates
        if one.pool not in chosen
        and one.capacity is not None
        and one.verdict in (Verdict.DEARER, Verdict.NO_PRICE)
    ]
    lost.sort(key=_per_request)
    names = list(dict.fromkeys(one.pool for one in lost))[:PRICES]
    for name in names:
        found = _winning(question, name)
        if found is not None:
            yield found


def _per_request(candidate: Candidate) -> tuple[bool, float, str]:
    price, capacity = candidate.usd_per_replica_hour, candidate.capacity
    if price is None or capacity is None:
        return True, 0.0, candidate.pool
    return False, price / capacity.max_rps, candidate.pool


def _price_of(question: Question, name: str) -> float | None:
    price = next(pool for pool in question.world.pools if pool.name == name).price
    return None if price is None else price.usd_per_hour


def _uses(question: Question, name: str) -> Callable[[float], bool]:
    def uses(usd: float) -> bool:
        answer = question.with_price(name, usd).answer()
        return any(target.pool == name and target.replicas for target in answer.targets)

    return uses


def _winning(question: Question, name: str) -> WhatIf | None:
    now = _price_of(question, name)
    if now is not None and now <= FREE:
        return None
    price = edge(DEAREST if now is None else now, FREE, _uses(question, name))
    if price is None:
        return None
    price = cents(price, down=True)
    answer = question.with_price(name, price).answer()
    if not any(target.pool == name and target.replicas for target in answer.targets):
        return None
    known = "it has no price now" if now is None else f"now ${format_money(now)}"
    text = f"At ${usd_text(price)} for a device-hour ({known}) {name} would win: {_priced(answer)}"
    return _found(Lever.PRICE, f"AcceleratorPool {name}", usd_text(price), answer, text)


def _losing(question: Question, name: str) -> WhatIf | None:
    now = _price_of(question, name)
    if now is None:
        return None
    uses = _uses(question, name)
    start = max(now, FREE)
    price = edge(start, DEAREST, lambda usd: not uses(usd))
    if price is None:
        return None
    price = cents(price, down=False)
    answer = question.with_price(name, price).answer()
    text = (
        f"At ${usd_text(price)} for a device-hour (now ${format_money(now)}) {name} would lose to "
        f"{_priced(answer)}"
    )
    return _found(Lever.PRICE, f"AcceleratorPool {name}", usd_text(price), answer, text)


def _demands(question: Question, base: Decision) -> Iterator[WhatIf]:
    """Yield the rates at which the fleet becomes another, and the first that cannot be served."""
    rps, fleet = question.policy.prior_rps, fleet_of(base)
    if not rps or _short(base) is not None:
        return

    def asked(rate: float) -> Decision:
        return question.with_policy(prior_rps=rate).answer()

    more = first(rps, GROWTH, lambda rate: fleet_of(asked(rate)) != fleet)
    if more is not None:
        yield _demand(more, rps, asked(more))
    less = first(rps, 1.0 / GROWTH, lambda rate: fleet_of(asked(rate)) != fleet)
    if less is not None:
        yield _demand(less, rps, asked(less))
    most = first(rps, 2.0, lambda rate: _short(asked(rate)) is not None)
    if most is not None:
        answer = asked(most)
        fact = next(f for f in answer.facts if f.type == ConditionType.CAPACITY_AVAILABLE)
        text = f"At {texts.rate(most)} (now {texts.rate(rps)}) it falls short: {fact.message}"
        yield _found(Lever.DEMAND, "demand", texts.rate(most), answer, text)


def _demand(rate: float, now: float, answer: Decision) -> WhatIf:
    text = f"At {texts.rate(rate)} (now {texts.rate(now)}) it would be {_priced(answer)}"
    return _found(Lever.DEMAND, "demand", texts.rate(rate), answer, text)
