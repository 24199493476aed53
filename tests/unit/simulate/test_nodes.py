"""Nodes: packing, growth within what can be had, idle ones given back, reclaims."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trimtab.simulate.nodes import NODE_IDLE_S, Node, PoolRules, Room
from trimtab.simulate.timeline import Timeline


def room(**over: Any) -> tuple[Room, Timeline]:
    values: dict[str, Any] = {
        "name": "h100",
        "per_node": 8,
        "grows": True,
        "provisioning": lambda: 100.0,
        "limits": [(0.0, 32)],
        "reclaim_after": None,
        "notice_s": 30.0,
    }
    timeline = Timeline()
    return Room(PoolRules(**(values | over)), timeline, np.random.default_rng(0)), timeline


def play(timeline: Timeline, until: float) -> None:
    while (following := timeline.next(until)) is not None:
        now, action = following
        action(now)


def test_pods_fill_the_fullest_node_that_has_room() -> None:
    pool, _ = room()
    pool.open(2, 0.0)
    first = pool.place(4)
    second = pool.place(8)
    third = pool.place(2)

    assert first is not None
    assert second is not None
    assert second is not first
    assert third is first
    assert first.free == 2
    assert pool.place(4) is None


def test_nodes_are_ordered_for_all_pods_that_wait_not_for_each() -> None:
    pool, timeline = room()
    arrived: list[float] = []
    pool.on_room = arrived.append

    assert pool.order([2, 2, 2, 2, 4], 0.0) == 0
    # The same pods ask again: two nodes are on their way already.
    assert pool.order([2, 2, 2, 2, 4], 10.0) == 0
    play(timeline, 99.0)
    assert pool.nodes == 0
    play(timeline, 100.0)
    assert pool.nodes == 2
    assert arrived == [100.0, 100.0]


def test_what_cannot_be_had_is_said() -> None:
    pool, timeline = room(limits=[(0.0, 8), (50.0, 16)])

    assert pool.order([8, 8, 8], 0.0) == 2
    play(timeline, 60.0)
    assert pool.limit == 16
    assert pool.order([8, 8, 8], 60.0) == 1
    # A pod that no node can hold is never had.
    assert pool.order([16], 60.0) == 1


def test_an_empty_node_is_given_back_after_a_while_and_a_used_one_is_not() -> None:
    pool, timeline = room()
    pool.open(2, 0.0)
    node = pool.place(1)
    assert node is not None
    play(timeline, NODE_IDLE_S)
    assert pool.nodes == 1
    pool.release(node, 1, NODE_IDLE_S)
    again = pool.place(8)
    assert again is node
    play(timeline, 10 * NODE_IDLE_S)
    assert pool.nodes == 1


def test_a_pool_that_does_not_grow_keeps_its_nodes() -> None:
    pool, timeline = room(grows=False, limits=[(0.0, 16)])
    pool.open(2, 0.0)
    play(timeline, 1e4)

    assert pool.nodes == 2
    assert pool.order([8], 0.0) == 1
    assert not pool.grow_now()


def test_a_reclaimed_node_takes_nothing_new_and_goes_when_the_notice_is_over() -> None:
    lives = iter([500.0, 1e9, 1e9])
    pool, timeline = room(reclaim_after=lambda: next(lives), grows=False, limits=[(0.0, 8)])
    told: list[tuple[float, float]] = []
    gone: list[float] = []

    def reclaimed(node: Node, now: float, gone_at: float) -> None:
        told.append((now, gone_at))

    pool.on_reclaim = reclaimed
    pool.on_gone = lambda node, now: gone.append(now)
    pool.open(1, 0.0)
    node = pool.place(4)
    assert node is not None
    play(timeline, 510.0)
    assert told == [(500.0, 530.0)]
    assert pool.place(1) is None
    assert pool.devices == 8
    play(timeline, 530.0)
    assert gone == [530.0]
    assert pool.devices == 0


actions = st.lists(
    st.tuples(st.sampled_from(["place", "free"]), st.sampled_from([1, 2, 4, 8])), max_size=40
)
limits = st.lists(st.integers(min_value=0, max_value=6), min_size=1, max_size=4)


@given(actions=actions, limits=limits, lives=st.sampled_from([None, 300.0]))
def test_devices_in_use_never_exceed_those_of_nodes_nor_nodes_what_could_once_be_had(
    actions: Sequence[tuple[str, int]], limits: Sequence[int], lives: float | None
) -> None:
    steps = [(i * 200.0, 8 * nodes) for i, nodes in enumerate(limits)]
    after: Callable[[], float] | None = None if lives is None else lambda: lives
    pool, timeline = room(limits=steps, reclaim_after=after)
    held: list[tuple[Node, int]] = []

    def killed(node: Node, now: float) -> None:
        held[:] = [(at, devices) for at, devices in held if at is not node]

    pool.on_gone = killed
    now, most = 0.0, steps[0][1]
    for action, devices in actions:
        now += 37.0
        play(timeline, now)
        most = max(most, *(limit for at, limit in steps if at <= now))
        if action == "place":
            node = pool.place(devices)
            if node is None:
                pool.order([devices], now)
            else:
                held.append((node, devices))
        elif held:
            node, taken = held.pop()
            pool.release(node, taken, now)
        assert sum(taken for _, taken in held) <= pool.devices
        # A node whose notice runs may already have been replaced.
        assert pool.nodes * 8 <= most
