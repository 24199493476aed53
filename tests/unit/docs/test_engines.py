"""The page of engines is what the data files say, and leaves none of their names out."""

import re
from pathlib import Path

from trimtab.api.engine import EngineType
from trimtab.api.gateway import GatewayType
from trimtab.cli import enginespage
from trimtab.observe import engines, gateways

PAGE = Path(__file__).parents[3] / "docs/engines.md"


def test_the_committed_page_is_what_the_data_give() -> None:
    assert PAGE.read_text("utf-8") == enginespage.page()


def test_every_metric_of_every_engine_and_gateway_is_on_the_page() -> None:
    spelt = set(re.findall(r"`([a-z_A-Z:]\w[\w:]*)[`{]", PAGE.read_text("utf-8")))
    for kind in EngineType:
        for each in engines.get(kind).needed():
            for name in each.names():
                assert name.removesuffix("_total") in spelt, name
    for gateway in GatewayType:
        known = gateways.get(gateway)
        for one in (*known.requests, *known.refused, *known.queue):
            assert one.name in spelt, one.name
