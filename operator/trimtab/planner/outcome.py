"""What was decided for one deployment, why, and what it falls short of."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from trimtab.api.conditions import Reason
from trimtab.api.llmdeployment import Mode
from trimtab.api.policy import Objective
from trimtab.models.plan import DemandSource, Verdict, Why
from trimtab.planner import texts
from trimtab.planner.allocate import Fleet
from trimtab.planner.case import Case
from trimtab.planner.choice import POWERED, Choice, degree
from trimtab.planner.drawn import drawn_by
from trimtab.planner.place import Place, PlaceKey
from trimtab.planner.problem import Bounds
from trimtab.units import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One decision before it is written down."""

    case: Case
    fleet: Fleet
    targets: Counter[PlaceKey]
    """Replicas of this tick."""
    wanted: Counter[PlaceKey]
    """Replicas of the fleet that is wanted."""
    asked_replicas: int | None
    """Replicas that the demand of now alone asks for; None when it is unknown."""
    left: Bounds
    """The room that all fleets together leave to this one."""
    moving: bool
    """Whether a move to other pools begins in this tick."""
    degraded: Why | None
    """Why replicas were taken for others in this tick; None where none were."""
    broken: str = ""
    """What is wrong with the nodes, where nothing of the fleet may go for it."""
    why: Why = Why.STEADY
    message: str = ""
    short_reason: Reason | None = None
    """Why it falls short of its demand or minimum; None when it does not."""
    short_message: str = ""

    @property
    def changed(self) -> bool:
        """Whether the targets differ from what runs."""
        return self.rises or self.falls

    @property
    def rises(self) -> bool:
        """Whether replicas are added somewhere."""
        before = {place.key: place.replicas for place in self.case.running}
        return any(n > before.get(key, 0) for key, n in self.targets.items())

    @property
    def falls(self) -> bool:
        """Whether replicas are removed somewhere."""
        return any(self.targets[place.key] < place.replicas for place in self.case.running)

    @property
    def total(self) -> int:
        """Replicas of this tick."""
        return sum(self.targets.values())


def shortfall(outcome: Outcome) -> tuple[Reason | None, str]:
    """Return why the wanted fleet falls short, and by how much; (None, "") if it does not."""
    case, fleet = outcome.case, outcome.fleet
    # While the fleet is kept as it is, the programme is not asked for the demand of now.
    short = 0.0 if case.is_covered else case.grow_rps - fleet.problem.covered(fleet.counts)
    if short <= case.grow_rps * 1e-6 and not fleet.missing:
        return None, ""
    if short > 0:
        lacks = f"{texts.rate(short)} of {texts.rate(case.grow_rps)} are not covered"
    else:
        lacks = f"{fleet.missing} replicas below the minimum"
    if fleet.is_full:
        return Reason.MAX_REPLICAS_REACHED, f"{lacks}: maxReplicas is {case.policy.max_replicas}"
    # Where all get the same, a slower replica would take from the rest instead of adding to it.
    able = {option.name for option in fleet.problem.options if option.upper}
    growing = [p for p in case.places if p.name in able and p.choice and p.choice.grows]
    left = outcome.left
    enough = [p for p in growing if left.free_in(p.pool) >= p.parallelism.devices]
    fits = [p for p in enough if not left.scatters(p.pool, p.parallelism.devices)]
    if fits:
        return Reason.BUDGET_REACHED, f"{lacks}: {_budget_left(outcome, fits)}"
    if any(p.choice is not None and p.choice.state.short for p in case.places):
        names = sorted({p.pool for p in case.places if p.choice and p.choice.state.short})
        return Reason.POOL_SHORT, f"{lacks}: pods wait in vain on {', '.join(names)}"
    if enough:
        least = min(enough, key=lambda p: (p.parallelism.devices, p.name))
        why = texts.scattered(left.free_in(least.pool), least.parallelism.devices)
        return Reason.CAPACITY_SHORT, f"{lacks}: on {least.pool} {why}"
    dear = [choice for choice in case.choices if choice.refusal is Verdict.OVER_BUDGET]
    if dear and not growing:
        cheapest = min(dear, key=lambda choice: choice.price or 0.0)
        return Reason.BUDGET_REACHED, f"{lacks}: {cheapest.message}"
    return Reason.CAPACITY_SHORT, f"{lacks}: no pool that can serve it has devices left"


def _budget_left(outcome: Outcome, fits: Iterable[Place]) -> str:
    left = outcome.left
    if left.money <= 0 or any((place.price or 0.0) > left.money for place in fits):
        return f"the budget leaves {texts.money(left.money)}"
    return f"the budget leaves {left.devices} devices"


