"""PerformanceProfile: measured speed of a model on an accelerator."""

from typing import Annotated, ClassVar

from pydantic import Field

from trimtab.api.base import ApiModel, DecimalString, Duration, ObjectName, Resource
from trimtab.api.columns import AGE, Column
from trimtab.api.model import ModelName, Quantization
from trimtab.api.rules import lasting, positive


class ProfilePoint(ApiModel):
    """One measurement of one replica under a steady load."""

    input_tokens: int = Field(ge=1, le=10485760)
    """Mean length of a prompt, in tokens."""
    output_tokens: int = Field(ge=1, le=1048576)
    """Mean length of an answer, in tokens."""
    requests_per_second: Annotated[DecimalString, positive(most=1000000)]
    """Requests per second that one replica got, such as "2.5"."""
    percentile: int | None = Field(default=None, ge=50, le=99)
    """Percentile of the latencies, in percent. Default: 95."""
    time_to_first_token: Annotated[Duration, lasting("0.001ms", "24h")]
    """Measured time to the first token (TTFT), such as 212ms."""
    inter_token_latency: Annotated[Duration, lasting("0.001ms", "1h")]
    """Measured gap between two tokens (ITL), such as 21.4ms."""


class PerformanceProfileSpec(ApiModel):
    """What was measured, and on what."""

    model: ModelName
    """Name of the model."""
    accelerator: ObjectName
    """Name of the accelerator."""
    quantization: Quantization | None = None
    """How the weights were stored. Default: none."""
    tensor_parallel: int | None = Field(default=None, ge=1, le=64)
    """Number of devices of one replica. Default: 1."""
    engine: str | None = Field(default=None, min_length=1, max_length=64)
    """Engine and version, such as vllm/0.33.0. Default: unknown."""
    source: str | None = Field(default=None, min_length=1, max_length=256)
    """Who measured it, how and when. Default: unknown."""
    points: list[ProfilePoint] = Field(min_length=1, max_length=200)
    """The measurements, of one token shape or of several."""


class PerformanceProfile(Resource):
    """Measured speed of a model on an accelerator."""

    KIND: ClassVar[str] = "PerformanceProfile"
    PLURAL: ClassVar[str] = "performanceprofiles"
    SINGULAR: ClassVar[str] = "performanceprofile"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("perf",)
    NAMESPACED: ClassVar[bool] = False
    SELECTABLE: ClassVar[tuple[str, ...]] = (".spec.model", ".spec.accelerator")
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column(name="Model", path=".spec.model", description="The model."),
        Column(name="Accelerator", path=".spec.accelerator", description="The accelerator."),
        Column(
            name="TP",
            path=".spec.tensorParallel",
            description="Number of devices of one replica.",
            kind="integer",
        ),
        Column(
            name="Quantization",
            path=".spec.quantization",
            description="How the weights were stored.",
        ),
        Column(name="Engine", path=".spec.engine", description="Engine and version."),
        AGE,
        Column(
            name="Source",
            path=".spec.source",
            description="Who measured it, how and when.",
            wide=True,
        ),
    )

    spec: PerformanceProfileSpec
    """What was measured."""
