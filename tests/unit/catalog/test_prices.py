"""Prices come from the narrowest quote there is, carry their date, and are never guessed."""

import csv
from importlib import resources

import pytest

from trimtab.api.policy import CapacityType
from trimtab.catalog import accelerators
from trimtab.catalog.prices import device_price

H100 = "nvidia-h100-sxm"


def test_an_instance_price_is_divided_by_its_devices() -> None:
    price = device_price(
        H100,
        CapacityType.ON_DEMAND,
        instance_type="p5.48xlarge",
        provider="aws",
        region="us-east-1",
    )
    assert price is not None
    assert price.usd_per_hour == pytest.approx(55.04 / 8)
    assert price.source == "Catalogue (AWS us-east-1)"
    assert price.as_of == "2026-07-20"


def test_an_instance_type_in_an_unknown_region_uses_its_own_median() -> None:
    price = device_price(
        H100, CapacityType.ON_DEMAND, instance_type="Standard_ND96isr_H100_v5", region="moon"
    )
    assert price is not None
    assert price.source == "Catalogue (median of Azure regions)"
    assert 8 < price.usd_per_hour < 25


def test_without_an_instance_type_every_provider_counts_once() -> None:
    price = device_price(H100, CapacityType.ON_DEMAND)
    assert price is not None
    assert price.source == "Catalogue (median of AWS, Azure, GCP)"
    assert price.as_of == "2026-06-18"


def test_spot_is_cheaper_where_it_is_known_and_none_where_it_is_not() -> None:
    spot = device_price(H100, CapacityType.SPOT, provider="gcp", region="us-central1")
    on_demand = device_price(H100, CapacityType.ON_DEMAND, provider="gcp", region="us-central1")
    assert spot is not None
    assert on_demand is not None
    assert spot.usd_per_hour < on_demand.usd_per_hour
    assert device_price("amd-mi300x", CapacityType.SPOT) is None


@pytest.mark.parametrize("name", ["google-tpu-v5e", "intel-gaudi3", "aws-trainium2", "amd-mi355x"])
def test_an_accelerator_without_a_quote_has_no_price(name: str) -> None:
    assert accelerators.get(name) is not None
    assert device_price(name, CapacityType.ON_DEMAND) is None


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("nvidia-gh200-96gb", "Catalogue (median of Lambda regions)"),
        ("nvidia-rtx-4090", "Catalogue (median of CloudRift, RunPod)"),
        ("nvidia-h100-pcie", "Catalogue (NovoNimbus)"),
    ],
)
def test_what_only_small_clouds_rent_out_carries_their_names(name: str, source: str) -> None:
    price = device_price(name, CapacityType.ON_DEMAND)
    assert price is not None
    assert price.source == source


def test_reserved_devices_carry_the_on_demand_list_price() -> None:
    assert device_price(H100, CapacityType.RESERVED) == device_price(H100, CapacityType.ON_DEMAND)


def test_every_quote_names_an_accelerator_of_the_catalogue_and_a_positive_price() -> None:
    text = resources.files("trimtab.catalog").joinpath("data/prices.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) > 500
    for row in rows:
        assert row["accelerator"] in accelerators.names()
        assert float(row["on_demand_usd_h"]) > 0
        assert not row["spot_usd_h"] or float(row["spot_usd_h"]) < float(row["on_demand_usd_h"])
        assert bool(row["spot_usd_h"]) == bool(row["spot_as_of"])
