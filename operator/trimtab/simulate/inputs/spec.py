"""What a scenario file may say about a source of requests, checked field by field."""

import math
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, model_validator
from pydantic.alias_generators import to_camel

from trimtab.units import parse_duration


def _seconds(value: object) -> object:
    if isinstance(value, str):
        # Written as in the API; a ValueError lets pydantic name the field.
        try:
            return parse_duration(value)
        except Exception as error:
            raise ValueError(
                f"{value!r} is not a duration: write it like 300ms, 15m or 2h"
            ) from error
    if isinstance(value, bool | int | float) and value != 0:
        raise ValueError(f"{value} has no unit: write it like 300ms, 15m or 2h")
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]
"""Seconds, written as a duration such as `90s` or `2h`."""


class Spec(BaseModel):
    """Base of what stands in a scenario file: frozen, camelCase outside, nothing unknown."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
    )


class NamedTrace(StrEnum):
    """A real trace that comes with Trimtab."""

    AZURE_CONV = "azure-conv"
    AZURE_CODE = "azure-code"
    MOONCAKE = "mooncake"


class ServeGenWorkload(StrEnum):
    """A measured set of clients that comes with Trimtab."""

    M_LARGE = "m-large"
    M_SMALL = "m-small"
    DEEPSEEK_R1 = "deepseek-r1"


class Lengths(Spec):
    """Token counts: lognormal with this mean, or all alike."""

    mean: PositiveFloat
    """Mean count of tokens."""
    cv: float = Field(default=0.0, ge=0, le=20)
    """Standard deviation divided by the mean; 0 makes all alike."""
    most: int = Field(default=131072, ge=1)
    """Longer ones are cut to this."""


class Shape(StrEnum):
    """How a synthetic rate goes over time."""

    STEADY = "steady"
    """`rate` throughout."""
    RAMP = "ramp"
    """From `rate` at `from` in a straight line to `peak` at `until`, and on at `peak`."""
    SPIKE = "spike"
    """`rate`, but `peak` between `from` and `until`."""
    SQUARE = "square"
    """Half of each `period` at `rate`, the other half at `peak`."""
    SAWTOOTH = "sawtooth"
    """In each `period` in a straight line from `rate` to `peak`, then at once back."""
    DIURNAL = "diurnal"
    """A cosine from `rate` (at the start) to `peak` (half a `period` later) and back; the two
    last of every seven periods at `weekend` times that."""
    NOISE = "noise"
    """`rate` times a lognormal factor that is drawn anew every `period`, with deviation `noise`."""


class Arrivals(StrEnum):
    """How requests of one rate are spread."""

    POISSON = "poisson"
    GAMMA = "gamma"
    """Inter-arrival times with the coefficient of variation `cv`."""


class Synthetic(Spec):
    """Made-up requests: a rate over time, arrivals around it, lengths."""

    shape: Shape
    """How the rate goes over time."""
    rate: float = Field(ge=0)
    """Requests/s of the low part."""
    peak: PositiveFloat | None = None
    """Requests/s of the high part; for shapes that have one."""
    period_s: Seconds = Field(default=86400.0, alias="period", gt=0)
    """Length of a period of square, sawtooth, diurnal and noise. Default: 24h."""
    from_s: Seconds = Field(default=0.0, alias="from")
    """Start of a ramp or spike, from the start of the source."""
    until_s: Seconds | None = Field(default=None, alias="until")
    """End of a ramp or spike."""
    weekend: PositiveFloat = 1.0
    """Rate of the last two of every seven diurnal periods, relative to the others."""
    noise: float = Field(default=0.3, gt=0, le=3)
    """Standard deviation of the logarithm of the factor of shape noise."""
    arrivals: Arrivals = Arrivals.POISSON
    """How requests are spread around the rate."""
    cv: float = Field(default=2.0, gt=0, le=20)
    """Coefficient of variation of the times between gamma arrivals."""
    input_tokens: Lengths
    """Prompts."""
    output_tokens: Lengths
    """Answers."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.shape not in (Shape.STEADY, Shape.NOISE) and self.peak is None:
            raise ValueError(f"shape {self.shape} needs peak: give requests/s of its high part")
        ends = self.until_s is not None and self.until_s > self.from_s
        if self.shape in (Shape.RAMP, Shape.SPIKE) and not ends:
            raise ValueError(f"shape {self.shape} needs until: give a time later than from")
        return self


class TimeUnit(StrEnum):
    """Unit of times that are numbers."""

    S = "s"
    MS = "ms"


class Columns(Spec):
    """Names of a file's columns, where they are none of the usual ones."""

    timestamp: str | None = None
    input: str | None = None
    output: str | None = None
    model: str | None = None
    unit: TimeUnit | None = None
    """Unit of the timestamps, where neither their size nor their name tells."""


class PrometheusHistory(Spec):
    """Requests as a Prometheus remembers their rate."""

    url: str = Field(pattern="^https?://")
    """Base URL, such as http://prometheus:9090."""
    query: str = Field(min_length=1)
    """PromQL of one series of requests/s, such as sum(rate(http_requests_total[1m]))."""
    last_s: Seconds = Field(alias="last", gt=0)
    """How far to look back from `until`, such as 24h."""
    until: str | None = None
    """End of the time looked at, in ISO 8601. Default: now."""
    step_s: Seconds = Field(default=60.0, alias="step", gt=0)
    """Distance between two points."""
    input_tokens: Lengths
    """Prompts, which a rate does not tell."""
    output_tokens: Lengths
    """Answers, which a rate does not tell."""


class Source(Spec):
    """Where requests come from: exactly one of trace, servegen, file, synthetic, prometheus."""

    trace: NamedTrace | None = None
    """A real trace that comes with Trimtab."""
    servegen: ServeGenWorkload | None = None
    """A measured set of clients, each with its rate and burstiness, sampled."""
    rate: PositiveFloat | None = None
    """Mean requests/s to sample from servegen over the scenario. Default: as measured."""
    file: str | None = None
    """A CSV, JSONL or inference-perf file, relative to the scenario."""
    columns: Columns = Columns()
    """Names of the file's columns. Default: the usual names."""
    model: str | None = None
    """Only the rows of this model in the file."""
    synthetic: Synthetic | None = None
    """Made-up requests."""
    prometheus: PrometheusHistory | None = None
    """Requests as a Prometheus remembers their rate."""
    skip_s: Seconds = Field(default=0.0, alias="skip")
    """Time left out at the beginning of the source."""
    repeat: bool = True
    """Whether a source that is shorter than the scenario begins again."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        kinds = ("trace", "servegen", "file", "synthetic", "prometheus")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"names {' and '.join(given) or 'none'}: give exactly one of {', '.join(kinds)}"
            )
        if self.rate is not None and self.servegen is None:
            raise ValueError("rate only goes with servegen: use scale beside source")
        return self


class Lognormal(Spec):
    """A time with this median and 95th percentile, lognormal between them."""

    p50_s: Seconds = Field(alias="p50", gt=0)
    p95_s: Seconds = Field(alias="p95", gt=0)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.p95_s < self.p50_s:
            raise ValueError("p95 is below p50: exchange them")
        return self

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm: 1.645 of it lie between median and p95."""
        return math.log(self.p95_s / self.p50_s) / 1.6448536269514722
