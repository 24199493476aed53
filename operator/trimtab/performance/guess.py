"""A geometry for a model of which nothing is known but the size that its name states."""

import math
from dataclasses import replace
from functools import lru_cache

from trimtab.catalog import geometries
from trimtab.catalog.modelnames import implied_quantization, sizes_of
from trimtab.models.hardware import ModelGeometry
from trimtab.performance.weights import parameters

_DENSE = ("Qwen3-0.6B", "Qwen3-1.7B", "Qwen3-4B", "Llama-3.1-8B", "Qwen3-14B", "Qwen3-32B",
          "Llama-3.1-70B", "Llama-3.1-405B")  # fmt: skip
_MIXTURES = ("OLMoE-1B-7B", "Qwen3-30B-A3B", "Mixtral-8x7B", "GLM-4.5-Air", "Qwen3-235B-A22B",
             "GLM-4.5", "DeepSeek-V3", "Kimi-K2")  # fmt: skip
"""Models after which most others of their size are shaped."""


@lru_cache(maxsize=1024)
def geometry_by_size(model_name: str) -> ModelGeometry | None:
    """Return the shape of the usual model of the size that `model_name` states, or None.

    The nearest one by parameters in all and for one token, with layers added or taken away until
    the latter are right, then experts until the former are. It is marked as guessed and named after
    the model whose shape it has.
    """
    sizes = sizes_of(model_name)
    if sizes is None:
        return None
    whole, active = sizes
    known = [geometries.get(name) for name in (_DENSE if active >= whole else _MIXTURES)]

    def apart(geometry: ModelGeometry) -> float:
        counts = parameters(geometry)
        return abs(math.log(counts.total / whole)) + abs(math.log(counts.active / active))

    nearest = min((one for one in known if one is not None), key=apart)
    sized = _with_experts(_with_layers(nearest, active), whole)
    return replace(
        sized,
        name=f"{nearest.name} of {sized.layers} layers",
        native_weight_dtype=implied_quantization(model_name) or "none",
        guessed=True,
    )


def _with_layers(shape: ModelGeometry, active: float) -> ModelGeometry:
    """Return `shape` with as many layers as give a token `active` parameters beside the tables."""
    counts = parameters(shape)
    beside = counts.head + counts.embedding if shape.experts == 0 else counts.head
    each = (counts.active - counts.head) / shape.layers
    layers = max(round((active - beside) / each), 1)
    dense = round(shape.dense_layers * layers / shape.layers)
    return replace(shape, layers=layers, dense_layers=min(dense, layers - 1))


def _with_experts(shape: ModelGeometry, whole: float) -> ModelGeometry:
    """Return `shape` with as many experts as give `whole` parameters; dense ones as they are."""
    if not shape.experts:
        return shape
    counts = parameters(shape)
    each = counts.experts / shape.experts
    experts = round((whole - (counts.total - counts.experts)) / each)
    return replace(shape, experts=max(experts, shape.active_experts))
