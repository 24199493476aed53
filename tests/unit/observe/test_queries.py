"""The queries of a pass: few, constant in number, and whole whatever the names are."""

import re
from dataclasses import replace
from urllib.parse import quote

import pytest

from pages import names, page
from trimtab.api.engine import EngineType
from trimtab.api.gateway import GatewayType
from trimtab.config import OperatorConfig
from trimtab.errors import InvalidInput
from trimtab.observe import engines, gateways, pricing, queries
from trimtab.observe.gateways import Asked
from trimtab.observe.pages import names_of
from trimtab.observe.promql import labelled, one_of, parse_label, series, string

CONFIG = OperatorConfig(rate_window_s=60.0)
ENGINE = engines.get(EngineType.VLLM)
EVERY = [engines.get(each) for each in EngineType]


@pytest.mark.parametrize("fleet", [[ENGINE], EVERY])
def test_few_queries_of_bounded_length_whatever_the_fleet(fleet: list[engines.Engine]) -> None:
    few = queries.build(fleet, CONFIG, ["a"])
    many = queries.build(fleet, CONFIG, [f"namespace-{i}" for i in range(10_000)])
    assert few.keys() == many.keys()
    assert len(few) == 9  # and up to five for gateways, custom engines and prices
    assert all("namespace=~" in expr for expr in few.values())
    long = queries.build([ENGINE], CONFIG, ["n" * 63] * 3)
    assert sum("namespace=~" in expr for expr in long.values()) >= 7
    assert max(len(quote(expr)) for expr in (*few.values(), *many.values(), *long.values())) < 8000


def test_every_query_makes_one_value_per_pod_before_anything_is_added_up() -> None:
    for name, expr in queries.build([ENGINE], CONFIG, ["a"]).items():
        if "sum by (namespace, trimtab_stem" in expr:
            assert "(label_replace(max by (namespace, pod" in expr, name
        else:
            assert expr.removeprefix("label_replace(").startswith("max by (namespace, pod) ("), name


def test_older_names_are_asked_for_after_newer_ones() -> None:
    expr = queries.build([ENGINE], CONFIG, [])["itl"]
    newer, older = (f"rate({one.name}_bucket[60000ms])" for one in ENGINE.itl.series)
    assert 0 < expr.index(newer) < expr.index(older)


def test_the_sum_of_a_histogram_comes_with_its_buckets() -> None:
    for name, metric in (("itl", ENGINE.itl), ("ttft", ENGINE.ttft)):
        expr = queries.build([ENGINE], CONFIG, [])[name]
        for one in metric.series:
            assert f"rate({one.name}_sum[60000ms])" in expr
        assert '"le", "sum", "", "")' in expr
    on_the_page = names(page("load2"))
    for metric in (ENGINE.itl, ENGINE.ttft):
        name = metric.newest
        assert {f"{name}_sum", f"{name}_count", f"{name}_bucket"} <= on_the_page


def test_buckets_of_lengths_come_with_their_mean() -> None:
    found = queries.build(EVERY, CONFIG, [])
    for name, metrics in (
        ("input_tokens", [each.inputs for each in EVERY]),
        ("output_tokens", [each.outputs for each in EVERY]),
    ):
        for one in (one for metric in metrics for one in metric.series):
            assert f"rate({one.name}_bucket[60000ms])" in found[name]
        assert found[name].count("_bucket[") == 3  # vLLM, SGLang, TGI
        assert ', "le", "count", "", "")' in found[name]
    without = queries.build([engines.get(EngineType.TENSORRT_LLM)], CONFIG, [])
    assert "_bucket[" not in without["input_tokens"]
    assert ', "le", "sum", "", "")' in without["input_tokens"]


def test_the_mean_batch_is_asked_beside_that_of_now() -> None:
    found = queries.build(EVERY, CONFIG, [])[queries.GAUGES]
    for one in (one for each in EVERY for one in each.running.series):
        assert re.search(rf"avg_over_time\({one.name}(\{{[^}}]*\}})?\[60000ms\]\)", found)


