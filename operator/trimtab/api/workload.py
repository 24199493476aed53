"""The workload of an LLMDeployment: what is expected of its requests."""

from typing import Annotated, ClassVar

from pydantic import Field

from trimtab.api.base import ApiModel, DecimalString, ObjectName
from trimtab.api.lists import Keyed
from trimtab.api.rules import Rule, at_most


class RequestClass(ApiModel):
    """Requests of about one size."""

    name: ObjectName
    """Name of the class, as the router's rules or the clients know it."""
    weight: int = Field(ge=1, le=1000000)
    """Requests of this class, relative to those of the others."""
    input_tokens: int = Field(ge=1, le=10485760)
    """Mean length of a prompt, in tokens."""
    output_tokens: int = Field(ge=1, le=1048576)
    """Mean length of an answer, in tokens."""


class WorkloadSpec(ApiModel):
    """What is expected until real traffic has been measured."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            field="classes",
            cel=(
                "has(self.classes) ? !has(self.inputTokens) && !has(self.outputTokens)"
                " : has(self.inputTokens) && has(self.outputTokens)"
            ),
            holds=lambda self: (
                (self.input_tokens is None and self.output_tokens is None)
                if self.classes
                else (self.input_tokens is not None and self.output_tokens is not None)
            ),
            message="must be set, or both inputTokens and outputTokens, and not both ways",
        ),
    )

    input_tokens: int | None = Field(default=None, ge=1, le=10485760)
    """Mean length of a prompt, in tokens. Default: that of the classes."""
    output_tokens: int | None = Field(default=None, ge=1, le=1048576)
    """Mean length of an answer, in tokens. Default: that of the classes."""
    classes: (
        Annotated[list[RequestClass], Field(min_length=2, max_length=8), Keyed("name")] | None
    ) = None
    """Requests by their size, in place of inputTokens and outputTokens; what routing BySize tells
    apart. Measured mean lengths make all of them longer or shorter alike; how many are of each is
    taken from here, for engines count no two lengths together. Default: one class."""
    requests_per_second: Annotated[DecimalString, at_most(1000000)] | None = None
    """Requests per second that are expected, such as "4". Default: none, so minReplicas counts."""
    prefix_hit_ratio: Annotated[DecimalString, at_most(1)] | None = None
    """Share of prompt tokens found in the prefix cache, 0 to 1. Default: "0"."""
