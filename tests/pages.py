"""Real metrics pages of a vLLM, and what they would show later."""

import gzip
import re
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
    """A page after so many seconds of the load between load1 and load2, going on at its pace.

    Counters grow as they did between the two; gauges stay as they were at load2.
    """
    before, after = samples(page("load1")), samples(page("load2"))
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page("load2"), re.MULTILINE))
    lines = []
    for line in page("load2").splitlines():
        match = _SAMPLE.fullmatch(line)
        if line.startswith("#") or match is None:
            lines.append(line)
            continue
        series = match["series"]
        value = after[series]
        if kinds.get(series.partition("{")[0]) != "gauge":  # histogram parts have no type line
            value += (value - before.get(series, 0.0)) / LOAD_GAP_S * seconds
        lines.append(f"{series} {value!r}")
    return "\n".join(lines) + "\n"
