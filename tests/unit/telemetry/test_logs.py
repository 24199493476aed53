"""One line is one JSON object, whatever is logged."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from trimtab.telemetry import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("DEBUG", stream=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


HOSTILE = [
    "line\nbreak\r\n{}",
    "\x1b[31mred\x00\x07",
    '"} or vector(1e9) #',
    "\u202eright to left",
    "\u2028\u2029\x85",
    "😀" * 2000,
    "x" * 1_000_000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_field_stays_inside_its_line(stream: io.StringIO, text: str) -> None:
    structlog.get_logger("test").info("seen", name=text, **{text[:100]: 1})
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    assert line.isascii()
    record = json.loads(line)
    assert record["event"] == "seen"
    assert len(record["name"]) <= 1024
    assert record["name"][:20] == text[:20]


def test_messages_of_libraries_are_json_too(stream: io.StringIO) -> None:
    logging.getLogger("some.library").warning("it\nbroke: %s", "here")
    (record,) = lines(stream)
    assert record["event"] == "it\nbroke: here"
    assert record["logger"] == "some.library"
    assert record["level"] == "warning"


def test_an_exception_keeps_its_end(stream: io.StringIO) -> None:
    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        raise ValueError("the reason")

    try:
        deep(50)
    except ValueError:
        structlog.get_logger("test").exception("failed")
    (record,) = lines(stream)
    assert record["exception"].endswith("ValueError: the reason")
    assert len(record["exception"]) <= 1024


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": {1, 2}}, object()])
def test_every_value_is_valid_json(stream: io.StringIO, value: object) -> None:
    structlog.get_logger("test").info("seen", value=value)
    (record,) = lines(stream)
    assert isinstance(record["value"], str)


def test_text_is_for_people(stream: io.StringIO) -> None:
    logs.configure(form=logs.LogFormat.TEXT, stream=stream)
    structlog.get_logger("test").info("seen", value=1)
    assert "seen" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
    assert "\x1b" not in stream.getvalue()


def test_chatter_of_kopf_is_left_out_and_its_errors_are_not(stream: io.StringIO) -> None:
    logging.getLogger("kopf.objects").info("Handler 'x' succeeded.")
    logging.getLogger("kopf").warning("OS signals are ignored: running not in the main thread.")
    logging.getLogger("kopf").error("Request attempt failed")
    assert [record["event"] for record in lines(stream)] == ["Request attempt failed"]
