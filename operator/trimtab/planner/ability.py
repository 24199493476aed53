"""What one replica of a deployment can do on the devices of a pool."""

import math
from dataclasses import dataclass, replace

from trimtab.api.policy import Objective
from trimtab.models.hardware import Parallelism
from trimtab.models.load import LatencyTargets
from trimtab.models.performance import Infeasible, LatencyPrediction, ReplicaCapacity
from trimtab.models.plan import Verdict
from trimtab.performance.capacity import (
    CapacityRequest,
    nearest,
    predict,
    replica_capacity,
    replica_of,
    too_long,
)
from trimtab.performance.outlook import saturation_rate
from trimtab.performance.reach import Nearest
from trimtab.performance.together import together
from trimtab.planner.choice import POWERED
from trimtab.planner.power import Power
from trimtab.planner.query import Query, request_of
from trimtab.planner.shortage import PoolState

SURELY = 1.5
"""Where so many times the share of requests that may be late are too long for a replica, however
idle it is, it is the wrong hardware: that is more than luck, and than the model may be off."""
AT_LEAST = 1.1
"""Times the target that they have to take where replicas run: times are predicted to about a tenth
(docs/accuracy.md), and to move for nothing is paid for twice."""
CRAWLING = 0.25
"""Share of the rate at which a replica saturates below which it hardly meets its targets."""
FEW_REQUESTS = 4.0
"""Requests that one then has in flight at most."""


class Bench:
    """What one replica of a deployment can do, looked up once for pools of the same devices."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self._taught = query.lessons.pools(query.state.key)
        self._found: dict[tuple[object, ...], _Figures] = {}

    def capacity(
        self, state: PoolState, parallelism: Parallelism
    ) -> ReplicaCapacity | Infeasible | None:
        """Return what one replica does, why it cannot, or None when its figures are unknown."""
        return self._figures(state, parallelism).capacity

    def wait_s(self, state: PoolState, parallelism: Parallelism) -> float | None:
        """Return the wait at half of the largest rate: all choices are compared equally busy."""
        if self.query.policy.objective is not Objective.MINIMIZE_LATENCY:
            return None
        found = self._figures(state, parallelism)
        if found.request is None or not isinstance(found.capacity, ReplicaCapacity):
            return None
        answer = predict(found.request, found.capacity.max_rps / 2.0)
        return answer.e2e_s if isinstance(answer, LatencyPrediction) else None

    def power(self, state: PoolState, parallelism: Parallelism, usable_rps: float) -> Power | None:
        """Return what one replica draws that is given `usable_rps`, where that is asked."""
        if self.query.policy.objective not in POWERED or usable_rps <= 0:
            return None
        request, accelerator = self._figures(state, parallelism).request, state.pool.accelerator
        if request is None or accelerator is None or accelerator.watts is None:
            return None
        replica = replica_of(request)
        if isinstance(replica, Infeasible):
            return None
        return Power(
            rated_w=accelerator.watts * parallelism.devices,
            busy=min(1.0, usable_rps / saturation_rate(replica)),
        )

    def too_long(self, state: PoolState, parallelism: Parallelism) -> Infeasible | None:
        """Return the target that too many of the requests that were seen miss in any case."""
        shape, targets = self.query.shape, self.query.policy.targets
        found = self._figures(state, parallelism)
        if shape.inputs is None or found.request is None or not targets.any:
            return None
        asked = replace(targets, percentile=max(0.5, 1.0 - SURELY * (1.0 - targets.percentile)))
        request = replace(found.request, shape=shape, targets=asked)
        runs = self.query.runs(state.pool.name, parallelism)
        if runs and too_long(replace(request, targets=asked.times(AT_LEAST))) is None:
            return None
        return too_long(request)

    def nearly(self, state: PoolState, parallelism: Parallelism) -> ReplicaCapacity | None:
        """Return what one replica does within AT_LEAST times the targets; None if nothing.

        None, too, where it carries much within the targets themselves, and that says all.
        """
        found = self._figures(state, parallelism)
        if found.request is None or not found.request.targets.any:
            return None
        if isinstance(found.capacity, ReplicaCapacity):
            # Looked at first, for it is at hand: hundreds of choices have full batches.
            if found.capacity.at_max.concurrency >= FEW_REQUESTS:
                return None
            replica = replica_of(found.request)
            assert not isinstance(replica, Infeasible)
            if found.capacity.max_rps >= CRAWLING * saturation_rate(replica):
                return None
        loose = replace(found.request, targets=found.request.targets.times(AT_LEAST))
        answer = _fitting(loose, state.pool.devices_per_node)
        return answer if isinstance(answer, ReplicaCapacity) else None

    def nearest(self, state: PoolState, parallelism: Parallelism) -> LatencyTargets | None:
        """Return the nearest targets that one replica meets, None where it does not fit."""
        request = self._figures(state, parallelism).request
        answer = None if request is None else nearest(request)
        return answer.targets if isinstance(answer, Nearest) else None

    def _figures(self, state: PoolState, parallelism: Parallelism) -> "_Figures":
        pool = state.pool
        # Replicas on a pool teach that pool first, and others of the same devices after.
        own = pool.name if pool.name in self._taught else ""
        key = (pool.accelerator, pool.devices_per_node, parallelism, own)
        if key not in self._found:
            request = request_of(self.query, state, parallelism)
            if request is not None and self.query.policy.dealt:
                request = together(request, self.query.most_rps)
            capacity = None if request is None else _fitting(request, pool.devices_per_node)
            self._found[key] = _Figures(request=request, capacity=capacity)
        return self._found[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figures:
    request: CapacityRequest | None
    capacity: ReplicaCapacity | Infeasible | None


def _fitting(request: CapacityRequest, per_node: int) -> ReplicaCapacity | Infeasible:
    parallelism, heads = request.parallelism, request.geometry.heads
    if parallelism.devices > per_node or per_node % parallelism.devices:
        return Infeasible(
            reason=Verdict.DOES_NOT_FIT,
            message=f"{parallelism.devices} devices do not divide the {per_node} of a node",
        )
    if heads % parallelism.tensor:
        return Infeasible(
            reason=Verdict.DOES_NOT_FIT,
            message=f"{heads} attention heads do not spread over {parallelism.tensor}",
        )
    answer = replica_capacity(request)
    if isinstance(answer, ReplicaCapacity) and not (0 < answer.max_rps < math.inf):
        return Infeasible(reason=Verdict.DOES_NOT_FIT, message="it serves no request at all")
    return answer
