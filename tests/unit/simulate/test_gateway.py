import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.models.hardware import EngineSettings
from trimtab.models.load import LatencyTargets
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Event, Finished, Request, Steps
from trimtab.simulate.gateway import Gateway, GatewaySettings, Router
from trimtab.simulate.ledger import Digest, Ledger
from trimtab.simulate.pace import Pace
from unit.simulate.reference import Times

INF = float("inf")
LIMITS = EngineSettings(max_model_len=512, max_num_seqs=4, max_num_batched_tokens=128)


def make_engine() -> Engine:
    return Engine(Pace(Times(), 2048), LIMITS)


def make_gateway(
    *,
    router: Router = Router.LEAST_OUTSTANDING,
    queue: int = 1000,
    client_timeout_s: float = 60.0,
    answer_timeout_s: float = INF,
    retries: int = 0,
    targets: LatencyTargets | None = None,
) -> tuple[Gateway, Ledger]:
    ledger = Ledger(targets or LatencyTargets())
    limits = GatewaySettings(
        router=router,
        queue=queue,
        client_timeout_s=client_timeout_s,
        answer_timeout_s=answer_timeout_s,
        retries=retries,
    )
    return Gateway(limits, ledger), ledger


def request(i: int, at: float, *, input_tokens: int = 50, output_tokens: int = 20) -> Request:
    return Request(id=i, arrival=at, input_tokens=input_tokens, output_tokens=output_tokens)


def ignore(_: list[Event]) -> None:
    pass


def test_what_comes_before_a_replica_waits_for_it_and_counts_its_wait() -> None:
    gateway, ledger = make_gateway(targets=LatencyTargets(ttft_s=1.0))
    gateway.arrive(request(0, 1.0))
    gateway.arrive(request(1, 4.5))
    assert (gateway.queued, gateway.accepting) == (2, 0)
    gateway.add("a", make_engine(), ignore, 5.0)
    gateway.advance(10.0)
    assert (gateway.queued, gateway.in_flight, ledger.total.served) == (0, 0, 2)
    assert (ledger.total.met_ttft, ledger.total.met) == (1, 1)
    longest = ledger.total.ttft_s.quantile(1.0)
    assert longest is not None
    assert 4.0 < longest < 4.2


def test_a_full_queue_rejects() -> None:
    gateway, ledger = make_gateway(queue=2)
    for i in range(5):
        gateway.arrive(request(i, float(i)))
    assert (gateway.queued, ledger.total.rejected) == (2, 3)


def test_a_prompt_that_no_engine_takes_is_rejected() -> None:
    gateway, ledger = make_gateway()
    gateway.add("a", make_engine(), ignore, 0.0)
    gateway.arrive(request(0, 1.0, input_tokens=600))
    assert (ledger.total.rejected, gateway.in_flight) == (1, 0)


@pytest.mark.parametrize("served", [False, True])
def test_clients_without_a_first_token_give_up(served: bool) -> None:
    """At the gateway and in the queue of an engine; one that is being answered stays."""
    gateway, ledger = make_gateway(client_timeout_s=2.0)
    if served:
        gateway.add("a", make_engine(), ignore, 0.0)
    for i in range(6):
        gateway.arrive(request(i, 0.0, output_tokens=400))
    gateway.advance(1.9)
    assert ledger.total.timed_out == 0
    gateway.advance(2.0)
    assert ledger.total.timed_out == (2 if served else 6)
    gateway.advance(60.0)
    assert ledger.total.served == (4 if served else 0)
    assert (gateway.in_flight, gateway.queued) == (0, 0)


def test_a_stopping_replica_finishes_and_a_removed_one_loses() -> None:
    gateway, ledger = make_gateway()
    for name in ("stopping", "removed"):
        gateway.add(name, make_engine(), ignore, 0.0)
    for i in range(4):
        gateway.arrive(request(i, 0.1, output_tokens=200))
    gateway.accept("stopping", False, 0.2)
    gateway.remove("removed", 0.3)
    assert ledger.total.lost == 2
    gateway.arrive(request(9, 0.4))
    assert gateway.queued == 1
    gateway.advance(10.0)
    assert (ledger.total.served, gateway.outstanding("stopping")) == (2, 0)


def shares(router: Router) -> list[int]:
    """How requests spread when one of three replicas is occupied from the start."""
    gateway, _ = make_gateway(router=router)
    ended: list[list[Finished]] = [[], [], []]

    def observer(i: int) -> Callable[[list[Event]], None]:
        return lambda events: ended[i].extend(e for e in events if isinstance(e, Finished))

    occupied = make_engine()
    for i in range(30):
        occupied.submit(request(1000 + i, 0.0, output_tokens=400), 0.0)
    for i, engine in enumerate((occupied, make_engine(), make_engine())):
        gateway.add(str(i), engine, observer(i), 0.0)
    for i in range(30):
        gateway.arrive(request(i, 0.05 * i))
    gateway.advance(100.0)
    return [sum(e.request.id < 1000 for e in part) for part in ended]


