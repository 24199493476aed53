"""How the wanted replicas move on a demand whose course is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from bench.control.cases import CHANGE_S, Case
from bench.control.watch import Tick

PLATEAU_S = 600.0
"""Of a step: what is wanted on average in that time at its end is what it settles on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """What issue 6 asks of the control shapes."""

    turns: int
    """Times that the replicas asked for went up after down or down after up."""
    demand_turns: int
    """The same of the rate, and one for a rate that only rises: its own move may be reversed."""
    most: int
    settled: float
    """Replicas on which the step settles."""
    overshoot: float
    """Most replicas over those on which the step settles."""
    settling_s: float | None
    """From the step until the Ready replicas stay within one or 10 % of what they settle on;
    None for shapes without a step, infinite where they do not."""

    def verdicts(self, start_s: float) -> dict[str, bool]:
        """Return which bars are met: reversals, overshoot, settling."""
        found = {
            "reversals": self.turns <= 2 * self.demand_turns,
            "overshoot": self.overshoot <= max(1.0, 0.1 * self.settled),
        }
        if self.settling_s is not None:
            found["settled"] = self.settling_s <= start_s + 60.0
        return found


def turns(counts: Sequence[int]) -> int:
    """Return how often a course changes its direction."""
    ways = [after > before for before, after in pairwise(k for k, _ in groupby(counts))]
    return sum(a != b for a, b in pairwise(ways))


def plateau(ticks: Sequence[Tick]) -> float:
    """Return the replicas wanted at the end of a step, mean over the ticks of `PLATEAU_S`."""
    last = [tick.wanted for tick in ticks if tick.at_s > ticks[-1].at_s - PLATEAU_S]
    return sum(last) / len(last)


def moves(case: Case, ticks: Sequence[Tick], settled: float) -> Moves:
    """Return how a policy moved after the warm-up; `settled` is what it holds for the high rate."""
    scored = [tick for tick in ticks if tick.at_s >= case.warmup_minutes * 60.0]
    most = max(tick.wanted for tick in scored)
    return Moves(
        turns=turns([tick.wanted for tick in scored]),
        demand_turns=_demand_turns(case),
        most=most,
        settled=settled,
        overshoot=most - settled,
        settling_s=_settling_s(scored, settled) if case.name == "step" else None,
    )


def _demand_turns(case: Case) -> int:
    synthetic = case.source["synthetic"]
    shape, period = str(synthetic["shape"]), str(synthetic.get("period", ""))
    if not period:
        return 1
    scored_s = (case.minutes - case.warmup_minutes) * 60.0
    periods = scored_s / float(period.removesuffix("s"))
    if shape == "noise":
        # A random course turns at two of three points.
        return round(periods * 2.0 / 3.0)
    return round(2.0 * periods) - 1


def _settling_s(ticks: Sequence[Tick], settled: float) -> float:
    band = max(1.0, 0.1 * settled)
    outside = [tick.at_s for tick in ticks if abs(tick.ready - settled) > band]
    if outside and outside[-1] == ticks[-1].at_s:
        return float("inf")
    return max(outside, default=CHANGE_S) - CHANGE_S
