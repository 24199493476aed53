"""Columns of `kubectl get`, declared beside the kind that they show."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column."""

    name: str
    path: str
    """JSONPath in the object, starting with a dot."""
    description: str
    kind: Literal["string", "integer", "date"] = "string"
    wide: bool = False
    """Whether it shows only with `-o wide`."""


AGE = Column(
    name="Age", path=".metadata.creationTimestamp", description="Time since creation.", kind="date"
)
READY = Column(
    name="Ready",
    path='.status.conditions[?(@.type=="Ready")].status',
    description="Status of the condition Ready.",
)
MESSAGE = Column(
    name="Message",
    path='.status.conditions[?(@.type=="Ready")].message',
    description="Message of the condition Ready.",
    wide=True,
)
