"""Doubt never becomes a number: for every share of silent replicas, and every value there is."""

import math
import re
from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

import bodies
from answers import CONFIG, NAMESPACE, by_bucket, by_pod, by_stem, steady
from trimtab.models.load import RUNGS, LatencyTargets, ObservedLoad, Spread
from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Signal, Stale
from trimtab.models.snapshot import Key
from trimtab.observe.histogram import merge, problem, quantile, share_within, spread
from trimtab.observe.kinds import Kind
from trimtab.observe.parse import parse
from trimtab.observe.promql import one_of, string
from trimtab.observe.reader import Subject
from trimtab.observe.signals import read
from trimtab.observe.world import PodFacts

SIGNALS = [each.name for each in fields(ObservedLoad) if each.type == Signal]
ENDS = [f"pod{i:02}" for i in range(16)]
_ANYTHING = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, 100.0, 1e9, 5e-324, 1e308]))


def load(ready: list[str], **answers: object) -> ObservedLoad:
    facts = [parse(Kind.POD, bodies.pod(end)).facts for end in ready]
    subject = Subject(
        key=Key(namespace=NAMESPACE, name="chat"),
        targets=LatencyTargets(percentile=0.95, ttft_s=0.5, itl_s=0.05, e2e_s=5.0),
        pods=tuple(each for each in facts if isinstance(each, PodFacts)),
    )
    return read(steady(ready, **answers), [subject], now=bodies.NOW, config=CONFIG)[subject.key]


