"""The engine's metric names against real pages, and nowhere else in the code."""

from pathlib import Path

import pytest

import pages
import trimtab
from trimtab.api.engine import EngineType
from trimtab.observe import engines

ENGINE = engines.get(EngineType.VLLM)


@pytest.mark.parametrize("state", ["idle", "load1", "load2"])
def test_a_real_page_has_the_newest_name_of_everything(state: str) -> None:
    names = pages.names(pages.page(state))
    for gauge in (ENGINE.running, ENGINE.waiting, ENGINE.kv_utilization):
        assert gauge.names[0] in names
    for histogram in (
        ENGINE.ttft,
        ENGINE.itl,
        ENGINE.e2e,
        ENGINE.input_tokens,
        ENGINE.output_tokens,
    ):
        for part in ("_bucket", "_sum", "_count"):
            assert histogram[0] + part in names
    assert {ENGINE.prefix_cache[0].found, ENGINE.prefix_cache[0].sought} <= names
    assert ENGINE.rejected[0] in names


def test_all_labels_that_split_a_replica_s_series_are_known() -> None:
    """A label that were missing here would count a replica several times, or drop a part of it."""
    wanted = {ENGINE.running.names[0], ENGINE.waiting.names[0], ENGINE.kv_utilization.names[0]}
    wanted |= {ENGINE.rejected[0], ENGINE.prefix_cache[0].found, ENGINE.prefix_cache[0].sought}
    for histogram in (
        ENGINE.ttft,
        ENGINE.itl,
        ENGINE.e2e,
        ENGINE.input_tokens,
        ENGINE.output_tokens,
    ):
        wanted |= {f"{histogram[0]}_bucket", f"{histogram[0]}_sum", f"{histogram[0]}_count"}
    labels = set()
    for series in pages.samples(pages.page("load2")):
        name, _, rest = series.partition("{")
        if name in wanted:
            labels |= {pair.partition("=")[0] for pair in rest.rstrip("}").split(",")}
    assert labels <= {*ENGINE.labels, "le"}


def test_kv_utilization_is_a_share() -> None:
    for state in ("idle", "load1", "load2"):
        values = pages.samples(pages.page(state))
        found = [v for s, v in values.items() if s.startswith(ENGINE.kv_utilization.names[0])]
        assert all(0 <= value <= 1 for value in found)


def test_nothing_else_in_the_code_spells_a_metric_of_an_engine() -> None:
    root = Path(trimtab.__file__).parent
    spelt = [
        str(path.relative_to(root))
        for path in sorted(root.rglob("*.py"))
        if "vllm:" in path.read_text("utf-8")
    ]
    assert spelt == []
