"""An AcceleratorPool becomes a Pool, and what its owner wrote wins."""

from typing import Any

from trimtab.api.acceleratorpool import AcceleratorPool
from trimtab.api.policy import CapacityType
from trimtab.catalog.pools import PROVISIONING_S, pool_of
from trimtab.models.capacity import Pool, Price

CATALOGUE = Price(usd_per_hour=4.0, source="Catalogue", as_of="2026-07-20")


def build(*, nodes: int = 2, known: Price | None = CATALOGUE, **fields: Any) -> Pool:
    spec = {
        "accelerator": "h100",
        "resourceName": "nvidia.com/gpu",
        "devicesPerNode": 8,
        "nodeSelector": {"b": "2", "a": "1"},
    } | fields
    resource = AcceleratorPool.model_validate({"metadata": {"name": "pool-a"}, "spec": spec})
    return pool_of(
        resource, nodes=nodes, devices=nodes * 8, foreign_devices=3, catalogue_price=known
    )


def test_defaults_come_from_the_catalogue_and_the_nodes() -> None:
    pool = build()
    assert pool.accelerator is not None
    assert pool.accelerator.name == pool.accelerator_name == "nvidia-h100-sxm"
    assert pool.capacity_type is CapacityType.ON_DEMAND
    assert pool.price == CATALOGUE
    assert pool.usable_devices == 13
    assert pool.failure_domain == "pool-a"
    assert pool.node_selector == (("a", "1"), ("b", "2"))
    assert pool.provisioning_s == 0.0


def test_the_owners_price_wins_and_names_its_source() -> None:
    assert build(price={"perDeviceHour": "2.49"}).price == Price(usd_per_hour=2.49, source="Pool")


def test_carbon_is_the_owners_figure_and_unknown_is_not_zero() -> None:
    assert build().carbon_g_per_kwh is None
    assert build(carbonIntensity=0).carbon_g_per_kwh == 0
    assert build(carbonIntensity=380).carbon_g_per_kwh == 380


def test_no_price_anywhere_is_none_and_never_zero() -> None:
    assert build(known=None).price is None


def test_the_owners_hardware_wins_over_the_catalogue() -> None:
    figures = {"memoryGiB": 64, "bandwidthGBs": 2000, "bf16TFLOPs": 500}
    accelerator = build(hardware=figures).accelerator
    assert accelerator is not None
    assert accelerator.memory_bytes == 64 * 2**30


def test_an_unknown_accelerator_stays_unknown() -> None:
    pool = build(accelerator="acme-9000")
    assert pool.accelerator is None
    assert pool.accelerator_name == "acme-9000"


def test_a_pool_that_grows_counts_what_it_can_grow_to_and_takes_time() -> None:
    pool = build(nodes=0, capacity={"maxDevices": 16})
    assert pool.usable_devices == 13
    assert pool.provisioning_s == PROVISIONING_S
    assert build(provisioningTime="90s").provisioning_s == 90.0


def test_a_pool_without_nodes_and_growth_has_nothing() -> None:
    assert build(nodes=0).usable_devices == 0
