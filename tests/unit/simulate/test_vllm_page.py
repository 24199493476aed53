"""The stand-in's page against pages that a real vLLM 0.32.0 served (tests/unit/simulate/data).

Those pages were scraped by this project from a CPU build that served a 2-layer random-weight
Llama as `tiny` with a longest length of 1,024 tokens, while idle and under load.
"""

import gzip
import re
from pathlib import Path

import pytest

from trimtab.models.hardware import EngineSettings
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Event, Finished, FirstToken, Request, Resumed, Steps
from trimtab.simulate.pace import Pace
from trimtab_e2e.vllm_page import EngineFacts, Gauges, Page
from unit.simulate.reference import Times

INF = float("inf")
DATA = Path(__file__).with_name("data")
SAMPLE = re.compile(r"(?P<name>[^ {]+)(\{(?P<labels>.*)\})? (?P<value>\S+)")
LABEL = re.compile(r'(\w+)="([^"]*)"')


def real_page(state: str) -> str:
    return gzip.decompress((DATA / f"vllm-0.32.0-{state}.txt.gz").read_bytes()).decode()


def samples(page: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found = {}
    for line in page.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, line
            labels = frozenset(LABEL.findall(match["labels"] or ""))
            assert (match["name"], labels) not in found
            found[match["name"], labels] = float(match["value"])
    return found


def form(page: str) -> set[tuple[str, ...]]:
    """Everything of a page but its numbers and the configuration of its engine."""
    own = {"vllm:cache_config_info", "python_info"}
    lines = {tuple(line.split(" ", 3)) for line in page.splitlines() if line.startswith("# ")}
    for name, labels in samples(page):
        if name in own:
            lines.add((name, *sorted(label for label, _ in labels)))
        else:
            lines.add((name, *sorted(f"{label}={text}" for label, text in labels)))
    return lines


def make_page(*, max_model_len: int = 1024) -> Page:
    facts = EngineFacts(
        model_name="tiny",
        max_model_len=max_model_len,
        kv_blocks=128,
        kv_dtype="auto",
        memory_utilization=0.9,
        started_at=1.7e9,
    )
    return Page(facts)


def served() -> tuple[Engine, list[Event]]:
    """An engine that is short of KV blocks, after a burst, with a few requests left over."""
    limits = EngineSettings(max_model_len=1024, max_num_seqs=32, max_num_batched_tokens=256)
    engine = Engine(Pace(Times(), 2048), limits)
    for i in range(100):
        engine.submit(Request(id=i, arrival=0.1 * i, input_tokens=90, output_tokens=150), 0.1 * i)
    return engine, engine.advance(9.0)


def value(page: str, name: str, **labels: str) -> float:
    wanted = {("engine", "0"), ("model_name", "tiny"), *labels.items()}
    return samples(page)[name, frozenset(wanted)]


def test_an_idle_page_has_the_form_of_a_real_one() -> None:
    page = make_page().render(Gauges(running=0, waiting=0, kv_usage=0.0))
    assert form(page) == form(real_page("idle"))


def test_a_page_under_load_has_the_form_of_a_real_one() -> None:
    page = make_page()
    page.record(served()[1])
    assert form(page.render(Gauges(running=3, waiting=2, kv_usage=0.5))) == form(real_page("load1"))


def test_an_idle_page_has_the_numbers_of_a_real_one() -> None:
    """But for what depends on the machine: times, memory, the shape of the cache."""
    page = samples(make_page().render(Gauges(running=0, waiting=0, kv_usage=0.0)))
    real = samples(real_page("idle"))
    apart = ("python_", "process_", "vllm:cache_config_info")
    differing = {
        name
        for (name, labels), number in real.items()
        if not name.startswith(apart) and not name.endswith("_created")
        if page[name, labels] != number
    }
    assert differing == set()


def test_the_page_counts_what_happened() -> None:
    engine, events = served()
    page = make_page()
    page.record(events)
    text = page.render(Gauges(running=engine.running, waiting=engine.waiting(9.0), kv_usage=0.5))
    ends = [e for e in events if isinstance(e, Finished)]
    firsts = [e for e in events if isinstance(e, FirstToken)]
    steps = [e for e in events if isinstance(e, Steps)]
    resumed = sum(isinstance(e, Resumed) for e in events)
    gaps = sum(e.count * e.decoding for e in steps) + resumed
    assert resumed > 0
    assert 0 < len(ends) < 100
    assert value(text, "vllm:num_requests_running") == engine.running > 0
    assert value(text, "vllm:request_success_total", finished_reason="stop") == len(ends)
    assert value(text, "vllm:prompt_tokens_total") == 90 * len(firsts)
    assert value(text, "vllm:generation_tokens_total") == len(firsts) + gaps
    assert value(text, "vllm:time_to_first_token_seconds_count") == len(firsts)
    assert value(text, "vllm:time_to_first_token_seconds_sum") == pytest.approx(
        sum(e.at - e.request.arrival for e in firsts)
    )
    assert value(text, "vllm:inter_token_latency_seconds_count") == gaps
    assert value(text, "vllm:e2e_request_latency_seconds_count") == len(ends)
    assert value(text, "vllm:request_generation_tokens_bucket", le="100.0") == 0
    assert value(text, "vllm:request_generation_tokens_bucket", le="200.0") == len(ends)
    giving = [e for e in steps if e.decoding or e.prompts_done]
    assert value(text, "vllm:iteration_tokens_total_count") == sum(e.count for e in giving)
    assert value(text, "vllm:iteration_tokens_total_sum") == 90 * len(firsts) + len(firsts) + gaps
    phases = ("queue", "prefill", "decode")
    total = sum(value(text, f"vllm:request_{phase}_time_seconds_sum") for phase in phases)
    assert value(text, "vllm:e2e_request_latency_seconds_sum") == pytest.approx(total)


@pytest.mark.parametrize("state", ["idle", "load1"])
def test_on_a_real_page_the_tokens_of_all_steps_are_both_counters_of_tokens(state: str) -> None:
    text = real_page(state)
    prompts = value(text, "vllm:prompt_tokens_total")
    generated = value(text, "vllm:generation_tokens_total")
    assert value(text, "vllm:iteration_tokens_total_sum") == prompts + generated


def test_the_page_tells_computed_prompt_tokens_from_those_in_the_cache() -> None:
    limits = EngineSettings(max_model_len=1024, max_num_seqs=32, max_num_batched_tokens=256)
    engine = Engine(Pace(Times(), 2048), limits)
    for i in range(3):
        request = Request(id=i, arrival=5.0 * i, input_tokens=600, output_tokens=10, prefix=(7,))
        engine.submit(request, request.arrival)
    page = make_page()
    page.record(engine.advance(INF))
    text = page.render(Gauges(running=0, waiting=0, kv_usage=0.0))
    by_source = "vllm:prompt_tokens_by_source_total"
    assert value(text, "vllm:prompt_tokens_total") == 1800
    assert value(text, by_source, source="local_cache_hit") == 2 * 512
    assert value(text, by_source, source="local_compute") == 1800 - 2 * 512
    assert value(text, "vllm:prompt_tokens_cached_total") == 2 * 512
    assert value(text, "vllm:prefix_cache_hits_total") == 2 * 512
    assert value(text, "vllm:request_prefill_kv_computed_tokens_sum") == 1800 - 2 * 512


def test_every_gap_is_in_its_bucket() -> None:
    """Also where a long run of steps crosses from one bucket into the next."""
    _, events = served()
    page = make_page()
    page.record(events)
    text = page.render(Gauges(running=0, waiting=0, kv_usage=0.0))
    gaps = [e.gap_s for e in events if isinstance(e, Resumed)]
    for run in (e for e in events if isinstance(e, Steps)):
        for j in range(run.count):
            gaps += [run.first_s + j * run.growth_s] * run.decoding
    for bound in (0.01, 0.025, 0.05, 0.1, 1.0):
        expected = sum(gap <= bound for gap in gaps)
        bucket = value(text, "vllm:inter_token_latency_seconds_bucket", le=str(bound))
        assert bucket == expected
    assert value(text, "vllm:inter_token_latency_seconds_sum") == pytest.approx(sum(gaps))


def test_length_buckets_follow_the_longest_length() -> None:
    page = make_page(max_model_len=16384).render(Gauges(running=0, waiting=0, kv_usage=0.0))
    assert value(page, "vllm:request_prompt_tokens_bucket", le="10000.0") == 0
    assert 'vllm:request_prompt_tokens_bucket{engine="0",le="20000.0"' not in page
