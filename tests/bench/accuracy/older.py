"""Engines of 2023 and 2024: how far today's constants are from them."""

import numpy as np

from bench.accuracy.files import rows
from bench.accuracy.score import Pair
from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.performance.steptime import StepModel, step_model

_MODELS = {"llama2-70b": "Llama-2-70B", "bloom-176b": "BLOOM-176B"}


def splitwise() -> list[Pair]:
    """Return prompt and token times of the 2023 vLLM on DGX machines."""
    pairs = []
    for row in rows("splitwise_a100_h100"):
        step = _step(
            _MODELS[row["model"]], row["hardware"].split("-")[0], int(row["tensor_parallel"])
        )
        prompt, batch = float(row["prompt_size"]), float(row["batch_size"])
        context = prompt + float(row["token_size"]) / 2.0
        predicted = {
            "prompt_ms": step.mixed_s(prompt * batch, prompt / 2.0, 0.0, 0.0),
            "token_ms": step.decode_s(batch, batch * context),
        }
        pairs += [
            Pair(
                group=f"{row['model']} {row['hardware']}|{what.removesuffix('_ms')}",
                predicted=float(seconds),
                measured=float(row[what]) / 1e3,
            )
            for what, seconds in predicted.items()
        ]
    return pairs


def dstack() -> list[Pair]:
    """Return end-to-end times of one batch of Llama-3.1-405B at 8 bit, engines of 2024."""
    pairs = []
    for row in rows("dstack_llama405b_latency_curve"):
        count, _, name = row["gpu"].split()[0].partition("x")
        step = _step("Llama-3.1-405B", name, int(count), "fp8")
        prompt, reply = float(row["input_len"]), float(row["output_len"])
        batch = float(row["batch_size"])
        tokens = np.arange(reply)
        decode = step.decode_s(np.full(len(tokens), batch), batch * (prompt + tokens))
        seconds = float(step.mixed_s(prompt * batch, prompt / 2.0, 0.0, 0.0)) + float(decode.sum())
        pairs.append(
            Pair(
                group=row["gpu"],
                predicted=seconds,
                measured=float(row["end_to_end_latency"]),
            )
        )
    return pairs


def _step(model: str, device: str, tensor: int, dtype: str = "none") -> StepModel:
    geometry, accelerator = geometries.get(model), accelerators.get(device)
    assert geometry is not None, model
    assert accelerator is not None, device
    return step_model(
        geometry, accelerator, Parallelism(tensor=tensor), EngineSettings(weight_dtype=dtype)
    )
