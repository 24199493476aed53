"""A question about one replica in plain names and numbers, and its answer in milliseconds.

What a person types, or a row of a file: the model and the accelerator by name, blanks by default.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trimtab.api.llmdeployment import KVCacheDtype, Quantization
from trimtab.catalog import accelerators, geometries
from trimtab.catalog.storagenames import cache_called, weights_called
from trimtab.errors import InvalidInput
from trimtab.models.hardware import Accelerator, EngineSettings, ModelGeometry, Parallelism
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.performance import Infeasible, Provenance
from trimtab.models.snapshot import Profile
from trimtab.performance.capacity import CapacityRequest, provenance_of, replica_of
from trimtab.performance.guess import geometry_by_size
from trimtab.performance.meanfield import Replica
from trimtab.performance.outlook import Outlook, closed_loops, evaluate_many
from trimtab.performance.profiles import ProfileKey, points_for

_ENGINES = {
    "tensorrt_llm": "trtllm", "tensorrtllm": "trtllm", "trt_llm": "trtllm", "trt": "trtllm",
    "vllm_v1": "vllm", "vllm_openai": "vllm", "vllm/vllm_openai": "vllm",
    "lmsysorg/sglang": "sglang",
}  # fmt: skip
"""What others call the same engine."""
_VERSION = re.compile(r"[\s_=:@v]*\d+\.\d.*$")
"""What may follow the name of an engine: its constants are those of no release."""

_MOST_DEVICES = 1024
_NODE = 16
"""Devices of the largest node."""
_MOST_TOKENS = 10_485_760
"""As much as a manifest admits."""
_MOST_SPREAD = 10.0
_MOST_DRAFTS = 64
_MOST_LOAD = 1e6
_PERCENTILE = 0.95

_LARGE = 70 * 2.0**30
"""Bytes of device memory from which vLLM's own defaults take larger batches."""
_SMALL_BATCHES = frozenset({"ampere"})
"""Families that keep the small ones all the same: vLLM names the A100."""
_SHIPPED_FP8_CACHE = frozenset({"fp8", "nvfp4"})
"""NVIDIA's checkpoints in these formats ask for an fp8 cache, which TensorRT-LLM obeys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One replica under one load; exactly one of `concurrency` and `request_rate` is a number."""

    model: str
    accelerator: str
    quantization: str = "none"
    """As the name of the model says where it is none."""
    kv_dtype: str = "auto"
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    expert_parallel: int = 1
    engine: str = "vllm"
    input_tokens: float = 512
    output_tokens: float = 256
    prefix_hit: float = 0.0
    concurrency: float | None = None
    """Users who each ask again as soon as they are answered."""
    request_rate: float | None = None
    """Requests per second that arrive at random."""
    spread: float = 0.0
    """Standard deviation of both lengths over their means; benchmarks have 0, traffic about 1."""
    sorted_sampling: bool = False
    """See EngineSettings; benchmark tools ask for the likeliest token, which needs no sorting."""
    takes_turns: bool = False
    """See EngineSettings."""
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    max_model_len: int | None = None
    draft_tokens: int = 0
    """Tokens that speculation proposes in each step."""
    accepted_tokens: float = 0.0
    """How many of them are kept, on average."""
    geometry: ModelGeometry | None = None
    """Wins over what the catalogue has for `model`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Milliseconds and shares; None where there is none."""

    ttft_ms: float | None = None
    """Mean, like all without a percentile."""
    ttft_p95_ms: float | None = None
    tpot_ms: float | None = None
    itl_p95_ms: float | None = None
    e2e_ms: float | None = None
    tokens_per_s: float | None = None
    """Answer tokens per second of the replica."""
    kv_utilization: float | None = None
    fits: bool
    reason: str = ""
    """Why it does not fit; Saturated: more is asked than the replica serves; Guessed: the model is
    not known, only the size in its name."""
    provenance: str = Provenance.ESTIMATED.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A question that makes sense, and the replica that it is about."""

    question: Question
    request: CapacityRequest
    replica: Replica | Infeasible


def answer(question: Question, profiles: tuple[Profile, ...] = ()) -> Answer:
    """Return the prediction for `question`.

    Raises:
        InvalidInput: A name is unknown, a number out of range, or the load not given once.
    """
    return answers((prepared(question, profiles),))[0]


def prepared(question: Question, profiles: tuple[Profile, ...] = ()) -> Prepared:
    """Return `question` with its replica.

    Raises:
        InvalidInput: A name is unknown, a number out of range, or the load not given once.
    """
    _check_load(question)
    request = request_of(question, profiles, LatencyTargets(percentile=_PERCENTILE))
    return Prepared(question=question, request=request, replica=replica_of(request))


def answers(asked: Sequence[Prepared]) -> list[Answer]:
    """Return the predictions for all of `asked`: ten thousand take seconds.

    All arrivals at random are evaluated together, and all users who ask in turn.
    """
    replies = [
        Answer(fits=False, reason=f"{one.replica.reason}: {one.replica.message}")
        if isinstance(one.replica, Infeasible)
        else None
        for one in asked
    ]
    for evaluate, in_turn in ((evaluate_many, False), (closed_loops, True)):
        members = [
            (index, one.replica)
            for index, one in enumerate(asked)
            if not isinstance(one.replica, Infeasible)
            and (one.question.concurrency is not None) is in_turn
        ]
        if not members:
            continue
        loads = np.array([_load(asked[index].question) for index, _ in members])
        outlook = evaluate([replica for _, replica in members], loads, _PERCENTILE)
        for row, (index, _) in enumerate(members):
            replies[index] = _answer(asked[index], outlook, row)
    return [reply for reply in replies if reply is not None]


def _answer(one: Prepared, outlook: Outlook, row: int) -> Answer:
    return Answer(
        ttft_ms=float(outlook.ttft_mean_s[row]) * 1e3,
        ttft_p95_ms=float(outlook.ttft_s[row]) * 1e3,
        tpot_ms=float(outlook.tpot_mean_s[row]) * 1e3,
        itl_p95_ms=float(outlook.itl_s[row]) * 1e3,
        e2e_ms=float(outlook.e2e_mean_s[row]) * 1e3,
        tokens_per_s=float(outlook.rate[row]) * one.question.output_tokens,
        kv_utilization=float(outlook.kv_utilization[row]),
        fits=True,
        reason=_remark(one.request.geometry, saturated=bool(outlook.saturated[row])),
        provenance=provenance_of(one.request).value,
    )


def _remark(geometry: ModelGeometry, *, saturated: bool) -> str:
    remarks = ["Saturated"] if saturated else []
    if geometry.guessed:
        remarks.append(
            f"Guessed: nothing is known of the model but the size in its name; taken as "
            f"{geometry.name}, give its config.json with --config"
        )
    return "; ".join(remarks)


def _load(question: Question) -> float:
    given = question.request_rate if question.concurrency is None else question.concurrency
    return float(given or 0.0)


def _check_load(question: Question) -> None:
    if (question.concurrency is None) == (question.request_rate is None):
        raise InvalidInput(
            "concurrency", "and request_rate are both given or both missing", "Give one of them"
        )
    name = "request_rate" if question.concurrency is None else "concurrency"
    _check_range(name, _load(question), 0.0 if name == "request_rate" else 1.0, _MOST_LOAD)


def request_of(
    question: Question, profiles: tuple[Profile, ...], targets: LatencyTargets
) -> CapacityRequest:
    """Return `question` as the performance model asks it.

    Raises:
        InvalidInput: A name is unknown or a number out of range.
    """
    geometry = (
        question.geometry or geometries.get(question.model) or geometry_by_size(question.model)
    )
    if geometry is None:
        raise InvalidInput(
            "model",
            f"{question.model!r} is not in the catalogue, and its name states no size",
            f"Give its config.json with --config, or spec.model.architecture in an LLMDeployment"
            f"{_like(geometries.alike(question.model))}",
        )
    accelerator = accelerators.get(question.accelerator)
    if accelerator is None:
        raise InvalidInput(
            "accelerator",
            f"{question.accelerator!r} is not in the catalogue",
            f"Use one of {', '.join(accelerators.names())}"
            + _like(accelerators.alike(question.accelerator)),
        )
    question = _spelt(question)
    _check(question)
    _check_split(question, geometry)
    key = ProfileKey(
        model=question.model,
        accelerator=accelerator.name,
        quantization=question.quantization,
        tensor=question.tensor_parallel,
    )
    return CapacityRequest(
        geometry=geometry,
        accelerator=accelerator,
        parallelism=Parallelism(
            tensor=question.tensor_parallel,
            pipeline=question.pipeline_parallel,
            expert=question.expert_parallel if geometry.experts else 1,
        ),
        engine=_engine(question, accelerator),
        shape=TokenShape(
            input_tokens=question.input_tokens,
            output_tokens=question.output_tokens,
            prefix_hit=question.prefix_hit,
            input_cv=question.spread,
            output_cv=question.spread,
        ),
        targets=targets,
        points=points_for(profiles, key),
    )


def _like(names: tuple[str, ...]) -> str:
    return f"; names like it: {', '.join(names)}" if names else ""


def _engine(question: Question, accelerator: Accelerator) -> EngineSettings:
    """Settings that are not given are those that vLLM's server starts with on such a device."""
    large = accelerator.memory_bytes >= _LARGE and accelerator.family not in _SMALL_BATCHES
    kv_dtype = question.kv_dtype
    if (
        kv_dtype == "auto"
        and question.engine == "trtllm"
        and question.quantization in _SHIPPED_FP8_CACHE
    ):
        kv_dtype = "fp8"
    longest = int(question.input_tokens + question.output_tokens)
    return EngineSettings(
        name=question.engine,
        weight_dtype=question.quantization,
        kv_dtype=kv_dtype,
        max_model_len=question.max_model_len or max(longest, 2048),
        max_num_seqs=question.max_num_seqs or (1024 if large else 256),
        max_num_batched_tokens=question.max_num_batched_tokens or (8192 if large else 2048),
        sorted_sampling=question.sorted_sampling,
        takes_turns=question.takes_turns,
        draft_tokens=question.draft_tokens,
        accepted_tokens=question.accepted_tokens,
    )


