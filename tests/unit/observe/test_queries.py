"""The queries of a pass: few, constant in number, and whole whatever the names are."""

from urllib.parse import quote

import pytest

from pages import names, page
from trimtab.api.engine import EngineType
from trimtab.config import OperatorConfig
from trimtab.observe import engines, queries
from trimtab.observe.promql import one_of, series, string

CONFIG = OperatorConfig(rate_window_s=60.0)
ENGINE = engines.get(EngineType.VLLM)


def test_at_most_fifteen_queries_of_bounded_length_whatever_the_fleet() -> None:
    few = queries.build(ENGINE, CONFIG, ["a"])
    many = queries.build(ENGINE, CONFIG, [f"namespace-{i}" for i in range(10_000)])
    assert few.keys() == many.keys()
    assert len(few) <= 15
    most = queries.build(ENGINE, CONFIG, ["n" * 63] * (queries.MAX_NAMESPACE_CHARS // 64))
    assert all("namespace=~" in expr for expr in most.values())
    lengths = [len(quote(expr)) for expr in (*few.values(), *many.values(), *most.values())]
    assert max(lengths) < 8000


def test_every_query_makes_one_value_per_pod_before_anything_is_added_up() -> None:
    for name, expr in queries.build(ENGINE, CONFIG, ["a"]).items():
        if expr.startswith("sum by (namespace, trimtab_stem"):
            assert "(label_replace(max by (namespace, pod" in expr, name
        else:
            assert expr.startswith("max by (namespace, pod) ("), name


def test_older_names_are_asked_for_after_newer_ones() -> None:
    expr = queries.build(ENGINE, CONFIG, [])["itl"]
    newer, older = (f"rate({name}_bucket[60000ms])" for name in ENGINE.itl)
    assert f"{newer} or {older}" in expr


def test_the_sum_of_a_histogram_comes_with_its_buckets() -> None:
    for name, metrics in (("itl", ENGINE.itl), ("ttft", ENGINE.ttft)):
        expr = queries.build(ENGINE, CONFIG, [])[name]
        total = " or ".join(f"rate({metric}_sum[60000ms])" for metric in metrics)
        assert f' or label_replace({total}, "le", "sum", "", "")' in expr
    on_the_page = names(page("load2"))
    for metrics in (ENGINE.itl, ENGINE.ttft):
        assert {f"{metrics[0]}_sum", f"{metrics[0]}_count", f"{metrics[0]}_bucket"} <= on_the_page


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


def test_windows_are_exact() -> None:
    odd = OperatorConfig(rate_window_s=22.5, scrape_interval_s=7.5)
    exprs = queries.build(ENGINE, odd, [])
    assert "[22500ms]" in exprs["ttft"]
    assert "[22500ms:3750ms]" in exprs["covered"]
