"""The sites of a world, one for each deployment: request by request, or as a flow."""

from collections.abc import Mapping
from functools import lru_cache
from zlib import crc32

import numpy as np

from trimtab.errors import InvalidInput
from trimtab.models.load import LatencyTargets
from trimtab.models.snapshot import DeploymentState, Key
from trimtab.simulate.curve import Curve
from trimtab.simulate.fluidsite import Curves, FluidSite
from trimtab.simulate.gateway import GatewaySettings, Router
from trimtab.simulate.kinds import Kind
from trimtab.simulate.policy import Variant
from trimtab.simulate.response import Question, response
from trimtab.simulate.sites import ExactSite, Site
from trimtab.simulate.traffic import EMPTY, Traffic
from trimtab.simulate.world import World

SHARED_BY = (1, 3)
"""Replicas that share the requests when a curve is measured: chance evens out with more."""
LUCK = 1
"""Seed of the measurements, which are no part of a run's own luck."""
TYPICAL = 2000
"""Requests that stand for all when a curve is measured."""


def exact_sites(world: World) -> Mapping[Key, Site]:
    """Return a site for each deployment that serves every request by itself."""
    return {
        state.key: ExactSite(
            world.traffic.get(state.key, EMPTY), targets_of(state), _settings(world)
        )
        for state in world.states
    }


def fluid_sites(world: World, seed: int) -> Mapping[Key, Site]:
    """Return a site for each deployment that serves its requests as a flow.

    Raises:
        InvalidInput: The scenario is about prompts that share a beginning, or clients that try
            again.
    """
    if world.scenario.clients.retries:
        raise InvalidInput("--mode", "a flow knows no retries", "Say exact, or retries: 0")
    if any(traffic.prefix is not None for traffic in world.traffic.values()):
        raise InvalidInput("--mode", "a flow knows no shared prompts", "Say exact")
    sites = {}
    for state in world.states:
        traffic = world.traffic.get(state.key, EMPTY)
        stream = np.random.default_rng([seed, crc32(str(state.key).encode())])
        curves = _measured(traffic, targets_of(state))
        sites[state.key] = FluidSite(traffic, targets_of(state), _settings(world), curves, stream)
    return sites


def targets_of(state: DeploymentState) -> LatencyTargets:
    """Return the targets of a deployment; none where its policy is invalid."""
    return LatencyTargets() if state.policy is None else state.policy.targets


def _settings(world: World) -> GatewaySettings:
    clients = world.scenario.clients
    return GatewaySettings(
        router=Router(world.scenario.router.value),
        client_timeout_s=clients.timeout_s,
        retries=clients.retries,
        backoff_s=clients.backoff_s,
    )


def _measured(traffic: Traffic, targets: LatencyTargets) -> Curves:
    """Return what measures a kind of replica, once, on the exact engine."""
    # In order of length, so that those which stand for all are as long as all in the mean.
    order = np.lexsort((traffic.input_tokens, traffic.output_tokens))
    rows = order[np.linspace(0, len(traffic) - 1, min(len(traffic), TYPICAL)).round().astype(int)]
    requests = [(int(traffic.input_tokens[row]), int(traffic.output_tokens[row])) for row in rows]

    def curves(variant: Variant, kind: Kind) -> Mapping[int, Curve]:
        longest = kind.settings.max_model_len
        fitting = tuple(one for one in requests if one[0] < longest)
        return {
            replicas: _curve(
                Question(
                    pace=kind.pace,
                    settings=kind.settings,
                    requests=fitting,
                    targets=targets,
                    replicas=replicas,
                )
            )
            for replicas in SHARED_BY
        }

    return curves


@lru_cache(maxsize=512)
def _curve(question: Question) -> Curve:
    """Return what a replica does at each load; the same question has the same answer."""
    return Curve(response(question, np.random.default_rng(LUCK)))
