"""What is remembered of writes is bounded, and what still matters is not forgotten."""

import pytest

from trimtab.actuate import attempts
from trimtab.actuate.attempts import Attempts
from trimtab.actuate.kinds import Reference
from trimtab.actuate.writer import WriteFailed


def reference(number: int) -> Reference:
    return Reference(kind="Deployment", namespace="a", name=f"chat-{number}")


def test_objects_that_nobody_writes_any_more_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts, "MAX_ENTRIES", 10)
    now = 0.0
    memory = Attempts(clock=lambda: now, jitter=lambda: 0.0)
    live = {"metadata": {"resourceVersion": "1"}}
    for number in range(10):
        memory.succeeded(reference(number), "x", live)
    now = 1000.0
    memory.failed(reference(99), "x", WriteFailed("no", refused=True))
    assert not memory.blocked(reference(0), "x", live)
    assert memory.blocked(reference(99), "x", None)
    assert str(memory.failure(reference(99))) == "no"


def test_something_new_is_tried_at_once_after_a_failure() -> None:
    memory = Attempts(clock=lambda: 0.0, jitter=lambda: 0.0)
    memory.failed(reference(1), "old", WriteFailed("no", refused=True))
    assert memory.blocked(reference(1), "old", None)
    assert not memory.blocked(reference(1), "new", None)


def test_a_failure_ends_when_the_object_is_as_it_should_be() -> None:
    memory = Attempts(clock=lambda: 0.0, jitter=lambda: 0.0)
    memory.failed(reference(1), "x", WriteFailed("no", refused=True))
    memory.settled(reference(1))
    assert memory.failure(reference(1)) is None
    assert not memory.blocked(reference(1), "x", None)
