"""AcceleratorPools: written from nodes, a user's field wins, nothing is written at rest."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fakes import FakeCluster
from trimtab.actuate.attempts import Attempts
from trimtab.actuate.kinds import Document, Reference
from trimtab.actuate.objects import ObjectWriter
from trimtab.actuate.pools import PoolWriter
from trimtab.api.conditions import Reason
from trimtab.models.capacity import Price

H100 = Reference(kind="AcceleratorPool", namespace="", name="h100")
SPEC: dict[str, Any] = {
    "accelerator": "nvidia-h100-sxm",
    "resourceName": "nvidia.com/gpu",
    "devicesPerNode": 8,
    "nodeSelector": {"pool": "h100"},
    "capacityType": "OnDemand",
}


PRICE = Price(usd_per_hour=2.499, source="Catalogue", as_of="2026-11-01")


@dataclass(frozen=True)
class Draft:
    """A drafted pool."""

    name: str = "h100"
    spec: Mapping[str, Any] = field(default_factory=lambda: SPEC)


@dataclass(frozen=True)
class Facts:
    """What a pool has."""

    name: str = "h100"
    nodes: int = 2
    devices: int = 16
    promised: int = 3
    price: Price | None = PRICE
    ready: bool = True
    reason: str = Reason.IN_USE
    message: str = "2 nodes with 16 devices"
    discovered: bool = True


class Bench:
    """A pool writer against a cluster in memory."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.seen: list[Document] = []
        attempts = Attempts(clock=lambda: 0.0, jitter=lambda: 0.0)
        objects = ObjectWriter(
            writer=self.cluster,
            attempts=attempts,
            seen=lambda _, body: self.seen.append(body),
        )
        self.pools = PoolWriter(objects=objects)

    def live(self) -> dict[str, Document]:
        return {item["metadata"]["name"]: item for item in self.cluster.all()}

    def apply(self, *drafts: Draft) -> list[str]:
        """Apply the drafts and return what was written."""
        self.cluster.log.clear()
        self.pools.apply(drafts, self.live())
        return list(self.cluster.log)

    def publish(self, *facts: Facts, now: float = 0.0) -> list[str]:
        """Publish the facts and return what was written."""
        self.cluster.log.clear()
        self.pools.publish(facts, self.live(), now)
        return list(self.cluster.log)

    def edit(self, manager: str, **spec: Any) -> None:
        """Set fields of the pool's spec as another manager would."""
        pool = self.cluster.objects[H100]
        fields: dict[str, Any] = {f"f:{name}": {} for name in spec}
        entry = {"manager": manager, "fieldsV1": {"f:spec": fields}}
        metadata = pool["metadata"] | {"managedFields": [entry]}
        self.cluster.put(pool | {"metadata": metadata, "spec": pool["spec"] | spec})


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_drafted_pool_is_created_marked_and_then_left_alone(bench: Bench) -> None:
    assert bench.apply(Draft()) == ["apply AcceleratorPool/h100"]
    pool = bench.cluster.objects[H100]
    assert pool["spec"] == SPEC
    assert pool["metadata"]["labels"]["trimtab.dev/discovered"] == "true"
    assert bench.seen == [pool]
    assert bench.apply(Draft()) == []


def test_a_pool_follows_its_nodes(bench: Bench) -> None:
    bench.apply(Draft())
    assert bench.apply(Draft(spec=SPEC | {"devicesPerNode": 4})) == ["apply AcceleratorPool/h100"]
    assert bench.cluster.objects[H100]["spec"]["devicesPerNode"] == 4


def test_a_field_of_the_user_wins_and_the_rest_still_follows(bench: Bench) -> None:
    bench.apply(Draft())
    bench.edit("kubectl-edit", devicesPerNode=6)
    bench.apply(Draft())
    assert bench.cluster.objects[H100]["spec"]["devicesPerNode"] == 6
    bench.apply(Draft(spec=SPEC | {"devicesPerNode": 4, "capacityType": "Spot"}))
    spec = bench.cluster.objects[H100]["spec"]
    assert (spec["devicesPerNode"], spec["capacityType"]) == (6, "Spot")
    assert bench.apply(Draft(spec=SPEC | {"devicesPerNode": 4, "capacityType": "Spot"})) == []


def test_a_pool_without_nodes_stays(bench: Bench) -> None:
    bench.apply(Draft())
    assert bench.apply() == []
    assert H100 in bench.cluster.objects


def test_status_is_written_when_a_figure_changes_and_only_then(bench: Bench) -> None:
    bench.apply(Draft())
    assert bench.publish(Facts()) == ["apply-status AcceleratorPool/h100"]
    assert bench.publish(Facts(), now=3600) == []
    assert bench.publish(replace(Facts(), promised=4), now=3600) == [
        "apply-status AcceleratorPool/h100"
    ]
    status = bench.cluster.objects[H100]["status"]
    assert status["price"] == {
        "perDeviceHour": "2.50",
        "source": "Catalogue",
        "asOf": "2026-11-01",
    }
    assert (status["nodes"], status["devices"], status["promised"]) == (2, 16, 4)
    (ready,) = status["conditions"]
    assert (ready["status"], ready["reason"]) == ("True", "InUse")
    assert ready["lastTransitionTime"] == "1970-01-01T00:00:00Z"


def test_a_pool_without_nodes_says_so(bench: Bench) -> None:
    bench.apply(Draft())
    gone = replace(Facts(), nodes=0, devices=0, ready=False, reason=Reason.NO_NODES, price=None)
    bench.publish(gone)
    status = bench.cluster.objects[H100]["status"]
    assert status["conditions"][0]["reason"] == "NoNodes"
    assert "price" not in status


def test_a_pool_that_is_gone_gets_no_status(bench: Bench) -> None:
    assert bench.publish(Facts()) == []
