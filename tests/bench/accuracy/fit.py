"""Fits the constants of efficiency.py and coefficients.py to the rows that are not held out.

Run it as `python -m bench.accuracy.fit` in tests/ (some minutes); it prints the constants, which a
person rounds and writes down. Least squares on logarithms, with Huber's weights against outliers
and a weak pull to where each constant stands.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from bench.accuracy import grid, silicon
from trimtab.models.hardware import Accelerator
from trimtab.models.performance import Infeasible
from trimtab.performance import coefficients, efficiency
from trimtab.performance.capacity import CapacityRequest, replica_of
from trimtab.performance.steptime import Array, step_model

ROUNDS = 10
HUBER_GRID, HUBER_SILICON = 0.10, 0.12
"""Errors beyond which a row counts less."""
WEIGHT_GRID, WEIGHT_SILICON = 1.0, 2.5
"""Of a family's steps together, and of all deployments together, against the pull."""
PULL = 0.7
"""Standard deviation of the pull, in logarithms."""

NODE = 8
"""Devices of one node."""

FAMILIES = ("ampere", "ada", "hopper", "blackwell", "blackwell-rtx")
_FIXED = frozenset({"sustained", "flops_per_watt", "bus"})
_MOST = {"weight_read": 0.92, "expert_read": 0.92, "kv_read": 0.92, "attention": 0.8}
"""No device delivers more of its bandwidth, in the best published measurements."""
_KERNELS = ("_EXPERT_KERNELS", "_LATENT_KERNELS", "_SPARSE_KERNELS", "_LINEAR_KERNELS")


@dataclass(frozen=True)
class Knob:
    """One constant: of a family, of an engine, or a count of kernels."""

    home: str
    field: str
    index: int = 0

    def get(self) -> float:
        """Return its value now."""
        if self.home in efficiency._FAMILIES:
            value = getattr(efficiency._FAMILIES[self.home], self.field)
            return float(value[self.index] if self.field == "bus" else value)
        if self.home in efficiency.ENGINES:
            return float(getattr(efficiency.ENGINES[self.home], self.field))
        return float(getattr(coefficients, self.field))

    def set(self, value: float) -> None:
        """Give it another value, for this process only."""
        if self.home in efficiency._FAMILIES:
            family = efficiency._FAMILIES[self.home]
            changed: Any = value
            if self.field == "bus":
                changed = tuple(
                    value if i == self.index else share for i, share in enumerate(family.bus)
                )
            efficiency._FAMILIES[self.home] = replace(family, **{self.field: changed})
        elif self.home in efficiency.ENGINES:
            engine = replace(efficiency.ENGINES[self.home], **{self.field: value})
            efficiency.ENGINES[self.home] = engine
        else:
            setattr(coefficients, self.field, value)
        step_model.cache_clear()

    @property
    def most(self) -> float:
        """Largest sensible value."""
        if self.home not in efficiency._FAMILIES or self.field.endswith("_s"):
            return math.inf
        return _MOST.get(self.field, 0.95)


@dataclass(frozen=True)
class Block:
    """Rows of one replica: what they measured, and how they are predicted."""

    accelerator: Accelerator
    engine: str
    logs: Array
    huber: float
    weight: float
    predict: Callable[[], Array]

    def residuals(self) -> Array:
        """Return the logarithms of predicted over measured."""
        return np.log(self.predict()) - self.logs


def knobs() -> list[Knob]:
    """Return every constant that is fitted."""
    found = [
        Knob(family, field.name)
        for family in FAMILIES
        for field in fields(efficiency.Efficiency)
        if field.name not in _FIXED
    ]
    found += [Knob(family, "bus", i) for family in FAMILIES for i in range(3)]
    found += [
        Knob(engine, field)
        for engine in efficiency.ENGINES
        if engine != efficiency.NO_ENGINE
        for field in ("step_s", "row_s")
    ]
    return found + [Knob("kernels", name) for name in _KERNELS]


def blocks() -> list[Block]:
    """Return all rows that are not held out, one block for each replica."""
    found: list[Block] = []
    cells = [cell for cell in grid.cells() if not cell.held_out and not _untuned(cell)]
    rows = {f: sum(len(c.measured) for c in cells if c.accelerator.family == f) for f in FAMILIES}
    for cell in cells:
        family = cell.accelerator.family
        found.append(
            Block(
                accelerator=cell.accelerator,
                engine=efficiency.NO_ENGINE,
                logs=np.log(cell.measured),
                huber=HUBER_GRID,
                weight=math.sqrt(400 * WEIGHT_GRID / rows[family]),
                predict=cell.predict,
            )
        )
    deployments = [steady for d in silicon.deployments() if not d.held_out for steady in _steady(d)]
    count = sum(len(d.users) for d in deployments)
    found += [
        Block(
            accelerator=one.request.accelerator,
            engine=one.request.engine.name,
            logs=np.log(one.tpot_s),
            huber=HUBER_SILICON,
            weight=math.sqrt(1000 * WEIGHT_SILICON / count),
            predict=lambda one=one: closed_tpot(one.request, one.users),  # type: ignore[misc]
        )
        for one in deployments
    ]
    return found


