"""The engine model beside real runs of a real vLLM (tests/unit/simulate/data/README.md).

The one run is bound by its batch limit, the other by its KV cache, with preemptions. How well
step times are foretold from data sheets is the business of `trimtab.performance` and its tests.
"""

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

import pytest

from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.performance.fit import kv_tokens
from trimtab.performance.steptime import StepModel, step_model
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Finished, Request
from trimtab.simulate.pace import Pace

DATA = Path(__file__).with_name("data")
MODEL = "meta-llama/Llama-3.1-8B-Instruct"
RTX_4090_KV_TOKENS = 41_408
"""As that engine itself reported."""


@dataclass(frozen=True)
class Scaled:
    """Step times of a device that is faster or slower than its data sheet lets one think."""

    model: StepModel
    factor: float

    def decode_s(self, batch: float, kv_tokens: float) -> float:
        return self.factor * self.model.decode_s(batch, kv_tokens)

    def mixed_s(
        self, prefill_tokens: float, prefill_context: float, batch: float, kv_tokens: float
    ) -> float:
        step = self.model.mixed_s(prefill_tokens, prefill_context, batch, kv_tokens)
        return self.factor * step


@dataclass(frozen=True)
class Served:
    """First-token, per-token and whole latencies of all requests, sorted; the last one's end."""

    ttft: list[float]
    tpot: list[float]
    e2e: list[float]
    end: float

    def quantile(self, what: str, q: float) -> float:
        values: list[float] = getattr(self, what)
        return values[min(len(values) - 1, int(q * len(values)))]


def real(run: str) -> tuple[list[Request], Served]:
    with gzip.open(DATA / f"vllm-0.19-{run}.csv.gz", "rt") as file:
        rows = [{key: float(text) for key, text in row.items()} for row in csv.DictReader(file)]
    requests = [
        Request(
            id=i,
            arrival=row["arrival_s"],
            input_tokens=int(row["input_tokens"]),
            output_tokens=int(row["output_tokens"]),
        )
        for i, row in enumerate(rows)
    ]
    served = Served(
        ttft=sorted(row["ttft_s"] for row in rows),
        tpot=sorted(row["tpot_s"] for row in rows),
        e2e=sorted(row["e2e_s"] for row in rows),
        end=max(row["arrival_s"] + row["e2e_s"] for row in rows),
    )
    return requests, served


def simulated(
    requests: list[Request], device: str, *, max_num_seqs: int, kv: int | None, factor: float = 1.0
) -> Served:
    geometry, accelerator = geometries.get(MODEL), accelerators.get(device)
    assert geometry is not None
    assert accelerator is not None
    settings = EngineSettings(max_num_seqs=max_num_seqs, max_num_batched_tokens=2048)
    capacity = kv or kv_tokens(geometry, accelerator, Parallelism(), settings)
    assert isinstance(capacity, int)
    times = step_model(geometry, accelerator, Parallelism(), settings)
    engine = Engine(Pace(Scaled(times, factor), capacity), settings)
    for request in requests:
        assert engine.submit(request, request.arrival)
    ends = [e for e in engine.advance(float("inf")) if isinstance(e, Finished)]
    return Served(
        ttft=sorted(e.first_token_at - e.reached_at for e in ends if e.first_token_at),
        tpot=sorted(e.mean_itl_s for e in ends if e.mean_itl_s),
        e2e=sorted(e.at - e.reached_at for e in ends),
        end=max(e.at for e in ends),
    )


@pytest.mark.parametrize(
    ("run", "device", "max_num_seqs", "kv"),
    [
        ("rtxpro6000_llama-3.1-8b", "nvidia-rtx-pro-6000", 128, None),
        ("rtx4090_llama-3.1-8b", "nvidia-rtx-4090", 256, RTX_4090_KV_TOKENS),
    ],
)
def test_the_queue_follows_from_the_speed_of_tokens(
    run: str, device: str, max_num_seqs: int, kv: int | None
) -> None:
    """One factor makes tokens as fast as the real ones; queue and batch must then be right."""
    requests, truth = real(run)

    def at(factor: float) -> Served:
        return simulated(requests, device, max_num_seqs=max_num_seqs, kv=kv, factor=factor)

    factor = 1.0
    for _ in range(6):
        factor *= truth.quantile("tpot", 0.5) / at(factor).quantile("tpot", 0.5)
    ours = at(factor)
    for what in ("ttft", "tpot", "e2e"):
        for q in (0.5, 0.95):
            assert ours.quantile(what, q) == pytest.approx(truth.quantile(what, q), rel=0.15)
    assert ours.end == pytest.approx(truth.end, rel=0.05)
