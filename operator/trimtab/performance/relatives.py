"""How much slower one replica is than its relative: another device of a family, more devices."""

import math
from dataclasses import dataclass

from trimtab.models.hardware import Accelerator, EngineSettings, ModelGeometry, Parallelism
from trimtab.models.performance import Infeasible
from trimtab.performance.fit import kv_budget_bytes, kv_bytes_per_sequence
from trimtab.performance.steptime import StepModel, step_model

DOUBLING_ERROR = 0.05
"""Relative standard error of what is carried over to twice the devices, and again for each
doubling: the median difference, 3 % for 2 and 6 % for 4 times, between the corrections that 106
pairs of deployments in the measured InferenceX rows need, over 0.67."""
MOST_DOUBLINGS = 2
"""Beyond four times the devices the corrections have nothing in common (20 %, 30 pairs)."""
FAMILY_ERROR = 0.09
"""The same for another device of the family: 6 % in 20 pairs. Both at once tell nothing."""

ROOMY = 0.8
"""Share of the KV cache up to which nobody waits for room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a model runs."""

    accelerator: Accelerator
    tensor: int


def carrying_error(here: Place, there: Place) -> float | None:
    """Return the relative standard error of figures carried from `there` to `here`.

    None where the two are no relatives.
    """
    doublings = abs(math.log2(here.tensor / there.tensor))
    if here.accelerator == there.accelerator:
        return DOUBLING_ERROR * doublings if doublings <= MOST_DOUBLINGS else None
    related = here.accelerator.family == there.accelerator.family and not doublings
    return FAMILY_ERROR if related else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slowdown:
    """Factors on times from one place to another; 1 where both are equally fast."""

    gap: float
    """On the time between two tokens."""
    prompt: float
    """On working off one prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLoad:
    """What the replica was busy with."""

    input_tokens: float
    output_tokens: float
    batch: float
    """Requests that are answered at a time."""


def slowdown(
    geometry: ModelGeometry, quantization: str, places: tuple[Place, Place], load: BatchLoad
) -> Slowdown:
    """Return how much longer everything takes at the second of `places` than at the first.

    The same batch is compared. A gap is a decode step and its share of the prompts of others.
    """
    engine = EngineSettings(weight_dtype=quantization)
    first, second = (
        step_model(geometry, place.accelerator, Parallelism(tensor=place.tensor), engine)
        for place in places
    )
    return Slowdown(
        gap=_gap_s(second, load) / _gap_s(first, load),
        prompt=_prompt_s(second, load) / _prompt_s(first, load),
    )


def holds(geometry: ModelGeometry, quantization: str, place: Place, load: BatchLoad) -> bool:
    """Return whether the batch of `load` finds room in the KV cache at `place`, well below full.

    What a larger memory was busy with says nothing of a smaller one that is overloaded by it.
    """
    longest = load.input_tokens + load.output_tokens
    engine = EngineSettings(weight_dtype=quantization, max_model_len=int(longest) + 1)
    budget = kv_budget_bytes(geometry, place.accelerator, Parallelism(tensor=place.tensor), engine)
    if isinstance(budget, Infeasible):
        return False
    return load.batch * kv_bytes_per_sequence(geometry, longest) <= ROOMY * budget


def _gap_s(step: StepModel, load: BatchLoad) -> float:
    context = load.input_tokens + load.output_tokens / 2
    share = load.batch / load.output_tokens
    return step.decode_s(load.batch, load.batch * context) + share * _prompt_s(step, load)


def _prompt_s(step: StepModel, load: BatchLoad) -> float:
    return step.mixed_s(load.input_tokens, load.input_tokens / 2, 0.0, 0.0)
