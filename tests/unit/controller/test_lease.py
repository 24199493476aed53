"""The elector: one leader at a time, on the monotonic clock, and never a write too late."""

import copy
import threading
from typing import Any

import pytest

from trimtab.actuate.writer import WriteFailed
from trimtab.config import OperatorConfig
from trimtab.controller.lease import Elector
from trimtab.errors import LostLeadership, Unavailable

Document = dict[str, Any]


class FakeLease:
    """The Lease of an API server that can be made to fail."""

    def __init__(self) -> None:
        self.lease: Document | None = None
        self.version = 0
        self.down = False
        self.writes: list[str] = []

    def read(self) -> Document | None:
        self._answer()
        return copy.deepcopy(self.lease)

    def create(self, spec: Document) -> Document:
        self._answer()
        if self.lease is not None:
            raise WriteFailed("exists", refused=False, status=409)
        return self._store({"metadata": {"name": "trimtab"}, "spec": spec})

    def replace(self, lease: Document) -> Document:
        self._answer()
        if self.lease is None:
            raise WriteFailed("gone", refused=True, status=404)
        if lease["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise WriteFailed("changed", refused=False, status=409)
        return self._store(copy.deepcopy(lease))

    def _answer(self) -> None:
        if self.down:
            raise WriteFailed("no answer", refused=False)

    def _store(self, lease: Document) -> Document:
        self.version += 1
        lease["metadata"]["resourceVersion"] = str(self.version)
        self.lease = lease
        self.writes.append(lease["spec"]["holderIdentity"])
        return copy.deepcopy(lease)


class World:
    """A Lease and the electors that want it, on one monotonic clock."""

    def __init__(self) -> None:
        self.store = FakeLease()
        self.now = 1000.0

    def elector(self, name: str, wall: float = 0.0) -> Elector:
        """An elector whose wall clock is off by `wall` seconds."""
        return Elector(
            store=self.store,
            config=OperatorConfig(identity=name),
            clock=lambda: self.now,
            now=lambda: self.now + wall,
        )

    def holder(self) -> str:
        assert self.store.lease is not None
        return str(self.store.lease["spec"]["holderIdentity"])


@pytest.fixture
def world() -> World:
    return World()


def try_step(elector: Elector) -> None:
    """Step, as the loop does: what the server does not do is tried again."""
    try:
        elector.step()
    except LostLeadership:
        raise
    except Unavailable:
        pass


def test_the_first_takes_it_and_others_wait(world: World) -> None:
    one, two = world.elector("one"), world.elector("two")
    one.step()
    two.step()
    assert (one.leading, two.leading) == (True, False)
    one.gate()
    with pytest.raises(LostLeadership):
        two.gate()


def test_a_holder_that_renews_keeps_it_for_ever(world: World) -> None:
    one, two = world.elector("one"), world.elector("two")
    for _ in range(500):
        one.step()
        two.step()
        world.now += 2.0
        assert one.leading
    assert set(world.store.writes) == {"one"}
    assert world.store.lease is not None
    assert world.store.lease["spec"]["leaseTransitions"] == 0


@pytest.mark.parametrize("wall", [-3600.0, 0.0, 300.0, 3600.0])
def test_a_dead_holder_is_replaced_after_the_duration_whatever_the_wall_clocks_say(
    world: World, wall: float
) -> None:
    one, two = world.elector("one"), world.elector("two", wall)
    one.step()
    began = world.now
    while not two.leading:
        two.step()
        world.now += 1.0
        assert world.now - began < 60
    assert 15 <= world.now - began <= 18
    assert not one.leading


def test_writes_end_five_seconds_before_another_may_begin(world: World) -> None:
    one, two = world.elector("one"), world.elector("two")
    one.step()
    began, last_write, first_write = world.now, 0.0, None
    while first_write is None:
        try_step(two)
        if one.leading:
            last_write = world.now
        if two.leading:
            first_write = world.now
        world.now += 0.5
    assert last_write - began < 10
    assert first_write - last_write >= 5


def test_a_server_that_is_down_ends_the_lead_after_ten_seconds(world: World) -> None:
    one = world.elector("one")
    one.step()
    world.store.down = True
    for _ in range(4):
        world.now += 2.0
        with pytest.raises(Unavailable):
            one.step()
        assert one.leading
    world.now += 2.0
    assert not one.leading
    with pytest.raises(LostLeadership):
        one.step()


def test_a_short_outage_is_survived(world: World) -> None:
    one = world.elector("one")
    one.step()
    world.store.down = True
    world.now += 8.0
    try_step(one)
    world.store.down = False
    one.step()
    world.now += 8.0
    assert one.leading


def test_a_process_that_slept_writes_nothing_when_it_wakes(world: World) -> None:
    one = world.elector("one")
    one.step()
    world.now += 90.0
    with pytest.raises(LostLeadership):
        one.gate()
    with pytest.raises(LostLeadership):
        one.step()
    assert world.store.writes == ["one"]


def test_a_forged_holder_ends_the_lead(world: World) -> None:
    one = world.elector("one")
    one.step()
    assert world.store.lease is not None
    forged = copy.deepcopy(world.store.lease)
    forged["spec"]["holderIdentity"] = "mallory"
    world.store.replace(forged)
    world.now += 2.0
    try_step(one)  # its version is old
    with pytest.raises(LostLeadership, match="mallory"):
        one.step()


def test_a_deleted_lease_is_made_again_by_its_holder(world: World) -> None:
    one, two = world.elector("one"), world.elector("two")
    one.step()
    world.store.lease = None
    world.now += 2.0
    try_step(one)
    one.step()
    two.step()
    assert (one.leading, two.leading, world.holder()) == (True, False, "one")


def test_two_that_start_together_do_not_both_lead(world: World) -> None:
    electors = [world.elector(name) for name in ("one", "two", "three")]
    for _ in range(20):
        for elector in electors:
            try_step(elector)
        world.now += 1.0
        assert sum(elector.leading for elector in electors) == 1


def test_a_released_lease_is_taken_at_once_and_nothing_is_written_any_more(world: World) -> None:
    one, two = world.elector("one"), world.elector("two")
    one.step()
    one.release()
    with pytest.raises(LostLeadership):
        one.gate()
    two.step()
    assert two.leading
    assert world.store.lease is not None
    assert world.store.lease["spec"]["leaseTransitions"] == 1


def test_a_restarted_process_of_the_same_name_takes_its_own_lease_back(world: World) -> None:
    world.elector("pod-a").step()
    again = world.elector("pod-a")
    again.step()
    assert again.leading


def test_it_runs_until_it_is_stopped_and_says_once_that_it_leads(world: World) -> None:
    stop, told = threading.Event(), []

    def acquired() -> None:
        told.append(world.holder())
        stop.set()

    turns = []
    world.elector("one").run(stop, acquired, lambda: turns.append(1))
    assert told == ["one"]
    assert turns


def test_a_lost_lease_ends_the_run(world: World) -> None:
    def lose() -> None:
        world.now += 60.0

    elector = world.elector("one")
    elector.config = OperatorConfig(identity="one", lease_retry_s=0.0)
    with pytest.raises(LostLeadership):
        elector.run(threading.Event(), lose, lambda: None)
