"""What decides the choices of one deployment: model, engine, requests, pools, measurements."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trimtab.api.engine import EngineSpec, EngineType
from trimtab.api.llmdeployment import LLMDeploymentSpec
from trimtab.catalog import geometries
from trimtab.catalog.scheduling import takes_turns
from trimtab.config import PlannerConfig
from trimtab.models.hardware import EngineSettings, ModelGeometry, Parallelism
from trimtab.models.load import TokenClass, TokenShape, resized
from trimtab.models.memory import Calibration
from trimtab.models.policy import EffectivePolicy
from trimtab.models.snapshot import DeploymentState, Key, Profile
from trimtab.performance.belief import carried
from trimtab.performance.capacity import CapacityRequest
from trimtab.performance.profiles import MeasuredPoint, ProfileKey, points_for
from trimtab.performance.relatives import Place, carrying_error
from trimtab.planner.kept import Kept
from trimtab.planner.shortage import PoolState
from trimtab.units import parse_decimal

_TIMED_AS = {EngineType.SGLANG: "sglang", EngineType.TENSORRT_LLM: "trtllm"}
"""Engines whose step times the performance model knows by themselves; the others count as vLLM."""

STEP = 1.1
"""Rates of a fleet that differ by less change what its replicas can do by nothing to speak of."""


class Speeds:
    """Measured points by what they are of, looked up once for each plan."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self._profiles = profiles
        self._found: dict[ProfileKey, tuple[MeasuredPoint, ...]] = {}
        self._market: tuple[Mapping[str, PoolState], _Market] | None = None

    def market(self, pools: Mapping[str, PoolState]) -> object:
        """Return one object for `pools` and these measurements, the same for as long as they are.

        Compared once for each plan; whoever keeps an answer of an earlier plan asks for it.
        """
        if self._market is None or self._market[0] is not pools:
            new = _Market(pools, self._profiles)
            for known in _markets:
                if known.figures == new.figures and known.profiles == new.profiles:
                    new = known
                    break
            else:
                _markets[:] = [new, *_markets[: _MARKETS - 1]]
            self._market = pools, new
        return self._market[1]

    def points(self, key: ProfileKey) -> tuple[MeasuredPoint, ...]:
        """Return the points that were measured on what `key` names."""
        if not self._profiles:
            return ()
        if key not in self._found:
            self._found[key] = points_for(self._profiles, key)
        return self._found[key]


class _Market:
    """Pools and measurements, to tell whether they are the same as in an earlier plan."""

    def __init__(self, pools: Mapping[str, PoolState], profiles: Sequence[Profile]) -> None:
        # What is promised, and free on nodes, changes with every replica and decides no choice.
        self.figures = [
            (name, replace(s.pool, node_free=()), s.limit, s.short, s.late)
            for name, s in sorted(pools.items())
        ]
        self.profiles = tuple(profiles)


_markets: list[_Market] = []
_MARKETS = 4
"""Markets that are told apart: the last plans of as many clusters, or replayed files."""


class Lessons:
    """What serving engines have taught, by deployment."""

    def __init__(self, calibrations: Iterable[Calibration] = ()) -> None:
        self._by_key: dict[Key, list[Calibration]] = defaultdict(list)
        for one in calibrations:
            if one.used is not None:
                self._by_key[Key(namespace=one.namespace, name=one.name)].append(one)

    def pools(self, key: Key) -> frozenset[str]:
        """Return the pools whose replicas taught."""
        return frozenset(one.pool for one in self._by_key.get(key, ()))

    def used(self, key: Key) -> tuple[object, ...]:
        """Return what decides how lessons are applied, to compare: not how far they have got."""
        known = sorted(self._by_key.get(key, ()), key=lambda one: (one.evidence_s, one.pool))
        return tuple(
            (one.pool, one.parallelism, one.accelerator, one.model, one.engine, one.used)
            for one in known
        )

    def applied(
        self, state: DeploymentState, pool: str, request: CapacityRequest
    ) -> CapacityRequest:
        """Return `request` with what replicas on `pool` taught, or on others of the same devices.

        Of several, those that were watched for longest. Where none were, those with the nearest
        number of the same devices, with the error that it brings; other settings teach nothing.
        """
        known = [
            (error, one)
            for one in self._by_key.get(state.key, ())
            if (error := _error(one, state, request)) is not None
        ]
        if not known:
            return request
        error, best = min(
            known, key=lambda k: (k[0], k[1].pool != pool, -k[1].evidence_s, k[1].pool)
        )
        assert best.used is not None
        return replace(request, scales=carried(best.used, error) if error else best.used)


def _error(one: Calibration, state: DeploymentState, request: CapacityRequest) -> float | None:
    """Return the relative standard error with which `one` tells of `request`, None if nothing."""
    tensor = request.parallelism.tensor
    if not is_of(replace(one, parallelism=replace(one.parallelism, tensor=tensor)), state, request):
        return None
    here = Place(accelerator=request.accelerator, tensor=tensor)
    return carrying_error(here, replace(here, tensor=one.parallelism.tensor))


