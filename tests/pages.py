"""Real metrics pages of a vLLM, and what they would show later."""

import gzip
import re
from functools import cache
from pathlib import Path

_DATA = Path(__file__).parent / "unit/observe/data"
_SAMPLE = re.compile(r"(?P<series>\S+|[^ {]+\{.*\}) (?P<value>\S+)")

LOAD_GAP_S = 14.0
"""Between the pages load1 and load2."""


def page(state: str) -> str:
    """The page of a real vLLM 0.32.0: idle, load1 or load2."""
    return gzip.decompress((_DATA / f"vllm-0.32.0-{state}.txt.gz").read_bytes()).decode()


def samples(text: str) -> dict[str, float]:
    """Every sample of a page, by its series as written."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = _SAMPLE.fullmatch(line)
            assert match, line
            found[match["series"]] = float(match["value"])
    return found


def names(text: str) -> set[str]:
    """The metric names on a page."""
    return {series.partition("{")[0] for series in samples(text)}


def under_load(seconds: float) -> str:
    """A page after so many seconds of the load between load1 and load2.

    Counters start at 0 and grow as they did between the two; gauges are those of load2.
    """
    return "".join(f"{series}{value + slope * seconds!r}\n" for series, value, slope in _lines())


def gained(metric: str) -> float:
    """What a counter of the replica gains in a second of the load between load1 and load2."""
    before, after = samples(page("load1")), samples(page("load2"))
    series = f'{metric}{{engine="0",model_name="tiny"}}'
    return (after[series] - before[series]) / LOAD_GAP_S


def gained_buckets(metric: str) -> dict[float, float]:
    """What each bucket of a histogram gains in a second, by its upper bound."""
    before, after = samples(page("load1")), samples(page("load2"))
    return {
        float(name.split('le="')[1].split('"')[0]): (after[name] - before[name]) / LOAD_GAP_S
        for name in after
        if name.startswith(f"{metric}_bucket")
    }


@cache
def _lines() -> tuple[tuple[str, float, float], ...]:
    """Every sample with its value at the start and what it gains in a second."""
    before, after = samples(page("load1")), samples(page("load2"))
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page("load2"), re.MULTILINE))
    result = []
    for series, value in after.items():
        gauge = kinds.get(series.partition("{")[0]) == "gauge"  # parts of histograms have no type
        slope = 0.0 if gauge else (value - before.get(series, 0.0)) / LOAD_GAP_S
        result.append((f"{series} ", value if gauge else 0.0, slope))
    return tuple(result)
