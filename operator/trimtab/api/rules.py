"""Rules that no schema keyword can say, each said twice: in CEL and in Python, side by side.

A rule over several fields stands in the `RULES` of its model; a rule over one value stands in the
`Annotated` type of the field. Either way it ends up both in pydantic's validation and in the
`x-kubernetes-validations` of the CRD, and the integration tests hold that the two sides agree.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_snake
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from trimtab.units import parse_duration, parse_quantity

VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What must hold for a value."""

    cel: str
    """The rule for the API server, in CEL; `self` is the value."""
    holds: Callable[[Any], bool]
    """The same rule for us."""
    message: str
    """What must be so and what to write instead, for a person."""
    field: str = ""
    """In the `RULES` of a model: the field to change, as users spell it."""

    def check(self, value: Any) -> Any:
        """Return `value`.

        Raises:
            PydanticCustomError: The rule does not hold; pydantic makes a ValidationError of it.
        """
        if not self.holds(value):
            text = f"{self.field}: {self.message}" if self.field else self.message
            # Braces would be placeholders there, so the text goes in as one.
            details = {"text": text, "field": self.field, "message": self.message}
            raise PydanticCustomError("rule", "{text}", details)
        return value

    def validation(self) -> dict[str, str]:
        """Return the entry for `x-kubernetes-validations`."""
        entry = {"rule": self.cel, "message": self.message}
        if self.field:
            entry["fieldPath"] = f".{self.field}"
        return entry

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        result = handler(schema)
        result[VALIDATIONS] = [*result.get(VALIDATIONS, []), self.validation()]
        return result


def lasting(least: str, most: str) -> Rule:
    """Return the rule that a duration lies between `least` and `most`, both included."""
    low, high = parse_duration(least), parse_duration(most)
    return Rule(
        cel=f"duration(self) >= duration('{least}') && duration(self) <= duration('{most}')",
        holds=lambda text: low <= parse_duration(text) <= high,
        message=f"must be between {least} and {most}",
    )


def positive(most: int) -> Rule:
    """Return the rule that a decimal string is above 0 and at most `most`."""
    return Rule(
        cel=f"double(self) > 0.0 && double(self) <= {most}.0",
        holds=lambda text: 0 < float(text) <= most,
        message=f"must be above 0 and at most {most}",
    )


def at_most(most: int) -> Rule:
    """Return the rule that a decimal string is at most `most`."""
    return Rule(
        cel=f"double(self) <= {most}.0",
        holds=lambda text: float(text) <= most,
        message=f"must be at most {most}",
    )


def sized(least: str, most: str) -> Rule:
    """Return the rule that a Kubernetes quantity lies between `least` and `most`, both included."""
    low, high = parse_quantity(least), parse_quantity(most)
    return Rule(
        cel=(
            f"quantity(self).compareTo(quantity('{least}')) >= 0"
            f" && quantity(self).compareTo(quantity('{most}')) <= 0"
        ),
        holds=lambda text: low <= parse_quantity(text) <= high,
        message=f"must be between {least} and {most}",
    )


def ordered(field: str, other: str) -> Rule:
    """Return the rule that `field` is at most `other`, where both are set. For numbers."""
    low, high = to_snake(field), to_snake(other)
    return Rule(
        field=field,
        cel=f"!has(self.{field}) || !has(self.{other}) || self.{field} <= self.{other}",
        holds=lambda self: (
            getattr(self, low) is None
            or getattr(self, high) is None
            or getattr(self, low) <= getattr(self, high)
        ),
        message=f"must not be more than {other}: lower it or raise {other}",
    )


def needs(field: str, other: str) -> Rule:
    """Return the rule that `field` is set only together with `other`."""
    here, there = to_snake(field), to_snake(other)
    return Rule(
        field=field,
        cel=f"!has(self.{field}) || has(self.{other})",
        holds=lambda self: getattr(self, here) is None or getattr(self, there) is not None,
        message=f"means nothing without {other}: set {other} or remove it",
    )


def excludes(field: str, other: str) -> Rule:
    """Return the rule that `field` and `other` are not both set."""
    here, there = to_snake(field), to_snake(other)
    return Rule(
        field=field,
        cel=f"!has(self.{field}) || !has(self.{other})",
        holds=lambda self: getattr(self, here) is None or getattr(self, there) is None,
        message=f"contradicts {other}: remove one of the two",
    )
