"""What choosing the next token costs where it sorts the whole vocabulary."""

from trimtab.models.hardware import Accelerator, EngineSettings, ModelGeometry

SORTED_BYTES = 640.0
"""Bytes that pass through memory for each vocabulary entry of a sequence whose samples are sorted.

Engines without fused sampling kernels cut the top p or k off by sorting all scores: radix passes
over keys and 64-bit indices, scores as 32-bit floats, a running sum and a scatter. Two open-loop
sweeps of a vocabulary of 200,064 took 65 and 255 us for each sequence of the batch beyond all else,
on an A100 and an A10: 660 and 760 bytes at their bandwidths; one of 128,256 on an H100 290.
"""


def sampling_s(geometry: ModelGeometry, accelerator: Accelerator, engine: EngineSettings) -> float:
    """Return seconds for the next token of one sequence: one device chooses for all."""
    if not engine.sorted_sampling:
        return 0.0
    return SORTED_BYTES * geometry.vocab / accelerator.bandwidth
