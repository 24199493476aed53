"""PromQL that cannot be broken out of: every value enters through one of these functions."""

import re
from collections.abc import Iterable

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
_ESCAPED = re.compile(r'[\x00-\x1f\x7f"\\]')


def string(value: str) -> str:
    """Return `value` as a PromQL string literal.

    Escapes as Go does (go.dev/ref/spec, string literals), which PromQL follows. What UTF-8 cannot
    hold becomes a question mark: no label has it.
    """
    text = value.encode("utf-8", "replace").decode("utf-8")
    return '"' + _ESCAPED.sub(lambda match: _escape(match.group()), text) + '"'


def one_of(values: Iterable[str]) -> str:
    """Return a string literal with the RE2 pattern that matches each of `values` and no other."""
    return string("|".join(_SPECIAL.sub(r"\\\g<0>", value) for value in values))


def series(metric: str, namespaces: Iterable[str] = ()) -> str:
    """Return the selector of a metric's series, of some namespaces or of all.

    Raises:
        ValueError: `metric` is no metric name, which is a mistake in an engine's file.
    """
    if not _METRIC.fullmatch(metric):
        raise ValueError(f"{metric!r} is no metric name")
    names = sorted(namespaces)
    return f"{metric}{{namespace=~{one_of(names)}}}" if names else metric


def _escape(char: str) -> str:
    return f"\\{char}" if char in '"\\' else f"\\x{ord(char):02x}"
