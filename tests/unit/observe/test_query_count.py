"""A pass asks at most fifteen questions: here all at once that a fleet can give rise to."""

from dataclasses import dataclass, field, replace
from itertools import combinations

import pytest

import bodies
from answers import CONFIG
from trimtab.api.engine import EngineType
from trimtab.api.enginemetrics import EngineMetrics
from trimtab.api.gateway import GatewayType
from trimtab.models.load import LatencyTargets
from trimtab.models.snapshot import Key
from trimtab.observe import gateways
from trimtab.observe.gateways import Asked
from trimtab.observe.kinds import Kind
from trimtab.observe.parse import parse
from trimtab.observe.pricing import PriceBook
from trimtab.observe.prometheus import Sample
from trimtab.observe.promql import Labels
from trimtab.observe.queries import MAX_QUERIES, MAX_URL_CHARS, quoted_length
from trimtab.observe.reader import Subject
from trimtab.observe.signals import read
from trimtab.observe.world import PodFacts, WorldView

LONG = (("cluster", "c" * 200), ("region", "r" * 200))


@dataclass
class Counting:
    """Answers nothing and keeps what it was asked."""

    asked: list[str] = field(default_factory=list)

    def query(self, expr: str) -> tuple[Sample, ...]:
        self.asked.append(expr)
        return ()


def fleet(deployments: int) -> list[Subject]:
    """Every engine and every gateway in turn, and nobody's PromQL is another's."""
    facts = parse(Kind.POD, bodies.pod("aaaaa")).facts
    assert isinstance(facts, PodFacts)
    kinds, doors = list(EngineType), list(GatewayType)
    found = []
    for index in range(deployments):
        door = doors[index % len(doors)]
        own = EngineMetrics(requests_per_second=f"rate_{index}", waiting_requests="queue")
        found.append(
            Subject(
                key=Key(namespace=f"team-{index % 50}", name=f"model-{index}"),
                targets=LatencyTargets(ttft_s=1.0, itl_s=0.1, e2e_s=9.0),
                pods=(replace(facts, namespace=f"team-{index % 50}"),),
                engine=kinds[index % len(kinds)],
                gateway=Asked(type=door, name=f"model-{index}", namespace=""),
                metrics=own,
            )
        )
    return found


@pytest.mark.parametrize("deployments", [60, 300, 3000])
@pytest.mark.parametrize("labels", [(), LONG], ids=["plain", "labels"])
def test_everything_at_once_takes_no_more_than_fifteen(deployments: int, labels: Labels) -> None:
    source = Counting()
    config = replace(CONFIG, prometheus_labels=labels)
    PriceBook(labels).refresh(source, WorldView(), bodies.NOW)
    read(source, fleet(deployments), now=bodies.NOW, config=config)
    assert len(source.asked) <= MAX_QUERIES == 15
    assert len(source.asked) == len(set(source.asked)) >= 13


@pytest.mark.parametrize("size", [0, 5, 20, 200])
def test_gateways_take_two_whatever_they_are_called(size: int) -> None:
    """Names of a length at which each kind alone would still pass with them, and two would not."""
    for length in (1, 253):
        asked = {
            kind: [
                Asked(type=kind, name=f"{at:03}{'x' * length}", namespace="") for at in range(size)
            ]
            for kind in GatewayType
        }
        for count in (1, 3, len(asked)):
            for kinds in combinations(asked, count):
                wanted = [each for kind in kinds for each in asked[kind]]
                exprs = gateways.queries(wanted, 60.0)
                assert len(exprs) <= 2
                assert all(quoted_length(expr) <= MAX_URL_CHARS for expr in exprs)
                for kind in kinds if wanted else ():
                    assert sum(f'"{kind.value}"' in expr for expr in exprs) == 1
