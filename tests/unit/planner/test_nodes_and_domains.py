"""Replicas land on nodes, not on sums of devices; and no domain takes more with it than is said."""

import itertools
import math
import random
from dataclasses import replace
from typing import Any

from bodies import pool_manifest
from builders import planned, pool, variant_state
from fleetworld import FleetWorld
from trimtab.api.acceleratorpool import AcceleratorPool
from trimtab.models.hardware import Parallelism
from trimtab.models.snapshot import Key
from trimtab.planner.allocate import allocate
from trimtab.planner.ledger import blocks_of
from trimtab.planner.offline import Manifests, snapshot_of
from trimtab.planner.plan import plan
from trimtab.planner.problem import Counts, Option, Problem, Room
from trimtab.planner.shortage import PoolState, survey


def option(name: str, devices: int, **over: Any) -> Option:
    values: dict[str, Any] = {
        "name": name,
        "pool": "a",
        "devices": devices,
        "rps": 10.0 * devices,
        "cost": 1.0 * devices,
        "price": 1.0 * devices,
        "current": 0,
        "lower": 0,
        "upper": 20,
    }
    return Option(**(values | over))


def problem(name: str, rps: float, *options: Option, **over: Any) -> Problem:
    values: dict[str, Any] = {
        "key": Key(namespace="n", name=name),
        "priority": 100,
        "rps": rps,
        "minimum": 1,
        "maximum": 20,
        "surge": 20,
        "money": math.inf,
        "switch": 0.1,
        "options": options,
    }
    return Problem(**(values | over))


def solved(asked: Problem, room: Room) -> Counts:
    return allocate([asked], room)[asked.key].counts


def test_a_replica_of_eight_needs_a_whole_node_and_not_eight_fragments() -> None:
    whole = problem("x", 80.0, option("tp8", 8), option("b/tp8", 8, pool="b", cost=20.0))
    assert solved(whole, Room(free={"a": 8, "b": 8})) == (1, 0)
    assert solved(whole, Room(free={"a": 8, "b": 8}, blocks={("a", 8): 0})) == (0, 1)


def test_fragments_serve_what_is_small() -> None:
    mixed = problem("x", 80.0, option("tp8", 8), option("tp2", 2, cost=3.0))
    room = Room(free={"a": 8}, blocks={("a", 2): 4, ("a", 8): 0})
    assert solved(mixed, room) == (0, 4)


def test_two_deployments_share_the_blocks_of_nodes() -> None:
    # Nodes with 6 and 2 free devices: one block of 4, which only one of them gets.
    room = Room(free={"a": 8, "b": 99}, blocks={("a", 4): 1, ("a", 2): 4})
    asked = [
        problem(n, 40.0, option("tp4", 4), option("b/tp4", 4, pool="b", cost=9.0)) for n in "xy"
    ]
    fleets = allocate(asked, room)
    assert sum(fleets[one.key].counts[0] for one in asked) == 1
    assert not any(fleet.is_short for fleet in fleets.values())


def test_a_plan_puts_nothing_on_fragments_of_nodes() -> None:
    # Eight devices are free, four on each of two nodes: no room for a replica of eight.
    state = planned(placement={"tensorParallel": [8]})
    for node_free, replicas in (((0, 8), 1), ((4, 4), 0), ((), 1)):
        h100 = pool(foreign_devices=8, node_free=node_free)
        there = FleetWorld(pools=[h100], deployments={state.key: state})
        decision = plan(there.snapshot(), there.config).decisions[0]
        assert sum(target.replicas for target in decision.targets) == replicas


def test_a_change_tried_on_a_record_keeps_what_its_nodes_have_free() -> None:
    state = planned(placement={"tensorParallel": [8]})
    there = FleetWorld(
        pools=[pool(foreign_devices=8, node_free=(4, 4))], deployments={state.key: state}
    )
    cheaper = AcceleratorPool.model_validate(pool_manifest("h100", "nvidia-h100-sxm", "1.00"))
    tried, _ = snapshot_of(Manifests(pools=[cheaper]), there.now, there.snapshot())
    (decision,) = plan(tried, there.config).decisions
    assert sum(target.replicas for target in decision.targets) == 0
    (only,) = decision.candidates
    assert only.usd_per_replica_hour == 8.0
    assert only.message.endswith("but 8 devices are free and no node has 8 of them")


def test_nodes_that_may_come_are_whole() -> None:
    h100 = pool(foreign_devices=8, node_free=(4, 4), max_devices=24)
    state = PoolState(pool=h100, promised=0, limit=16, short=False)
    assert blocks_of(state) == {8: 1}


