"""Pages of every vLLM release since 0.4 are read without a gap: at start, idle and under load."""

import math

import pytest

import onereplica
import releases
from answers import CONFIG
from onereplica import number
from releases import RELEASES, Release, Served
from trimtab.models.load import RUNGS, ObservedLoad, Spread
from trimtab.models.signals import Missing
from trimtab.observe.reader import NO_REQUEST, NONE_FINISHED, NONE_YET
from trimtab.observe.selftest import lacking

WINDOW_S = CONFIG.rate_window_s

every_release = pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
every_layout = pytest.mark.parametrize(
    ("release", "ranks"),
    [(each, ranks) for each in RELEASES for ranks in ((1, 2) if each.ranked else (1,))],
    ids=lambda value: getattr(value, "name", str(value)),
)


def load(*texts: str) -> ObservedLoad:
    return onereplica.load(texts)


def spread(found: Spread | None) -> dict[float, float]:
    assert found is not None
    return {upto: share for upto, share in zip(RUNGS, found.shares, strict=False) if share}


def gaps(found: ObservedLoad) -> set[str]:
    """The signals of which replicas are said to lack the series."""
    return set(lacking(found))


def uncounted(release: Release) -> set[str]:
    """What a release has no counters of at all."""
    return set() if release.cache else {"prefix_hit"}


@every_layout
def test_right_after_start_there_was_no_request_yet(release: Release, ranks: int) -> None:
    fresh = releases.page(release, Served(), ranks)
    found = load(fresh, fresh, fresh)
    assert number(found.arrival_rps) == 0.0
    assert number(found.waiting) == number(found.running) == 0.0
    assert number(found.kv_utilization) == 0.25
    assert gaps(found) == set()
    reasons = (NO_REQUEST,) if release.eager else (NONE_YET,)
    for signal in (found.ttft_s, found.itl_s, found.e2e_s, found.input_tokens):
        assert isinstance(signal, Missing)
        assert signal.why in reasons


@every_release
def test_what_waits_at_a_replica_that_has_served_nothing_has_arrived(release: Release) -> None:
    found = load(releases.page(release, Served()), releases.page(release, Served(waiting=30)))
    assert number(found.arrival_rps) * WINDOW_S == pytest.approx(30)


@every_release
def test_idle_after_requests_is_idle(release: Release) -> None:
    done = releases.page(release, Served(first=7, finished=7))
    found = load(done, done, done)
    assert number(found.arrival_rps) == 0.0
    assert gaps(found) <= uncounted(release)
    assert found.ttft_s == found.input_tokens == Missing(why=NO_REQUEST)


@every_layout
def test_under_load_every_signal_is_there(release: Release, ranks: int) -> None:
    steps = [Served(first=30.0 * at, finished=30.0 * at - 5) for at in (1, 2, 3)]
    found = load(*(releases.page(release, served, ranks) for served in steps))
    assert number(found.arrival_rps) * WINDOW_S == pytest.approx(60 * ranks)
    assert number(found.running) == 5 * ranks
    assert number(found.input_tokens) == pytest.approx(releases.PROMPT)
    assert number(found.output_tokens) == pytest.approx(releases.ANSWER)
    # A prompt is above 50 and within 200, an answer above 10 and within 50: equal ratios of each.
    assert spread(found.inputs) == pytest.approx({100.0: 0.5, 200.0: 0.5})
    half = math.log(2) / math.log(5)
    assert spread(found.outputs) == pytest.approx({20.0: half, 50.0: 1 - half})
    assert 0.025 < number(found.ttft_s) <= 0.1
    assert 0.01 < number(found.itl_s) <= 0.025
    assert 1.0 < number(found.e2e_s) <= 2.5
    assert number(found.slo_attainment) == pytest.approx(1.0)
    if release.cache:
        assert number(found.prefix_hit) == pytest.approx(0.25)
    assert gaps(found) <= uncounted(release)


@every_release
def test_while_the_first_requests_run_nothing_is_finished(release: Release) -> None:
    """V0 has no histogram of finished requests then, and that is no gap."""
    found = load(
        releases.page(release, Served()),
        releases.page(release, Served(first=6)),
        releases.page(release, Served(first=12)),
    )
    assert number(found.arrival_rps) * WINDOW_S == pytest.approx(12)
    number(found.ttft_s)
    assert gaps(found) <= uncounted(release)
    why = NO_REQUEST if release.eager else NONE_FINISHED
    assert found.input_tokens == found.e2e_s == Missing(why=why)


@every_release
@pytest.mark.parametrize(
    ("old", "lost"),
    [
        ("time_to_first_token_seconds", {"arrival_rps", "ttft_s", "slo_attainment"}),
        ("request_prompt_tokens", {"input_tokens"}),
        ("e2e_request_latency_seconds", {"e2e_s", "slo_attainment"}),
    ],
)
def test_a_rename_is_a_gap_once_something_was_counted(
    release: Release, old: str, lost: set[str]
) -> None:
    steps = [Served(first=30.0 * at, finished=30.0 * at - 5) for at in (1, 2, 3)]
    texts = [releases.page(release, served).replace(f":{old}", ":renamed") for served in steps]
    assert gaps(load(*texts)) - uncounted(release) == lost


def test_a_release_that_has_lost_its_counter_of_tokens_is_not_taken_for_idle() -> None:
    """What tells that nothing was served has to be there for that."""
    (lazy,) = (each for each in RELEASES if each.name == "0.6.6")
    bare = releases.page(lazy, Served()).replace("vllm:prompt_tokens_total", "vllm:renamed_total")
    found = load(bare, bare, bare)
    assert "arrival_rps" in gaps(found)
