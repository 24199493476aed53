"""What holds the fleet as a whole back: nodes that fail together, and many removals at once."""

from collections.abc import Iterable, Mapping, Sequence

from trimtab.models.capacity import Pool
from trimtab.models.snapshot import Key
from trimtab.planner.case import Case
from trimtab.planner.settle import Settled

NODES = 3
NODE_SHARE = 0.45
"""Where more nodes than so many, and more than this share of all, are not Ready, no demand says
what may go (research/reliability.md S11; the limits of Kubernetes' own eviction of pods)."""
FLEET_SHARE = 0.1
"""Share of all replicas that one plan removes at most, and be it no more than one step (S10)."""


def broken(pools: Iterable[Pool]) -> str:
    """Return what is wrong with the nodes where so many are lost that nothing may go; else ""."""
    ready = lost = 0
    for pool in pools:
        ready += pool.nodes
        lost += pool.unready_nodes
    if lost > NODES and lost > NODE_SHARE * (ready + lost):
        return f"{lost} of {ready + lost} nodes are not Ready"
    return ""


def hold_back(cases: Sequence[Case], settled: Mapping[Key, Settled]) -> None:
    """Undo removals in `settled` that are more than the fleet shall lose in one plan.

    Who has not lost any for the longest goes first; the others keep what they have for this plan.
    More than a maximum goes in any case: a user asked for it. The first always takes its own step,
    so that one that is alone is held back by nothing.
    """
    falling = []
    for case in cases:
        gone = _gone(case, settled[case.state.key])
        if gone and case.counted <= case.policy.max_replicas:
            falling.append((case, gone))
    most, taken = int(FLEET_SHARE * sum(case.total for case in cases)), 0
    for case, gone in sorted(falling, key=lambda item: _turn(item[0])):
        if not taken or taken + gone <= most:
            taken += gone
            continue
        targets = settled[case.state.key].targets
        for place in case.running:
            targets[place.key] = max(targets[place.key], place.ready)


def _gone(case: Case, settled: Settled) -> int:
    """Return the Ready replicas that are removed."""
    return sum(max(0, place.ready - settled.targets[place.key]) for place in case.running)


def _turn(case: Case) -> tuple[float, Key]:
    last = case.memory.last_down_at
    return -1.0 if last is None else last, case.state.key
