"""What is made of each answer: unknown is never zero, and doubt has a name."""

import math
from dataclasses import fields, replace
from typing import Any

import pytest

import bodies
from answers import CONFIG, NAMESPACE, STEM, Answers, by_bucket, by_pod, by_stem, steady
from trimtab.api.engine import EngineType
from trimtab.errors import Unavailable
from trimtab.models.hardware import Parallelism
from trimtab.models.load import RUNGS, LatencyTargets, ObservedLoad, Spread
from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Signal, Stale
from trimtab.models.snapshot import Key
from trimtab.observe import engines
from trimtab.observe.kinds import Kind
from trimtab.observe.parse import parse
from trimtab.observe.prometheus import Refused, Sample
from trimtab.observe.queries import build
from trimtab.observe.reader import REMEDY, Reader, Subject
from trimtab.observe.readings import take
from trimtab.observe.selftest import lacking
from trimtab.observe.signals import read
from trimtab.observe.world import PodFacts

ENGINE = engines.get(EngineType.VLLM)
KEY = Key(namespace=NAMESPACE, name="chat")
ENDS = ["aaaaa", "bbbbb", "ccccc"]
GAUGES = ("running", "waiting", "kv_utilization")
MEANS = ("batch", "steps", "preempted")
BY_POD = ("seen", "covered", "samples", "served", "finished", "arrivals", *MEANS, *GAUGES)
SIGNALS = tuple(each.name for each in fields(ObservedLoad) if each.type == Signal)


def pods(ends: list[str], **over: Any) -> tuple[PodFacts, ...]:
    facts = [parse(Kind.POD, bodies.pod(end, **over)).facts for end in ends]
    return tuple(each for each in facts if isinstance(each, PodFacts))


def load(
    source: Answers | None,
    replicas: tuple[PodFacts, ...] | None = None,
    targets: LatencyTargets | None = None,
    stems: frozenset[str] = frozenset(),
) -> ObservedLoad:
    subject = Subject(
        key=KEY,
        targets=targets or LatencyTargets(percentile=0.9, ttft_s=0.5),
        pods=pods(ENDS) if replicas is None else replicas,
        stems=stems,
    )
    return read(source, [subject], now=bodies.NOW, config=CONFIG)[KEY]


def all_signals(found: ObservedLoad) -> dict[str, Signal]:
    return {name: getattr(found, name) for name in SIGNALS}


def value(signal: Signal) -> float:
    assert isinstance(signal, Fresh), signal
    return signal.value


def test_steady_traffic() -> None:
    found = load(steady(ENDS))
    assert value(found.arrival_rps) == 10.0
    assert value(found.input_tokens) == 1000.0
    assert value(found.output_tokens) == 200.0
    assert value(found.prefix_hit) == 0.2
    assert value(found.running) == 12.0
    assert value(found.waiting) == 0.0
    assert value(found.kv_utilization) == pytest.approx(0.3)
    assert value(found.ttft_s) == pytest.approx(0.5)
    assert value(found.itl_s) == pytest.approx(0.0375)
    assert value(found.e2e_s) == pytest.approx(1 + 4 * 5.2 / 6)
    assert value(found.slo_attainment) == pytest.approx(0.9)
    assert {each.age_s for each in all_signals(found).values() if isinstance(each, Fresh)} == {5.0}
    assert (found.source_error, found.configured) == (None, True)


def shares(found: Spread | None) -> dict[float, float]:
    """The shares that are not 0, by the rung that they are up to."""
    assert found is not None
    pairs = zip((*RUNGS, math.inf), found.shares, strict=True)
    return {upto: share for upto, share in pairs if share}


def test_how_lengths_spread_comes_with_their_means() -> None:
    found = load(steady(ENDS))
    assert shares(found.inputs) == pytest.approx({500.0: 2 / 8, 1e3: 3 / 8, 2e3: 3 / 8})
    outputs = shares(found.outputs)
    assert outputs[200.0] == outputs[500.0] == pytest.approx(3 / 8)
    assert sum(share for upto, share in outputs.items() if upto <= 100.0) == pytest.approx(2 / 8)


@pytest.mark.parametrize("lost", [[], by_bucket({"500.0": 1.0}), by_bucket({"500.0": math.nan})])
def test_without_buckets_of_lengths_nothing_else_is_in_doubt(lost: list[Sample]) -> None:
    found = load(steady(ENDS, prompts=lost, answers=lost))
    assert found.inputs is found.outputs is None
    assert all(isinstance(each, Fresh) for each in all_signals(found).values())
    assert lacking(found) == ()


