"""MLPerf v4.1: the most tokens per second under its limits, on the best number of devices."""

from collections import defaultdict
from dataclasses import replace
from statistics import median

import numpy as np

from bench.accuracy.files import rows
from bench.accuracy.score import Pair
from trimtab.catalog import accelerators
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.performance import Infeasible
from trimtab.performance.capacity import CapacityRequest, replica_of
from trimtab.performance.meanfield import Replica
from trimtab.performance.outlook import open_loop, saturation_rate
from trimtab.performance.question import Question, request_of

TTFT_S, TPOT_S = 2.0, 0.2
"""Limits of the server scenario, at the 99th percentile."""

FITTED = frozenset({("amd-mi300x", "Offline"), ("nvidia-h100-sxm", "Offline")})
"""Results that constants come from: all there is of one device, and large experts at 8 bit."""

_LENGTHS = {"llama2-70b": (294.0, 294.0), "mixtral-8x7b": (256.0, 145.0)}
"""Mean prompt and answer of the data sets; answers follow from tokens over samples."""
_MODELS = {"llama2-70b": "Llama-2-70B", "mixtral-8x7b": "Mixtral-8x7B"}
_PROMPT_CV, _ANSWER_CV = 1.0, 0.8


def results() -> list[Pair]:
    """Return tokens per second and device of each benchmark, accelerator and scenario.

    Measured is the median over submitters.
    """
    groups: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows("mlperf_v4.1_llm"):
        device = accelerators.get(row["accelerator"])
        assert device is not None, row["accelerator"]
        benchmark = row["benchmark"].removesuffix("-99.9").removesuffix("-99")
        groups[benchmark, device.name, row["scenario"]].append(float(row["tokens_s_per_accel"]))
    return [
        Pair(
            group="|".join(key),
            predicted=tokens_per_s(*key),
            measured=median(values),
            held_out=(key[1], key[2]) not in FITTED,
        )
        for key, values in sorted(groups.items())
    ]


def tokens_per_s(benchmark: str, device: str, scenario: str) -> float:
    """Return predicted tokens per second and device, on the best number of devices."""
    return max(_tokens_per_s(request, scenario) for request in requests(benchmark, device))


def requests(benchmark: str, device: str) -> list[CapacityRequest]:
    """Return the benchmark's replica on 1, 2, 4 and 8 devices."""
    accelerator = accelerators.get(device)
    assert accelerator is not None
    prompt, reply = _LENGTHS[benchmark]
    return [
        replace(
            request_of(
                Question(
                    model=_MODELS[benchmark],
                    accelerator=device,
                    quantization="nvfp4" if accelerator.fp4_flops else "fp8",
                    kv_dtype="fp8",
                    tensor_parallel=tensor,
                    engine="vllm" if accelerator.vendor == "amd" else "trtllm",
                    input_tokens=prompt,
                    output_tokens=reply,
                    max_num_seqs=2048,
                    max_num_batched_tokens=8192,
                ),
                (),
                LatencyTargets(),
            ),
            shape=TokenShape(
                input_tokens=prompt,
                output_tokens=reply,
                input_cv=_PROMPT_CV,
                output_cv=_ANSWER_CV,
            ),
        )
        for tensor in (1, 2, 4, 8)
    ]


def _tokens_per_s(request: CapacityRequest, scenario: str) -> float:
    replica = replica_of(request)
    if isinstance(replica, Infeasible):
        return 0.0
    return _most(replica, scenario) * request.shape.output_tokens / request.parallelism.devices


def _most(replica: Replica, scenario: str) -> float:
    most = saturation_rate(replica)
    if scenario == "Offline":
        return most
    rates = most * np.linspace(0.05, 0.999, 80)
    outlook = open_loop(replica, rates, 0.99)
    held = (outlook.ttft_s <= TTFT_S) & (outlook.itl_s <= TPOT_S)
    return float(rates[held].max()) if held.any() else 0.0
