"""The engine's metric names against real pages, and nowhere else in the code."""

import re
from pathlib import Path

import pytest
import yaml

import pages
import trimtab
from trimtab.api.engine import EngineType
from trimtab.api.gateway import GatewayType
from trimtab.catalog.engines import document, server
from trimtab.observe import engines, gateways, queries

ENGINE = engines.get(EngineType.VLLM)


@pytest.mark.parametrize("state", ["idle", "load1", "load2"])
def test_a_real_page_has_the_newest_name_of_everything(state: str) -> None:
    names = pages.names(pages.page(state))
    for gauge in (ENGINE.running, ENGINE.waiting, ENGINE.kv_utilization):
        assert gauge.newest in names
    for histogram in (ENGINE.ttft, ENGINE.itl, ENGINE.e2e):
        for part in ("_bucket", "_sum", "_count"):
            assert histogram.newest + part in names
    for lengths in (ENGINE.inputs, ENGINE.outputs):
        assert lengths.newest + "_bucket" in names
    for mean in (ENGINE.input_tokens, ENGINE.output_tokens, ENGINE.prefix_hit):
        assert {mean.ratios[0].above.name, mean.ratios[0].below.name} <= names
    arrivals = ENGINE.arrivals
    assert {arrivals.counted.newest, arrivals.refused[0].name, arrivals.aborted[0].name} <= names


def test_no_label_of_a_real_page_is_taken_for_the_scrape_s() -> None:
    """What splits a replica's series has to be added up, whatever it is called."""
    labels = set()
    for series in pages.samples(pages.page("load2")):
        if series.startswith("vllm:"):
            labels |= set(re.findall(r'(\w+)="', series))
    assert {"engine", "model_name", "finished_reason", "le"} <= labels
    assert not labels & set(queries.TARGET_LABELS)


@pytest.mark.parametrize("kind", list(EngineType))
def test_every_engine_has_a_complete_file(kind: EngineType) -> None:
    engine, run = engines.get(kind), server(kind)
    assert engine.type is kind
    assert document(kind)["engine"] == kind.value
    assert engine.title
    assert document(kind)["versions"]
    assert run.health.startswith("/")
    assert run.page.startswith("/")
    assert run.drain
    assert 1 <= run.port <= 65535
    own = kind is EngineType.CUSTOM
    assert bool(run.command) != own
    assert bool(re.search(r":.*\d", run.image)) != own
    assert bool(engine.waiting.series) != own
    assert bool(engine.running.series) != own


def test_kv_utilization_is_a_share() -> None:
    for state in ("idle", "load1", "load2"):
        values = pages.samples(pages.page(state))
        found = [v for s, v in values.items() if s.startswith(ENGINE.kv_utilization.newest)]
        assert all(0 <= value <= 1 for value in found)


def test_nothing_else_in_the_code_spells_a_metric_of_an_engine_or_a_gateway() -> None:
    prefixes = set()
    for kind in EngineType:
        text = yaml.safe_dump(document(kind))
        prefixes |= set(re.findall(r"\b(\w+:|nv_trt_llm_|trtllm_|tgi_)\w+_\w+", text))
    assert {"vllm:", "sglang:", "llamacpp:", "trtllm_", "tgi_", "nv_trt_llm_"} <= prefixes
    doors = [gateways.get(kind) for kind in GatewayType]
    names = {one.name for door in doors for one in (*door.requests, *door.refused, *door.queue)}
    assert len(names) > 8
    root = Path(trimtab.__file__).parent
    spelt = [
        str(path.relative_to(root))
        for path in sorted(root.rglob("*.py"))
        for pattern in (*(f"{prefix}[a-z]" for prefix in prefixes), *names)
        if re.search(rf"\b{pattern}", path.read_text("utf-8"))
    ]
    assert spelt == []
