"""A measured number and how far it can be trusted. Unknown is never zero."""

from dataclasses import dataclass
from typing import Literal

from trimtab.units import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """A finite value, complete and recent."""

    value: float
    age_s: float = 0.0
    kind: Literal["fresh"] = "fresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """A finite, recent value that only some of the replicas contributed to."""

    value: float
    reporting: int
    expected: int
    why: str = ""
    """What the others lack, where they report and do not export the series."""
    kind: Literal["partial"] = "partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """The last value that was seen, too old to act on."""

    value: float
    age_s: float
    kind: Literal["stale"] = "stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """No sample exists."""

    why: str
    absent: bool = False
    """Whether replicas report and do not export the series: renamed, or switched off.

    Elsewhere there was nothing to measure, or nobody to measure it.
    """
    kind: Literal["missing"] = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalid:
    """A sample exists but is no usable number: not finite, negative, or out of range."""

    why: str
    kind: Literal["invalid"] = "invalid"


Signal = Fresh | Partial | Stale | Missing | Invalid


def fresh_value(signal: Signal) -> float | None:
    """Return the value that may be acted on in both directions, or None."""
    return signal.value if isinstance(signal, Fresh) else None


def at_least(signal: Signal) -> float | None:
    """Return a value that the truth is not below, for scaling up only, or None.

    What some replicas report is a lower bound of what all of them do.
    """
    return signal.value if isinstance(signal, Fresh | Partial) else None


def describe(signal: Signal) -> str:
    """Return what is wrong with a signal, in words."""
    match signal:
        case Stale():
            return f"last seen {format_duration(signal.age_s) or '0s'} ago"
        case Partial():
            count = f"{signal.reporting} of {signal.expected} replicas report"
            return f"{count}, {signal.why}" if signal.why else count
        case Missing() | Invalid():
            return signal.why
        case Fresh():
            return "fresh"
