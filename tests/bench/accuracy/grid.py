"""Step times against a grid of measured kernels, without an engine around them."""

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from bench.accuracy.constants import unmeasured
from bench.accuracy.files import rows
from bench.accuracy.score import Pair
from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import Accelerator, EngineSettings, ModelGeometry, Parallelism
from trimtab.performance.arithmetic import Array
from trimtab.performance.efficiency import NO_ENGINE
from trimtab.performance.steptime import step_model

HELD_OUT = "Qwen3-32B"
"""The model whose steps no constant was fitted to."""

_DTYPES = {"bf16": "none", "fp8": "fp8", "mxfp4": "mxfp4"}


@dataclass(frozen=True)
class Cell:
    """Steps of one model on one device in one phase."""

    accelerator: Accelerator
    geometry: ModelGeometry
    tensor: int
    dtype: str
    phase: str
    batch: Array
    context: Array
    prompt: Array
    measured: Array
    """Seconds."""

    @property
    def held_out(self) -> bool:
        """Whether no constant was fitted to these steps."""
        return self.geometry.name == HELD_OUT

    def predict(self) -> Array:
        """Return the predicted seconds."""
        step = step_model(
            self.geometry,
            self.accelerator,
            Parallelism(tensor=self.tensor),
            EngineSettings(name=NO_ENGINE, weight_dtype=self.dtype),
        )
        return step.mixed_s(self.prompt, self.context / 2.0, self.batch, self.batch * self.context)

    def pairs(self) -> list[Pair]:
        """Return predicted and measured seconds, under accelerator and phase."""
        return [
            Pair(
                group=f"{self.accelerator.name}|{self.phase}",
                predicted=float(ours),
                measured=float(theirs),
                held_out=self.held_out,
            )
            for ours, theirs in zip(self.predict(), self.measured, strict=True)
        ]


def cells() -> list[Cell]:
    """Return all steps on accelerators that the catalogue knows."""
    groups: dict[tuple[str, str, str, str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows("aic_step_grid"):
        if accelerators.get(row["system"]) is not None:
            key = row["system"], row["model"], row["tp"], row["precision"], row["phase"]
            groups[key].append(row)
    return [_cell(group) for group in groups.values()]


def steps() -> list[Pair]:
    """Return predicted and measured steps, grouped by accelerator and phase."""
    return [pair for cell in cells() for pair in cell.pairs()]


def unseen() -> list[Pair]:
    """Return what `steps` does, with each accelerator as if nobody had measured its family."""
    return [
        replace(pair, group=f"{cell.accelerator.name}|{cell.phase}")
        for cell in cells()
        for pair in _unseen(cell).pairs()
    ]


def _unseen(cell: Cell) -> Cell:
    return replace(cell, accelerator=unmeasured(cell.accelerator))


def _cell(group: list[dict[str, str]]) -> Cell:
    first = group[0]
    geometry, accelerator = geometries.get(first["model"]), accelerators.get(first["system"])
    assert geometry is not None
    assert accelerator is not None

    def column(field: str) -> Array:
        return np.array([float(row[field]) for row in group])

    context, nothing = column("context_tokens"), np.zeros(len(group))
    return Cell(
        accelerator=accelerator,
        geometry=geometry,
        tensor=int(first["tp"]),
        dtype=_DTYPES[first["precision"]],
        phase=first["phase"],
        batch=nothing if first["phase"] == "prefill" else column("batch_size"),
        context=context,
        prompt={
            "prefill": context,
            "mixed": column("prefill_chunk_tokens"),
            "decode": nothing,
        }[first["phase"]],
        measured=column("latency_ms") / 1e3,
    )
