"""How many bytes of weights the steps of a real run can have read, whatever its label says.

In seconds of the engine's log without prompts a step takes as long as the batch over the tokens
per second (each running request gets one token of each). What its keys and values, launches and
engine take by the model is subtracted, and the rest read as weights at the share of the bandwidth
that the device shows everywhere else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.accuracy.files import rows
from bench.accuracy.runs import Run
from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.performance.efficiency import efficiency_of
from trimtab.performance.fit import weight_bytes
from trimtab.performance.steptime import step_model

CROWDS = (16, 32, 64, 128)
"""Requests in the batch between which seconds of the log are taken together."""

REFUTED = 2.0 / 3.0
"""Share of the weights of its label that the steps of a run must have had the time to read."""


@dataclass(frozen=True)
class WeightsRead:
    """What the steps of some seconds read, on average."""

    batch: float
    step_s: float
    kv_s: float
    """Of it, by the model: keys and values."""
    rest_s: float
    """And all that is no reading."""
    weight_bytes: float
    """What can have been read in the remainder."""


def weights_read(run: Run) -> list[WeightsRead]:
    """Return what the steps of `run` read by size of the batch, in ascending order."""
    seconds = list(_seconds(run))
    edges = (0, *CROWDS, 10**9)
    groups = [[one for one in seconds if low <= one.batch < high] for low, high in pairwise(edges)]
    return [_mean(group) for group in groups if len(group) > 1]


def refuted(run: Run) -> bool:
    """Tell whether no step of the log of `run` is long enough for the weights of its label."""
    most = max(group.weight_bytes for group in weights_read(run))
    return most < REFUTED * label_bytes(run, run.dtype)


def label_bytes(run: Run, dtype: str) -> float:
    """Return the bytes of all weights of the model of `run`, stored as `dtype`."""
    geometry = geometries.get(run.model)
    assert geometry is not None
    return weight_bytes(geometry, dtype)


def _seconds(run: Run) -> Iterator[WeightsRead]:
    geometry, accelerator = geometries.get(run.model), accelerators.get(run.device)
    assert geometry is not None
    assert accelerator is not None
    step = step_model(geometry, accelerator, Parallelism(), EngineSettings(weight_dtype=run.dtype))
    rate = accelerator.bandwidth * efficiency_of(accelerator).weight_read
    log = [{k: float(v) for k, v in row.items()} for row in rows(f"{run.file}_engine")]
    requests = [{k: float(v) for k, v in row.items()} for row in rows(run.file)]
    for before, now in pairwise(log):
        quiet = not (before["prompt_throughput"] or now["prompt_throughput"] or now["waiting"])
        batch = 0.5 * (before["running"] + now["running"])
        if not quiet or batch < 2.0 or not now["gen_throughput"]:
            continue
        step_s = batch / now["gen_throughput"]
        kv_s = step.kv_s * _held(requests, 0.5 * (before["t"] + now["t"]))
        rest_s = step.fixed_s + batch * (step.row_s + step.link_token_s)
        left_s = max(step_s - kv_s - rest_s, 0.0)
        yield WeightsRead(
            batch=batch, step_s=step_s, kv_s=kv_s, rest_s=rest_s, weight_bytes=left_s * rate
        )


def _held(requests: Sequence[dict[str, float]], at: float) -> float:
    """Tokens in the cache, of those that decode."""
    held = 0.0
    for one in requests:
        first = one["arrival_s"] + one["ttft_s"]
        if first <= at < one["arrival_s"] + one["e2e_s"]:
            held += one["input_tokens"] + 1.0 + (at - first) / max(one["tpot_s"], 1e-9)
    return held


def _mean(group: Sequence[WeightsRead]) -> WeightsRead:
    def mean(name: str) -> float:
        values: list[float] = [getattr(one, name) for one in group]
        return sum(values) / len(values)

    return WeightsRead(
        batch=mean("batch"),
        step_s=mean("step_s"),
        kv_s=mean("kv_s"),
        rest_s=mean("rest_s"),
        weight_bytes=mean("weight_bytes"),
    )
