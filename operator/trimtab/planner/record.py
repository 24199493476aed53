"""The record of one decision: candidates with their verdicts, price, saving and facts."""

import math
from collections.abc import Iterator

from trimtab.api.llmdeployment import Mode
from trimtab.models.hardware import Parallelism
from trimtab.models.plan import (
    Candidate,
    Decision,
    Demand,
    DemandSource,
    VariantTarget,
    Verdict,
    Why,
)
from trimtab.models.snapshot import DeploymentState, Key
from trimtab.planner import texts
from trimtab.planner.bysize import routes_of
from trimtab.planner.case import Case
from trimtab.planner.choice import POWERED, Choice, order
from trimtab.planner.draft import World
from trimtab.planner.drawn import drawn_by
from trimtab.planner.facts import facts_of, inert_facts
from trimtab.planner.kept import Kept
from trimtab.planner.outcome import Outcome
from trimtab.planner.place import Place
from trimtab.planner.saving import saving_of

UNKNOWN_ACCELERATOR = "unknown"
"""Short name of the accelerator of a pool that is gone."""


def decision_of(outcome: Outcome) -> Decision:
    """Return the decision of a deployment that was decided on."""
    case = outcome.case
    state, need = case.state, case.need
    usd = texts.price_of(case, outcome.targets)
    drawn = drawn_by(case, outcome.targets)
    return Decision(
        key=state.key,
        uid=state.uid,
        generation=state.generation,
        targets=tuple(_target(place, outcome.targets[place.key]) for place in _shown(outcome)),
        wanted_replicas=outcome.asked_replicas,
        changed=outcome.changed,
        write=case.policy.mode is not Mode.RECOMMEND,
        why=outcome.why,
        message=outcome.message,
        demand=Demand(
            source=need.source,
            rps=None if need.source is DemandSource.UNKNOWN else need.rps,
            observed_rps=need.observed_rps,
            input_tokens=need.shape.input_tokens,
            output_tokens=need.shape.output_tokens,
            foreseen_rps=case.foresight.rps,
            horizon_s=case.foresight.horizon_s,
            margin=case.foresight.margin,
        ),
        candidates=_sorted_candidates(outcome),
        usd_per_hour=usd,
        usd_per_million_tokens=_per_million(outcome, usd),
        watts=drawn.watts if drawn else None,
        grams_per_hour=drawn.grams_per_hour if drawn else None,
        gap=outcome.fleet.gap if math.isfinite(outcome.fleet.gap) else None,
        saving=saving_of(case, usd),
        routes=routes_of(case, outcome.targets),
        facts=facts_of(outcome),
    )


def inert_decision(state: DeploymentState, why: Why, message: str, world: World) -> Decision:
    """Return the decision for a deployment that is paused or cannot be followed: as it is."""
    targets = tuple(
        _current(state, pool, parallelism, world)
        for pool, parallelism in sorted(
            ((v.pool, v.parallelism) for v in state.variants),
            key=lambda key: (key[0], order(key[1])),
        )
    )
    prices = [(t.usd_per_replica_hour, t.replicas) for t in targets if t.replicas]
    known = [price * n for price, n in prices if price is not None]
    policy = state.policy
    return Decision(
        key=state.key,
        uid=state.uid,
        generation=state.generation,
        targets=targets,
        wanted_replicas=None,
        changed=False,
        write=False,
        why=why,
        message=message,
        demand=Demand(
            source=DemandSource.UNKNOWN,
            rps=None,
            observed_rps=None,
            input_tokens=policy.shape.input_tokens if policy else 0.0,
            output_tokens=policy.shape.output_tokens if policy else 0.0,
        ),
        candidates=(),
        usd_per_hour=math.fsum(known) if len(known) == len(prices) else None,
        usd_per_million_tokens=None,
        saving=None,
        facts=inert_facts(state, why, message),
    )


def _shown(outcome: Outcome) -> list[Place]:
    """Return the places that have a variant, or get one, in their order."""
    case = outcome.case
    keys = {(v.pool, v.parallelism) for v in case.state.variants}
    keys |= {place.key for place, _ in case.used(outcome.targets)}
    places = case.running if keys <= {place.key for place in case.running} else case.places
    return [place for place in places if place.key in keys]


def _target(place: Place, replicas: int) -> VariantTarget:
    pool = place.choice.state.pool if place.choice else None
    accelerator = pool.accelerator if pool else None
    return VariantTarget(
        pool=place.pool,
        accelerator=accelerator.short_name if accelerator else UNKNOWN_ACCELERATOR,
        parallelism=place.parallelism,
        replicas=replicas,
        usd_per_replica_hour=place.price,
        price=pool.price if pool else None,
    )


def _current(
    state: DeploymentState, name: str, parallelism: Parallelism, world: World
) -> VariantTarget:
    variant = next(v for v in state.variants if (v.pool, v.parallelism) == (name, parallelism))
    known = world.pools.get(name)
    price = known.pool.price if known else None
    accelerator = known.pool.accelerator if known else None
    return VariantTarget(
        pool=name,
        accelerator=accelerator.short_name if accelerator else UNKNOWN_ACCELERATOR,
        parallelism=parallelism,
        replicas=variant.replicas,
        usd_per_replica_hour=price.usd_per_hour * parallelism.devices if price else None,
        price=price,
    )


