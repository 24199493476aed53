"""PromQL that cannot be broken out of: every value enters through one of these functions."""

import re
from collections.abc import Iterable, Mapping

from trimtab.errors import InvalidInput

Labels = tuple[tuple[str, str], ...]
"""Names and values."""

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
_ESCAPED = re.compile(r'[\x00-\x1f\x7f"\\]')


def string(value: str) -> str:
    """Return `value` as a PromQL string literal.

    Escapes as Go does (go.dev/ref/spec, string literals), which PromQL follows. What UTF-8 cannot
    hold becomes a question mark: no label has it.
    """
    return '"' + _ESCAPED.sub(lambda match: _escape(match.group()), _utf8(value)) + '"'


def one_of(values: Iterable[str]) -> str:
    """Return a string literal with the RE2 pattern that matches each of `values` and no other."""
    return string("|".join(_SPECIAL.sub(r"\\\g<0>", _utf8(value)) for value in values))


def parse_label(text: str) -> tuple[str, str]:
    """Return the name and value of a label written `NAME=VALUE`.

    Raises:
        InvalidInput: It is not written so.
    """
    name, found, value = text.partition("=")
    if not found or not _LABEL.fullmatch(name):
        raise InvalidInput("prometheusLabel", f"{text!r} is no label", "Write it like cluster=eu-1")
    return name, value


def series(
    metric: str,
    namespaces: Iterable[str] = (),
    where: Iterable[tuple[str, str]] = (),
    matching: Mapping[str, str] | None = None,
) -> str:
    """Return the selector of a metric's series, of some namespaces or of all.

    Args:
        metric: Its name.
        namespaces: Those that are wanted; all where there is none.
        where: Labels that the series have, and their values.
        matching: Labels and what they match, as `one_of` gives it.

    Raises:
        ValueError: A name is none, which is a mistake in a data file.
    """
    names = sorted(namespaces)
    matchers = [f"{_named(label, _LABEL)}={string(value)}" for label, value in where]
    if names:
        matchers.append(f"namespace=~{one_of(names)}")
    for label, pattern in (matching or {}).items():
        matchers.append(f"{_named(label, _LABEL)}=~{pattern}")
    return _named(metric, _METRIC) + (f"{{{','.join(matchers)}}}" if matchers else "")


def labelled(expr: str, labels: Mapping[str, str]) -> str:
    """Return `expr` with labels of constant value on each of its series."""
    for label, value in labels.items():
        constant = string(value.replace("$", "$$"))  # a $ would name a group of the pattern
        expr = f'label_replace({expr}, "{_named(label, _LABEL)}", {constant}, "", "")'
    return expr


def _named(name: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(name):
        raise ValueError(f"{name!r} is no metric name or label")
    return name


def _utf8(value: str) -> str:
    # Before a pattern is escaped, for the question mark is one of its signs.
    return value.encode("utf-8", "replace").decode("utf-8")


def _escape(char: str) -> str:
    return f"\\{char}" if char in '"\\' else f"\\x{ord(char):02x}"
