"""The sites of a world, one for each deployment: request by request, or as a flow."""

from collections.abc import Mapping

from trimtab.errors import InvalidInput
from trimtab.models.load import LatencyTargets
from trimtab.models.snapshot import DeploymentState, Key
from trimtab.simulate.fluidsite import FluidSite
from trimtab.simulate.gateway import GatewaySettings, Router
from trimtab.simulate.sites import ExactSite, Site
from trimtab.simulate.traffic import EMPTY
from trimtab.simulate.world import World


def exact_sites(world: World) -> Mapping[Key, Site]:
    """Return a site for each deployment that serves every request by itself."""
    return {
        state.key: ExactSite(
            world.traffic.get(state.key, EMPTY), targets_of(state), _settings(world)
        )
        for state in world.states
    }


def fluid_sites(world: World) -> Mapping[Key, Site]:
    """Return a site for each deployment that serves its requests as flows of tokens.

    Raises:
        InvalidInput: The scenario is about prompts that share a beginning, or clients that try
            again.
    """
    if world.scenario.clients.retries:
        raise InvalidInput("--mode", "a flow knows no retries", "Say exact, or retries: 0")
    if any(traffic.prefix is not None for traffic in world.traffic.values()):
        raise InvalidInput("--mode", "a flow knows no shared prompts", "Say exact")
    return {
        state.key: FluidSite(
            world.traffic.get(state.key, EMPTY), targets_of(state), _settings(world)
        )
        for state in world.states
    }


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