@pytest.mark.parametrize(
    "over",
    [
        {"input_tokens_sum": by_stem(1e300)},
        {"input_tokens_count": by_stem(0.0)},
        {"input_tokens_count": []},
        {"seen": by_pod(dict.fromkeys(ENDS, bodies.NOW - 300))},
        {"seen": by_pod(dict.fromkeys(ENDS[:2], bodies.NOW - 5))},
    ],
)
def test_where_the_mean_is_in_doubt_the_spread_is_unknown(over: dict[str, list[Sample]]) -> None:
    found = load(steady(ENDS, **over))
    assert not isinstance(found.input_tokens, Fresh)
    assert found.inputs is None


def test_the_spread_is_of_the_requests_that_the_mean_is_of() -> None:
    """Of a variant that served and has no histogram, the lengths are in the mean alone."""
    old = f"chat-l40s-tp1-{bodies.HASH}-"

    def with_old(**more: list[Sample]) -> ObservedLoad:
        source = steady(ENDS)
        for name, samples in more.items():
            answer = source.answers[name]
            assert isinstance(answer, list)
            answer.extend(samples)
        return load(source, stems=frozenset({old}))

    means = {
        "input_tokens_sum": by_stem(16000.0, old),
        "input_tokens_count": by_stem(8.0, old),
    }
    found = with_old(**means)
    assert value(found.input_tokens) == 1500.0
    assert found.inputs is None
    assert found.outputs is not None
    found = with_old(**means, prompts=by_bucket({"1000.0": 0.0, "2000.0": 8.0, "+Inf": 8.0}, old))
    assert shares(found.inputs) == pytest.approx({500.0: 2 / 16, 1e3: 3 / 16, 2e3: 11 / 16})
    idle = {"input_tokens_sum": by_stem(0.0, old), "input_tokens_count": by_stem(0.0, old)}
    assert with_old(**idle).inputs == load(steady(ENDS)).inputs is not None


def test_arrivals_are_never_negative() -> None:
    assert (
        value(
            load(
                steady(ENDS, arrivals=by_pod({"aaaaa": -0.5, "bbbbb": 0.0, "ccccc": 0.0}))
            ).arrival_rps
        )
        == 0.0
    )


def test_without_traffic_rates_are_zero_and_latencies_unknown() -> None:
    silent = {"0.1": 0.0, "+Inf": 0.0}
    source = steady(
        ENDS,
        arrivals=by_pod(dict.fromkeys(ENDS, 0.0)),
        ttft=by_bucket(silent),
        itl=by_bucket(silent),
        e2e=by_bucket(silent),
        input_tokens_sum=by_stem(0.0),
        input_tokens_count=by_stem(0.0),
        cache_sought=by_stem(0.0),
        cache_found=by_stem(0.0),
    )
    found = load(source)
    assert found.arrival_rps == Fresh(value=0.0, age_s=5.0)
    for name in ("ttft_s", "itl_s", "e2e_s", "input_tokens", "prefix_hit", "slo_attainment"):
        assert getattr(found, name) == Missing(why="no request in the window"), name


def test_the_attainment_is_the_least_over_the_targets() -> None:
    targets = LatencyTargets(percentile=0.95, ttft_s=1.0, itl_s=0.025, e2e_s=5.0)
    assert value(load(steady(ENDS), targets=targets).slo_attainment) == pytest.approx(0.8)


def test_a_target_below_the_first_bucket_cannot_be_judged() -> None:
    found = load(steady(ENDS), targets=LatencyTargets(itl_s=0.005)).slo_attainment
    assert isinstance(found, Missing)
    assert "0.005 s is below the first bucket" in found.why


def test_no_source_configured() -> None:
    found = load(None)
    assert not found.configured
    assert set(all_signals(found).values()) == {Missing(why="no metrics source is configured")}


def test_a_source_that_does_not_answer_is_asked_once() -> None:
    source = steady(ENDS, seen=Unavailable("Prometheus does not answer"))
    found = load(source)
    assert found.source_error == "Prometheus does not answer"
    assert all(isinstance(each, Missing) for each in all_signals(found).values())
    assert len(source.asked) == 1


def test_without_any_replica_nothing_is_asked() -> None:
    source = steady([])
    found = load(source, replicas=())
    assert set(all_signals(found).values()) == {Missing(why="no ready replica")}
    assert source.asked == []