def is_of(one: Calibration, state: DeploymentState, request: CapacityRequest) -> bool:
    """Return whether `one` was learnt of the model, devices and settings of `request`."""
    return (one.model, one.accelerator, one.parallelism, one.engine) == (
        state.spec.model.name,
        request.accelerator.name,
        request.parallelism,
        request.engine,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What all deployments choose from."""

    pools: Mapping[str, PoolState]
    speeds: Speeds
    config: PlannerConfig
    lessons: Lessons = field(default_factory=Lessons)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What decides the choices of one deployment."""

    state: DeploymentState
    policy: EffectivePolicy
    geometry: ModelGeometry | None
    """None when the model is unknown."""
    engine: EngineSettings
    shape: TokenShape
    pools: Mapping[str, PoolState]
    speeds: Speeds
    lessons: Lessons
    config: PlannerConfig
    most_rps: float = 0.0
    """Most that all replicas together are to serve, where that changes what one can do."""
    classes: tuple[TokenClass, ...] = ()
    """What the router tells apart; their mix has `shape`. Empty where it tells nothing apart."""
    proven: frozenset[tuple[str, Parallelism]] = frozenset()
    """Pools and parallelisms that have been seen to be fast enough for requests of now."""

    def runs(self, pool: str, parallelism: Parallelism) -> bool:
        """Return whether the deployment has replicas there, or had in this plan."""
        return any((v.pool, v.parallelism) == (pool, parallelism) for v in self.state.variants)

    def each(self) -> tuple["Query", ...]:
        """Return the queries for requests of each class alone."""
        return tuple(
            replace(self, shape=one.shape, most_rps=one.share * self.most_rps, classes=())
            for one in resized(self.classes, self.shape)
        )


def query_of(
    state: DeploymentState,
    policy: EffectivePolicy,
    shape: TokenShape,
    market: Market,
    *,
    most_rps: float = 0.0,
    proven: frozenset[tuple[str, Parallelism]] = frozenset(),
) -> Query:
    """Return the query of one deployment for requests of `shape`, of which `most_rps` are asked."""
    geometry, engine = _known.answer(
        state.key,
        (state.spec,),
        lambda: (geometries.geometry_of(state.spec.model), engine_settings(state.spec)),
    )
    return Query(
        state=state,
        policy=policy,
        geometry=geometry,
        engine=engine,
        shape=shape,
        pools=market.pools,
        speeds=market.speeds,
        lessons=market.lessons,
        config=market.config,
        most_rps=_rounded(most_rps) if policy.dealt else 0.0,
        classes=policy.classes,
        proven=proven,
    )


_known: Kept[Key, tuple[ModelGeometry | None, EngineSettings]] = Kept()


def _rounded(rps: float) -> float:
    """Return the power of STEP below `rps`: choices are kept for as long as it stays the same."""
    return STEP ** math.floor(math.log(rps, STEP)) if rps > 0 else 0.0


def engine_settings(spec: LLMDeploymentSpec) -> EngineSettings:
    """Return the settings that decide the speed of the engine which `spec` asks for."""
    default, engine, model = EngineSettings(), spec.engine or EngineSpec(), spec.model
    share = engine.gpu_memory_utilization
    return EngineSettings(
        name=_TIMED_AS.get(engine.type or EngineType.VLLM, default.name),
        weight_dtype=model.quantization or default.weight_dtype,
        kv_dtype=model.kv_cache_dtype or default.kv_dtype,
        max_model_len=model.max_model_len or default.max_model_len,
        max_num_seqs=engine.max_num_seqs or default.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens or default.max_num_batched_tokens,
        memory_utilization=(
            default.memory_utilization
            if share is None
            else parse_decimal(share, "spec.engine.gpuMemoryUtilization")
        ),
        takes_turns=takes_turns(engine),
    )


def request_of(query: Query, state: PoolState, parallelism: Parallelism) -> CapacityRequest | None:
    """Return what is asked of the performance model, None where figures are unknown.

    Lengths are taken to spread as in public traces: near the share of requests that hardware is too
    slow for, whatever the load, the rate at a percentile leaps with the least change of how they
    were seen to spread.
    """
    accelerator, geometry, engine = state.pool.accelerator, query.geometry, query.engine
    if accelerator is None or geometry is None:
        return None
    request = CapacityRequest(
        geometry=geometry,
        accelerator=accelerator,
        parallelism=parallelism,
        engine=engine,
        shape=query.shape.assumed,
        targets=query.policy.targets,
        points=query.speeds.points(
            ProfileKey(
                model=query.state.spec.model.name,
                accelerator=accelerator.name,
                quantization=engine.weight_dtype,
                tensor=parallelism.tensor,
            )
        ),
    )
    return query.lessons.applied(query.state, state.pool.name, request)
