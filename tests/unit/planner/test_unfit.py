"""Hardware that is too slow for the requests that are seen is left, and teaches no margin."""

from builders import catalogue_pool, planned
from fleetworld import FleetWorld, decision_for, fresh_load
from trimtab.models.load import RUNGS, ObservedLoad, Spread
from trimtab.models.plan import Decision, Verdict, Why
from trimtab.models.signals import Fresh

SLOW = catalogue_pool("slow", "nvidia-l40s", 0.5)
FAST = catalogue_pool("fast", "nvidia-h100-sxm", 4.0)


def there(*pools: object, ttft_ms: int = 1200) -> FleetWorld:
    state = planned(
        model={"name": "meta-llama/Llama-3.1-8B-Instruct", "maxModelLen": 65536},
        latency={"timeToFirstToken": f"{ttft_ms}ms"},
        workload={"inputTokens": 1000, "outputTokens": 250, "requestsPerSecond": "0.5"},
        placement={"tensorParallel": [1]},
    )
    world = FleetWorld(pools=list(pools), deployments={state.key: state}, profiles=())  # type: ignore[arg-type]
    world.set_load(fresh_load(0.5))
    world.run(900.0)
    assert {pool for pool, _ in world.pods[state.key]} == {"slow"}
    return world


def long_ones(**over: object) -> ObservedLoad:
    """One prompt in five has 20,000 tokens or more, and is late unless `over` says otherwise."""
    shares = [0.0] * (len(RUNGS) + 1)
    shares[7], shares[14] = 0.8, 0.2
    seen = {"slo_attainment": Fresh(value=0.8), "inputs": Spread(shares=tuple(shares))}
    return fresh_load(0.5, input_tokens=Fresh(value=4500.0), **(seen | over))


def until_unfit(world: FleetWorld) -> Decision:
    for _ in range(240):
        decision = decision_for(world.tick(), "chat")
        if decision.why is Why.UNFIT:
            return decision
    raise AssertionError(decision.message)


def test_it_moves_to_what_is_fast_enough_and_says_why() -> None:
    world = there(SLOW, FAST)
    world.set_load(long_ones())
    decision = until_unfit(world)
    assert "slow/tp1 will not do: p92.5 TTFT is" in decision.message
    last = world.run(900.0)
    counts = {target.pool: target.replicas for target in decision_for(last, "chat").targets}
    assert counts.get("slow", 0) == 0
    assert counts["fast"] >= 1


def test_what_runs_is_not_left_for_a_few_per_cent() -> None:
    world = there(SLOW, FAST)
    world.set_load(long_ones())
    taken_ms = 0
    for _ in range(240):
        (slow,) = [c for c in decision_for(world.tick(), "chat").candidates if c.pool == "slow"]
        if "TTFT is " in slow.message:
            taken_ms = max(taken_ms, int(slow.message.split("TTFT is ")[1].split(" ms")[0]))
    for over, leaves in ((1.05, False), (1.15, True)):
        world = there(SLOW, FAST, ttft_ms=int(taken_ms / over))
        world.set_load(long_ones())
        reasons = {decision_for(world.tick(), "chat").why for _ in range(240)}
        assert (Why.UNFIT in reasons) == leaves


def long_for(world: FleetWorld, seconds: float = 1800.0) -> set[Why]:
    """Serve prompts of 4,500 tokens in the mean, whose spread nobody tells."""
    world.set_load(fresh_load(0.5, input_tokens=Fresh(value=4500.0)))
    return {decision_for(world.tick(), "chat").why for _ in range(int(seconds / 15.0))}


def test_nor_where_only_the_mean_length_says_so_unless_nothing_else_will_do_either() -> None:
    world = there(SLOW, FAST, ttft_ms=900)
    long_for(world)
    (slow,) = [c for c in decision_for(world.tick(), "chat").candidates if c.pool == "slow"]
    taken_ms = int(slow.message.split("p95 TTFT is ")[1].split(" ms")[0])
    for over, leaves in ((1.05, False), (1.15, True)):
        world = there(SLOW, FAST, ttft_ms=int(taken_ms / over))
        assert (Why.UNFIT in long_for(world)) == leaves
    alone = there(SLOW, ttft_ms=int(taken_ms / 1.05))
    long_for(alone)
    (slow,) = decision_for(alone.tick(), "chat").candidates
    assert slow.verdict is Verdict.MISSES_TTFT


def test_alarms_of_what_is_too_slow_teach_no_margin() -> None:
    world = there(SLOW, FAST)
    world.set_load(long_ones())
    until_unfit(world)
    world.set_load(long_ones(ttft_s=Fresh(value=9.0)))
    while any(pool == "slow" for pool, _ in next(iter(world.pods.values()))):
        world.tick()
        (memory,) = world.memory.deployments
        assert memory.margin == 0.0


def test_where_nothing_is_faster_it_stays_and_grows() -> None:
    world = there(SLOW)
    world.set_load(long_ones(ttft_s=Fresh(value=9.0)))
    before = world.replicas("chat")
    reasons = {decision_for(world.tick(), "chat").why for _ in range(240)}
    assert Why.UNFIT not in reasons
    assert world.replicas("chat") > before


def test_how_lengths_spread_is_remembered_once_and_not_with_every_sample() -> None:
    world = there(SLOW)
    world.set_load(long_ones())
    world.run(300.0)
    (memory,) = world.memory.deployments
    assert memory.shape is not None
    assert memory.shape.inputs is not None
    assert {sample.shape.inputs for sample in memory.samples} == {None}


def test_what_serves_the_long_ones_in_time_stays_whatever_is_believed_of_them() -> None:
    world = there(SLOW, FAST)
    world.set_load(long_ones(slo_attainment=Fresh(value=1.0)))
    reasons = {decision_for(world.tick(), "chat").why for _ in range(240)}
    assert Why.UNFIT not in reasons
    assert {pool for pool, _ in next(iter(world.pods.values()))} == {"slow"}
