"""Pages of a real vLLM 0.26 on a GPU say what the client beside it saw: fresh, idle, loaded, full.

The client's records are in tests/bench/data/h100_random_weights, the pages from the same minutes.
"""

import csv
import gzip
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import pytest

import bodies
from answers import CONFIG, NAMESPACE
from trimtab.api.engine import EngineType
from trimtab.models.load import LatencyTargets, ObservedLoad
from trimtab.models.signals import Fresh, Missing, Signal
from trimtab.models.snapshot import Key
from trimtab.observe import engines
from trimtab.observe.kinds import Kind
from trimtab.observe.pages import Stored, evaluate, names_of, parse
from trimtab.observe.parse import parse as parse_object
from trimtab.observe.reader import NO_REQUEST, Reader, Subject
from trimtab.observe.world import PodFacts

VLLM = engines.get(EngineType.VLLM)
NOW = bodies.NOW
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
    facts = parse_object(Kind.POD, bodies.pod("abcde")).facts
    assert isinstance(facts, PodFacts)
    pod = replace(facts, ready_since=NOW - 3600)
    apart = (SECOND_S - FIRST_S) / max(1, len(states) - 1)
    stored = Stored(
        engine=VLLM,
        pages=tuple(
            parse(page(state), names_of(VLLM), NOW - SECOND_S + FIRST_S + apart * index)
            for index, state in enumerate(states)
        ),
    )
    config = replace(CONFIG, rate_window_s=SECOND_S - FIRST_S)
    readings = evaluate({(pod.namespace, pod.name): stored}, {}, NOW, config)
    subject = Subject(
        key=Key(namespace=NAMESPACE, name="chat"),
        targets=LatencyTargets(percentile=0.9, ttft_s=1.0, itl_s=0.1, e2e_s=20.0),
        pods=(pod,),
    )
    return Reader(subject, readings, VLLM, NOW, config).load()


def number(signal: Signal) -> float:
    assert isinstance(signal, Fresh), signal
    return signal.value


def lacking(found: ObservedLoad) -> set[str]:
    return {
        each.name
        for each in fields(found)
        if isinstance(signal := getattr(found, each.name), Missing) and signal.absent
    }


def mean(rows: list[dict[str, str]], column: str) -> float:
    return sum(float(row[column]) for row in rows) / len(rows)


@pytest.mark.parametrize("state", ["fresh", "idle"])
def test_nothing_is_asked_and_nothing_is_missing(state: str) -> None:
    found = load(state, state, state)
    assert lacking(found) == set()
    assert number(found.arrival_rps) == number(found.running) == number(found.waiting) == 0.0
    assert number(found.kv_utilization) == 0.0
    assert found.ttft_s == found.input_tokens == Missing(why=NO_REQUEST)


def test_under_load_the_page_counts_what_the_client_counted() -> None:
    found = load("load1", "load2")
    assert lacking(found) == set()
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
    assert lacking(found) == set()
    assert number(found.waiting) > 500
    assert number(found.kv_utilization) > 0.97
    assert number(found.running) > 300
    assert number(found.slo_attainment) < 0.9
