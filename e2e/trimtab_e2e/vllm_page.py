"""The metrics page of a simulated engine, in the names, labels and buckets of vLLM 0.32.0.

The form is that of a real page (`data/vllm-0.32.0.txt`); the numbers that a simulation knows are
its own, all others are those of an engine that has done nothing.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from math import inf
from pathlib import Path

from trimtab.performance.fit import BLOCK_TOKENS
from trimtab.simulate.events import (
    Event,
    Finished,
    FinishReason,
    FirstToken,
    Preempted,
    Resumed,
    Steps,
)

_PAGE = Path(__file__).with_name("data") / "vllm-0.32.0.txt"
_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')

_LENGTHS = {
    "vllm:request_prompt_tokens",
    "vllm:request_generation_tokens",
    "vllm:request_max_num_generation_tokens",
    "vllm:request_params_max_tokens",
    "vllm:request_prefill_kv_computed_tokens",
}
"""Histograms whose buckets go up to the longest length that the engine serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What an engine says of itself on its page."""

    model_name: str
    max_model_len: int
    kv_blocks: int
    kv_dtype: str
    memory_utilization: float
    started_at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """The engine at the time of the scrape."""

    running: int
    waiting: int
    kv_usage: float


class Page:
    """Everything that one engine has counted since it started."""

    def __init__(self, facts: EngineFacts) -> None:
        self._facts = facts
        self._counters: dict[tuple[str, str], float] = {}
        self._histograms = {
            family.name: _Histogram(
                _one_two_five(facts.max_model_len) if family.name in _LENGTHS else family.bounds
            )
            for family in _families()
            if family.kind == "histogram"
        }
        self._answered = 0

    def record(self, events: Iterable[Event]) -> None:
        """Count what happened in the engine."""
        happened = list(events)
        prompts: dict[float, int] = defaultdict(int)
        for event in happened:
            if isinstance(event, FirstToken):
                prompts[event.at] += event.request.input_tokens
        for event in happened:
            match event:
                case Steps():
                    self._steps(event, prompts[event.at])
                case FirstToken():
                    self._first_token(event)
                case Resumed():
                    self._histograms["vllm:inter_token_latency_seconds"].add(event.gap_s)
                case Finished():
                    self._finished(event)
                case Preempted():
                    self._count("vllm:num_preemptions_total", 1)

    def render(self, gauges: Gauges) -> str:
        """Return the page as Prometheus scrapes it (text format 0.0.4)."""
        values = {
            **self._counters,
            ("vllm:num_requests_running", ""): gauges.running,
            ("vllm:num_requests_waiting", ""): gauges.waiting,
            ("vllm:num_requests_waiting_by_reason", "capacity"): gauges.waiting,
            ("vllm:kv_cache_usage_perc", ""): gauges.kv_usage,
            ("process_start_time_seconds", ""): self._facts.started_at,
        }
        lines: list[str] = []
        for family in _families():
            samples = self._samples(family, values)
            if samples or not family.name.endswith("_created"):
                lines += (
                    f"# HELP {family.name} {family.help}",
                    f"# TYPE {family.name} {family.kind}",
                    *samples,
                )
        return "\n".join(lines) + "\n"

    def _samples(self, family: "_Family", values: dict[tuple[str, str], float]) -> list[str]:
        rows = [
            (name, self._relabel(name, labels), value)
            for name, labels, value in family.samples
            # What the web server counts by handler appears with the first answer.
            if self._answered or "handler" not in labels
        ]
        if family.kind == "histogram":
            return self._histogram_samples(family.name, rows)
        lines = []
        for name, labels, value in rows:
            key = (name, _distinction(labels))
            if name.endswith("_created"):
                value = self._facts.started_at
            elif name.startswith(("vllm:", "http_")) and family.kind != "gauge":
                value = 0.0
            lines.append(_line(name, labels, values.get(key, value)))
        return lines

    def _histogram_samples(
        self, family: str, rows: list[tuple[str, dict[str, str], float]]
    ) -> list[str]:
        histogram = self._histograms[family]
        lines = []
        for name, labels, _ in rows:
            if name == f"{family}_bucket":
                if labels["le"] == "+Inf":
                    lines += [
                        _line(name, {**labels, "le": _text(bound)}, count)
                        for bound, count in histogram.cumulative()
                    ]
            else:
                value = histogram.sum if name.endswith("_sum") else histogram.count
                lines.append(_line(name, labels, value))
        return lines

    def _relabel(self, name: str, labels: dict[str, str]) -> dict[str, str]:
        facts = self._facts
        changed = {"model_name": facts.model_name}
        if name == "vllm:cache_config_info":
            tokens = facts.kv_blocks * BLOCK_TOKENS
            changed |= {
                "block_size": str(BLOCK_TOKENS),
                "effective_attention_block_size": str(BLOCK_TOKENS),
                "cache_dtype": facts.kv_dtype,
                "gpu_memory_utilization": str(facts.memory_utilization),
                "kv_cache_max_concurrency": str(tokens / facts.max_model_len),
                "kv_cache_memory_bytes": "None",
                "kv_cache_size_tokens": str(tokens),
                "num_gpu_blocks": str(facts.kv_blocks),
            }
        return {label: changed.get(label, text) for label, text in labels.items()}

    def _count(self, name: str, amount: float, distinction: str = "") -> None:
        key = (name, distinction)
        self._counters[key] = self._counters.get(key, 0.0) + amount

    def _steps(self, steps: Steps, prompts: int) -> None:
        """Count steps; `prompts` are the tokens of those that gave their first token at the end.

        A prompt counts as a whole then, in the step as in the counter of prompt tokens: on a real
        page the sum over all steps is both counters together.
        """
        generated = steps.decoding + steps.prompts_done
        self._count("vllm:generation_tokens_total", steps.count * generated)
        if generated:  # without a token nothing is recorded
            self._histograms["vllm:iteration_tokens_total"].add(generated + prompts, steps.count)
        self._histograms["vllm:inter_token_latency_seconds"].add_run(steps)

    def _first_token(self, event: FirstToken) -> None:
        prompt, cached = event.request.input_tokens, event.cached_tokens
        self._count("vllm:prompt_tokens_total", prompt)
        self._count("vllm:prompt_tokens_by_source_total", prompt - cached, "local_compute")
        self._count("vllm:prompt_tokens_by_source_total", cached, "local_cache_hit")
        self._count("vllm:prompt_tokens_cached_total", cached)
        self._count("vllm:prompt_tokens_cached_by_source_total", cached, "device")
        self._count("vllm:prefix_cache_queries_total", prompt)
        self._count("vllm:prefix_cache_hits_total", cached)
        ttft = event.at - event.reached_at
        self._histograms["vllm:time_to_first_token_seconds"].add(ttft)

    def _finished(self, event: Finished) -> None:
        self._count("vllm:request_success_total", 1, event.reason.value)
        scheduled, first = event.scheduled_at, event.first_token_at
        if event.reason is FinishReason.ABORT or scheduled is None or first is None:
            return
        self._answered += 1
        self._count("http_requests_total", 1, "/v1/completions POST 2xx")
        elapsed = event.at - event.reached_at
        computed = event.request.input_tokens - event.cached_tokens
        for name, value in (
            ("vllm:request_prompt_tokens", event.request.input_tokens),
            ("vllm:request_generation_tokens", event.generated),
            ("vllm:request_max_num_generation_tokens", event.generated),
            ("vllm:request_params_n", 1),
            ("vllm:request_time_per_output_token_seconds", event.mean_itl_s or 0.0),
            ("vllm:e2e_request_latency_seconds", elapsed),
            ("vllm:request_queue_time_seconds", scheduled - event.reached_at),
            ("vllm:request_inference_time_seconds", event.at - scheduled),
            ("vllm:request_prefill_time_seconds", first - scheduled),
            ("vllm:request_decode_time_seconds", event.at - first),
            ("vllm:request_num_preemptions", event.preemptions),
            ("vllm:request_prefill_kv_computed_tokens", computed),
            ("http_request_duration_highr_seconds", elapsed),
            ("http_request_duration_seconds", elapsed),
        ):
            self._histograms[name].add(value)


class _Histogram:
    def __init__(self, bounds: list[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        return sum(self._counts)

    def add(self, value: float, weight: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += weight
        self.sum += value * weight

    def add_run(self, steps: Steps) -> None:
        """Count the length of each step once for each request that it gave a further token."""
        last_s = steps.first_s + steps.growth_s * (steps.count - 1)
        low = bisect_left(self._bounds, steps.first_s)
        if low == bisect_left(self._bounds, last_s):
            self._counts[low] += steps.count * steps.decoding
            self.sum += steps.count * steps.decoding * (steps.first_s + last_s) / 2
        else:
            for j in range(steps.count):
                self.add(steps.first_s + j * steps.growth_s, steps.decoding)

    def cumulative(self) -> list[tuple[float, int]]:
        return list(zip([*self._bounds, inf], accumulate(self._counts), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    name: str
    help: str
    kind: str
    samples: list[tuple[str, dict[str, str], float]]

    @property
    def bounds(self) -> list[float]:
        """Finite upper bounds of a histogram's buckets."""
        bounds = {float(labels["le"]) for _, labels, _ in self.samples if "le" in labels}
        return sorted(bounds - {inf})


@cache
def _families() -> tuple[_Family, ...]:
    families: list[_Family] = []
    text = ""
    for line in _PAGE.read_text().splitlines():
        if line.startswith("# HELP "):
            text = line.split(" ", 3)[3]
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            families.append(_Family(name=name, help=text, kind=kind, samples=[]))
        elif match := _SAMPLE.match(line):
            name, labels, value = match.groups()
            families[-1].samples.append((name, dict(_LABEL.findall(labels or "")), float(value)))
    return tuple(families)


def _distinction(labels: dict[str, str]) -> str:
    """Return what tells the samples of one name apart."""
    common = {"engine", "model_name"}
    return " ".join(text for label, text in labels.items() if label not in common)


def _text(value: float) -> str:
    return "+Inf" if value == inf else repr(float(value))


def _line(name: str, labels: dict[str, str], value: float) -> str:
    inner = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{inner}}} {_text(value)}".replace("{}", "")


def _one_two_five(most: int) -> list[float]:
    """Return 1, 2, 5, 10, 20, ... up to `most`, as vLLM builds buckets for lengths."""
    bounds = [m * 10.0**exponent for exponent in range(len(str(most))) for m in (1, 2, 5)]
    return [bound for bound in bounds if bound <= most]
