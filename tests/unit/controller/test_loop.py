"""The planning loop: wakes on change and on time, one cycle at a time, survives a bad one."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trimtab.config import OperatorConfig
from trimtab.controller.beats import PLANNED, PLANNING
from trimtab.controller.context import Context
from trimtab.controller.loop import plan_for_ever
from trimtab.errors import LostLeadership
from trimtab.observe.kinds import Kind


class Turns:
    """A cycle that notes when it ran and does what the test says."""

    def __init__(self, act: Callable[[int], bool] = lambda _: False) -> None:
        self.at: list[float] = []
        self.act = act
        self.active = 0

    def run(self) -> bool:
        self.active += 1
        assert self.active == 1
        try:
            self.at.append(time.monotonic())
            return self.act(len(self.at))
        finally:
            self.active -= 1


class Running:
    """The loop in a thread of its own."""

    def __init__(self, turns: Turns, **config: Any) -> None:
        self.context = Context(config=OperatorConfig(**config))
        self.turns = turns
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            plan_for_ever(self.context, self.turns.run)
        except BaseException as error:
            self.error = error

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.turns.at) < count and self.thread.is_alive():
            assert time.monotonic() < deadline, f"only {len(self.turns.at)} cycles"
            time.sleep(0.005)

    def stop(self) -> None:
        self.context.end()
        self.thread.join(5)
        assert not self.thread.is_alive()


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(turns: Turns, **config: Any) -> Running:
        started.append(Running(turns, **config))
        return started[-1]

    yield start
    for running in started:
        running.stop()


def count(context: Context, outcome: str) -> float:
    value = context.metrics.registry.get_sample_value("trimtab_cycles_total", {"outcome": outcome})
    return value or 0.0


def test_it_runs_at_once_and_then_every_period(start: Callable[..., Running]) -> None:
    running = start(Turns(), period_s=0.1)
    running.wait_for(4)
    gaps = [after - before for before, after in itertools.pairwise(running.turns.at)]
    assert min(gaps) >= 0.09


def test_a_change_wakes_it_and_changes_that_come_together_are_one(
    start: Callable[..., Running],
) -> None:
    running = start(Turns(), period_s=60.0, debounce_s=0.2)
    running.wait_for(1)
    for _ in range(20):
        running.context.wake.set()
        time.sleep(0.005)
    running.wait_for(2)
    time.sleep(0.4)
    assert len(running.turns.at) == 2


def test_a_change_during_a_cycle_is_not_lost(start: Callable[..., Running]) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def act(_: int) -> bool:
        inside.set()
        go_on.wait(5)
        return False

    running = start(Turns(act), period_s=60.0, debounce_s=0.0)
    assert inside.wait(5)
    running.context.wake.set()
    go_on.set()
    running.wait_for(2)


def test_what_a_cycle_left_is_done_at_once(start: Callable[..., Running]) -> None:
    running = start(Turns(lambda turn: turn < 3), period_s=60.0)
    running.wait_for(3)
    time.sleep(0.1)
    assert len(running.turns.at) == 3


def test_a_cycle_that_fails_is_counted_and_the_next_one_comes(
    start: Callable[..., Running],
) -> None:
    def act(turn: int) -> bool:
        if turn % 2:
            raise ZeroDivisionError("a bug")
        return False

    running = start(Turns(act), period_s=0.01)
    running.wait_for(6)
    running.stop()
    assert running.error is None
    assert count(running.context, "failed") >= 3
    assert count(running.context, "ok") >= 2
    assert running.context.beats.age(PLANNED) is not None
    assert running.context.beats.age(PLANNING) is not None


def test_a_lost_lease_ends_it(start: Callable[..., Running]) -> None:
    def act(_: int) -> bool:
        raise LostLeadership("gone")

    running = start(Turns(act), period_s=0.01)
    running.thread.join(5)
    assert isinstance(running.error, LostLeadership)
    assert len(running.turns.at) == 1


def test_a_cycle_that_is_cut_short_by_the_end_is_no_loss_of_the_lease(
    start: Callable[..., Running],
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def act(_: int) -> bool:
        inside.set()
        go_on.wait(5)
        raise LostLeadership("the process stops")

    running = start(Turns(act), period_s=60.0)
    assert inside.wait(5)
    running.context.end()
    go_on.set()
    running.thread.join(5)
    assert running.error is None


def test_kinds_that_were_listed_anew_are_handed_over_once() -> None:
    context = Context(config=OperatorConfig())
    context.watcher_listed(Kind.NODE)
    context.watcher_listed(Kind.NODE)
    context.watcher_listed(Kind.POD)
    assert context.relist.is_set()
    assert context.take_relisted() == {Kind.NODE, Kind.POD}
    assert not context.relist.is_set()
    assert context.take_relisted() == frozenset()
