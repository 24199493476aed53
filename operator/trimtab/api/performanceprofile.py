"""PerformanceProfile: measured speed of a model on an accelerator."""

from typing import ClassVar

from pydantic import Field

from trimtab.api.base import ApiModel, DecimalString, Duration, ObjectName, Resource
from trimtab.api.llmdeployment import ModelName, Quantization


class ProfilePoint(ApiModel):
    """One measurement of one replica under a steady load."""

    input_tokens: int = Field(ge=1, le=10485760)
    """Mean length of a prompt, in tokens."""
    output_tokens: int = Field(ge=1, le=1048576)
    """Mean length of an answer, in tokens."""
    requests_per_second: DecimalString
    """Requests per second that one replica got."""
    percentile: int | None = Field(default=None, ge=50, le=99)
    """Percentile of the latencies. Default: 95."""
    time_to_first_token: Duration
    """Measured TTFT."""
    inter_token_latency: Duration
    """Measured inter-token latency."""


class PerformanceProfileSpec(ApiModel):
    """What was measured, and on what."""

    model: ModelName
    """Name of the model."""
    accelerator: ObjectName
    """Name of the accelerator."""
    quantization: Quantization | None = None
    """How the weights were stored. Default: none."""
    tensor_parallel: int | None = Field(default=None, ge=1, le=64)
    """Devices of one replica. Default: 1."""
    engine: str | None = Field(default=None, max_length=64)
    """Engine and version, such as vllm/0.33.0."""
    source: str | None = Field(default=None, max_length=256)
    """Who measured it, how and when."""
    points: list[ProfilePoint] = Field(min_length=1, max_length=200)
    """The measurements, of one token shape or of several."""


class PerformanceProfile(Resource):
    """Measured speed of a model on an accelerator."""

    KIND: ClassVar[str] = "PerformanceProfile"
    PLURAL: ClassVar[str] = "performanceprofiles"
    SINGULAR: ClassVar[str] = "performanceprofile"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("perf",)
    NAMESPACED: ClassVar[bool] = False

    spec: PerformanceProfileSpec
    """What was measured."""
