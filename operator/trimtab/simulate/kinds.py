"""What one replica of a variant is: how fast, how large, what it costs and how long it loads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from trimtab.catalog import geometries
from trimtab.config import PlannerConfig
from trimtab.errors import InvalidInput
from trimtab.models.capacity import Pool
from trimtab.models.hardware import EngineSettings
from trimtab.models.load import TokenShape
from trimtab.models.performance import Infeasible, ReplicaCapacity
from trimtab.models.plan import Verdict
from trimtab.models.snapshot import DeploymentState, Key, Profile, Snapshot
from trimtab.performance.capacity import CapacityRequest, replica_capacity, replica_of
from trimtab.performance.fit import kv_tokens
from trimtab.performance.profiles import ProfileKey, points_for
from trimtab.performance.weights import stored_weights
from trimtab.planner.candidates import choices_of
from trimtab.planner.query import Market, Speeds, engine_settings, query_of
from trimtab.planner.shortage import survey
from trimtab.simulate.pace import Pace
from trimtab.simulate.policy import Variant
from trimtab.simulate.traffic import Traffic

_IMPOSSIBLE = frozenset(
    {
        Verdict.NOT_ALLOWED,
        Verdict.DOES_NOT_FIT,
        Verdict.UNKNOWN_ACCELERATOR,
        Verdict.UNKNOWN_MODEL,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One replica of a variant."""

    pace: Pace
    """Shared by all engines of the kind."""
    settings: EngineSettings
    devices: int
    usd_per_hour: float
    watts: float
    """Rated power of its devices; 0 where it is unknown."""
    weight_bytes: float
    rps: float
    """Requests/s of the traffic's own shape within the targets; 0 when it cannot meet them."""


class Kinds:
    """Kinds by variant, worked out once for a run."""

    def __init__(
        self,
        states: Sequence[DeploymentState],
        pools: Sequence[Pool],
        profiles: tuple[Profile, ...],
        shapes: Mapping[Key, TokenShape],
    ) -> None:
        """Take the deployments with the mean shapes of their requests."""
        self._states = {state.key: state for state in states}
        self._pools = {pool.name: pool for pool in pools}
        self._profiles = profiles
        self._shapes = shapes
        self._kinds: dict[Variant, Kind] = {}

    def of(self, variant: Variant) -> Kind:
        """Return the kind of `variant`.

        Raises:
            InvalidInput: Its figures are unknown, or it does not fit on the devices.
        """
        if variant not in self._kinds:
            self._kinds[variant] = self._made(variant)
        return self._kinds[variant]

    def capacity(
        self, variant: Variant, shape: TokenShape | None = None
    ) -> ReplicaCapacity | Infeasible:
        """Return what one replica serves within the targets, of the traffic's or another shape."""
        request = self.request(variant)
        return replica_capacity(request if shape is None else replace(request, shape=shape))

    def request(self, variant: Variant) -> CapacityRequest:
        """Return what is asked of the performance model about `variant`.

        Raises:
            InvalidInput: The model or the accelerator is unknown, or the policy is invalid.
        """
        state, pool = self._states[variant.deployment], self._pools[variant.pool]
        geometry = geometries.geometry_of(state.spec.model)
        if geometry is None or pool.accelerator is None or state.policy is None:
            raise InvalidInput(
                f"{variant.deployment} on {variant.pool}",
                state.error or "the model or the accelerator is unknown",
                "Give spec.model.architecture or the pool's spec.hardware",
            )
        settings = engine_settings(state.spec)
        key = ProfileKey(
            model=state.spec.model.name,
            accelerator=pool.accelerator.name,
            quantization=settings.weight_dtype,
            tensor=variant.parallelism.tensor,
        )
        return CapacityRequest(
            geometry=geometry,
            accelerator=pool.accelerator,
            parallelism=variant.parallelism,
            engine=settings,
            shape=self._shapes.get(variant.deployment, state.policy.shape),
            targets=state.policy.targets,
            points=points_for(self._profiles, key),
        )

    def _made(self, variant: Variant) -> Kind:
        request = self.request(variant)
        pool = self._pools[variant.pool]
        devices = variant.parallelism.devices
        weights = stored_weights(request.geometry, request.engine.weight_dtype)
        answer = replica_capacity(request)
        return Kind(
            pace=_pace(request),
            settings=request.engine,
            devices=devices,
            usd_per_hour=0.0 if pool.price is None else pool.price.usd_per_hour * devices,
            watts=(request.accelerator.watts or 0.0) * devices,
            weight_bytes=weights.total,
            rps=answer.max_rps if isinstance(answer, ReplicaCapacity) else 0.0,
        )


@lru_cache(maxsize=256)
def _pace(request: CapacityRequest) -> Pace:
    replica = replica_of(request)
    tokens = kv_tokens(request.geometry, request.accelerator, request.parallelism, request.engine)
    for answer in (replica, tokens):
        if isinstance(answer, Infeasible):
            raise InvalidInput("model", answer.message, "Use more or larger devices")
    assert not isinstance(replica, Infeasible)
    assert not isinstance(tokens, Infeasible)
    return Pace(replica.step, tokens)


def shape_of(traffic: Traffic, prior: TokenShape, longest: int) -> TokenShape:
    """Return the mean shape of `traffic` on an engine of that context; `prior` without requests."""
    if not len(traffic):
        return prior
    inputs = np.minimum(traffic.input_tokens, longest - 1).astype(float)
    outputs = np.minimum(traffic.output_tokens, longest - inputs).astype(float)
    return TokenShape(
        input_tokens=float(inputs.mean()),
        output_tokens=float(outputs.mean()),
        prefix_hit=prior.prefix_hit,
        input_cv=float(np.std(inputs) / inputs.mean()),
        output_cv=float(np.std(outputs) / outputs.mean()),
    )


def variants_of(snapshot: Snapshot, state: DeploymentState) -> tuple[Variant, ...]:
    """Return every variant that the manifests allow a deployment and that fits on its devices.

    What misses a target by the planner's estimate is among them: the estimate is not the score.
    """
    if state.policy is None:
        return ()
    config = PlannerConfig()
    market = Market(
        pools=survey(snapshot, config)[0],
        speeds=Speeds(snapshot.profiles),
        config=config,
    )
    choices = choices_of(query_of(state, state.policy, state.policy.shape, market))
    return tuple(
        Variant(deployment=state.key, pool=choice.state.pool.name, parallelism=choice.parallelism)
        for choice in choices
        if choice.refusal not in _IMPOSSIBLE
    )
