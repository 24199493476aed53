"""Garbage is looked for rarely, and found for all that."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from trimtab.controller.garbage import keep


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def left_as_found() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
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


def test_python_looks_through_what_is_young_alone() -> None:
    keep()
    searches = gc.get_stats()[2]["collections"]
    youngest = gc.get_stats()[0]["collections"]
    alive = [Knot() for _ in range(200_000)]
    assert gc.get_stats()[0]["collections"] > youngest + 5
    assert gc.get_stats()[2]["collections"] == searches
    assert len(alive) == 200_000