def _spelt(question: Question) -> Question:
    said = question.engine.lower().replace("-", "_")
    engine = _VERSION.sub("", said).replace(" ", "_")
    return replace(
        question,
        quantization=weights_called(question.quantization, question.model),
        kv_dtype=cache_called(question.kv_dtype),
        engine=_ENGINES.get(engine, engine),
    )


def _check(question: Question) -> None:
    for name, value, allowed in (
        ("quantization", question.quantization, [one.value for one in Quantization]),
        ("kv_dtype", question.kv_dtype, [one.value for one in KVCacheDtype]),
    ):
        if value not in allowed:
            raise InvalidInput(name, f"{value!r} is unknown", "Use one of " + ", ".join(allowed))
    for name, number, least, most in (
        ("tensor_parallel", question.tensor_parallel, 1, _MOST_DEVICES),
        ("pipeline_parallel", question.pipeline_parallel, 1, _MOST_DEVICES),
        ("expert_parallel", question.expert_parallel, 1, _MOST_DEVICES),
        ("input_tokens", question.input_tokens, 1, _MOST_TOKENS),
        ("output_tokens", question.output_tokens, 1, _MOST_TOKENS),
        ("prefix_hit", question.prefix_hit, 0, 1),
        ("spread", question.spread, 0, _MOST_SPREAD),
        ("draft_tokens", question.draft_tokens, 0, _MOST_DRAFTS),
        ("accepted_tokens", question.accepted_tokens, 0, question.draft_tokens),
        ("max_num_seqs", question.max_num_seqs, 1, _MOST_TOKENS),
        ("max_num_batched_tokens", question.max_num_batched_tokens, 1, _MOST_TOKENS),
        ("max_model_len", question.max_model_len, 2, 2 * _MOST_TOKENS),
    ):
        if number is not None:
            _check_range(name, number, least, most)


def _check_split(question: Question, geometry: ModelGeometry) -> None:
    """Refuse what engines refuse: heads, layers and experts that cannot be shared out."""
    tensor, heads = question.tensor_parallel, geometry.heads
    if heads % tensor:
        fits = ", ".join(str(n) for n in range(1, min(heads, _NODE) + 1) if heads % n == 0)
        raise InvalidInput(
            "tensor_parallel", f"{tensor} does not divide {heads} heads", f"Use one of {fits}"
        )
    _check_range("pipeline_parallel", question.pipeline_parallel, 1, geometry.layers)
    if geometry.experts:
        _check_range("expert_parallel", question.expert_parallel, 1, geometry.experts)


def _check_range(name: str, number: float, least: float, most: float) -> None:
    """Refuse a number outside of its range; one that is none compares as false, so is outside."""
    if not least <= number <= most:
        raise InvalidInput(
            name, f"{number:g} is out of range", f"Write a number from {least:g} to {most:g}"
        )