def test_what_waits_for_its_node_has_its_blocks_taken() -> None:
    # 8 + 2 + 2 free: one block of 8, two of 4. A replica of four that has no node yet takes one.
    h100 = pool(devices=12, node_free=(2, 2, 8))
    for waiting, blocks in (
        ((), {4: 2, 8: 1}),
        (((4, 1),), {4: 1, 8: 1}),
        (((1, 2),), {4: 2, 8: 1}),
        (((8, 1),), {4: 0, 8: 0}),
    ):
        promised = sum(size * count for size, count in waiting)
        state = PoolState(pool=h100, promised=promised, limit=12, short=False, waiting=waiting)
        said = blocks_of(state)
        for size, most in blocks.items():
            assert min(said.get(size, 99), state.free // size) == min(most, state.free // size)


def test_replicas_without_a_node_count_as_waiting_whether_their_pods_exist_or_not() -> None:
    made = variant_state(replicas=3, pods=3, unplaced=1, ready=2, parallelism=Parallelism(tensor=4))
    to_come = variant_state(replicas=5, pods=3, parallelism=Parallelism(tensor=2))
    leaving = variant_state(replicas=0, pods=1, ready=0)
    state = planned(variants=(made, to_come, leaving))
    known = pool(node_free=(4, 4))
    states = []
    for each in (known, pool()):
        world = FleetWorld(pools=[each], deployments={state.key: state})
        snapshot = replace(world.snapshot(), deployments=(state,))
        states.append(survey(snapshot, world.config)[0]["h100"].waiting)
    assert states == [((2, 2), (4, 1)), ()]


def test_blocks_say_exactly_what_fits_on_nodes() -> None:
    dice = random.Random(3)
    for _ in range(60):
        nodes = [dice.randrange(9) for _ in range(3)]
        wanted = {size: dice.randrange(4) for size in (4, 2, 1)}
        fits = (
            any(
                packs(nodes, order)
                for order in itertools.permutations(
                    [s for s, n in wanted.items() for _ in range(n)]
                )
            )
            if sum(wanted.values()) <= 6
            else packs(
                nodes, sorted((s for s, n in wanted.items() for _ in range(n)), reverse=True)
            )
        )
        blocks = {("a", size): sum(node // size for node in nodes) for size in (4, 2)}
        room = Room(free={"a": sum(nodes)}, blocks=blocks)
        by_rule = room
        for size, count in wanted.items():
            one = problem(f"s{size}", 0.0, option(f"tp{size}", size))
            by_rule = by_rule.minus(one, (count,))
        left = [*by_rule.free.values(), *by_rule.blocks.values()]
        assert fits == all(amount >= 0 for amount in left), (nodes, wanted)


def packs(nodes: list[int], sizes: list[int] | tuple[int, ...]) -> bool:
    left = list(nodes)
    for size in sizes:
        place = next((i for i, free in enumerate(left) if free >= size), None)
        if place is None:
            return False
        left[place] -= size
    return True


def spot(name: str, domain: str, cost: float = 1.0) -> Option:
    return option(name, 1, pool=name, cost=cost, price=cost, domain=domain)


def test_spot_is_spread_so_that_the_loss_of_a_domain_leaves_what_must_survive() -> None:
    zones = [spot("z1", "z1"), spot("z2", "z2", 1.1), option("od", 1, pool="od", cost=3.0)]
    room = Room(free={"z1": 99, "z2": 99, "od": 99})
    assert solved(problem("x", 40.0, *zones), room) == (4, 0, 0)
    spread = solved(problem("x", 40.0, *zones, survive=20.0), room)
    assert spread == (2, 2, 0)
    # All of it must survive: one zone more than enough is dearer than two that are both enough.
    assert solved(problem("x", 40.0, *zones, survive=40.0), room) == (4, 4, 0)


def test_with_one_domain_the_floor_is_on_demand() -> None:
    options = [spot("z1", "z1"), option("od", 1, pool="od", cost=3.0)]
    room = Room(free={"z1": 99, "od": 99})
    assert solved(problem("x", 40.0, *options, survive=20.0), room) == (2, 2)


def test_what_is_asked_now_comes_before_what_might_be_lost() -> None:
    options = [spot("z1", "z1"), option("od", 1, pool="od", cost=3.0)]
    room = Room(free={"z1": 4, "od": 1})
    asked = problem("x", 40.0, *options, survive=40.0)
    counts = solved(asked, room)
    assert asked.short_rps(counts) == 0
    assert counts[1] == 1
    assert asked.exposed_rps(counts) == 30.0


def test_what_survives_costs_least_by_brute_force() -> None:
    dice = random.Random(5)
    for _ in range(80):
        options = [
            option(
                f"o{i}",
                1,
                pool=f"p{i}",
                domain=dice.choice(["", "z1", "z2", "z3"]),
                rps=dice.randrange(4, 20) / 2,
                cost=dice.randrange(2, 20) / 2,
                upper=3,
            )
            for i in range(3)
        ]
        rps = dice.randrange(5, 40) / 2
        asked = problem("x", rps, *options, survive=rps * dice.choice([0.3, 0.6, 1.0]))
        counts = solved(asked, Room(free={f"p{i}": 99 for i in range(3)}))
        weight = asked.cost(counts) + asked.penalty(counts)
        least = min(
            asked.cost(each) + asked.penalty(each) for each in itertools.product(range(4), repeat=3)
        )
        assert weight <= least * (1 + 1e-5) + 1e-9
