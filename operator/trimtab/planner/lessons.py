"""What serving engines teach of their speed, taken in once a plan."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from trimtab.config import PlannerConfig
from trimtab.models.hardware import Parallelism
from trimtab.models.load import VariantReading
from trimtab.models.memory import Calibration, PlannerMemory
from trimtab.models.snapshot import DeploymentState, Key, Snapshot, VariantState
from trimtab.performance.belief import prior
from trimtab.performance.calibration import KEPT_S, learn
from trimtab.performance.capacity import CapacityRequest
from trimtab.performance.window import Moment
from trimtab.planner import shortage
from trimtab.planner.query import Market, Speeds, is_of, query_of, request_of


def relearnt(snapshots: Iterable[Snapshot], config: PlannerConfig) -> tuple[Calibration, ...]:
    """Return what is believed after `snapshots`, oldest first, with nothing known before them."""
    calibrations: tuple[Calibration, ...] = ()
    for snapshot in snapshots:
        snapshot = replace(snapshot, memory=PlannerMemory(calibrations=calibrations))
        pools, _ = shortage.survey(snapshot, config)
        market = Market(pools=pools, speeds=Speeds(snapshot.profiles), config=config)
        calibrations = taught(snapshot, market)
    return calibrations


def taught(snapshot: Snapshot, market: Market) -> tuple[Calibration, ...]:
    """Return what is believed after the readings of `snapshot`, sorted by deployment and variant.

    What was learnt of deployments that are gone, and what has long not been observed, is dropped.
    """
    before: dict[Key, dict[tuple[str, Parallelism], Calibration]] = defaultdict(dict)
    for one in snapshot.memory.calibrations:
        if snapshot.now - one.updated <= KEPT_S:
            key = Key(namespace=one.namespace, name=one.name)
            before[key][one.pool, one.parallelism] = one
    found = [
        calibration
        for state in snapshot.deployments
        for calibration in _of_deployment(state, before[state.key], market, snapshot.now)
    ]
    return tuple(sorted(found, key=_order))


def _of_deployment(
    state: DeploymentState,
    known: dict[tuple[str, Parallelism], Calibration],
    market: Market,
    now: float,
) -> Iterator[Calibration]:
    readings: dict[tuple[str, Parallelism], list[VariantReading]] = defaultdict(list)
    for reading in state.load.variants:
        readings[reading.pool, reading.parallelism].append(reading)
    requests = dict(_requests(state, market))
    for key in sorted(known.keys() | requests.keys(), key=lambda key: (key[0], _degrees(key[1]))):
        before, request, here = known.get(key), requests.get(key), readings[key]
        # Two pod templates of one variant are a rollout: which engine is which is then not sure.
        if request is None or len(here) != 1:
            after = before
        else:
            variant = next(v for v in state.variants if (v.pool, v.parallelism) == key)
            after = _taught_by(state, variant, (before, here[0], request), now)
        if after is not None:
            yield after


def _requests(
    state: DeploymentState, market: Market
) -> Iterator[tuple[tuple[str, Parallelism], CapacityRequest]]:
    """Yield what runs, as the performance model asks it; nothing where figures are unknown."""
    if state.policy is None:
        return
    query = query_of(state, state.policy, state.policy.shape, market)
    for variant in state.variants:
        pool = market.pools.get(variant.pool)
        request = None if pool is None else request_of(query, pool, variant.parallelism)
        if request is not None:
            yield (variant.pool, variant.parallelism), request


def _taught_by(
    state: DeploymentState,
    variant: VariantState,
    lesson: tuple[Calibration | None, VariantReading, CapacityRequest],
    now: float,
) -> Calibration:
    before, reading, request = lesson
    if before is None or before.revision != reading.revision:
        before = Calibration(
            namespace=state.key.namespace,
            name=state.key.name,
            pool=variant.pool,
            parallelism=variant.parallelism,
            accelerator=request.accelerator.name,
            model=state.spec.model.name,
            engine=request.engine,
            revision=reading.revision,
            scales=prior(),
            updated=now,
        )
    if not is_of(before, state, request):
        return before  # these pods still run what the spec asked for before
    moment = Moment(now=now, window_s=state.load.window_s, ready_s=variant.youngest_ready_s or 0.0)
    return learn(before, reading, request, moment)


def _order(one: Calibration) -> tuple[str, str, str, tuple[int, int, int]]:
    return one.namespace, one.name, one.pool, _degrees(one.parallelism)


def _degrees(parallelism: Parallelism) -> tuple[int, int, int]:
    return parallelism.tensor, parallelism.pipeline, parallelism.expert
