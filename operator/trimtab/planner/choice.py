"""One way to place a replica of a deployment: what it does there, what it costs, and if it may."""

from dataclasses import dataclass

from trimtab.api.policy import Objective
from trimtab.models.hardware import Parallelism
from trimtab.models.load import LatencyTargets
from trimtab.models.performance import ReplicaCapacity
from trimtab.models.plan import Verdict
from trimtab.planner.power import Power, grams
from trimtab.planner.shortage import PoolState

POWERED = frozenset({Objective.MINIMIZE_ENERGY, Objective.MINIMIZE_CARBON})
"""Objectives that ask what replicas draw."""
MISSED = frozenset({Verdict.MISSES_TTFT, Verdict.MISSES_ITL, Verdict.MISSES_E2E})
"""Refusals of what is too slow, whatever the load."""
_LEAVES = MISSED | {
    Verdict.DOES_NOT_FIT,
    Verdict.NOT_ALLOWED,
    Verdict.UNKNOWN_ACCELERATOR,
    Verdict.UNKNOWN_MODEL,
}
"""Verdicts under which what runs is moved elsewhere; under the others it only does not grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way to place a replica."""

    state: PoolState
    """What it offers; `promised` may be that of an earlier plan."""
    parallelism: Parallelism
    refusal: Verdict | None
    """Why no replica may be added, or None."""
    message: str
    """The refusal in one sentence."""
    capacity: ReplicaCapacity | None
    """None when it cannot serve, or was not looked at."""
    usable_rps: float
    """What one replica is given, with headroom and doubt taken off; 0 without a capacity."""
    tight_rps: float
    """The same with half of the headroom: what a fleet that exists may be asked before it grows."""
    price: float | None
    """$/h of one replica."""
    wait_s: float | None
    """Mean-load wait of a request from end to end, where latency is the objective; else None."""
    nearest: LatencyTargets | None = None
    """The nearest targets that any replica meets, where no choice meets those that are asked and
    this one comes closest; else None."""
    power: Power | None = None
    """What one replica draws, where that is the objective and known; else None."""
    by_class: tuple[float, ...] = ()
    """Where the router tells classes apart: what one replica is given of each class alone, and
    last of all of them mixed, requests/s; 0 where it cannot. `usable_rps` is what it takes of all;
    where it cannot take all, of the classes that it can, the others being served elsewhere."""
    weight: float | None = None
    """What the programme weighs one replica at, in $/h: its price, or what energy or carbon are
    worth; None when unknown."""

    def burden(self, objective: Objective) -> float | None:
        """Return what `objective` counts of one replica: $/h, W or gCO2/h; None when unknown."""
        if objective not in POWERED:
            return self.price
        watts = None if self.power is None else self.power.at(1.0)
        if objective is Objective.MINIMIZE_ENERGY:
            return watts
        return grams(watts, self.state.pool.carbon_g_per_kwh)

    @property
    def key(self) -> tuple[str, Parallelism]:
        """Pool and parallelism, as variants have them."""
        return self.state.pool.name, self.parallelism

    @property
    def grows(self) -> bool:
        """Whether replicas may be added."""
        return self.refusal is None

    @property
    def stays(self) -> bool:
        """Whether replicas that exist may stay."""
        return self.refusal not in _LEAVES


def degree(parallelism: Parallelism) -> str:
    """Return how a replica spreads, such as `tp4` or `tp8pp2`."""
    parts = (("tp", parallelism.tensor), ("pp", parallelism.pipeline), ("ep", parallelism.expert))
    return "".join(f"{name}{n}" for name, n in parts if n > 1 or name == "tp")


def order(parallelism: Parallelism) -> tuple[int, int, int, int]:
    """Return what parallelisms are sorted by: devices first."""
    return (
        parallelism.devices,
        parallelism.tensor,
        parallelism.pipeline,
        parallelism.expert,
    )
