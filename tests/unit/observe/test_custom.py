"""A custom engine is read by its owner's PromQL, which can hurt nobody but its owner."""

from dataclasses import replace
from typing import Any

import pytest

import bodies
from answers import CONFIG, NAMESPACE, STEM, Answers, steady
from trimtab.api.engine import EngineType
from trimtab.api.enginemetrics import EngineMetrics
from trimtab.errors import Unavailable
from trimtab.models.load import LatencyTargets, ObservedLoad
from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Stale
from trimtab.models.snapshot import Key
from trimtab.observe import custom
from trimtab.observe.kinds import Kind
from trimtab.observe.parse import parse
from trimtab.observe.prometheus import Refused, Sample
from trimtab.observe.queries import PART_LABEL
from trimtab.observe.reader import Subject
from trimtab.observe.signals import read
from trimtab.observe.world import PodFacts

METRICS = EngineMetrics(
    requests_per_second="rate(my_requests_total[1m])",
    waiting_requests="my_queue",
    kv_utilization="my_cache / 100",
    input_tokens="my_prompt",
    time_to_first_token="my_ttft",
)


class Source:
    """Answers the queries of custom engines by the name of each part, and others as engines do."""

    def __init__(self, answer: dict[str, dict[str, float]] | Exception, engines: Answers) -> None:
        self.answer, self.engines = answer, engines
        self.asked: list[str] = []

    def query(self, expr: str) -> tuple[Sample, ...]:
        self.asked.append(expr)
        if "my_queue" not in expr:
            return self.engines.query(expr)
        if isinstance(self.answer, Exception):
            raise self.answer
        return tuple(
            Sample(
                labels={PART_LABEL: part, "namespace": NAMESPACE, "pod": f"{STEM}{end}"},
                value=value,
                timestamp=bodies.NOW,
            )
            for part, values in self.answer.items()
            for end, value in values.items()
        )


def subject(name: str = "chat", **over: Any) -> Subject:
    facts = [parse(Kind.POD, bodies.pod(end)).facts for end in ("aaaaa", "bbbbb")]
    values: dict[str, Any] = {
        "key": Key(namespace=NAMESPACE, name=name),
        "targets": LatencyTargets(ttft_s=0.5),
        "pods": tuple(each for each in facts if isinstance(each, PodFacts)),
        "engine": EngineType.CUSTOM,
        "metrics": METRICS,
    }
    return Subject(**(values | over))


def answers(**over: dict[str, float]) -> dict[str, dict[str, float]]:
    return {
        "seen": {"aaaaa": bodies.NOW - 5, "bbbbb": bodies.NOW - 10},
        "requests_per_second": {"aaaaa": 2.0, "bbbbb": 3.0},
        "waiting_requests": {"aaaaa": 1.0, "bbbbb": 0.0},
        "kv_utilization": {"aaaaa": 0.5, "bbbbb": 0.25},
        "input_tokens": {"aaaaa": 100.0, "bbbbb": 200.0},
        "time_to_first_token": {"aaaaa": 0.2, "bbbbb": 0.4},
    } | over


def load(answer: dict[str, dict[str, float]] | Exception, **over: Any) -> ObservedLoad:
    wanted = subject(**over)
    source = Source(answer, Answers())
    return read(source, [wanted], now=bodies.NOW, config=CONFIG)[wanted.key]


def test_the_signals_of_two_replicas() -> None:
    found = load(answers())
    assert found.arrival_rps == Fresh(value=5.0, age_s=10.0)
    assert found.waiting == Fresh(value=1.0, age_s=10.0)
    assert found.kv_utilization == Fresh(value=0.5, age_s=10.0)
    assert found.input_tokens == Fresh(value=150.0, age_s=10.0)
    assert found.ttft_s == Fresh(value=0.4, age_s=10.0)
    assert found.output_tokens == Missing(
        why="spec.engine.metrics.outputTokens gives nothing with the namespace and pod of a replica"
    )


def test_the_contract_holds() -> None:
    one = {"aaaaa": 2.0}
    assert load(answers(requests_per_second=one)).arrival_rps == Partial(
        value=2.0, reporting=1, expected=2
    )
    assert isinstance(load(answers(waiting_requests={"aaaaa": -1.0})).waiting, Invalid)
    assert isinstance(load(answers(kv_utilization={"aaaaa": 50.0})).kv_utilization, Invalid)
    old = dict.fromkeys(("aaaaa", "bbbbb"), bodies.NOW - 46)
    assert not isinstance(load(answers(seen=old)).arrival_rps, Fresh | Partial | Stale)
    assert isinstance(load({}).arrival_rps, Missing)


@pytest.mark.parametrize("error", [Refused("parse error"), Unavailable("too slow")])
def test_a_query_that_fails_spoils_nobody_else_s(error: Exception) -> None:
    healthy = subject("other", engine=EngineType.VLLM, metrics=None)
    found = read(
        Source(error, steady(["aaaaa", "bbbbb"])),
        [subject(), healthy],
        now=bodies.NOW,
        config=CONFIG,
    )
    assert isinstance(found[healthy.key].arrival_rps, Fresh)
    bad = found[subject().key].arrival_rps
    assert isinstance(bad, Invalid)
    assert bad.why == f"spec.engine.metrics: {error}"


def test_equal_expressions_share_a_query_and_no_pass_asks_more_than_its_share() -> None:
    alike = [subject(f"a{i}") for i in range(20)]
    others = [
        subject(f"b{i}", metrics=METRICS.model_copy(update={"input_tokens": f"my_{i}"}))
        for i in range(20)
    ]
    plain = subject("c", engine=EngineType.VLLM, metrics=None)
    source = Source(answers(), steady(["aaaaa", "bbbbb"]))
    found = read(source, [*others, *alike, plain], now=bodies.NOW, config=CONFIG)
    assert len(source.asked) == 9 + custom.MAX_DIFFERENT
    assert all(isinstance(found[each.key].arrival_rps, Fresh) for each in alike)
    fresh = [each for each in others if isinstance(found[each.key].arrival_rps, Fresh)]
    assert len(fresh) == custom.MAX_DIFFERENT - 1
    silent = found[others[-1].key].arrival_rps
    assert silent == Missing(why=custom.TOO_MANY)


def test_without_expressions_nothing_is_asked_and_nothing_is_known() -> None:
    assert load(answers(), metrics=None).waiting == Missing(why=custom.UNASKED)


def test_a_comment_ends_with_its_line() -> None:
    commented = METRICS.model_copy(update={"waiting_requests": "my_queue # all of it"})
    for line in custom.query(commented).splitlines():
        assert "#" not in line or line.endswith("# all of it")


def test_other_pods_do_not_count() -> None:
    found = load(answers(requests_per_second={"aaaaa": 2.0, "bbbbb": 3.0, "zzzzz": 1e6}))
    assert found.arrival_rps == Fresh(value=5.0, age_s=10.0)


def test_a_pod_that_terminates_need_not_report() -> None:
    pods = subject().pods
    leaving = (pods[0], replace(pods[1], terminating=True))
    found = load(answers(requests_per_second={"aaaaa": 2.0}), pods=leaving)
    assert found.arrival_rps == Fresh(value=2.0, age_s=5.0)