def explain(outcome: Outcome) -> tuple[Why, str]:
    """Return what moved or held the decision, and one or two sentences for a person."""
    why, case = _why(outcome), outcome.case
    if why is Why.NO_CANDIDATE:
        return why, unplaced(case)
    price = texts.money(texts.price_of(case, outcome.targets))
    fleet = f"{texts.fleet(case, outcome.targets)} at {price}{_drawn(outcome)}"
    head = f"{fleet} for {texts.demand(case)}."
    tail = f"{_tail(outcome, why)} {_unweighed(outcome)}".strip()
    if outcome.short_reason is not None:
        tail = f"{tail} {outcome.short_message}.".strip()
    if case.overrated > texts.WORTH_SAYING:
        did = f"{1.0 / case.overrated:.0%}"
        tail = f"{tail} While requests waited, replicas did {did} of what is believed.".strip()
    if not outcome.fleet.proven:
        tail = f"{tail} The solver stopped early: this is the best answer it had.".strip()
    return why, f"{head} {tail}".strip()


def _drawn(outcome: Outcome) -> str:
    """Return what the fleet draws or emits, where that is the objective."""
    objective = outcome.case.policy.objective
    drawn = drawn_by(outcome.case, outcome.targets)
    if drawn is None:
        return ""
    energy = objective is Objective.MINIMIZE_ENERGY
    figure = texts.figure(objective, drawn.watts if energy else drawn.grams_per_hour)
    return f" and {figure}"


def _unweighed(outcome: Outcome) -> str:
    """Return what is unknown of energy or carbon although that is the objective."""
    case = outcome.case
    objective = case.policy.objective
    if objective not in POWERED:
        return ""
    if texts.counted(case) is not objective:
        lacks = texts.unknown(objective, case.choices[0])[1]
        return f"{objective} knows no pool's figures, so cost decides: {lacks}."
    blind = [
        p.choice
        for p, _ in case.used(outcome.wanted)
        if p.choice and p.choice.burden(objective) is None
    ]
    parts = [f"{c.state.pool.name}: {texts.unknown(objective, c)[1]}" for c in blind]
    return f"Taken for want of others: {'; '.join(parts)}." if parts else ""


def unplaced(case: Case) -> str:
    """Return why no choice can serve it."""
    choices = case.choices
    if not choices:
        return "There is no AcceleratorPool"
    parts = [f"{c.state.pool.name}: {c.message}" for c in choices[:3]]
    more = len(choices) - len(parts)
    text = "No pool can serve it. " + "; ".join(parts) + (f"; {more} more" if more else "")
    near = next((c for c in choices if c.nearest is not None), None)
    return text if near is None else f"{text}. {_nearest(near)}"


def _nearest(choice: Choice) -> str:
    targets = choice.nearest
    if targets is None:
        return ""
    parts = [
        f"{name} {value * 1e3:.4g}ms"
        for name, value in (
            ("timeToFirstToken", targets.ttft_s),
            ("interTokenLatency", targets.itl_s),
            ("endToEnd", targets.e2e_s),
        )
        if value is not None
    ]
    where = f"{choice.state.pool.name}/{degree(choice.parallelism)}"
    return f"The nearest that can be met, on {where}: {', '.join(parts)}"


def _why(outcome: Outcome) -> Why:
    case = outcome.case
    if not any(choice.capacity and choice.stays for choice in case.choices):
        return Why.NO_CANDIDATE
    if outcome.degraded is not None:
        return outcome.degraded
    if outcome.changed:
        return _why_up(outcome) if outcome.rises else _why_down(outcome)
    return _why_not(outcome)


def _why_up(outcome: Outcome) -> Why:
    case = outcome.case
    if case.is_initial:
        slept = case.memory.last_down_at is not None
        return Why.WAKE if slept else Why.INITIAL
    if outcome.moving:
        return Why.CHEAPER_POOL
    if any(place.stuck or place.late for place in case.running):
        return Why.POOL_SHORT
    if case.going:
        return Why.NODE_NOTICE
    if leaving := _leaving(case):
        return Why.UNFIT if leaving[0].is_unfit else Why.POOL_GONE
    if case.evidence.alarm is not None and case.grow_rps > case.need.rps:
        return case.evidence.alarm.why
    if case.is_covered:
        return Why.BOUNDS
    if case.foresight.hint is not None and case.foresight.hint.rps > case.need.rps:
        return Why.SCHEDULED
    return Why.DEMAND_ROSE


