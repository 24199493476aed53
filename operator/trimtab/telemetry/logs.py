"""Logs: one line is one JSON object, whatever text of users or servers ends up in it."""

import logging
import math
import sys
from collections.abc import MutableMapping
from enum import StrEnum
from typing import Any, TextIO

import structlog

MAX_FIELD = 1024
"""Characters of one field; of a traceback the last ones are kept, for they name the error."""


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    TEXT = "text"


_OWN_MESSAGE = "OS signals are ignored"
"""kopf warns so because it does not run in the main thread, where our own handlers are."""


def configure(
    level: str = "INFO", form: LogFormat = LogFormat.JSON, stream: TextIO | None = None
) -> None:
    """Send all logs of this process, those of libraries too, to `stream` (standard output).

    Args:
        level: Lowest level that is logged.
        form: JSON for machines, text for a terminal.
        stream: Where to.
    """
    output = stream or sys.stdout
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Any] = (
        [structlog.processors.format_exc_info, bounded, structlog.processors.JSONRenderer()]
        if form is LogFormat.JSON
        else [structlog.dev.ConsoleRenderer(colors=output.isatty())]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(output)
    handler.addFilter(lambda record: _OWN_MESSAGE not in str(record.msg))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Libraries say at INFO and below what only their own authors need.
    for library in ("kopf", "urllib3", "asyncio", "aiohttp", "kubernetes"):
        logging.getLogger(library).setLevel(max(logging.WARNING, root.level))


def bounded(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Cut every field to its bound and make every value one that JSON has (a processor)."""
    return {str(key)[:64]: _bounded(key, value) for key, value in event.items()}


def _bounded(key: str, value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    text = str(value)
    if len(text) <= MAX_FIELD:
        return text
    return "…" + text[1 - MAX_FIELD :] if key == "exception" else text[: MAX_FIELD - 1] + "…"
