"""Requests of three real vLLM runs, played again through the simulated engine.

The third is labelled 16 bit and is also played with 8-bit weights: see docs/accuracy.md.
"""

from dataclasses import dataclass

from bench.accuracy.files import rows
from bench.accuracy.score import Pair
from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.performance.efficiency import ENGINES
from trimtab.performance.fit import kv_tokens
from trimtab.performance.steptime import step_model
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Finished, Request
from trimtab.simulate.pace import Pace


@dataclass(frozen=True)
class Run:
    """What is known of a run: the settings that its authors published."""

    file: str
    model: str
    device: str
    max_num_seqs: int
    dtype: str = "none"
    """How its weights are stored."""

    @property
    def name(self) -> str:
        """Device, model and what its label does not say."""
        read_as = "" if self.dtype == "none" else f" as {self.dtype}"
        return f"{self.device} {self.model}{read_as}"


_QWEN3 = "vllm_rtxpro6000_qwen3-30b-a3b-instruct-2507"
RUNS = (
    Run("vllm_rtxpro6000_llama-3.1-8b", "Llama-3.1-8B", "nvidia-rtx-pro-6000", 128),
    Run("vllm_rtx4090_llama-3.1-8b", "Llama-3.1-8B", "nvidia-rtx-4090", 256),
    Run(_QWEN3, "Qwen3-30B-A3B", "nvidia-rtx-pro-6000", 256),
    Run(_QWEN3, "Qwen3-30B-A3B", "nvidia-rtx-pro-6000", 256, "fp8"),
)
QUANTILES = (0.5, 0.95)


def replay(run: Run) -> list[Pair]:
    """Return median and p95 of TTFT, TPOT and E2E, and the time of the whole run."""
    measured = [{k: float(v) for k, v in row.items()} for row in rows(run.file)]
    ends = _simulated(run, measured)
    host = ENGINES["vllm"]
    theirs = {
        "TTFT": [row["ttft_s"] for row in measured],
        "TPOT": [row["tpot_s"] for row in measured],
        "E2E": [row["e2e_s"] for row in measured],
    }
    ours = {
        "TTFT": [
            e.first_token_at - e.reached_at + host.request_s for e in ends if e.first_token_at
        ],
        "TPOT": [e.mean_itl_s for e in ends if e.mean_itl_s],
        "E2E": [e.at - e.reached_at + host.request_s for e in ends],
    }
    pairs = [
        Pair(
            group=f"{run.name}|p{share * 100:.0f} {what}",
            predicted=_quantile(ours[what], share),
            measured=_quantile(values, share),
            held_out=False,
        )
        for what, values in theirs.items()
        for share in QUANTILES
    ]
    pairs.append(
        Pair(
            group=f"{run.name}|whole run",
            predicted=max(e.at for e in ends),
            measured=max(row["arrival_s"] + row["e2e_s"] for row in measured),
            held_out=False,
        )
    )
    return pairs


def _simulated(run: Run, measured: list[dict[str, float]]) -> list[Finished]:
    geometry, accelerator = geometries.get(run.model), accelerators.get(run.device)
    assert geometry is not None
    assert accelerator is not None
    settings = EngineSettings(
        max_num_seqs=run.max_num_seqs, max_num_batched_tokens=2048, weight_dtype=run.dtype
    )
    tokens = kv_tokens(geometry, accelerator, Parallelism(), settings)
    assert isinstance(tokens, int)
    times = step_model(geometry, accelerator, Parallelism(), settings)
    engine = Engine(Pace(times, tokens), settings)
    for i, row in enumerate(measured):
        request = Request(
            id=i,
            arrival=row["arrival_s"],
            input_tokens=int(row["input_tokens"]),
            output_tokens=int(row["output_tokens"]),
        )
        engine.submit(request, request.arrival)
    return [event for event in engine.advance(float("inf")) if isinstance(event, Finished)]


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
