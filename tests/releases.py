"""Metrics pages as releases of vLLM write them: which series there are, from when on, by what name.

Names, labels, bounds and when a series is created are those of the sources in the released wheels:
`vllm/engine/metrics.py` (V0) of 0.4.2 to 0.8.5, `vllm/v1/metrics/loggers.py` (V1) of 0.7.3 to
0.33.0. V1 creates every series with the server; V0 sets its gauges and the counters of tokens
every few seconds, and creates any other series with its first observation.
"""

from collections.abc import Iterator
from dataclasses import dataclass

PROMPT, ANSWER = 100, 50
"""Tokens of every request."""
TTFT_S, GAP_S, E2E_S = 0.05, 0.02, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release, and which of its two engines."""

    name: str
    kv: tuple[str, ...]
    gaps: tuple[str, ...]
    """Histograms of each time between two tokens."""
    pace: tuple[str, ...] = ()
    """Histograms of its mean over an answer."""
    cache: tuple[tuple[str, str], ...] = ()
    """Counters of what was found in the prefix cache, and of what was looked for."""
    eager: bool = True
    """Whether every series is there from the start: V1."""
    ranked: bool = True
    """Whether the label `engine` tells data-parallel ranks apart."""


_OLD_CACHE = ("gpu_prefix_cache_hits", "gpu_prefix_cache_queries")
_CACHE = ("prefix_cache_hits", "prefix_cache_queries")
_GAPS, _OLD_GAPS = "inter_token_latency_seconds", "time_per_output_token_seconds"
_KV, _OLD_KV = "kv_cache_usage_perc", "gpu_cache_usage_perc"

_PACE = ("request_time_per_output_token_seconds",)
_CACHED = ("prompt_tokens_cached", "prompt_tokens")

RELEASES = (
    *(
        Release(name=name, kv=(_OLD_KV,), gaps=(_OLD_GAPS,), eager=False, ranked=False)
        for name in ("0.4.2", "0.6.6", "0.8.5-v0")
    ),
    Release(name="0.7.3-v1", kv=(_OLD_KV,), gaps=(_OLD_GAPS,), cache=(_OLD_CACHE,), ranked=False),
    Release(name="0.8.5-v1", kv=(_OLD_KV,), gaps=(_OLD_GAPS,), cache=(_OLD_CACHE,)),
    Release(name="0.9.2-v1", kv=(_OLD_KV, _KV), gaps=(_OLD_GAPS,), cache=(_OLD_CACHE, _CACHE)),
    Release(
        name="0.10.2",
        kv=(_OLD_KV, _KV),
        gaps=(_OLD_GAPS, _GAPS),
        cache=(_OLD_CACHE, _CACHE),
    ),
    Release(name="0.11.2", kv=(_KV,), gaps=(_OLD_GAPS, _GAPS), pace=_PACE, cache=(_CACHE,)),
    Release(name="0.13.0", kv=(_KV,), gaps=(_GAPS,), pace=_PACE, cache=(_CACHE,)),
    *(
        Release(name=name, kv=(_KV,), gaps=(_GAPS,), pace=_PACE, cache=(_CACHE, _CACHED))
        for name in ("0.17.0", "0.24.0", "0.33.0")
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What one rank has done since it began."""

    first: float = 0.0
    """Requests that have their first token."""
    finished: float = 0.0
    waiting: float = 0.0


def page(release: Release, served: Served, ranks: int = 1) -> str:
    """The lines of one replica, of which every rank has done the same."""
    return "".join(
        f"vllm:{line}\n" for rank in range(ranks) for line in _rank(release, served, rank)
    )


def _rank(release: Release, served: Served, rank: int) -> Iterator[str]:
    labels = 'model_name="m"' + (f',engine="{rank}"' if release.ranked else "")
    yield f"num_requests_running{{{labels}}} {served.first - served.finished}"
    yield f"num_requests_waiting{{{labels}}} {served.waiting}"
    for name in release.kv:
        yield f"{name}{{{labels}}} 0.25"
    yield f"prompt_tokens_total{{{labels}}} {PROMPT * served.first}"
    yield f"generation_tokens_total{{{labels}}} {ANSWER * served.finished}"
    for found, sought in release.cache:
        yield f"{found}_total{{{labels}}} {PROMPT / 4 * served.first}"
        if sought != "prompt_tokens":
            yield f"{sought}_total{{{labels}}} {PROMPT * served.first}"
    observed = [("time_to_first_token_seconds", served.first, TTFT_S)]
    observed += [(name, 10 * served.first, GAP_S) for name in release.gaps]
    observed += [(name, served.finished, GAP_S) for name in release.pace]
    observed += [
        ("e2e_request_latency_seconds", served.finished, E2E_S),
        ("request_prompt_tokens", served.finished, PROMPT),
        ("request_generation_tokens", served.finished, ANSWER),
    ]
    for name, count, value in observed:
        if count or release.eager:
            yield from _histogram(name, labels, count, value)
    for reason in ("stop", "length", "abort"):
        done = served.finished if reason == "stop" else 0
        if done or release.eager:
            yield f'request_success_total{{{labels},finished_reason="{reason}"}} {done}'


def _histogram(name: str, labels: str, count: float, value: float) -> Iterator[str]:
    for bound in (0.01, 0.025, 0.1, 1.0, 2.5, 10.0, 50.0, 200.0):
        within = count if value <= bound else 0
        yield f'{name}_bucket{{{labels},le="{bound}"}} {within}'
    yield f'{name}_bucket{{{labels},le="+Inf"}} {count}'
    yield f"{name}_sum{{{labels}}} {count * value}"
    yield f"{name}_count{{{labels}}} {count}"
