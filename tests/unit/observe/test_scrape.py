"""Pages of pods read over real HTTP, with every way in which a server may misbehave."""

import math
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

import bodies
import pages
from podpages import CONFIG, Answer, Handler, World, growing, serving
from trimtab.models.load import RUNGS, Spread
from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Stale
from trimtab.observe.reader import JUST_SEEN
from trimtab.observe.scrape import MAX_AT_ONCE, MAX_PAGE_BYTES


@pytest.fixture
def world() -> Iterator[World]:
    with serving() as found:
        yield found


def counted(found: Spread | None, requests: int) -> dict[float, float]:
    assert found is not None
    pairs = zip((*RUNGS, math.inf), found.shares, strict=True)
    return {upto: round(share * requests, 6) for upto, share in pairs if share}


def test_a_load_is_measured_as_behind_prometheus(world: World) -> None:
    world.server.answer = growing(world)
    world.ends = ("aaaaa", "bbbbb", "ccccc")
    found = world.passes(5)
    truth = 3 * pages.gained("vllm:time_to_first_token_seconds_count")
    assert isinstance(found.arrival_rps, Fresh)
    assert found.arrival_rps.value == pytest.approx(truth, rel=0.01)
    assert found.running == Fresh(value=24.0)
    assert found.waiting == Fresh(value=90.0)
    for signal in (found.ttft_s, found.itl_s, found.e2e_s, found.slo_attainment):
        assert isinstance(signal, Fresh)
    # Of the 88 requests between both real pages: lengths up to each rung.
    assert counted(found.inputs, 88) == {50.0: 13, 100.0: 22, 200.0: 20, 500.0: 33}
    assert counted(found.outputs, 88) == {50.0: 9, 100.0: 23, 200.0: 56}
    per_replica = found.variants[0].first_tokens_per_s
    assert isinstance(per_replica, Fresh)
    assert per_replica.value == pytest.approx(truth / 3, rel=0.01)
    assert set(world.server.asked) == {"/metrics"}
    assert len(world.server.asked) == 3 * 5


@pytest.mark.parametrize("state", ["idle", "load1", "load2"])
def test_a_real_page_leaves_nothing_out(world: World, state: str) -> None:
    """Without traffic between two pages there is no latency: missing by type, and for that alone.

    Gauges and arrivals are there from the second page on.
    """
    world.server.answer = lambda handler: handler.page(pages.page(state))
    found = world.passes(4)
    for signal in (found.arrival_rps, found.waiting, found.running, found.kv_utilization):
        assert isinstance(signal, Fresh)
    for signal in (found.ttft_s, found.itl_s, found.e2e_s, found.input_tokens, found.prefix_hit):
        assert signal == Missing(why="no request in the window")


def test_pages_are_read_once_in_an_interval_whatever_the_passes(world: World) -> None:
    world.passes(16, step=1.0)
    assert len(world.server.asked) == 2


def test_a_pod_that_fails_makes_the_rest_partial_and_then_everything_stale(world: World) -> None:
    world.server.answer = growing(world)
    world.ends = ("aaaaa", "bbbbb")
    world.passes(4)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        world.ports["bbbbb"] = closed.getsockname()[1]
    world.now += 15.0
    found = world.passes(4)
    assert found.running == Partial(value=8.0, reporting=1, expected=2)
    assert isinstance(found.arrival_rps, Partial)
    world.ports["aaaaa"] = world.ports["bbbbb"]
    world.now += 15.0
    found = world.passes(4)
    assert isinstance(found.running, Stale)
    assert found.running.value == 16.0
    assert not isinstance(found.arrival_rps, Fresh | Partial)


def test_a_restarted_operator_knows_no_rate_yet(world: World) -> None:
    world.server.answer = growing(world)
    world.passes(4)
    world.restart(CONFIG)
    found = world.load()
    assert isinstance(found.running, Fresh)
    assert found.arrival_rps == found.ttft_s == found.input_tokens == Missing(why=JUST_SEEN)


def drip(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"#")
        handler.wfile.flush()
        time.sleep(0.1)


