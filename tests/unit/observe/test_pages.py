"""Stored pages say what the queries of a pass would, and nothing that was not there."""

import math
import re
from typing import Any

import pytest

import bodies
import pages
from answers import CONFIG
from trimtab.api.engine import EngineType
from trimtab.observe import engines, histogram
from trimtab.observe.pages import Page, Stored, evaluate, names_of, parse
from trimtab.observe.readings import Place, Readings

VLLM = engines.get(EngineType.VLLM)
POD = ("assistants", f"chat-h100-tp1-{bodies.HASH}-aaaaa")
STEM = (POD[0], POD[1][:-5])
NOW = 1000.0


def page(text: str, at: float, engine: engines.Engine = VLLM) -> Page:
    return parse(text, names_of(engine), at)


def readings(*found: Page, engine: engines.Engine = VLLM, place: Place = POD) -> Readings:
    return evaluate({place: Stored(engine=engine, pages=found)}, {}, NOW, CONFIG)


def loaded(*times: float) -> list[Page]:
    """Pages of a replica under a real load that began at second 0 of NOW - 60."""
    return [page(pages.under_load(at), NOW - 60 + at) for at in times]


def test_rates_are_those_of_the_real_pages() -> None:
    found = readings(*loaded(1.0, 16.0, 31.0, 46.0, 58.0))
    ttft = pages.gained("vllm:time_to_first_token_seconds_count")
    assert found.arrivals[STEM][POD] == pytest.approx(ttft, rel=1e-6)
    assert found.buckets["ttft"][STEM][math.inf] == pytest.approx(ttft, rel=1e-6)
    quantile = histogram.quantile(found.buckets["ttft"][STEM], 0.9)
    bounds = pages.gained_buckets("vllm:time_to_first_token_seconds")
    assert quantile == pytest.approx(histogram.quantile(bounds, 0.9))
    total = pages.gained("vllm:request_prompt_tokens_sum")
    assert found.sums["input_tokens"][STEM] == pytest.approx(total, rel=1e-6)
    for name, metric in (
        ("input_tokens", "vllm:request_prompt_tokens"),
        ("output_tokens", "vllm:request_generation_tokens"),
    ):
        assert found.buckets[name][STEM] == pytest.approx(pages.gained_buckets(metric))
    assert found.values["running"][POD] == 8.0
    assert found.values["waiting"][POD] == 30.0
    assert found.values["seen"][POD] == NOW - 2
    assert found.values["covered"][POD] == 59.0


def test_steps_are_those_of_a_second() -> None:
    steps = pages.gained("vllm:iteration_tokens_total_count")
    assert readings(*loaded(0.0, 15.0, 30.0, 45.0, 60.0)).values["steps"][POD] == pytest.approx(
        steps
    )
    assert readings(page(vllm(), NOW - 15), page(vllm(), NOW)).values["steps"] == {}


def test_what_was_preempted_is_counted_from_the_first_one_on() -> None:
    lost = pages.page("load1").replace(
        'vllm:num_preemptions_total{engine="0",model_name="tiny"} 0.0',
        'vllm:num_preemptions_total{engine="0",model_name="tiny"} 6.0',
    )
    plain = pages.page("load1")
    found = readings(page(plain, NOW - 60), page(plain, NOW - 30), page(lost, NOW))
    assert found.values["preempted"][POD] == pytest.approx(0.1)


def test_the_batch_is_the_mean_of_the_window() -> None:
    """Tokens per second are of the whole window: what runs at its end would not go with them."""
    before = vllm().replace('num_requests_running{model_name="m"} 1', "num_requests_running 6")
    found = readings(page(before, NOW - 45), page(vllm(), NOW - 30), page(vllm(), NOW - 15))
    assert found.values["running"][POD] == 1.0
    assert found.values["batch"][POD] == pytest.approx(8.0 / 3.0)


def test_two_pages_of_a_young_pod_count_for_the_part_that_they_cover() -> None:
    """As rate() would: the reader divides by the covered share of the window."""
    found = readings(*loaded(30.0, 45.0))
    ttft = pages.gained("vllm:time_to_first_token_seconds_count")
    assert found.arrivals[STEM][POD] == pytest.approx(ttft * (30 + 7.5) / 60, rel=1e-6)


def test_one_page_has_gauges_and_no_rate() -> None:
    found = readings(*loaded(45.0))
    assert found.values["running"][POD] == 8.0
    assert found.arrivals == {}
    assert set(found.buckets) == {"ttft", "itl", "e2e", "input_tokens", "output_tokens"}
    assert not any(found.buckets.values())
    assert found.sums["input_tokens"] == {}


