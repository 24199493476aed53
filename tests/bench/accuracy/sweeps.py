"""Open loops: rates until the engine saturates."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from bench.accuracy.files import rows
from bench.accuracy.score import Pair
from trimtab.models.load import LatencyTargets
from trimtab.models.performance import Infeasible
from trimtab.performance.capacity import replica_of
from trimtab.performance.meanfield import Replica
from trimtab.performance.outlook import open_loop, saturation_rate
from trimtab.performance.question import Question, request_of

_INFERENCE_PERF = Question(
    model="Llama-3-8B",
    accelerator="nvidia-h100-sxm",
    input_tokens=204,
    output_tokens=62.4,
    # At every saturated stage rate x answer x TPOT is 120 to 124: the engine ran 128 sequences.
    max_num_seqs=128,
    # vLLM 0.11, whose scheduler waits for the device.
    takes_turns=True,
)
"""Its client counts two pieces of the stream for each token, so its own TPOT is half of the time
between tokens: alone 3.5 ms, in which no H100 reads 16 GB of weights, where (latency - TTFT) /
(tokens - 1) is 7.2 ms. That is taken."""
_KAITO_CLIENT_S = 0.266
"""What the client of the Phi-4-mini sweeps and its way to the engine add to each first token: what
the A100 leaves unexplained at its lightest stage. The A10 is a test of it.
"""
_CACHED = 0.95
"""Of the prompts, in the configurations with prefix caching, which repeat them."""


@dataclass(frozen=True)
class Sweep:
    """One engine under rising rates."""

    name: str
    knee: Pair
    """Requests per second at saturation."""
    tpot: list[Pair]
    ttft_p95: list[Pair]
    """Both below the measured knee."""


def sweeps() -> list[Sweep]:
    """Return all sweeps of engines that the model describes."""
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows("openloop_inferenceperf_h100_llama3_8b"):
        groups[row["config"]].append(row)
    found = []
    for config, hit in (("vllm", 0.0), ("vllm_quantization", _CACHED)):
        replica = _replica(_INFERENCE_PERF, hit)
        found.append(
            _sweep(
                f"H100 Llama-3-8B {config}",
                replica,
                [
                    (
                        float(row["requested_rps"]),
                        float(row["done_rps"]),
                        _tpot_s(row),
                        float(row["ttft_p95_ms"]) / 1e3,
                    )
                    for row in groups[config]
                ],
            )
        )
    kaito: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows("openloop_kaito_phi4mini"):
        kaito[row["gpu"]].append(row)
    for gpu, stages in kaito.items():
        question = Question(
            model="phi-4-mini-instruct",
            accelerator=gpu,
            input_tokens=200,
            output_tokens=200,
            # Each sequence of the batch costs what sorting its 200,064 scores does.
            sorted_sampling=True,
        )
        found.append(
            _sweep(
                f"{gpu} Phi-4-mini",
                _replica(question, 0.0),
                [
                    (
                        float(row["rate_rps"]),
                        float(row["ok"] or 0) / float(row["duration_s"] or 1),
                        float(row["itl_mean_ms"]) / 1e3,
                        float(row["ttft_p95_ms"] or "nan") / 1e3,
                    )
                    for row in stages
                ],
                client_s=_KAITO_CLIENT_S,
            )
        )
    return found


def _tpot_s(row: dict[str, str]) -> float:
    later_ms = float(row["latency_mean_ms"]) - float(row["ttft_mean_ms"])
    return later_ms / 1e3 / (float(row["osl_mean"]) - 1.0)


def _replica(question: Question, hit: float) -> Replica:
    request = request_of(question, (), LatencyTargets())
    shape = request.shape
    replica = replica_of(
        type(request)(
            geometry=request.geometry,
            accelerator=request.accelerator,
            parallelism=request.parallelism,
            engine=request.engine,
            shape=type(shape)(
                input_tokens=shape.input_tokens,
                output_tokens=shape.output_tokens,
                prefix_hit=hit,
                input_cv=0.0,
                output_cv=0.0,
            ),
            targets=request.targets,
        )
    )
    assert not isinstance(replica, Infeasible)
    return replica


def _sweep(
    name: str,
    replica: Replica,
    stages: list[tuple[float, float, float, float]],
    client_s: float = 0.0,
) -> Sweep:
    """Score stages of (asked rate, served rate, mean TPOT, p95 TTFT); `client_s` is of TTFT."""
    knee = max(served for _, served, _, _ in stages)
    below = [stage for stage in stages if stage[0] < 0.95 * knee]
    outlook = open_loop(replica, np.array([stage[0] for stage in below]), 0.95)
    return Sweep(
        name=name,
        knee=Pair(group=name, predicted=saturation_rate(replica), measured=knee),
        tpot=[
            Pair(group=name, predicted=float(ours), measured=stage[2])
            for ours, stage in zip(outlook.tpot_mean_s, below, strict=True)
        ],
        ttft_p95=[
            Pair(group=name, predicted=float(ours) + client_s, measured=stage[3])
            for ours, stage in zip(outlook.ttft_s, below, strict=True)
            if stage[3] == stage[3]
        ],
    )