def test_replicas_that_are_not_ready_need_not_report() -> None:
    found = load(Answers(), replicas=pods(ENDS, ready_s=None))
    assert set(all_signals(found).values()) == {Missing(why="no ready replica")}


def test_an_overloaded_replica_that_fails_its_probe_still_reports_its_queue() -> None:
    source = steady(["aaaaa"], waiting=by_pod({"aaaaa": 90.0}))
    assert value(load(source, replicas=pods(["aaaaa"], ready_s=None)).waiting) == 90.0


def test_a_ready_replica_that_was_not_scraped_yet_has_traffic_that_nobody_saw() -> None:
    replicas = (*pods(["aaaaa", "bbbbb"]), *pods(["ccccc"], ready_s=2))
    found = load(steady(["aaaaa", "bbbbb"]), replicas=replicas)
    assert found.running == Partial(value=8.0, reporting=2, expected=3)
    assert found.arrival_rps == Partial(value=10.0, reporting=2, expected=3)


def test_a_replica_scraped_once_has_gauges_and_no_rate() -> None:
    replicas = (*pods(["aaaaa", "bbbbb"]), *pods(["ccccc"], ready_s=2))
    covered = by_pod({"aaaaa": 58.0, "bbbbb": 58.0, "ccccc": 1.0})
    arrivals = by_pod({"aaaaa": 5.0, "bbbbb": 5.0})
    found = load(steady(ENDS, arrivals=arrivals, covered=covered), replicas=replicas)
    assert value(found.running) == 12.0
    assert found.arrival_rps == Partial(value=10.0, reporting=2, expected=3)


def test_only_young_replicas_are_not_yet_rather_than_lost() -> None:
    found = load(Answers(), replicas=pods(ENDS, ready_s=20))
    assert found.running == Missing(why="the replicas became ready less than 2 scrapes ago")


def test_the_first_scrape_gives_gauges_and_no_rate_yet() -> None:
    source = steady(ENDS, arrivals=[], ttft=[], input_tokens_sum=[], input_tokens_count=[])
    found = load(source, replicas=pods(ENDS, ready_s=40))
    assert value(found.running) == 12.0
    assert found.arrival_rps == Missing(why="the replicas became ready less than 3 scrapes ago")


@pytest.mark.parametrize("reporting", [1, 2])
def test_some_of_the_replicas_are_a_lower_bound(reporting: int) -> None:
    found = load(steady(ENDS[:reporting]))
    assert found.running == Partial(value=4.0 * reporting, reporting=reporting, expected=3)
    assert found.arrival_rps == Partial(value=10.0, reporting=reporting, expected=3)
    assert isinstance(found.ttft_s, Partial)


def test_a_variant_without_a_rate_makes_the_rates_partial() -> None:
    """It reports and is old enough, but its rates are not there: half of the demand is unknown."""
    (other,) = pods(["bbbbb"], variant="chat-l40s-tp1", pool="l40s")
    source = steady(["aaaaa"])
    labels = {"namespace": NAMESPACE, "pod": other.name}
    for name, number in (("seen", bodies.NOW - 5), ("running", 1.0)):
        answer = source.answers[name]
        assert isinstance(answer, list)
        answer.append(Sample(labels=labels, value=number, timestamp=bodies.NOW))
    found = load(source, replicas=(*pods(["aaaaa"]), other))
    assert value(found.running) == 5.0
    queue, first = "vllm:num_requests_waiting", "vllm:time_to_first_token_seconds_count"
    lack = f"and others export no {queue}: {REMEDY}"
    assert found.waiting == Partial(value=0.0, reporting=1, expected=2, why=lack)
    lack = f"and others export no {first} and {queue}: {REMEDY}"
    assert found.arrival_rps == Partial(value=10.0, reporting=1, expected=2, why=lack)


@pytest.mark.parametrize("over", [{"served": 0.0}, {"covered": 20.0}])
def test_who_has_no_rate_yet_lacks_nothing(over: dict[str, float]) -> None:
    """A replica that has counted nothing, or was scraped twice, has no rate for a plain reason."""
    (other,) = pods(["bbbbb"], variant="chat-l40s-tp1", pool="l40s")
    source = steady(["aaaaa"])
    labels = {"namespace": NAMESPACE, "pod": other.name}
    numbers = {"seen": bodies.NOW - 5, "covered": 58.0, "served": 9.0, **dict.fromkeys(GAUGES, 0.5)}
    for name, number in (numbers | over).items():
        answer = source.answers[name]
        assert isinstance(answer, list)
        answer.append(Sample(labels=labels, value=number, timestamp=bodies.NOW))
    found = load(source, replicas=(*pods(["aaaaa"]), other))
    assert found.arrival_rps == Partial(value=10.0, reporting=1, expected=2)


