"""Durations, money and Kubernetes quantities: from what users write to SI floats and back."""

import re
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from functools import lru_cache

from trimtab.errors import InvalidInput

# The Gateway API's durations (GEP-2257) and fractions of them. Go's ParseDuration reads these, so
# the API server's rules can compare them; it has no days, and the longest cannot overflow it.
DURATION_PATTERN = r"^([0-9]{1,5}(\.[0-9]{1,3})?(h|m|s|ms)){1,4}$"
MONEY_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,6})?$"
DECIMAL_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,6})?$"

_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
            "P": 1e15, "E": 1e18}  # fmt: skip
_QUANTITY = re.compile(r"^([+-]?[0-9.]+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]+)?$")


def parse_duration(text: str, field: str = "duration") -> float:
    """Return the seconds in `text`, such as `300ms`, `15m` or `1h30m`.

    Raises:
        InvalidInput: `text` is no duration.
    """
    if not re.fullmatch(DURATION_PATTERN, text):
        raise InvalidInput(
            field, f"{text!r} is not a duration", "Write it like 300ms, 15m or 1h30m"
        )
    # Summed exactly: two spellings of one time are equal here as they are in the API server.
    return float(sum(Decimal(number) * _SECONDS[unit] for number, unit in _PART.findall(text)))


def format_duration(seconds: float) -> str:
    """Return `seconds` as the shortest duration string that a person reads at a glance."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    if seconds < 10:
        return f"{round(seconds, 1):g}s"
    rest = round(seconds)
    parts = []
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


def parse_decimal(text: str, field: str = "number") -> float:
    """Return the number in a decimal string, such as `"1.25"`.

    Raises:
        InvalidInput: `text` is no plain non-negative decimal.
    """
    if not re.fullmatch(DECIMAL_PATTERN, text):
        raise InvalidInput(field, f"{text!r} is not a decimal number", 'Write it like "1.25"')
    return float(text)


@lru_cache(maxsize=4096)
def format_money(usd: float) -> str:
    """Return US dollars with two decimals, rounded half to even.

    Records name the same few prices thousands of times.
    """
    return str(Decimal(repr(usd)).quantize(Decimal("0.01"), ROUND_HALF_EVEN))


def parse_quantity(text: str | int | float, field: str = "quantity") -> float:
    """Return the value of a Kubernetes quantity, such as `8`, `500m` or `80Gi`.

    Raises:
        InvalidInput: `text` is no quantity.
    """
    match = _QUANTITY.match(str(text).strip())
    if match:
        number, suffix = match.group(1), match.group(2) or ""
        try:
            value = float(Decimal(number))
        except InvalidOperation:
            match = None
        else:
            if suffix in _BINARY:
                return value * _BINARY[suffix]
            if suffix in _DECIMAL:
                return value * _DECIMAL[suffix]
            return value * 10.0 ** int(suffix[1:])
    raise InvalidInput(field, f"{text!r} is not a Kubernetes quantity", "Write it like 8 or 80Gi")