def test_steps_are_asked_by_pod_of_the_engine_that_counts_them() -> None:
    found = queries.build(EVERY, CONFIG, [])[queries.GAUGES]
    assert "rate(vllm:iteration_tokens_total_count[60000ms])" in found
    assert "rate(vllm:num_preemptions_total[60000ms])" in found
    assert found.count('"trimtab_part", "steps", "", "")') == 1


def test_when_a_page_was_scraped_is_asked_of_each_series_by_itself() -> None:
    """Prometheus gives the evaluation's own time for anything but a plain series."""
    expr = queries.build(EVERY, CONFIG, ["a"])["seen"]
    assert expr.count("timestamp(") == 2 * sum(len(each.running.series) for each in EVERY)
    assert not re.search(r"timestamp\([^)]* or ", expr)


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("plain", '"plain"'),
        ('a"b', r'"a\"b"'),
        ("a\\b", r'"a\\b"'),
        ("a\nb", r'"a\x0ab"'),
        ("\x00\x7f", r'"\x00\x7f"'),
        ("größe", '"größe"'),
        ("\ud800", '"?"'),
    ],
)
def test_string_literals(value: str, literal: str) -> None:
    assert string(value) == literal


def test_alternatives_match_themselves_and_nothing_else() -> None:
    assert one_of(["a.b", "c|d"]) == r'"a\\.b|c\\|d"'


def test_a_metric_name_is_checked() -> None:
    with pytest.raises(ValueError, match="no metric name"):
        series('x{namespace="other"}')


def test_namespaces_are_filtered() -> None:
    assert series("up", ["b", "a"]) == 'up{namespace=~"a|b"}'
    assert series("up") == "up"
    assert series("up", ["a"], [("job", 'x"y')]) == 'up{job="x\\"y",namespace=~"a"}'


def test_a_constant_label_may_have_any_value() -> None:
    assert labelled("up", {"x": 'a$1"'}) == 'label_replace(up, "x", "a$$1\\"", "", "")'


def test_windows_are_exact() -> None:
    odd = OperatorConfig(rate_window_s=22.5, scrape_interval_s=7.5)
    exprs = queries.build([ENGINE], odd, [])
    assert "[22500ms]" in exprs["ttft"]
    assert "[22500ms:3750ms]" in exprs["seen"]


def test_labels_of_the_cluster_are_on_every_selector() -> None:
    """Whoever asks: a store may have the series of another cluster, whose pods are named alike."""
    labels = (("cluster", 'eu"1'), ("env", "prod"))
    here = replace(CONFIG, prometheus_labels=labels)
    kinds = [gateways.get(kind) for kind in GatewayType]
    known = {name for engine in EVERY for name in names_of(engine)}
    known |= {one.name for each in kinds for one in (*each.requests, *each.refused, *each.queue)}
    asked = [Asked(type=each.type, name="llama", namespace="") for each in kinds]
    exprs = [*queries.build(EVERY, here, ["a"]).values(), *gateways.queries(asked, 60.0, labels)]
    selectors = re.findall(r"([\w:]+)\{([^}]*)\}", " ".join(exprs))
    assert len(known & {name for name, _ in selectors}) > 50
    assert all(r'cluster="eu\"1",env="prod"' in matchers for _, matchers in selectors)
    bare = re.compile(rf"(?<![\w:])({'|'.join(known)})(?![\w:{{])")
    assert not bare.findall(" ".join(exprs))
    assert pricing.query(labels).count(r'{cluster="eu\"1",env="prod"}') == 3


@pytest.mark.parametrize("text", ["cluster", "=x", "a-b=x", "a b=x"])
def test_what_is_no_label_is_said(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no label"):
        parse_label(text)
    assert parse_label("cluster=eu=1") == ("cluster", "eu=1")