def _why_down(outcome: Outcome) -> Why:
    case = outcome.case
    if outcome.total == 0:
        return Why.IDLE
    if case.counted > case.policy.max_replicas:
        return Why.BOUNDS
    if case.memory.move_to is not None and case.memory.move_since is None:
        return Why.CHEAPER_POOL
    if any(place.stuck for place in case.running):
        return Why.POOL_SHORT
    if leaving := _leaving(case):
        return Why.UNFIT if leaving[0].is_unfit else Why.POOL_GONE
    return Why.DEMAND_FELL


def _leaving(case: Case) -> list[Place]:
    return [place for place in case.running if place.replicas and not place.stays]


def _why_not(outcome: Outcome) -> Why:
    case = outcome.case
    if outcome.short_reason is not None:
        if outcome.short_reason is Reason.BUDGET_REACHED:
            return Why.BUDGET
        if outcome.short_reason is Reason.MAX_REPLICAS_REACHED:
            return Why.BOUNDS
        return Why.CAPACITY_SHORT
    doubtful = case.evidence.reason not in (Reason.METRICS_FRESH, Reason.NO_REPLICAS)
    if doubtful and case.need.source is not DemandSource.WORKLOAD:
        return Why.DOUBT
    asked = outcome.asked_replicas
    if asked is not None and case.going and asked >= case.total - case.going:
        return Why.NODE_NOTICE
    if asked is not None and asked < case.total:
        if doubtful:
            return Why.DOUBT
        return Why.MODE if case.policy.mode is Mode.SCALE_UP_ONLY else Why.WINDOW
    return Why.IDLE if case.total == 0 else Why.STEADY


def _tail(outcome: Outcome, why: Why) -> str:
    case = outcome.case
    match why:
        case Why.DOUBT:
            return f"Nothing falls: {case.evidence.message}."
        case Why.WINDOW if outcome.broken:
            return f"{outcome.asked_replicas} would do now; nothing goes while {outcome.broken}."
        case Why.WINDOW:
            asked = outcome.asked_replicas
            window = format_duration(max(case.window_s, case.recall_s))
            return (
                f"{asked} would do now; replicas go once fresh evidence over {window} "
                "has asked for no more."
            )
        case Why.MODE:
            return f"{outcome.asked_replicas} would do, but mode ScaleUpOnly removes nothing."
        case Why.DEMAND_FELL:
            recall = format_duration(case.recall_s)
            return f"The most that was asked over {recall} is {texts.rate(case.keep_rps)}."
        case Why.CHEAPER_POOL:
            better = {"cost": "is cheaper", "draw": "draws less", "emit": "emits less"}
            than = better[texts.verb(texts.counted(case))]
            return f"On the way to {texts.fleet(case, outcome.wanted)}, which {than}."
        case Why.QUEUE_GREW | Why.OVER_TARGET if case.evidence.alarm is not None:
            return f"{case.evidence.alarm.message}."
        case Why.IDLE:
            after = format_duration(case.policy.scale_to_zero_after_s or 0.0)
            return f"No request for {after}."
        case Why.POOL_SHORT:
            said = (v.refusal for v in case.state.variants if v.refusal is not None)
            why_so = "".join(f" ({each})" for each in islice(said, 1))
            return f"Pods wait in vain on a pool, so they go elsewhere{why_so}."
        case Why.NODE_NOTICE:
            what = f"{case.going} replicas stand on nodes"
            if case.going == 1:
                what = "1 replica stands on a node"
            return f"{what} about to be taken back, so others come first."
        case Why.POOL_GONE:
            return "A pool in use is gone, or no longer allowed."
        case Why.UNFIT:
            place = _leaving(case)[0]
            refusal = "" if place.choice is None else place.choice.message
            return f"{place.name} will not do: {refusal}."
        case Why.BOUNDS if outcome.short_reason is None:
            low, high = case.policy.min_replicas, case.policy.max_replicas
            if low < case.minimum == case.policy.fallback_replicas:
                return f"fallbackReplicas {case.minimum} counts: {case.evidence.message}."
            return f"minReplicas {low} and maxReplicas {high} decide."
        case Why.BUDGET if outcome.degraded is not None:
            return "A FleetBudget is at its cap and takes from the least important."
        case Why.CAPACITY_SHORT if outcome.degraded is not None:
            return "A pool is full, and one that is more important takes from the least important."
        case _:
            return ""