def test_an_idle_page_has_histograms_without_observations_and_no_nan() -> None:
    found = readings(*(page(pages.page("idle"), NOW - ago) for ago in (45, 30, 15, 0)))
    assert found.arrivals[STEM][POD] == 0.0
    for name in ("ttft", "itl", "e2e"):
        assert set(found.buckets[name][STEM].values()) == {0.0}
    assert found.sums["prefix_hit"][STEM] == 0.0
    assert found.counts["prefix_hit"][STEM] == 0.0


def test_a_restart_is_neither_spike_nor_dip() -> None:
    before, after = loaded(100.0, 115.0), loaded(1.0, 16.0)
    times = (NOW - 45, NOW - 30, NOW - 15, NOW)
    found = readings(
        *(Page(at=at, samples=one.samples) for at, one in zip(times, before + after, strict=True))
    )
    ttft = pages.gained("vllm:time_to_first_token_seconds_count")
    # One second of the interval with the restart, and two whole ones.
    assert found.arrivals[STEM][POD] == pytest.approx(ttft * 31 / 45 * 52.5 / 60, rel=1e-6)


def text(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def vllm(**over: Any) -> str:
    values = {"first": 0, "waiting": 0, "aborted": 0, "refused": 0} | over
    return text(
        'vllm:num_requests_running{model_name="m"} 1',
        f'vllm:num_requests_waiting{{model_name="m"}} {values["waiting"]}',
        f'vllm:time_to_first_token_seconds_count{{model_name="m"}} {values["first"]}',
        f'vllm:request_success_total{{finished_reason="abort",model_name="m"}} {values["aborted"]}',
        'vllm:request_success_total{finished_reason="stop",model_name="m"} 900',
        f'vllm:admission_rejections_total{{reason="max_num_queued_reqs"}} {values["refused"]}',
    )


def arrivals(**over: Any) -> float:
    """Over exactly the window, from zero to these."""
    whole = [page(vllm(), NOW - 60), page(vllm(**over), NOW)]
    return readings(*whole).arrivals[STEM][POD] * 60


def test_what_waits_was_refused_or_gave_up_waiting_has_arrived() -> None:
    assert arrivals(first=60) == pytest.approx(60)
    assert arrivals(first=60, waiting=30) == pytest.approx(90)
    assert arrivals(first=60, refused=6) == pytest.approx(66)
    assert arrivals(first=60, waiting=30, aborted=12) == pytest.approx(102)


def test_who_gave_up_while_nobody_waited_has_been_counted_already() -> None:
    assert arrivals(first=60, aborted=12) == pytest.approx(60)


def test_a_series_that_appears_has_counted_nothing_before() -> None:
    later = vllm() + "vllm:prompt_tokens_cached_total 60\nvllm:prompt_tokens_total 600\n"
    found = readings(page(vllm(), NOW - 60), page(vllm(), NOW - 30), page(later, NOW))
    assert found.sums["prefix_hit"][STEM] == pytest.approx(1.0)
    assert found.counts["prefix_hit"][STEM] == pytest.approx(10.0)


@pytest.mark.parametrize("suffixed", [True, False])
def test_counters_are_known_with_and_without_total(suffixed: bool) -> None:
    before, after = vllm(), vllm(waiting=1, first=60, aborted=5, refused=6)
    if not suffixed:
        before, after = before.replace("_total", ""), after.replace("_total", "")
    found = readings(page(before, NOW - 60), page(after, NOW)).arrivals[STEM][POD] * 60
    assert found == pytest.approx(60 + 1 + 5 + 6)


def test_ranks_adapters_and_unknown_labels_add_up() -> None:
    lines = [
        f'vllm:num_requests_waiting{{engine="{rank}",model_name="{model}",new="{new}"}} 1'
        for rank in "01"
        for model in ("base", "lora-a", "lora-b")
        for new in "xyz"
    ]
    lines += ['vllm:kv_cache_usage_perc{engine="0"} 0.2', 'vllm:kv_cache_usage_perc{engine="1"} 1']
    found = readings(page(text(*lines), NOW))
    assert found.values["waiting"][POD] == 18.0
    assert found.values["kv_utilization"][POD] == 1.0


def test_v0_names_are_read() -> None:
    old = pages.page("load2").replace("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
    old = old.replace("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds")
    old = re.sub(r'engine="0",', "", old)
    old = re.sub(r"^.*(prompt_tokens_cached|admission_rejections).*$", "", old, flags=re.MULTILINE)
    found = readings(page(old, NOW - 60), page(old, NOW))
    assert found.values["kv_utilization"][POD] < 0.01
    assert found.buckets["itl"][STEM][math.inf] == 0.0
    assert found.counts["prefix_hit"][STEM] == 0.0
    assert found.arrivals[STEM][POD] == 0.0


def test_both_names_on_one_page_count_once() -> None:
    both = "vllm:kv_cache_usage_perc 0.5\nvllm:gpu_cache_usage_perc 0.9\n"
    assert readings(page(both, NOW)).values["kv_utilization"][POD] == 0.5


def test_other_engines() -> None:
    def of(kind: EngineType, before: str, after: str) -> Readings:
        engine = engines.get(kind)
        return readings(page(before, NOW - 60, engine), page(after, NOW, engine), engine=engine)

    sglang = of(
        EngineType.SGLANG,
        text('sglang:num_running_reqs{tp_rank="0"} 3', 'sglang:num_queue_reqs{tp_rank="0"} 0',
             'sglang:time_to_first_token_seconds_count{model_name="m"} 0',
             'sglang:prompt_tokens_total{is_streaming="true"} 0',
             'sglang:num_requests_total{is_streaming="true"} 0'),
        text('sglang:num_running_reqs{tp_rank="0"} 3', 'sglang:num_queue_reqs{tp_rank="0"} 12',
             'sglang:time_to_first_token_seconds_count{model_name="m"} 60',
             'sglang:prompt_tokens_total{is_streaming="true"} 6000',
             'sglang:num_requests_total{is_streaming="true"} 60'),
    )  # fmt: skip
    assert sglang.arrivals[STEM][POD] * 60 == pytest.approx(72)
    assert sglang.sums["input_tokens"][STEM] == pytest.approx(100)
    assert sglang.counts["input_tokens"][STEM] == pytest.approx(1)
    tgi = of(
        EngineType.TGI,
        text("tgi_request_count 0", "tgi_queue_size 0", "tgi_batch_current_size 1"),
        text("tgi_request_count 60", "tgi_queue_size 12", "tgi_batch_current_size 1"),
    )
    assert tgi.arrivals[STEM][POD] * 60 == pytest.approx(60)  # it counts what comes
    triton = of(
        EngineType.TENSORRT_LLM, "",
        text('nv_trt_llm_request_metrics{request_type="waiting"} 4',
             'nv_trt_llm_request_metrics{request_type="scheduled"} 2',
             'nv_trt_llm_request_metrics{request_type="max"} 64'),
    )  # fmt: skip
    assert triton.values["waiting"][POD] == 4.0
    assert triton.values["running"][POD] == 2.0
    llama = of(
        EngineType.LLAMA_CPP, "", "llamacpp:requests_processing 1\nllamacpp:requests_deferred 2\n"
    )
    assert llama.values["waiting"][POD] == 2.0
    assert llama.arrivals == {}


@pytest.mark.parametrize(
    "line",
    ['vllm:num_requests_running{a="b" 1', "vllm:num_requests_running 0x1",
     "vllm:num_requests_running", 'vllm:num_requests_running{a="1",a="2"} 1'],
)  # fmt: skip
def test_a_malformed_line_of_ours_spoils_the_page(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parser's own text
        page(f"{line}\n", NOW)


def test_lines_of_others_are_not_looked_at() -> None:
    found = page('{"json": [1]}\nother{ 1\nvllm:num_requests_running 1\n', NOW)
    assert dict(found.samples) == {"vllm:num_requests_running": {frozenset(): 1.0}}


def test_a_pod_that_is_gone_counts_in_the_stem() -> None:
    gone = (POD[0], f"{POD[1][:-5]}bbbbb")
    half = [page(vllm(), NOW - 60), page(vllm(first=30), NOW - 30)]
    whole = [page(vllm(), NOW - 60), page(vllm(first=60), NOW)]
    both = {
        POD: Stored(engine=VLLM, pages=tuple(whole)),
        gone: Stored(engine=VLLM, pages=tuple(half)),
    }
    found = evaluate(both, {}, NOW, CONFIG)
    assert set(found.arrivals[STEM]) == {POD, gone}
    assert found.arrivals[STEM][POD] * 60 == pytest.approx(60)
