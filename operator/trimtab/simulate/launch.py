"""Steps that are too large for a CUDA graph: their kernels are launched one by one."""

from dataclasses import dataclass

from trimtab.models.hardware import EngineSettings, ModelGeometry
from trimtab.performance.steptime import StepModel
from trimtab.simulate.pace import StepTimes

_GRAPHS = "vllm"
"""The engine whose graphs are meant. What others launch was not measured."""
GRAPH_TOKENS = 512
"""Tokens of the largest step that vLLM captures, and twice `max_num_seqs` where that is less."""
EXPERT_LAYER_S = 1.08e-3
"""What launching one layer with routed experts takes. Prompts of 513 to 2,100 tokens that met an
idle vLLM 0.26 on an H100 all took 39 ms in 36 layers, whatever their length, and shorter ones 17
to 23 ms; from 2,200 tokens on the device takes longer. Dense layers show none: 870 tokens of an 8B
take the 20 ms that the device needs."""


@dataclass(frozen=True, slots=True)
class Launched:
    """Step times of which those of large steps are no shorter than launching them takes."""

    step: StepModel
    graph_tokens: int
    """Tokens of the largest step in a graph."""
    launch_s: float
    """Launching the kernels of all layers."""

    def decode_s(self, batch: float, kv_tokens: float) -> float:
        """Return the seconds of a step that only decodes, as `StepTimes.decode_s`."""
        return self._at_least(0.0, batch, self.step.decode_s(batch, kv_tokens))

    def mixed_s(
        self, prefill_tokens: float, prefill_context: float, batch: float, kv_tokens: float
    ) -> float:
        """Return the seconds of a step with parts of prompts, as `StepTimes.mixed_s`."""
        seconds = self.step.mixed_s(prefill_tokens, prefill_context, batch, kv_tokens)
        return self._at_least(prefill_tokens, batch, seconds)

    def _at_least(self, prefill_tokens: float, batch: float, seconds: float) -> float:
        rows = batch / self.step.stages * (1.0 + self.step.drafts)
        if (prefill_tokens + rows) / self.step.ranks <= self.graph_tokens:
            return seconds
        # With speculation `seconds` are those of one token.
        passes = 1.0 + self.step.accepted if not prefill_tokens else 1.0
        return max(seconds, self.launch_s / passes)


def launched(step: StepModel, geometry: ModelGeometry, settings: EngineSettings) -> StepTimes:
    """Return the step times of an engine that has graphs for its smaller steps only."""
    if settings.name != _GRAPHS or not geometry.experts:
        return step
    return Launched(
        step=step,
        graph_tokens=min(GRAPH_TOKENS, 2 * settings.max_num_seqs),
        launch_s=(geometry.layers - geometry.dense_layers) * EXPERT_LAYER_S,
    )