def _per_million(outcome: Outcome, usd: float | None) -> float | None:
    """Return the price of a million answered tokens at the seen demand, None without either."""
    need = outcome.case.need
    rps = need.rps if need.observed_rps is None else need.observed_rps
    tokens = rps * need.shape.output_tokens * 3600.0
    return None if usd is None or tokens < 1.0 else usd / tokens * 1e6


def _sorted_candidates(outcome: Outcome) -> tuple[Candidate, ...]:
    """Return every choice with its verdict: hundreds, so they are kept while they stay the same."""
    case = outcome.case
    best = texts.burden_of(case, outcome.wanted)
    short = outcome.short_reason is not None
    asked = case.keep_rps, case.minimum, case.policy.objective
    inputs = case.choices, asked, outcome.wanted, outcome.left, best, short
    return _known.answer(
        case.state.key,
        inputs,
        lambda: tuple(sorted(_candidates(outcome, best), key=_by_verdict)),
    )


_known: Kept[Key, tuple[Candidate, ...]] = Kept()


def _candidates(outcome: Outcome, best: float | None) -> Iterator[Candidate]:
    case = outcome.case
    serves = _served.answer(
        case.state.key,
        (case.choices, case.policy),
        lambda: tuple(_serves(case, choice) for choice in case.choices),
    )
    for choice, served in zip(case.choices, serves, strict=True):
        pool = choice.state.pool
        verdict, message = _verdict(outcome, choice, served, best)
        yield Candidate(
            pool=pool.name,
            accelerator=pool.accelerator.short_name if pool.accelerator else pool.accelerator_name,
            parallelism=choice.parallelism,
            verdict=verdict,
            message=message,
            capacity=choice.capacity,
            usd_per_replica_hour=choice.price,
        )


_served: Kept[Key, tuple[str, ...]] = Kept()


def _serves(case: Case, choice: Choice) -> str:
    """Return what one replica of a choice does and takes."""
    if choice.usable_rps <= 0:
        return ""
    objective = texts.counted(case)
    serves = f"one replica serves {texts.rate(choice.usable_rps)} for {texts.money(choice.price)}"
    if choice.by_class:
        serves += f" ({texts.by_class(case, choice)})"
    if objective in POWERED:
        serves += f" and {texts.figure(objective, choice.burden(objective))}"
    return serves


def _verdict(
    outcome: Outcome, choice: Choice, serves: str, best: float | None
) -> tuple[Verdict, str]:
    """Return how a choice fared: chosen, refused, full, or dearer than the fleet at `best`.

    `best` is what the objective counts: $/h, W or gCO2/h.
    """
    objective = texts.counted(outcome.case)
    count = outcome.wanted.get(choice.key, 0)
    if count and choice.stays:
        return Verdict.CHOSEN, f"{count} wanted: {serves}"
    if choice.refusal is not None:
        return choice.refusal, choice.message
    devices = choice.parallelism.devices
    pool, left = choice.state.pool.name, outcome.left
    free = left.free_in(pool)
    if objective in POWERED and choice.burden(objective) is None:
        verdict, remedy = texts.unknown(objective, choice)
        return verdict, f"{serves}: {remedy}"
    alone = _alone(outcome, choice.burden(objective), choice.usable_rps)
    cheaper = alone[1] is None or best is None or alone[1] < best
    if free < devices and (cheaper or outcome.short_reason is not None):
        return Verdict.NO_CAPACITY, f"{serves}, but {free} devices are free and it needs {devices}"
    if left.scatters(pool, devices) and (cheaper or outcome.short_reason is not None):
        return Verdict.NO_CAPACITY, f"{serves}, but {texts.scattered(free, devices)}"
    verb, chosen = texts.verb(objective), texts.figure(objective, best)
    needs = f"{serves}: {alone[0]} of them {verb} {texts.figure(objective, alone[1])}"
    if not cheaper:
        return Verdict.DEARER, f"{needs}, the chosen fleet {chosen}"
    return (
        Verdict.DEARER,
        f"{needs} against {chosen}: not enough, or not for long enough, to move",
    )


def _alone(outcome: Outcome, burden: float | None, rps: float) -> tuple[int, float | None]:
    """Return how many replicas of one kind alone would cover the demand, and their burden."""
    case = outcome.case
    count = max(1, case.minimum, math.ceil(case.keep_rps / rps))
    return count, None if burden is None else count * burden


def _by_verdict(candidate: Candidate) -> tuple[bool, bool, float, str, int]:
    price = candidate.usd_per_replica_hour
    return (
        candidate.verdict is not Verdict.CHOSEN,
        price is None,
        price or 0.0,
        candidate.pool,
        candidate.parallelism.devices,
    )
