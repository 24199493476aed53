"""Arrivals as the load of replicas feels them: evened out over the time that requests stay.

What a replica holds now is what came over the last times of its requests, and not what came in one
minute. Where a request takes less than the window of the rate, the two are the same.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from trimtab.models.load import ObservedLoad, TokenShape
from trimtab.models.memory import DeploymentMemory
from trimtab.models.performance import ReplicaCapacity
from trimtab.models.signals import Fresh, Partial, fresh_value
from trimtab.planner.evidence import is_possible

LONGEST_S = 300.0
"""Mean age of the arrivals that are counted, at most: what is older than the window over which
anything else is judged says too little of now."""


def evened(
    memory: DeploymentMemory, load: ObservedLoad, now: float
) -> tuple[DeploymentMemory, ObservedLoad]:
    """Return `load` with the arrival rate evened out, and the memory of what it then was.

    Where requests come independently of each other, those in flight came on average E[T^2] / 2 E[T]
    ago for times T (the mean residual life; M/G/infinity). A rate over a window is half of the
    window old; an exponential mean makes up the rest. A partial rate is evened out as well, for it
    is then still a lower bound, and teaches nothing.
    """
    rate = load.arrival_rps
    if not isinstance(rate, Fresh | Partial) or not is_possible(rate):
        return memory, load
    value = rate.value
    lag_s = min(memory.age_s, LONGEST_S) - load.window_s / 2.0
    if lag_s <= 0.0:
        return memory, load
    # Where nothing came and nothing is left, nothing stays.
    left = value > 0.0 or (fresh_value(load.running) or 0.0) != 0.0
    if memory.evened is not None and left:
        at, was = memory.evened
        value += (was - value) * math.exp(-max(0.0, now - at) / lag_s)
        load = replace(load, arrival_rps=replace(rate, value=value))
    if isinstance(rate, Fresh):
        memory = replace(memory, evened=(now, value))
    return memory, load


def aged(
    memory: DeploymentMemory, replicas: Iterable[ReplicaCapacity], shape: TokenShape
) -> DeploymentMemory:
    """Return the memory with the mean age of requests where `replicas` do as much as they can.

    One for each variant. The least of them, and as before where nothing is known of any: where
    replicas are too few, requests stay longer because they wait, which is no reason to see later
    that they are.
    """
    stay_s = min((one.at_max.concurrency / one.max_rps for one in replicas), default=None)
    if stay_s is None:
        return memory
    age_s = stay_s * (1.0 + shape.output_cv**2) / 2.0
    return memory if age_s == memory.age_s else replace(memory, age_s=age_s)
