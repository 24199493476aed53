"""Numbers as a person reads them in status: rounded, finite, and still while nothing matters."""

import math
from decimal import Decimal

from trimtab.errors import InvalidInput
from trimtab.units import format_duration, format_money, parse_duration

MATERIAL_SHARE = 0.10
"""A number in status moves only when it changes by more than this share."""


def number(value: float | None, digits: int = 3) -> str | None:
    """Return `value` with `digits` significant digits and no exponent; None when not finite."""
    if value is None or not math.isfinite(value):
        return None
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    text = format(round(Decimal(repr(value)), max(places, 0)), "f")
    rounded = text if places >= 0 else str(round(value, places)).removesuffix(".0")
    return rounded.rstrip("0").rstrip(".") if "." in rounded else rounded


def duration(seconds: float | None) -> str | None:
    """Return a latency such as `184ms` or `1.24s`; None when not finite or negative."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return None
    if seconds < 0.9995:
        return format_duration(seconds)
    return f"{number(seconds)}s" if seconds < 60 else format_duration(seconds)


def money(usd: float | None) -> str | None:
    """Return US dollars with two decimals; None when not finite."""
    return None if usd is None or not math.isfinite(usd) else format_money(usd)


def whole(value: float | None) -> int | None:
    """Return `value` as a whole number; None when not finite."""
    return None if value is None or not math.isfinite(value) else round(value)


def share(value: float | None) -> str | None:
    """Return a share as a percentage such as `38%`; None when not finite."""
    return None if value is None or not math.isfinite(value) else f"{round(value * 100)}%"


def moved(old: float | str | None, new: float | str | None) -> bool:
    """Return whether a number changed so much that a person would act on it.

    Args:
        old: The number as published: a number, or text such as `1.24s`, `184ms` or `38%`.
        new: The number as it is now, spelled alike.
    """
    before, after = _value(old), _value(new)
    if before is None or after is None:
        return before is not after
    return abs(after - before) > MATERIAL_SHARE * max(abs(before), abs(after))


def _value(text: float | str | None) -> float | None:
    if text is None or isinstance(text, int | float):
        return text
    try:
        return float(text.removesuffix("%"))
    except ValueError:
        pass
    try:
        return parse_duration(text)
    except InvalidInput:
        return None
