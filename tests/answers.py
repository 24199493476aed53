"""A metrics source with given answers, for tests of what is made of them."""

from collections.abc import Mapping
from typing import Any

import bodies
from trimtab.api.engine import EngineType
from trimtab.config import OperatorConfig
from trimtab.observe import engines, queries
from trimtab.observe.prometheus import Sample
from trimtab.observe.queries import COUNT, GAUGES, PART_LABEL, STEM_LABEL, SUM
from trimtab.observe.readings import GAUGE_PARTS, SEEN_PARTS

NAMESPACE = "assistants"
STEM = f"chat-h100-tp1-{bodies.HASH}-"
CONFIG = OperatorConfig(scrape_interval_s=15.0, rate_window_s=60.0)

TTFT = {"0.1": 6.0, "0.5": 9.0, "1.0": 10.0, "+Inf": 10.0, "sum": 2.5, "count": 10.0}
"""Ten first tokens a second, 90 % of them within half a second; their mean is 0.25 s."""
ITL = {"0.01": 0.0, "0.025": 800.0, "0.05": 1000.0, "+Inf": 1000.0, "sum": 22.0, "count": 1000.0}
"""A thousand gaps a second of 22 ms on average."""
E2E = {"1.0": 2.0, "5.0": 8.0, "10.0": 8.0, "+Inf": 8.0}
PROMPTS = {"200.0": 0.0, "500.0": 2.0, "1000.0": 5.0, "2000.0": 8.0, "+Inf": 8.0}
"""Eight prompts a second; their mean is 1000 tokens."""
ANSWERS = {"100.0": 2.0, "200.0": 5.0, "500.0": 8.0, "+Inf": 8.0}
"""Their answers, of 200 tokens on average."""

PARTS = {
    "seen": {part: part for part in SEEN_PARTS},
    GAUGES: {part: part for part in GAUGE_PARTS},
    "prefix_hit": {SUM: "cache_found", COUNT: "cache_sought"},
    "input_tokens": {SUM: "input_tokens_sum", COUNT: "input_tokens_count", "": "prompts"},
    "output_tokens": {SUM: "output_tokens_sum", COUNT: "output_tokens_count", "": "answers"},
}
"""What the queries bring that bring several values, by the names that tests give those."""


class Answers:
    """Answers by the name of the query; what is not given is an empty vector.

    An exception instead of samples is raised.
    """

    def __init__(self, **answers: list[Sample] | Exception) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def query(self, expr: str) -> tuple[Sample, ...]:
        """Answer the one query of a pass that reads so, whatever namespaces it selects."""
        self.asked.append(expr)
        namespace = [NAMESPACE] if "namespace=~" in expr else []
        wanted = queries.build([engines.get(EngineType.VLLM)], CONFIG, namespace)
        name = next(name for name, known in wanted.items() if known == expr)
        found: list[Sample] = []
        for part, key in PARTS.get(name, {"": name}).items():
            answer = self.answers.get(key, [])
            if isinstance(answer, Exception):
                raise answer
            label = PART_LABEL if name in ("seen", GAUGES) else "le"
            more = {label: part} if part else {}
            found += [each._replace(labels={**each.labels, **more}) for each in answer]
        return tuple(found)


def by_pod(values: Mapping[str, float], stem: str = STEM) -> list[Sample]:
    """One sample for each pod, given by the end of its name."""
    return [_sample(value, pod=f"{stem}{end}") for end, value in values.items()]


def by_stem(value: float, stem: str = STEM) -> list[Sample]:
    """One sample of the ReplicaSet."""
    return [_sample(value, **{STEM_LABEL: stem})]


def by_bucket(buckets: Mapping[str, float], stem: str = STEM) -> list[Sample]:
    """The samples of a histogram."""
    return [_sample(rate, le=le, **{STEM_LABEL: stem}) for le, rate in buckets.items()]


def steady(ends: list[str], **over: Any) -> Answers:
    """Every pod reports, 5 s ago: 10 requests/s, none of which had to wait."""
    answers: dict[str, Any] = {
        "seen": by_pod(dict.fromkeys(ends, bodies.NOW - 5)),
        "covered": by_pod(dict.fromkeys(ends, 58.0)),
        "samples": by_pod(dict.fromkeys(ends, 4.0)),
        "served": by_pod(dict.fromkeys(ends, 8e6)),
        "finished": by_pod(dict.fromkeys(ends, 8e3)),
        "running": by_pod(dict.fromkeys(ends, 4.0)),
        "batch": by_pod({end: 4.0 + i for i, end in enumerate(ends)}),
        "steps": by_pod({end: 50.0 + i for i, end in enumerate(ends)}),
        "preempted": by_pod({end: 0.1 * i for i, end in enumerate(ends)}),
        "waiting": by_pod(dict.fromkeys(ends, 0.0)),
        "kv_utilization": by_pod({end: 0.1 * (i + 1) for i, end in enumerate(ends)}),
        "arrivals": by_pod({end: 10.0 / len(ends) for end in ends}),
        "cache_found": by_stem(200.0),
        "cache_sought": by_stem(1000.0),
        "input_tokens_sum": by_stem(8000.0),
        "input_tokens_count": by_stem(8.0),
        "output_tokens_sum": by_stem(1600.0),
        "output_tokens_count": by_stem(8.0),
        "prompts": by_bucket(PROMPTS),
        "answers": by_bucket(ANSWERS),
        "ttft": by_bucket(TTFT),
        "itl": by_bucket(ITL),
        "e2e": by_bucket(E2E),
    }
    return Answers(**(answers | over))


def _sample(value: float, **labels: str) -> Sample:
    return Sample(labels={"namespace": NAMESPACE} | labels, value=value, timestamp=bodies.NOW)