def huge(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(MAX_PAGE_BYTES // 2**16 + 8):
        handler.wfile.write(b"# " + b"x" * (2**16 - 3) + b"\n")


def redirect(handler: Handler) -> None:
    if handler.path == "/metrics":
        handler.page("", status=302, Location="/elsewhere")
    else:
        handler.page(pages.page("load2"))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (redirect, "answers HTTP 302"),
        (lambda handler: handler.page("", status=503, Retry_After="86400"), "answers HTTP 503"),
        (lambda handler: handler.page("x", Content_Encoding="gzip"), "is compressed"),
        (lambda handler: handler.page('vllm:num_requests_running{a="b" 1\n'), "no metrics page"),
        (lambda handler: handler.page("<html></html>"), "there is no vllm:num_requests_running"),
        (lambda handler: handler.connection.close(), "does not answer"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_page_is_said(world: World, answer: Answer, says: str) -> None:
    world.server.answer = answer
    found = world.load()
    assert isinstance(found.running, Missing)
    assert says in found.running.why
    assert isinstance(found.arrival_rps, Missing)
    assert found.source_error is None
    assert set(world.server.asked) == {"/metrics"}


def test_a_page_that_never_ends_is_given_up_in_time(world: World) -> None:
    world.server.answer = drip
    began = time.monotonic()
    found = world.load()
    assert time.monotonic() - began < 2 * CONFIG.prometheus_timeout_s
    assert isinstance(found.running, Missing)
    assert "did not answer within 1 s" in found.running.why


def test_a_page_that_is_too_long_is_not_read(world: World) -> None:
    world.restart(replace(CONFIG, prometheus_timeout_s=30.0))
    world.server.answer = huge
    found = world.load()
    assert isinstance(found.running, Missing)
    assert f"is longer than {MAX_PAGE_BYTES} bytes" in found.running.why


def test_not_a_number_is_invalid(world: World) -> None:
    page = pages.page("load2").replace(
        'vllm:num_requests_waiting{engine="0",model_name="tiny"} 30.0',
        'vllm:num_requests_waiting{engine="0",model_name="tiny"} NaN',
    )
    world.server.answer = lambda handler: handler.page(page)
    assert isinstance(world.load().waiting, Invalid)


def test_many_pods_are_read_a_bounded_number_at_a_time(world: World) -> None:
    lock, inside, most = threading.Lock(), 0, 0

    def slowly(handler: Handler) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.05)
        # Before the answer: once it has that, the other end may ask the next one at once.
        with lock:
            inside -= 1
        handler.page("vllm:num_requests_running 1\n")

    world.server.answer = slowly
    world.ends = tuple(f"p{i:04}" for i in range(3 * MAX_AT_ONCE))
    found = world.load()
    assert found.running == Fresh(value=float(len(world.ends)))
    assert 1 < most <= MAX_AT_ONCE


def test_a_pass_ends_in_time_and_goes_on_where_it_ended(world: World) -> None:
    def silent(handler: Handler) -> None:
        time.sleep(CONFIG.prometheus_timeout_s + 0.5)

    world.server.answer = silent
    turns = 6  # of a second each, if nothing ended the pass
    world.ends = tuple(f"p{i:04}" for i in range(turns * MAX_AT_ONCE))
    began = time.monotonic()
    assert isinstance(world.load().running, Missing)
    assert time.monotonic() - began < 2 * CONFIG.prometheus_timeout_s + 3.0
    world.server.answer = lambda handler: handler.page("vllm:num_requests_running 1\n")
    running = world.load().running
    assert isinstance(running, Partial)
    assert running.reporting >= MAX_AT_ONCE - 1  # those whose turn had not come
    world.now += 15.0
    assert isinstance(world.load().running, Fresh)


def test_memory_is_bounded_by_the_window(world: World) -> None:
    for _ in range(30):
        world.load()
        world.now += 15.0
    kept = world.scraper._known["assistants", f"chat-h100-tp1-{bodies.HASH}-aaaaa"].pages
    assert len(kept) <= 5
    world.ends = ("bbbbb",)
    world.now += CONFIG.rate_window_s + 15.0
    world.load()
    assert {pod[-5:] for _, pod in world.scraper._known} == {"bbbbb"}