@given(st.integers(1, 16).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_every_share_of_silent_replicas(counts: tuple[int, int]) -> None:
    ready, reporting = counts
    ends = ENDS[:ready]
    seen = by_pod(dict.fromkeys(ends[:reporting], bodies.NOW - 5))
    rates = by_pod(dict.fromkeys(ends[:reporting], 2.0))
    found = load(ends, seen=seen, arrivals=rates)
    if reporting == ready:
        assert found.running == Fresh(value=4.0 * ready, age_s=5.0)
        assert found.arrival_rps == Fresh(value=2.0 * ready, age_s=5.0)
    elif reporting:
        assert found.running == Partial(value=4.0 * reporting, reporting=reporting, expected=ready)
        assert found.arrival_rps == Partial(
            value=2.0 * reporting, reporting=reporting, expected=ready
        )
    else:
        assert all(isinstance(getattr(found, name), Missing) for name in SIGNALS)


@given(st.lists(st.floats(-600, 600), min_size=1, max_size=8))
def test_every_age(ages: list[float]) -> None:
    ends = ENDS[: len(ages)]
    seen = by_pod({end: bodies.NOW - age for end, age in zip(ends, ages, strict=True)})
    running = load(ends, seen=seen).running
    recent = [age for age in ages if -5.0 <= age <= 45.0]
    if len(recent) == len(ages):
        assert isinstance(running, Fresh)
    elif recent:
        assert isinstance(running, Partial)
    else:
        assert isinstance(running, Stale | Invalid)
        assert isinstance(running, Invalid) or max(ages) > 45.0


@given(
    st.fixed_dictionaries(
        {
            "seen": _ANYTHING,
            "running": _ANYTHING,
            "waiting": _ANYTHING,
            "kv_utilization": _ANYTHING,
            "arrivals": _ANYTHING,
            "covered": _ANYTHING,
        }
    ),
    st.lists(_ANYTHING, min_size=6, max_size=6),
    st.dictionaries(st.sampled_from(["0.1", "0.5", "x", "", "+Inf", "-1", "NaN"]), _ANYTHING),
)
def test_no_answer_makes_a_number_that_is_none(
    gauges: dict[str, float], rates: list[float], buckets: dict[str, float]
) -> None:
    names = ["input_tokens_sum", "input_tokens_count", "output_tokens_sum", "output_tokens_count"]
    names += ["cache_found", "cache_sought"]
    answers: dict[str, object] = {name: by_pod({"pod00": value}) for name, value in gauges.items()}
    answers |= {name: by_stem(value) for name, value in zip(names, rates, strict=True)}
    histograms = ("ttft", "itl", "e2e", "prompts", "answers")
    answers |= {name: by_bucket(buckets) for name in histograms}
    found = load(["pod00"], **answers)
    for name in SIGNALS:
        signal = getattr(found, name)
        if isinstance(signal, Fresh | Partial | Stale):
            assert math.isfinite(signal.value), name
            assert signal.value >= 0, name
    for lengths, mean in ((found.inputs, "input_tokens"), (found.outputs, "output_tokens")):
        assert lengths is None or isinstance(getattr(found, mean), Fresh)
        assert lengths is None or all(0 <= share <= 1 for share in lengths.shares)
        assert lengths is None or math.isclose(math.fsum(lengths.shares), 1.0)
    for name in ("prefix_hit", "kv_utilization", "slo_attainment"):
        signal = getattr(found, name)
        assert not isinstance(signal, Fresh) or 0 <= signal.value <= 1 + 1e-6


# A rate is none, or at least one event in some days; below that floats lose their precision.
_RATES = st.just(0.0) | st.floats(1e-6, 1e6)
_BUCKETS = st.lists(st.tuples(st.floats(0.001, 1e4), _RATES), min_size=1, max_size=12).map(
    lambda steps: {
        **{
            bound: sum(rate for _, rate in steps[: i + 1])
            for i, (bound, _) in enumerate(sorted(steps))
        },
        math.inf: sum(rate for _, rate in steps),
    }
)


@given(_BUCKETS, st.floats(0.5, 0.99))
def test_quantile_and_share_are_each_other_s_inverse(
    buckets: dict[float, float], share: float
) -> None:
    assert problem(buckets) is None
    value = quantile(buckets, share)
    if value is None:
        assert buckets[math.inf] == 0
        return
    within = share_within(buckets, value)
    finite = [bound for bound in buckets if math.isfinite(bound)]
    assert 0 <= value <= max(finite)
    assert within is None or value == max(finite) or within >= share * (1 - 1e-6)


@given(_BUCKETS, st.floats(0.5, 0.99), st.floats(0.5, 0.99))
def test_quantiles_rise_with_the_share(
    buckets: dict[float, float], one: float, other: float
) -> None:
    low, high = quantile(buckets, min(one, other)), quantile(buckets, max(one, other))
    assert low is None or high is None or low <= high * (1 + 1e-9)


@given(_BUCKETS)
def test_merging_a_histogram_with_itself_changes_no_quantile(buckets: dict[float, float]) -> None:
    twice = merge([buckets, buckets])
    one, two = quantile(buckets, 0.9), quantile(twice, 0.9)
    assert one == two or (one is not None and two is not None and math.isclose(one, two))


_LENGTHS = st.lists(
    st.tuples(st.floats(0.5, 3e6) | st.sampled_from(RUNGS), _RATES), min_size=1, max_size=12
).map(
    lambda steps: {
        **{
            bound: sum(rate for _, rate in sorted(steps)[: i + 1])
            for i, (bound, _) in enumerate(sorted(steps))
        },
        math.inf: sum(rate for _, rate in sorted(steps)),
    }
)


def upto(found: Spread, rung: float) -> float:
    """The share of the lengths that are not above a rung."""
    return math.fsum(found.shares[: RUNGS.index(rung) + 1])


@given(_LENGTHS)
def test_a_spread_is_between_what_the_bounds_around_each_rung_counted(
    buckets: dict[float, float],
) -> None:
    found = spread([buckets])
    total = buckets[math.inf]
    if found is None:
        assert total == 0
        return
    assert math.isclose(math.fsum(found.shares), 1.0)
    assert all(share >= 0 for share in found.shares)
    for rung in RUNGS:
        below = max((rate for bound, rate in buckets.items() if bound <= rung), default=0.0)
        above = min(rate for bound, rate in buckets.items() if bound >= rung)
        assert below / total - 1e-9 <= upto(found, rung) <= above / total + 1e-9
        if rung in buckets:
            assert math.isclose(upto(found, rung), below / total, abs_tol=1e-9)


@given(_LENGTHS, st.sampled_from(RUNGS))
def test_a_bound_more_that_counts_what_was_taken_for_granted_changes_nothing(
    buckets: dict[float, float], rung: float
) -> None:
    found = spread([buckets])
    if found is None or rung > max(bound for bound in buckets if math.isfinite(bound)):
        return
    finer = spread([buckets | {rung: upto(found, rung) * buckets[math.inf]}])
    assert finer is not None
    assert all(
        math.isclose(one, other, abs_tol=1e-9)
        for one, other in zip(finer.shares, found.shares, strict=True)
    )


@given(st.lists(st.integers(1, 200_000), min_size=1, max_size=60), st.sampled_from(RUNGS[6:]))
def test_on_vllm_s_bounds_a_spread_is_a_count(lengths: list[int], context: float) -> None:
    bounds = [rung for rung in RUNGS if rung <= context]
    counted = {bound: float(sum(at <= bound for at in lengths)) for bound in (*bounds, math.inf)}
    found = spread([counted])
    assert found is not None
    for bound in bounds:
        assert math.isclose(upto(found, bound), counted[bound] / len(lengths), abs_tol=1e-12)


_LITERAL = re.compile(r'"((?:[^"\\\x00-\x1f\x7f]|\\["\\]|\\x[0-9a-f]{2})*)"')


def understood(literal: str) -> str:
    """What a PromQL parser makes of a literal; it has to be one literal from end to end."""
    match = _LITERAL.fullmatch(literal)
    assert match, literal
    return re.sub(
        r"\\(x[0-9a-f]{2}|.)",
        lambda m: chr(int(m[1][1:], 16)) if len(m[1]) == 3 else m[1],
        match[1],
    )


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_string_comes_out_as_it_went_in(value: str) -> None:
    assert understood(string(value)) == value


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4), st.text(max_size=8))
def test_a_pattern_matches_its_values_and_no_other(values: list[str], other: str) -> None:
    values = [value.encode("utf-8", "replace").decode() for value in values]
    pattern = re.compile(understood(one_of(values)))  # for these signs RE2 and re agree
    assert all(pattern.fullmatch(value) for value in values)
    assert bool(pattern.fullmatch(other)) is (other in values)
