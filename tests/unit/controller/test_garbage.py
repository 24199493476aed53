"""Garbage is looked for rarely, and found for all that."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from trimtab.controller.garbage import keep, sweep


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def left_as_found() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


def test_what_was_kept_before_is_found_once_nothing_refers_to_it() -> None:
    knot = Knot()
    there = weakref.ref(knot)
    keep()
    del knot
    gc.collect()
    assert there() is not None
    keep()
    assert there() is None


def test_garbage_that_came_since_is_found_by_a_sweep_and_by_nothing_else() -> None:
    keep()
    knot = Knot()
    there = weakref.ref(knot)
    del knot
    searches = [each["collections"] for each in gc.get_stats()]
    alive = [Knot() for _ in range(200_000)]
    assert [each["collections"] for each in gc.get_stats()] == searches
    assert there() is not None
    sweep()
    assert there() is None
    assert len(alive) == 200_000
