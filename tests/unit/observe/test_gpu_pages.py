"""Pages of a real vLLM 0.26 on a GPU say what the client beside it saw: fresh, idle, loaded, full.

The client's records are in tests/bench/data/h100_random_weights, the pages from the same minutes.
"""

import csv
import gzip
from functools import cache
from pathlib import Path

import pytest

import onereplica
from onereplica import number
from trimtab.models.load import LatencyTargets, ObservedLoad
from trimtab.models.signals import Missing
from trimtab.observe.reader import NO_REQUEST
from trimtab.observe.selftest import lacking

TARGETS = LatencyTargets(percentile=0.9, ttft_s=1.0, itl_s=0.1, e2e_s=20.0)
FIRST_S, SECOND_S = 12.8, 30.0
"""When the two pages of the loaded stage were read, in seconds from its start."""
RECORDS = Path(__file__).parents[2] / "bench/data/h100_random_weights/requests.csv.gz"


@cache
def page(state: str) -> str:
    path = Path(__file__).parent / f"data/vllm-0.26.0-{state}.txt.gz"
    return gzip.decompress(path.read_bytes()).decode()


@cache
def records() -> tuple[dict[str, str], ...]:
    """What the client saw of the stage whose pages these are."""
    with gzip.open(RECORDS, "rt", newline="") as file:
        return tuple(
            row
            for row in csv.DictReader(file)
            if (row["model"], row["stage"]) == ("llama-3.1-8b", "0.55")
        )


def between(column: str) -> list[dict[str, str]]:
    """The requests that came so far between the two pages."""
    return [row for row in records() if FIRST_S < float(row[column]) <= SECOND_S]


def load(*states: str) -> ObservedLoad:
    """What a replica says whose pages these are, as far apart as the loaded ones."""
    texts = [page(state) for state in states]
    return onereplica.load(texts, window_s=SECOND_S - FIRST_S, targets=TARGETS)


def mean(rows: list[dict[str, str]], column: str) -> float:
    return sum(float(row[column]) for row in rows) / len(rows)


@pytest.mark.parametrize("state", ["fresh", "idle"])
def test_nothing_is_asked_and_nothing_is_missing(state: str) -> None:
    found = load(state, state, state)
    assert lacking(found) == ()
    assert number(found.arrival_rps) == number(found.running) == number(found.waiting) == 0.0
    assert number(found.kv_utilization) == 0.0
    assert found.ttft_s == found.input_tokens == Missing(why=NO_REQUEST)


def test_under_load_the_page_counts_what_the_client_counted() -> None:
    found = load("load1", "load2")
    assert lacking(found) == ()
    begun, finished = between("first"), between("done")
    assert number(found.arrival_rps) * (SECOND_S - FIRST_S) == pytest.approx(len(begun), abs=3)
    assert number(found.input_tokens) == pytest.approx(mean(finished, "prompt"), rel=0.03)
    assert number(found.output_tokens) == pytest.approx(mean(finished, "answer"), rel=0.03)
    there = [row for row in records() if float(row["sent"]) < SECOND_S < float(row["done"])]
    assert number(found.running) + number(found.waiting) == pytest.approx(len(there), abs=4)
    assert number(found.prefix_hit) == 0.0


def test_under_load_the_latencies_are_the_clients_within_a_bucket() -> None:
    found = load("load1", "load2")
    ttft = sorted(float(row["first"]) - float(row["at"]) for row in between("first"))
    # The bounds around it: 0.1 and 0.25 s.
    assert 0.1 < ttft[int(0.9 * len(ttft))] <= 0.25
    assert 0.1 < number(found.ttft_s) <= 0.25
    e2e = sorted(float(row["done"]) - float(row["at"]) for row in between("done"))
    assert number(found.e2e_s) == pytest.approx(e2e[int(0.9 * len(e2e))], rel=0.5)
    assert number(found.slo_attainment) == pytest.approx(1.0, abs=0.01)


def test_overloaded_it_shows_the_queue_and_the_full_cache() -> None:
    found = load("idle", "overloaded")
    assert lacking(found) == ()
    assert number(found.waiting) > 500
    assert number(found.kv_utilization) > 0.97
    assert number(found.running) > 300
    assert number(found.slo_attainment) < 0.9
