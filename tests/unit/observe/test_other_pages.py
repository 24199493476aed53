"""Pages of engines other than vLLM are read without a gap, those of older releases too.

Names and labels are those of the engines' sources as shared/research/ecosystem.md has them.
"""

from dataclasses import replace

import pytest

import onereplica
from builders import planned, variant_state
from onereplica import number
from trimtab.api.conditions import Reason
from trimtab.api.engine import EngineType
from trimtab.models.load import LatencyTargets, ObservedLoad
from trimtab.models.signals import Fresh, Missing
from trimtab.observe.selftest import lacking
from trimtab.planner.evidence import evidence_of


def histogram(name: str, labels: str, count: float, value: float) -> str:
    lines = [
        f'{name}_bucket{{{labels}le="{bound}"}} {count if value <= float(bound) else 0}'
        for bound in ("0.05", "0.5", "1.0", "200.0", "+Inf")
    ]
    bare = f"{{{labels.rstrip(',')}}}" if labels else ""
    return "\n".join([*lines, f"{name}_sum{bare} {count * value}", f"{name}_count{bare} {count}\n"])


def llama_cpp(served: float, *, old: bool) -> str:
    kv = "llamacpp:kv_cache_usage_ratio 0.4\n" if old else ""
    return (
        "# TYPE llamacpp:prompt_tokens_total counter\n"
        f"llamacpp:prompt_tokens_total {100 * served}\n"
        f"llamacpp:tokens_predicted_total {50 * served}\n"
        f"llamacpp:requests_processing 3\nllamacpp:requests_deferred 2\n{kv}"
    )


def sglang(served: float, *, old: bool) -> str:
    labels = 'model_name="m",engine_type="unified",tp_rank="0",pp_rank="0",'
    gap = "time_per_output_token_seconds" if old else "inter_token_latency_seconds"
    bare = labels.rstrip(",")
    return (
        f"sglang:num_running_reqs{{{bare}}} 3\nsglang:num_queue_reqs{{{bare}}} 2\n"
        f"sglang:token_usage{{{bare}}} 0.4\n"
        f"sglang:prompt_tokens_total{{{bare}}} {100 * served}\n"
        f"sglang:generation_tokens_total{{{bare}}} {50 * served}\n"
        f"sglang:num_requests_total{{{bare}}} {served}\n"
        + histogram("sglang:time_to_first_token_seconds", labels, served, 0.1)
        + histogram(f"sglang:{gap}", labels, 10 * served, 0.02)
        + histogram("sglang:e2e_request_latency_seconds", labels, served, 0.9)
    )


def tgi(served: float, *, old: bool) -> str:
    lengths = histogram("tgi_request_input_length", "", served, 100)
    lengths += histogram("tgi_request_generated_tokens", "", served, 50)
    return (
        f"tgi_request_count {served}\ntgi_batch_current_size 3\ntgi_queue_size 2\n{lengths}"
        + histogram("tgi_request_mean_time_per_token_duration", "", served, 0.02)
        + histogram("tgi_request_duration", "", served, 0.9)
    )


def trtllm(served: float, *, old: bool) -> str:
    labels, total = 'model_name="m",engine_type="trtllm",', "" if old else "_total"
    bare = labels.rstrip(",")
    return (
        f"trtllm_num_requests_running{{{bare}}} 3\ntrtllm_num_requests_waiting{{{bare}}} 2\n"
        f"trtllm_kv_cache_utilization{{{bare}}} 0.4\n"
        f"trtllm_prompt_tokens{total}{{{bare}}} {100 * served}\n"
        f"trtllm_generation_tokens{total}{{{bare}}} {50 * served}\n"
        f'trtllm_request_success{total}{{{bare},finished_reason="stop"}} {served}\n'
        + histogram("trtllm_time_to_first_token_seconds", labels, served, 0.1)
        + histogram("trtllm_time_per_output_token_seconds", labels, served, 0.02)
        + histogram("trtllm_e2e_request_latency_seconds", labels, served, 0.9)
    )


PAGES = {
    EngineType.LLAMA_CPP: llama_cpp,
    EngineType.SGLANG: sglang,
    EngineType.TGI: tgi,
    EngineType.TENSORRT_LLM: trtllm,
}


def load(kind: EngineType, *, old: bool) -> ObservedLoad:
    texts = [PAGES[kind](served, old=old) for served in (30.0, 60.0, 90.0)]
    return onereplica.load(texts, kind=kind)


@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
@pytest.mark.parametrize("kind", list(PAGES))
def test_every_signal_that_an_engine_has_is_read(kind: EngineType, old: bool) -> None:
    found = load(kind, old=old)
    assert lacking(found) == ()
    assert (number(found.running), number(found.waiting)) == (3.0, 2.0)
    if kind is EngineType.LLAMA_CPP:
        return  # it counts no requests
    assert number(found.arrival_rps) == pytest.approx(1.0)
    assert number(found.input_tokens) == pytest.approx(100)
    assert number(found.output_tokens) == pytest.approx(50)
    assert 0.0 < number(found.itl_s) <= 0.05
    assert 0.5 < number(found.e2e_s) <= 1.0
    if kind is not EngineType.TGI:
        assert 0.05 < number(found.ttft_s) <= 0.5
        assert number(found.kv_utilization) == 0.4


@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
def test_llama_cpp_behind_a_gateway_can_be_scaled_both_ways(old: bool) -> None:
    """Its share of the cache is gone from newer builds, for good: that is no doubt."""
    found = replace(load(EngineType.LLAMA_CPP, old=old), arrival_rps=Fresh(value=2.0))
    assert isinstance(found.kv_utilization, Fresh if old else Missing)
    state = planned(variants=(variant_state(replicas=1, ready=1, pods=1),), load=found)
    assert evidence_of(state, LatencyTargets(e2e_s=9.0)).reason is Reason.METRICS_FRESH