def _untuned(cell: grid.Cell) -> bool:
    """Whether the step runs the 8-bit expert kernel that on Hopper is slower than the 16-bit one.

    That vLLM version had no tuned configuration for it; newer ones use another kernel.
    """
    hopper = cell.accelerator.family == "hopper"
    return hopper and cell.dtype == "fp8" and cell.geometry.experts > 0


def _steady(one: silicon.Deployment) -> list[silicon.Deployment]:
    """Return the rows that are no queue, of deployments on one node."""
    replica = replica_of(one.request)
    if isinstance(replica, Infeasible) or one.request.parallelism.devices > NODE:
        return []
    good = (one.users <= replica.slots) & (one.ttft_s < silicon.SATURATED_S)
    if not good.any():
        return []
    return [replace(one, users=one.users[good], tpot_s=one.tpot_s[good], ttft_s=one.ttft_s[good])]


def closed_tpot(request: CapacityRequest, users: Array) -> Array:
    """Return the TPOT of `users` with equal lengths: cheaper than the outlook, within 1 % of it."""
    step = step_model(request.geometry, request.accelerator, request.parallelism, request.engine)
    prompt, steps = request.shape.input_tokens, request.shape.output_tokens - 1.0
    context = prompt + steps / 2.0
    batch = users.copy()
    tpot = users
    for _ in range(3):
        decode_s = step.decode_s(batch, batch * context)
        chunk = np.maximum(request.engine.max_num_batched_tokens - batch, 256.0)
        full = np.floor(prompt / chunk)
        left = prompt - full * chunk
        cached = batch * context
        own_s = full * step.mixed_s(np.minimum(chunk, prompt), prompt / 2.0, batch, cached)
        own_s = own_s + np.where(left > 0, step.mixed_s(left, prompt / 2.0, batch, cached), 0.0)
        extra_s = own_s - (full + (left > 0)) * decode_s
        tpot = decode_s + batch * extra_s / max(steps, 1.0)
        batch = users * steps * tpot / (steps * tpot + own_s)
    return tpot


def concerns(knob: Knob, block: Block) -> bool:
    """Return whether `knob` can change what `block` predicts."""
    if knob.home in efficiency._FAMILIES:
        return block.accelerator.family == knob.home
    return knob.home == "kernels" or block.engine == knob.home


def fit() -> None:
    """Move all constants to the best fit, round by round."""
    all_knobs, all_blocks = knobs(), blocks()
    start = np.log([knob.get() for knob in all_knobs])
    values = start.copy()
    residuals = [block.residuals() for block in all_blocks]
    for turn in range(ROUNDS):
        normal = np.eye(len(all_knobs)) * (0.5 / PULL) ** 2
        gradient = (values - start) * (0.5 / PULL) ** 2
        columns: list[dict[int, Array]] = [{} for _ in all_blocks]
        for k, knob in enumerate(all_knobs):
            knob.set(math.exp(values[k] + 1e-3))
            for b, block in enumerate(all_blocks):
                if concerns(knob, block):
                    columns[b][k] = (block.residuals() - residuals[b]) / 1e-3
            knob.set(math.exp(values[k]))
        for block, residual, slopes in zip(all_blocks, residuals, columns, strict=True):
            weight = block.weight**2 / np.sqrt(1.0 + (residual / block.huber) ** 2)
            for k, left in slopes.items():
                gradient[k] += float((weight * left * residual).sum())
                for other, right in slopes.items():
                    normal[k, other] += float((weight * left * right).sum())
        normal[np.diag_indices_from(normal)] *= 1.05
        step = np.clip(np.linalg.solve(normal, gradient), -0.3, 0.3)
        values = np.minimum(values - step, np.log([knob.most for knob in all_knobs]))
        for knob, value in zip(all_knobs, values, strict=True):
            knob.set(math.exp(value))
        residuals = [block.residuals() for block in all_blocks]
        _report(turn, all_blocks, residuals)
    for knob in all_knobs:
        name = f"{knob.field}[{knob.index}]" if knob.field == "bus" else knob.field
        sys.stdout.write(f"{knob.home:14s} {name:22s} {knob.get():.3g}\n")


def _report(turn: int, all_blocks: list[Block], residuals: list[Array]) -> None:
    for name, of_engine in (("steps", False), ("deployments", True)):
        errors = np.concatenate(
            [
                np.abs(np.expm1(residual))
                for block, residual in zip(all_blocks, residuals, strict=True)
                if (block.engine != efficiency.NO_ENGINE) == of_engine
            ]
        )
        sys.stdout.write(f"round {turn + 1}: {name} median error {np.median(errors):.3f}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    fit()
