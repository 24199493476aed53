"""Dated list prices of accelerators, for pools whose owner states none."""

import csv
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from statistics import median

from trimtab.api.policy import CapacityType
from trimtab.models.capacity import Price

_PROVIDERS = {
    "aws": "AWS", "azure": "Azure", "gcp": "GCP", "cloudrift": "CloudRift",
    "lambdalabs": "Lambda", "novonimbus": "NovoNimbus", "runpod": "RunPod",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quote:
    """One instance type in one region; prices in $ per device and hour."""

    provider: str
    region: str
    instance_type: str
    accelerator: str
    on_demand: float
    spot: float | None
    as_of: str
    spot_as_of: str


@lru_cache(maxsize=4096)
def device_price(
    accelerator_name: str,
    capacity_type: CapacityType,
    *,
    instance_type: str | None = None,
    provider: str | None = None,
    region: str | None = None,
) -> Price | None:
    """Return the list price of one device for one hour, its share of the node included, or None.

    The instance type in its region comes first, then the median of that type over regions, of the
    accelerator at the provider, and of the accelerator over the providers' own medians. Reserved
    devices carry the on-demand price: what a contract costs, no list says. A spot price is never
    guessed from an on-demand price.
    """
    spot = capacity_type is CapacityType.SPOT
    quotes = [quote for quote in _quotes() if not spot or quote.spot is not None]
    same_type = [q for q in quotes if instance_type and q.instance_type == instance_type]
    exact = [q for q in same_type if q.region == region]
    if exact or same_type:
        return _median_price(exact or same_type, spot)
    of_accelerator = [q for q in quotes if q.accelerator == accelerator_name]
    at_provider = [q for q in of_accelerator if q.provider == (provider or "").lower()]
    if at_provider or of_accelerator:
        in_region = [q for q in at_provider if q.region == region]
        return _median_price(in_region or at_provider or of_accelerator, spot)
    return None


def _median_price(quotes: list[_Quote], spot: bool) -> Price:
    """Return the median over the providers' medians, so that none counts for its many regions."""
    by_provider: dict[str, list[float]] = defaultdict(list)
    for quote in quotes:
        by_provider[quote.provider].append(_usd(quote, spot))
    return Price(
        usd_per_hour=median(median(values) for values in by_provider.values()),
        source=f"Catalogue ({_where(quotes)})",
        as_of=min(quote.spot_as_of if spot else quote.as_of for quote in quotes),
    )


def _where(quotes: list[_Quote]) -> str:
    providers = sorted({quote.provider for quote in quotes})
    regions = {quote.region for quote in quotes}
    if len(providers) > 1:
        return "median of " + ", ".join(_PROVIDERS[name] for name in providers)
    provider = _PROVIDERS[providers[0]]
    if len(regions) > 1:
        return f"median of {provider} regions"
    return f"{provider} {regions.pop()}".rstrip()


def _usd(quote: _Quote, spot: bool) -> float:
    return quote.spot if spot and quote.spot is not None else quote.on_demand


@cache
def _quotes() -> tuple[_Quote, ...]:
    text = resources.files(__package__).joinpath("data/prices.csv").read_text("utf-8")
    quotes = []
    for row in csv.DictReader(text.splitlines()):
        devices = int(row["devices"])
        quotes.append(
            _Quote(
                provider=row["provider"],
                region=row["region"],
                instance_type=row["instance_type"],
                accelerator=row["accelerator"],
                on_demand=float(row["on_demand_usd_h"]) / devices,
                spot=float(row["spot_usd_h"]) / devices if row["spot_usd_h"] else None,
                as_of=row["as_of"],
                spot_as_of=row["spot_as_of"],
            )
        )
    return tuple(quotes)
