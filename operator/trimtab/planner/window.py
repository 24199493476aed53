"""The most that was asked over the window, counted in requests of now: what keeps replicas."""

from trimtab.config import PlannerConfig
from trimtab.models.load import TokenShape
from trimtab.models.memory import DeploymentMemory
from trimtab.models.policy import EffectivePolicy
from trimtab.planner.candidates import capacity_at
from trimtab.planner.choice import Choice
from trimtab.planner.forecast.constants import MINUTE_S
from trimtab.planner.query import Query
from trimtab.planner.recall import Past

WEIGHT_MOST = 20.0
"""A request of another time weighs at most so many times one of now, and at least as little."""


def window_of(policy: EffectivePolicy, config: PlannerConfig) -> float:
    """Return the scale-down window of one deployment, in seconds."""
    own = policy.scale_down_window_s
    return config.scale_down_window_s if own is None else own


def past_of(
    policy: EffectivePolicy, memory: DeploymentMemory, ahead_s: float, config: PlannerConfig
) -> Past:
    """Return what tells how much of the window counts: who names a window gets all of it.

    A replica that is asked for now serves in `ahead_s` seconds.
    """
    own = policy.scale_down_window_s
    return Past(
        rates=memory.forecast.rates if own is None else (),
        ahead_s=ahead_s,
        window_s=window_of(policy, config),
    )


def most_asked(
    memory: DeploymentMemory, query: Query, reference: Choice | None, *, now: float, recall_s: float
) -> float:
    """Return the largest demand of the last `recall_s` seconds, requests/s of the shape of `query`.

    Requests of another shape weigh as the `reference` replica feels them: by its rate for either.
    """
    since, shape = now - recall_s, query.shape.assumed
    factor, most = 1.0, 0.0
    factors: dict[TokenShape, float] = {shape: factor}
    for sample in memory.samples:
        if sample.at < since:
            continue
        if sample.shape is not shape:
            shape = sample.shape
            if shape not in factors:
                factors[shape] = _factor(query, reference, shape)
            factor = factors[shape]
        most = max(most, sample.rps * factor)
    if recall_s <= window_of(query.policy, query.config):
        return most
    # Beyond the window what came is known by the minute, as it was measured: what alarms asked for
    # on top is remembered for a window.
    return max((most, *memory.forecast.rates[-int(recall_s // MINUTE_S) :]))


def _factor(query: Query, reference: Choice | None, shape: TokenShape) -> float:
    if reference is None or reference.capacity is None:
        return 1.0
    then = capacity_at(query, reference, shape)
    if then is None:
        return 1.0
    return min(max(reference.capacity.max_rps / then, 1.0 / WEIGHT_MOST), WEIGHT_MOST)
