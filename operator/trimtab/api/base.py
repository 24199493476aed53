"""What all custom resources share: the group, the pydantic base, bounded string types."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from trimtab.units import DECIMAL_PATTERN, DURATION_PATTERN, MONEY_PATTERN

GROUP = "trimtab.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "llm"

Duration = Annotated[str, Field(pattern=DURATION_PATTERN, max_length=32)]
"""A time such as `300ms`, `15m` or `1h30m`."""
Money = Annotated[str, Field(pattern=MONEY_PATTERN, max_length=16)]
"""US dollars as a decimal string."""
DecimalString = Annotated[str, Field(pattern=DECIMAL_PATTERN, max_length=16)]
"""A non-negative number as a decimal string."""
ObjectName = Annotated[
    str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=63)
]
"""The name of a Kubernetes object."""


class ApiModel(BaseModel):
    """Base of everything that stands in a manifest: frozen, camelCase outside, snake_case inside.

    Unknown fields are ignored here: the API server prunes them, and refuses them where the user
    asked for strict validation, so a newer CRD never stops an older operator.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


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

    metadata: ObjectMeta
