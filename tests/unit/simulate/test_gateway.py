import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.models.hardware import EngineSettings
from trimtab.models.load import LatencyTargets
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Event, Finished, Request
from trimtab.simulate.gateway import Gateway, GatewaySettings, Router
from trimtab.simulate.ledger import Digest, Ledger
from trimtab.simulate.pace import Pace
from unit.simulate.reference import Times

LIMITS = EngineSettings(max_model_len=512, max_num_seqs=4, max_num_batched_tokens=128)


def make_engine() -> Engine:
    return Engine(Pace(Times(), 2048), LIMITS)


def make_gateway(
    *,
    router: Router = Router.LEAST_OUTSTANDING,
    queue: int = 1000,
    client_timeout_s: float = 60.0,
    targets: LatencyTargets | None = None,
) -> tuple[Gateway, Ledger]:
    ledger = Ledger(targets or LatencyTargets())
    limits = GatewaySettings(router=router, queue=queue, client_timeout_s=client_timeout_s)
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
    assert shares(Router.ROUND_ROBIN) == [10, 10, 10]


@given(seed=st.integers(0, 10_000), timeout=st.floats(0.5, 5.0))
@settings(deadline=None, max_examples=60)
def test_every_request_has_one_fate(seed: int, timeout: float) -> None:
    """Through replicas that come, stop, start again and go."""
    dice = random.Random(seed)
    gateway, ledger = make_gateway(queue=20, client_timeout_s=timeout)
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


def test_the_last_minute_forgets() -> None:
    ledger = Ledger(LatencyTargets())
    for second in range(200):
        ledger.arrived(second + 0.5)
        ledger.first_token(second + 0.5, 0.1 if second < 150 else 1.0)
    assert ledger.recent(200.0).arrived == 60
    assert ledger.recent(200.0).ttft_s.quantile(0.1) == pytest.approx(0.1, rel=0.006)
    assert ledger.recent(200.0).ttft_s.quantile(0.5) == pytest.approx(1.0, rel=0.006)
    assert ledger.total.arrived == 200
    assert ledger.recent(400.0).summary()["attainment"] == dict.fromkeys(
        ("all", "ttft", "itl", "e2e")
    )


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
