"""Classes of requests: what a replica does of each, and a fleet of all of them together.

A router that knows the class of a request can send each class to where it weighs least. So a
replica has one rate for each class alone, beside that for the mix of all, and replicas of several
kinds carry together what `split` says.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from trimtab.models.load import TokenClass
from trimtab.models.policy import EffectivePolicy
from trimtab.planner.choice import Choice
from trimtab.planner.evenly import carried
from trimtab.planner.split import mixed, split_of


def shares_of(policy: EffectivePolicy) -> tuple[float, ...]:
    """Return the share of each class that the router tells apart."""
    return tuple(one.share for one in policy.classes)


def carried_by(policy: EffectivePolicy, replicas: Iterable[tuple[Choice, float, int]]) -> float:
    """Return the rate that replicas take together, requests/s.

    Args:
        policy: Says what the router does.
        replicas: Choice, rate of one, and how many of them, for each kind.
    """
    used = [(choice, rate, count) for choice, rate, count in replicas if count > 0]
    if not policy.classes:
        return carried(((rate, count) for _, rate, count in used), even=policy.even)
    kinds = tuple(
        (tuple(each * rate / choice.usable_rps for each in choice.by_class), count)
        for choice, rate, count in used
        if choice.by_class and choice.usable_rps > 0
    )
    return split_of(shares_of(policy), kinds).rps if kinds else 0.0


def joined(
    classes: Sequence[TokenClass], whole: Sequence[Choice], each: Sequence[Sequence[Choice]]
) -> tuple[Choice, ...]:
    """Return the choices for all `classes`, from those for the mix and those for each class alone.

    Where nothing that may stay serves a class, not even in the mix, no fleet serves the deployment:
    the answer is then that of this class, with its reasons.
    """
    if not any(map(_serves, whole)):
        for one, alone in zip(classes, each, strict=True):
            if not any(map(_serves, alone)):
                return tuple(_named(choice, one) for choice in alone)
    shares = tuple(one.share for one in classes)
    return tuple(_joined(shares, mix, alone) for mix, *alone in zip(whole, *each, strict=True))


def _serves(choice: Choice) -> bool:
    return choice.stays and choice.usable_rps > 0


def _joined(shares: tuple[float, ...], mix: Choice, alone: Sequence[Choice]) -> Choice:
    """Return the choice of one place, from that for the mix and those for each class."""
    able = [choice for choice in (mix, *alone) if choice.usable_rps > 0]
    if not able:
        return mix
    rates = tuple(choice.usable_rps for choice in (*alone, mix))
    best = next((choice for choice in able if choice.grows), able[0])
    apart = mixed(shares, rates[:-1]) if all(rates[:-1]) else 0.0
    if mix.usable_rps > apart:
        return replace(mix, refusal=best.refusal, message=best.message, by_class=rates)
    most = tuple(0.0 if c.capacity is None else c.capacity.max_rps for c in alone)
    return replace(
        best,
        capacity=best.capacity and replace(best.capacity, max_rps=mixed(shares, most)),
        usable_rps=mixed(shares, rates[:-1]),
        tight_rps=mixed(shares, tuple(choice.tight_rps for choice in alone)),
        by_class=rates,
    )


def _named(choice: Choice, one: TokenClass) -> Choice:
    if choice.refusal is None or not choice.message:
        return choice
    return replace(choice, message=f"requests of class {one.name}: {choice.message}")