@pytest.mark.parametrize(("age", "fresh"), [(0, True), (44, True), (46, False), (290, False)])
def test_samples_older_than_three_scrapes_are_stale(age: float, fresh: bool) -> None:
    """Prometheus serves the last sample for five minutes under a fresh evaluation time."""
    source = steady(ENDS, seen=by_pod(dict.fromkeys(ENDS, bodies.NOW - age)))
    found = load(source)
    expected = Fresh(value=12.0, age_s=age) if fresh else Stale(value=12.0, age_s=age)
    assert found.running == expected
    assert isinstance(found.arrival_rps, Fresh) is fresh


def test_one_stale_replica_among_fresh_ones_does_not_report() -> None:
    ages = {"aaaaa": 5, "bbbbb": 5, "ccccc": 200}
    source = steady(ENDS, seen=by_pod({end: bodies.NOW - age for end, age in ages.items()}))
    assert load(source).running == Partial(value=8.0, reporting=2, expected=3)


def test_samples_from_the_future_are_invalid() -> None:
    source = steady(ENDS, seen=by_pod(dict.fromkeys(ENDS, bodies.NOW + 300)))
    for name, signal in all_signals(load(source)).items():
        assert isinstance(signal, Invalid), name
        assert "300 s ahead" in signal.why


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -1.0, 1e308])
@pytest.mark.parametrize("name", GAUGES)
def test_absurd_gauges_are_invalid(name: str, bad: float) -> None:
    answer = by_pod({"aaaaa": 0.5, "bbbbb": bad, "ccccc": 0.5})
    signal = getattr(load(steady(ENDS, **{name: answer})), name)
    assert isinstance(signal, Invalid)


def test_kv_utilization_in_percent_is_invalid() -> None:
    source = steady(ENDS, kv_utilization=by_pod(dict.fromkeys(ENDS, 85.0)))
    assert isinstance(load(source).kv_utilization, Invalid)


@pytest.mark.parametrize(
    ("query", "signal", "bad"),
    [
        ("input_tokens_sum", "input_tokens", math.nan),
        ("input_tokens_sum", "input_tokens", 1e300),
        ("output_tokens_count", "output_tokens", -1.0),
        ("cache_found", "prefix_hit", math.inf),
        ("cache_found", "prefix_hit", 1001.0),  # more than was looked for
    ],
)
def test_absurd_rates_are_invalid(query: str, signal: str, bad: float) -> None:
    found = getattr(load(steady(ENDS, **{query: by_stem(bad)})), signal)
    assert isinstance(found, Invalid)


@pytest.mark.parametrize(
    ("covered", "arrivals"),
    [
        # Three new replicas, seen for 22.5 s and the half scrape before: 30 of 60 s.
        ({"aaaaa": 22.5, "bbbbb": 22.5, "ccccc": 22.5}, 20.0),
        # What one new replica lacks, the others had before it came.
        ({"aaaaa": 22.5, "bbbbb": 58.0, "ccccc": 58.0}, 10.0),
        ({"aaaaa": 400.0}, 10.0),
        # The correction has an end.
        ({"aaaaa": 0.0, "bbbbb": -90.0, "ccccc": -90.0}, 80.0),
        ({"aaaaa": -90.0, "bbbbb": -90.0, "ccccc": -90.0}, 100.0),
        ({}, 10.0),
    ],
)
def test_after_a_start_from_nothing_the_window_is_shorter(
    covered: dict[str, float], arrivals: float
) -> None:
    assert value(load(steady(ENDS, covered=by_pod(covered))).arrival_rps) == pytest.approx(arrivals)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300, -1e300])
def test_absurd_arrivals_are_invalid(bad: float) -> None:
    found = load(steady(ENDS, arrivals=by_pod({"aaaaa": bad, "bbbbb": 1.0, "ccccc": 1.0})))
    assert isinstance(found.arrival_rps, Invalid)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_absurd_buckets_are_invalid(bad: float) -> None:
    found = load(steady(ENDS, ttft=by_bucket({"0.5": bad, "+Inf": 10.0})))
    assert isinstance(found.ttft_s, Invalid)
    assert isinstance(found.slo_attainment, Invalid)