def test_the_router_minds_what_replicas_have_to_do_or_takes_turns() -> None:
    assert shares(Router.LEAST_OUTSTANDING) == [0, 15, 15]
    assert shares(Router.PREFIX_AWARE) == [0, 15, 15]
    assert shares(Router.ROUND_ROBIN) == [10, 10, 10]
    assert shares(Router.WEIGHTED) == [10, 10, 10]


def test_weights_share_requests_out_also_after_one_joins() -> None:
    gateway, _ = make_gateway(router=Router.WEIGHTED)
    got = {"a": 0, "b": 0, "late": 0}

    def observer(name: str) -> Callable[[list[Event]], None]:
        def observe(events: list[Event]) -> None:
            got[name] += sum(isinstance(event, Finished) for event in events)

        return observe

    gateway.add("a", make_engine(), observer("a"), 0.0, weight=3.0)
    gateway.add("b", make_engine(), observer("b"), 0.0)
    for i in range(80):
        gateway.arrive(request(i, 0.2 * i))
    gateway.advance(100.0)
    assert got == {"a": 60, "b": 20, "late": 0}
    gateway.add("late", make_engine(), observer("late"), 100.0, weight=4.0)
    for i in range(80):
        gateway.arrive(request(100 + i, 100 + 0.2 * i))
    gateway.advance(200.0)
    assert got == {"a": 90, "b": 30, "late": 40}


