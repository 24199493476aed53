"""What all custom resources share: the group, the pydantic base, bounded string types."""

import re
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from trimtab.api.columns import Column
from trimtab.api.rules import VALIDATIONS, Rule
from trimtab.units import DECIMAL_PATTERN, DURATION_PATTERN, MONEY_PATTERN

GROUP = "trimtab.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "llm"

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"^{_LABEL}(\.{_LABEL})*$"
_NAME = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_QUALIFIED_NAME = rf"^({_LABEL}(\.{_LABEL})*/)?{_NAME}$"

Duration = Annotated[str, Field(pattern=DURATION_PATTERN, min_length=2, max_length=32)]
"""A time such as `300ms`, `15m` or `1h30m`."""
Money = Annotated[str, Field(pattern=MONEY_PATTERN, min_length=1, max_length=16)]
"""US dollars as a decimal string."""
DecimalString = Annotated[str, Field(pattern=DECIMAL_PATTERN, min_length=1, max_length=16)]
"""A non-negative number as a decimal string."""
ObjectName = Annotated[str, Field(pattern=_SUBDOMAIN, min_length=1, max_length=63)]
"""The name of an object of ours, of an accelerator or of a namespace."""
ForeignName = Annotated[str, Field(pattern=_SUBDOMAIN, min_length=1, max_length=253)]
"""The name of an object of others, such as a Secret."""
LabelKey = Annotated[str, Field(pattern=_QUALIFIED_NAME, min_length=1, max_length=317)]
"""Key of a label or taint."""
ExtendedResource = Annotated[
    str, Field(pattern=rf"^{_LABEL}(\.{_LABEL})+/{_NAME}$", min_length=3, max_length=128)
]
"""Name of a resource that a device plugin offers, such as `nvidia.com/gpu`."""
LabelValue = Annotated[str, Field(pattern=f"^({_NAME})?$", max_length=63)]
"""Value of a label or taint."""
Generation = Annotated[int, Field(ge=-1, le=2**53)]
"""A `metadata.generation`; -1 before the first."""
Count = Annotated[int, Field(ge=0, le=10**9)]
"""A number of things, in a status."""
Labels = Annotated[
    dict[str, LabelValue],
    Field(min_length=1, max_length=16, json_schema_extra={"x-kubernetes-map-type": "atomic"}),
    Rule(
        cel=f"self.all(key, size(key) <= 317 && key.matches(r'{_QUALIFIED_NAME}'))",
        holds=lambda self: all(
            len(key) <= 317 and re.fullmatch(_QUALIFIED_NAME, key) for key in self
        ),
        message="each key must be the key of a label, such as cloud.google.com/gke-accelerator",
    ),
]
"""Labels that must all be there."""


class ApiEnum(StrEnum):
    """Base of a choice in a manifest, where it is a plain string also to a strict model."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return cast(CoreSchema, {**handler(source), "strict": False})


class ApiModel(BaseModel):
    """Base of everything that stands in a manifest: frozen, camelCase outside, snake_case inside.

    Unknown fields are ignored here: the API server prunes them, and refuses them where the user
    asked for strict validation, so a newer CRD never stops an older operator. Types are strict,
    as the API server's are: `"5"` and `true` are no numbers.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()
    """What must hold between the fields."""

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        for rule in self.RULES:
            rule.check(self)
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        if cls.RULES:
            schema[VALIDATIONS] = [rule.validation() for rule in cls.RULES]
        return schema


class ObjectMeta(ApiModel):
    """The part of Kubernetes object metadata that Trimtab reads."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Resource(ApiModel):
    """Base of a custom resource; the class variables name it to the API server."""

    KIND: ClassVar[str]
    PLURAL: ClassVar[str]
    SINGULAR: ClassVar[str]
    SHORT_NAMES: ClassVar[tuple[str, ...]]
    NAMESPACED: ClassVar[bool]
    COLUMNS: ClassVar[tuple[Column, ...]]
    """What `kubectl get` prints after the name."""
    SELECTABLE: ClassVar[tuple[str, ...]] = ()
    """JSONPaths that `kubectl get --field-selector` knows."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="size(self.metadata.name) <= 63",
            holds=lambda self: len(self.metadata.name) <= 63,
            message="metadata.name must have at most 63 characters, for others refer to it",
        ),
    )

    metadata: ObjectMeta