@pytest.mark.parametrize(
    ("query", "signals"),
    [
        ("running", ["running"]),
        ("waiting", ["waiting"]),
        ("kv_utilization", ["kv_utilization"]),
        ("arrivals", ["arrival_rps"]),
        ("ttft", ["ttft_s", "slo_attainment"]),
        ("e2e", ["e2e_s"]),
        ("input_tokens_sum", ["input_tokens"]),
        ("cache_sought", ["prefix_hit"]),
    ],
)
def test_a_renamed_metric_is_missing_by_name_and_the_others_stay(
    query: str, signals: list[str]
) -> None:
    found = all_signals(load(steady(ENDS, **{query: []})))
    missing = {name: each for name, each in found.items() if not isinstance(each, Fresh)}
    assert sorted(missing) == sorted(signals)
    assert all(
        isinstance(each, Missing) and each.absent and "vllm:" in each.why
        for each in missing.values()
    )


def test_an_engine_whose_series_come_with_the_first_request_lacks_none() -> None:
    subject = Subject(
        key=KEY, targets=LatencyTargets(ttft_s=0.5), pods=pods(ENDS), engine=EngineType.SGLANG
    )
    readings = take(steady(ENDS, ttft=[], arrivals=[]), build([ENGINE], CONFIG, [NAMESPACE]), 9.0)
    found = Reader(subject, readings, engines.get(EngineType.SGLANG), bodies.NOW, CONFIG).load()
    for signal in (found.ttft_s, found.arrival_rps):
        assert isinstance(signal, Missing)
        assert not signal.absent
        assert signal.why.endswith("or none has served a request yet")


def test_what_an_engine_does_not_export_is_no_fault_of_a_replica() -> None:
    subject = Subject(
        key=KEY, targets=LatencyTargets(ttft_s=0.5), pods=pods(ENDS), engine=EngineType.TGI
    )
    readings = take(steady(ENDS, ttft=[]), build([ENGINE], CONFIG, [NAMESPACE]), 9.0)
    found = Reader(subject, readings, engines.get(EngineType.TGI), bodies.NOW, CONFIG).load()
    assert found.ttft_s == Missing(
        why="Text Generation Inference does not export a metric of time to first token"
    )


def test_all_metrics_of_a_pod_gone_says_what_to_look_for() -> None:
    found = load(Answers())
    assert found.running == Missing(
        why="Prometheus has no vllm:num_requests_running with the namespace and pod labels of "
        "3 ready replicas: is there a PodMonitor?"
    )


@pytest.mark.parametrize(
    ("query", "signals"),
    [("waiting", list(GAUGES)), ("itl", ["itl_s"]), ("seen", list(SIGNALS))],
)
def test_a_query_that_is_refused_makes_its_signals_invalid(query: str, signals: list[str]) -> None:
    source = steady(ENDS, **{query: Refused("Prometheus warns: store unreachable")})
    found = all_signals(load(source))
    invalid = [name for name, each in found.items() if isinstance(each, Invalid)]
    assert sorted(invalid) == sorted(signals)  # the gauges come together


def test_another_tenant_s_pod_has_no_influence() -> None:
    """It exports our names and labels from its own namespace, or from a pod that is not ours."""
    source = steady(ENDS)
    for name, answer in source.answers.items():
        assert isinstance(answer, list)
        label = "pod" if name in BY_POD else "trimtab_stem"
        for labels in (
            {"namespace": "rogue", label: answer[0].labels[label]},
            {"namespace": NAMESPACE, label: "rogue-0"},
            {"namespace": NAMESPACE},
            {label: answer[0].labels[label]},
        ):
            more = {"le": "0.1"} if "le" in answer[0].labels else {}
            answer.append(Sample(labels=labels | more, value=1e9, timestamp=bodies.NOW))
    assert load(source) == load(steady(ENDS))


def test_pods_that_are_gone_count_in_the_rates_of_the_window_they_served_in() -> None:
    old = f"chat-l40s-tp1-{bodies.HASH}-"
    source = steady(ENDS)
    for name, more in (
        ("arrivals", by_pod({"zzzzz": 10.0}, old)),
        ("input_tokens_sum", by_stem(16000.0, old)),
        ("input_tokens_count", by_stem(8.0, old)),
        ("ttft", by_bucket({"0.1": 0.0, "0.5": 0.0, "1.0": 10.0, "+Inf": 10.0}, old)),
    ):
        answer = source.answers[name]
        assert isinstance(answer, list)
        answer.extend(more)
    assert value(load(source).arrival_rps) == 10.0
    found = load(source, stems=frozenset({old}))
    assert value(found.arrival_rps) == 20.0
    assert value(found.input_tokens) == 1500.0
    assert value(found.ttft_s) == pytest.approx(0.5 + 0.5 * 9 / 11)