def hits(router: Router) -> int:
    """Prompt tokens found in caches, with 6 conversations in turn over 3 replicas."""
    limits = EngineSettings(max_model_len=4096, max_num_seqs=4, max_num_batched_tokens=1024)
    gateway, ledger = make_gateway(router=router)
    found: list[int] = []

    def observe(events: list[Event]) -> None:
        found.extend(e.cached_tokens for e in events if isinstance(e, Finished))

    for name in "abc":
        gateway.add(name, Engine(Pace(Times(), 8192), limits), observe, 0.0)
    for i in range(60):
        who = (i * i + i // 7) % 6
        gateway.arrive(
            Request(
                id=i,
                arrival=2.0 * i,
                input_tokens=1100,
                output_tokens=5,
                prefix=(2 * who, 2 * who + 1),
            )
        )
    gateway.advance(1000.0)
    assert ledger.total.served == 60
    return sum(found)


def test_a_prefix_aware_router_finds_prompts_again() -> None:
    """Each conversation is computed once; by turns it is computed on most replicas."""
    aware = hits(Router.PREFIX_AWARE)
    conversations = len({(i * i + i // 7) % 6 for i in range(60)})
    assert aware == (60 - conversations) * 1024
    assert hits(Router.ROUND_ROBIN) < aware


def test_a_client_gives_up_an_answer_that_takes_too_long() -> None:
    gateway, ledger = make_gateway(answer_timeout_s=2.0)
    gateway.add("a", make_engine(), ignore, 0.0)
    gateway.arrive(request(0, 0.0, output_tokens=400))
    gateway.arrive(request(1, 0.0, output_tokens=20))
    gateway.advance(1.99)
    assert (ledger.total.served, ledger.total.timed_out) == (1, 0)
    gateway.advance(2.0)
    assert (ledger.total.served, ledger.total.timed_out) == (1, 1)
    gateway.advance(3.0)
    assert (gateway.in_flight, gateway.outstanding("a")) == (0, 0)


def test_a_client_tries_again_with_longer_and_longer_pauses() -> None:
    """Rejected at 0; again after 1 s, after 2 more, after 4 more (request 0 pauses in full)."""
    gateway, ledger = make_gateway(queue=0, retries=3, targets=LatencyTargets(ttft_s=5.0))
    gateway.arrive(request(0, 0.0))
    gateway.advance(6.99)
    assert (ledger.total.rejected, ledger.total.retried, gateway.in_flight) == (0, 3, 1)
    gateway.add("a", make_engine(), ignore, 6.995)
    gateway.advance(20.0)
    total = ledger.total
    assert (total.arrived, total.served, total.settled, total.met) == (1, 1, 1, 0)
    assert total.ttft_s.quantile(1.0) == pytest.approx(7.01, rel=0.01)


def test_a_client_gives_up_for_good_after_its_last_attempt() -> None:
    gateway, ledger = make_gateway(client_timeout_s=1.0, retries=2)
    gateway.arrive(request(0, 0.0))
    gateway.advance(5.99)  # 1 s, 1 s pause, 1 s, 2 s pause, 1 s
    assert (ledger.total.timed_out, gateway.in_flight) == (0, 1)
    gateway.advance(6.0)
    assert (ledger.total.timed_out, ledger.total.retried, gateway.in_flight) == (1, 2, 0)


def test_what_is_lost_is_tried_elsewhere_unless_its_answer_had_begun() -> None:
    gateway, ledger = make_gateway(retries=1)
    gateway.add("a", make_engine(), ignore, 0.0)
    for i in range(6):
        gateway.arrive(request(i, 0.0, output_tokens=400))
    gateway.advance(1.0)  # four are being answered, two wait
    gateway.add("b", make_engine(), ignore, 1.0)
    gateway.remove("a", 1.0)
    gateway.advance(30.0)
    assert (ledger.total.lost, ledger.total.retried, ledger.total.served) == (4, 2, 2)


@given(seed=st.integers(0, 10_000), router=st.sampled_from(Router))
@settings(deadline=None, max_examples=60)
def test_looking_more_often_changes_nothing(seed: int, router: Router) -> None:
    """Engines that are left alone until they matter do what they do when always advanced."""

    def fates(look: bool) -> tuple[list[Finished], list[int]]:
        dice = random.Random(seed)
        gateway, ledger = make_gateway(
            router=router, client_timeout_s=1.5, answer_timeout_s=4.0, retries=2
        )
        ends: list[Finished] = []
        now = 0.0
        for i in range(120):
            now += dice.expovariate(8)
            if i in (0, 10, 60):
                gateway.add(str(i), make_engine(), ends_into(ends), now)
            if i == 90:
                gateway.remove("10", now)
            if look:
                gateway.advance(now)
            gateway.arrive(request(i, now, input_tokens=dice.randint(1, 400)))
        gateway.advance(now + 100)
        total = ledger.total
        counts = [total.served, total.lost, total.timed_out, total.retried, total.met]
        return sorted(ends, key=lambda end: (end.at, end.request.id)), counts

    assert fates(look=True) == fates(look=False)


def ends_into(ends: list[Finished]) -> Callable[[list[Event]], None]:
    return lambda events: ends.extend(e for e in events if isinstance(e, Finished))


@given(seed=st.integers(0, 10_000), timeout=st.floats(0.5, 5.0))
@settings(deadline=None, max_examples=60)
def test_every_request_has_one_fate(seed: int, timeout: float) -> None:
    """Through replicas that come, stop, start again and go."""
    dice = random.Random(seed)
    gateway, ledger = make_gateway(
        router=dice.choice(list(Router)),
        queue=20,
        client_timeout_s=timeout,
        answer_timeout_s=dice.choice([INF, 3.0]),
        retries=dice.randrange(3),
    )
    names: list[str] = []
    now = 0.0
    for i in range(150):
        now += dice.expovariate(10)
        match dice.randrange(12):
            case 0:
                names.append(f"r{i}")
                gateway.add(names[-1], make_engine(), ignore, now)
            case 1 if names:
                gateway.remove(names.pop(dice.randrange(len(names))), now)
            case 2 if names:
                gateway.accept(dice.choice(names), dice.random() < 0.5, now)
        gateway.arrive(
            request(i, now, input_tokens=dice.randint(1, 530), output_tokens=dice.randint(1, 200))
        )
        assert ledger.total.arrived == i + 1 == ledger.total.settled + gateway.in_flight
    gateway.advance(now + 1000)
    assert gateway.in_flight == gateway.queued == 0
    assert ledger.total.settled == 150
    assert all(gateway.outstanding(name) == 0 for name in names)


@given(
    first_s=st.floats(0.01, 0.2),
    growth_s=st.floats(0.0, 0.01),
    count=st.integers(1, 50),
    decoding=st.integers(1, 9),
)
def test_single_gaps_within_the_target_are_counted_one_by_one(
    first_s: float, growth_s: float, count: int, decoding: int
) -> None:
    ledger = Ledger(LatencyTargets(itl_s=0.1))
    ledger.gaps(
        Steps(
            at=9.0,
            count=count,
            first_s=first_s,
            growth_s=growth_s,
            decoding=decoding,
            prefill_tokens=0,
            prompts_done=0,
        )
    )
    ledger.gap(0.05)
    ledger.gap(0.15)
    within = sum(first_s + growth_s * step <= 0.1 for step in range(count))
    # A step that ends at the target exactly may be rounded either way.
    assert abs(ledger.total.gaps_within - (1 + decoding * within)) <= decoding
    assert ledger.total.gaps == 2 + decoding * count
    assert ledger.total.share_of_gaps == ledger.total.gaps_within / ledger.total.gaps


@given(values=st.lists(st.floats(1e-6, 1e4), min_size=1), q=st.floats(0.01, 1))
def test_quantiles_are_within_a_percent(values: list[float], q: float) -> None:
    digest = Digest()
    for value in values:
        digest.add(value)
    exact = sorted(values)[max(0, -int(-q * len(values) // 1) - 1)]
    found = digest.quantile(q)
    assert found is not None
    neighbours = [v for v in values if v == pytest.approx(found, rel=0.0051)]
    assert neighbours
    assert found == pytest.approx(exact, rel=0.0051)
