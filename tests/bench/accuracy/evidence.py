"""The rows that constants are fitted to, with how each is predicted; no held-out row is among them.

Steps of the grid, TPOT and TTFT of deployments on one node, and of MLPerf the offline results of
the H100 SXM, whose Mixtral is the only model with large experts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bench.accuracy import grid, mlperf, silicon
from bench.accuracy.constants import KERNELS_ONLY
from bench.accuracy.score import Pair
from trimtab.models.performance import Infeasible
from trimtab.performance.arithmetic import Array
from trimtab.performance.capacity import CapacityRequest, replica_of
from trimtab.performance.efficiency import NO_ENGINE
from trimtab.performance.steptime import step_model

HUBER_GRID, HUBER_SILICON, HUBER_FIRST = 0.10, 0.12, 0.25
"""Errors beyond which a row counts less."""
WEIGHT_GRID, WEIGHT_SILICON, WEIGHT_MLPERF = 400.0, 2500.0, 40.0
"""Of a family's steps together, of all deployments together, and of one audited result, against
the pull to where the fit starts."""

_NODE = 8
"""Devices of one node."""


@dataclass(frozen=True)
class Block:
    """Rows of one replica: what they measured, and how they are predicted."""

    family: str
    engine: str
    logs: Array
    huber: float
    weight: float
    predict: Callable[[], Array]

    def residuals(self) -> Array:
        """Return the logarithms of predicted over measured."""
        return np.log(self.predict()) - self.logs

    def loss(self, residuals: Array) -> float:
        """Return the pseudo-Huber loss of `residuals`."""
        scaled = np.sqrt(1.0 + (residuals / self.huber) ** 2) - 1.0
        return float(2.0 * (self.weight * self.huber) ** 2 * scaled.sum())


def of_steps(without: tuple[str, ...] = ()) -> list[Block]:
    """Return what decides step times, one block for each replica.

    Nothing of models whose names start with one of `without`.
    """
    cells = [cell for cell in _cells() if not cell.geometry.name.startswith(without)]
    found = _timed([c for c in cells if c.accelerator.family not in KERNELS_ONLY])
    found += _served(_steady(without), "tpot_s", HUBER_SILICON)
    return found + [_audited(pair) for pair in mlperf.results() if not pair.held_out]


def of_kernels() -> list[Block]:
    """Return the steps of devices of which only kernels were timed, one block for each replica."""
    return _timed([cell for cell in _cells() if cell.accelerator.family in KERNELS_ONLY])


def _cells() -> list[grid.Cell]:
    return [cell for cell in grid.cells() if not cell.held_out and not _untuned(cell)]


def _timed(cells: list[grid.Cell]) -> list[Block]:
    families = {cell.accelerator.family for cell in cells}
    rows = {f: sum(len(c.measured) for c in cells if c.accelerator.family == f) for f in families}
    return [
        Block(
            family=cell.accelerator.family,
            engine=NO_ENGINE,
            logs=np.log(cell.measured),
            huber=HUBER_GRID,
            weight=math.sqrt(WEIGHT_GRID / rows[cell.accelerator.family]),
            predict=cell.predict,
        )
        for cell in cells
    ]


def of_first_tokens(without: tuple[str, ...] = ()) -> list[Block]:
    """Return what decides the time to the first token, as `of_steps`.

    Nothing that NVIDIA measured: its client's time is in it (`silicon.OTHER_CLIENT`).
    """
    alone = [
        one
        for one in _steady(without)
        if one.request.parallelism.ranks == 1 and not one.other_client
    ]
    return _served(alone, "ttft_s", HUBER_FIRST)


def of_limits() -> list[Block]:
    """Return what decides power limits: TTFT and TPOT of Hopper's deployments on one device.

    They run for long enough to reach the limit, and no exchange between devices keeps them from it.
    """
    alone = [
        one
        for one in _steady()
        if one.request.accelerator.family == "hopper" and one.request.parallelism.devices == 1
    ]
    return _served(alone, "ttft_s", HUBER_FIRST) + _served(alone, "tpot_s", HUBER_SILICON)


def _served(steady: list[silicon.Deployment], what: str, huber: float) -> list[Block]:
    """Return one block for each replica; `what` it measured is predicted under the same name."""
    count = sum(len(one.users) for one in steady)
    return [
        Block(
            family=one.request.accelerator.family,
            engine=one.request.engine.name,
            logs=np.log(getattr(one, what)),
            huber=huber,
            weight=math.sqrt(WEIGHT_SILICON / count),
            predict=lambda one=one: getattr(served(one.request, one.users), what),  # type: ignore[misc]
        )
        for one in steady
    ]


def _untuned(cell: grid.Cell) -> bool:
    """Whether the step runs an expert kernel that deployments do not.

    On Hopper at 8 bit it is slower than the 16-bit one: that vLLM version had no tuned
    configuration. On Blackwell it multiplies mxfp4 weights with 16-bit activations, where
    deployments of gpt-oss, twice as fast, take 8-bit ones.
    """
    dtype = {"hopper": "fp8", "blackwell": "mxfp4", "blackwell-gb200": "mxfp4"}
    return cell.geometry.experts > 0 and dtype.get(cell.accelerator.family) == cell.dtype


def _steady(without: tuple[str, ...] = ()) -> list[silicon.Deployment]:
    """Return the rows that are no queue, of deployments on one node."""
    found = []
    for one in silicon.deployments():
        replica = replica_of(one.request)
        left_out = one.request.geometry.name.startswith(without)
        if one.held_out or left_out or isinstance(replica, Infeasible):
            continue
        good = (one.users <= replica.slots) & (one.ttft_s < silicon.SATURATED_S)
        if good.any() and one.request.parallelism.devices <= _NODE:
            rows = {name: getattr(one, name)[good] for name in ("users", "tpot_s", "ttft_s")}
            found.append(replace(one, **rows))
    return found


@dataclass(frozen=True)
class Served:
    """What each of some users waits for, by number of users. Seconds."""

    tpot_s: Array
    ttft_s: Array


def served(request: CapacityRequest, users: Array) -> Served:
    """Return what `users` with equal lengths wait for who ask again as soon as they are answered.

    Nothing but step times: what the rest of the performance model makes of them does not matter
    to the fit, and is within 1 % of it for TPOT.
    """
    step = step_model(request.geometry, request.accelerator, request.parallelism, request.engine)
    budget = float(request.engine.max_num_batched_tokens)
    prompt, steps = request.shape.input_tokens, request.shape.output_tokens - 1.0
    context = prompt + steps / 2.0
    batch = users.copy()
    tpot_s = own_s = users
    for _ in range(3):
        decode_s = step.decode_s(batch, batch * context)
        chunk = np.maximum(budget - batch, 256.0)
        full = np.floor(prompt / chunk)
        left = prompt - full * chunk
        cached = batch * context
        own_s = full * step.mixed_s(np.minimum(chunk, prompt), prompt / 2.0, batch, cached)
        own_s = own_s + np.where(left > 0, step.mixed_s(left, prompt / 2.0, batch, cached), 0.0)
        extra_s = own_s - (full + (left > 0)) * decode_s
        # One who decodes is in the batch for sure, and meets the prompts of the others alone.
        met = batch + 1.0 - batch / users
        prompts_s = batch * extra_s / max(steps, 1.0) * (1.0 - 1.0 / users)
        tpot_s = step.decode_s(met, met * context) + prompts_s
        batch = users * steps * tpot_s / (steps * tpot_s + own_s)
    alone_s = step.mixed_s(budget, min(prompt, budget) / 2.0, 0.0, 0.0) * prompt / budget
    wave_s = step.wave * (users - 1.0) * alone_s
    ttft_s = own_s + wave_s + step.request_s + step.first_token_steps * tpot_s
    return Served(tpot_s=tpot_s, ttft_s=ttft_s)


def _audited(pair: Pair) -> Block:
    benchmark, device, _ = pair.group.split("|")
    requests = [
        one
        for one in mlperf.requests(benchmark, device)
        if not isinstance(replica_of(one), Infeasible)
    ]

    def tokens_per_s() -> Array:
        return np.array([max(_full_tokens_per_s(one) for one in requests)])

    return Block(
        family=requests[0].accelerator.family,
        engine=requests[0].engine.name,
        logs=np.log([pair.measured]),
        huber=HUBER_SILICON,
        weight=math.sqrt(WEIGHT_MLPERF),
        predict=tokens_per_s,
    )


def _full_tokens_per_s(request: CapacityRequest) -> float:
    """Answer tokens per second and device with as many users as fit, up to the batch limit."""
    replica = replica_of(request)
    assert not isinstance(replica, Infeasible)
    users = np.array([float(replica.slots)])
    steps_s = served(request, users).tpot_s * request.shape.output_tokens
    return float(users[0] * request.shape.output_tokens / steps_s[0]) / request.parallelism.devices