def test_terminating_replicas_need_not_report_and_their_queue_is_nobody_s() -> None:
    leaving = pods(["ccccc"], deletionTimestamp=bodies.at(5))
    source = steady(["aaaaa", "bbbbb"], waiting=by_pod({"aaaaa": 1.0, "bbbbb": 2.0, "ccccc": 9.0}))
    found = load(source, replicas=(*pods(["aaaaa", "bbbbb"]), *leaving))
    assert value(found.waiting) == 3.0


def test_the_stem_of_the_answers_is_that_of_the_pods() -> None:
    assert {pod.name[:-5] for pod in pods(ENDS)} == {STEM}


def test_each_variant_is_read_by_itself_per_replica() -> None:
    found = load(steady(ENDS)).variants
    assert [(one.pool, one.parallelism, one.revision) for one in found] == [
        ("h100", Parallelism(), STEM)
    ]
    one = found[0]
    assert value(one.itl_s) == pytest.approx(0.022)
    assert value(one.gaps_per_s) == pytest.approx(1000 / 3)
    assert value(one.ttft_s) == pytest.approx(0.25)
    assert value(one.first_tokens_per_s) == pytest.approx(10 / 3)
    assert value(one.steps_per_s) == 51.0
    assert value(one.preempted_per_s) == pytest.approx(0.1)
    assert value(one.input_tokens) == 1000.0
    assert value(one.output_tokens) == 200.0
    assert value(one.prefix_hit) == 0.2
    assert value(one.waiting) == 0.0
    assert value(one.running) == 5.0  # the mean over the window, not the 4 of now
    assert value(one.kv_utilization) == pytest.approx(0.3)


def test_an_engine_that_does_not_count_its_steps_says_nothing_of_them() -> None:
    one = load(steady(ENDS, steps=[])).variants[0]
    assert isinstance(one.steps_per_s, Missing)
    assert isinstance(one.gaps_per_s, Fresh)


def test_a_rollout_shows_two_revisions_of_one_variant() -> None:
    new = STEM.replace(bodies.HASH, "feedbeef12")
    young = parse(Kind.POD, bodies.pod("ddddd")).facts
    assert isinstance(young, PodFacts)
    both = (*pods(ENDS), replace(young, name=f"{new}ddddd"))
    found = load(steady(ENDS), both).variants
    assert [one.revision for one in found] == sorted([STEM, new])
    readings = {one.revision: one for one in found}
    assert isinstance(readings[STEM].itl_s, Fresh)
    assert isinstance(readings[new].itl_s, Missing)


def test_while_replicas_come_and_go_a_rate_per_replica_is_unknown() -> None:
    gone = by_pod(dict.fromkeys([*ENDS, "ddddd"], 2.5))
    one = load(steady(ENDS, arrivals=gone)).variants[0]
    assert one.gaps_per_s == Missing(why="replicas came or went within the window")
    assert isinstance(one.itl_s, Fresh)


def test_a_mean_without_its_sum_is_missing_by_name() -> None:
    one = load(steady(ENDS, itl=by_bucket({"0.05": 1.0, "+Inf": 1.0, "count": 1.0}))).variants[0]
    assert one.itl_s == Missing(
        why=f"no replica exports vllm:inter_token_latency_seconds_sum: {REMEDY}", absent=True
    )


def test_the_target_is_held_against_means_of_answers_and_learning_rests_on_single_times() -> None:
    # Each answer's mean between 0.025 and 0.05 s, each single time 0.01 s in the mean.
    paces = {"0.025": 0.0, "0.05": 10.0, "+Inf": 10.0, "sum": 8.0, "count": 800.0}
    found = load(steady(ENDS, itl=by_bucket(paces)))
    assert 0.025 < value(found.itl_s) <= 0.05
    assert value(found.variants[0].itl_s) == pytest.approx(0.01)
    assert value(found.variants[0].gaps_per_s) == pytest.approx(800 / 3)


def test_what_half_of_a_variant_reports_is_partial() -> None:
    seen = by_pod(dict.fromkeys(ENDS[:2], bodies.NOW - 5))
    half = by_pod(dict.fromkeys(ENDS[:2], 5.0))
    one = load(steady(ENDS, seen=seen, arrivals=half)).variants[0]
    for signal in (one.itl_s, one.gaps_per_s, one.ttft_s, one.waiting, one.prefix_hit):
        assert isinstance(signal, Partial), signal
