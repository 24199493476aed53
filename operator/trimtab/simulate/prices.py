"""What a device of a pool costs over time, where that changes, as on a spot market."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

from trimtab.errors import InvalidInput
from trimtab.models.capacity import Pool, Price
from trimtab.simulate.scenario import PriceStep

_SOURCE = "Scenario"


@dataclass(frozen=True, slots=True)
class PriceHistory:
    """Prices of one device, $/h, each with the second that it holds from, by rising time."""

    steps: tuple[tuple[float, float], ...]
    """Never empty; the first holds from 0."""

    def mean(self, start_s: float, end_s: float) -> float:
        """Return what a device costs on average between two times."""
        shares = [
            usd * max(0.0, min(until, end_s) - max(since, start_s))
            for (since, usd), (until, _) in pairwise((*self.steps, (inf, 0.0)))
        ]
        return sum(shares) / (end_s - start_s)

    def least(self, start_s: float, end_s: float) -> float:
        """Return the least that a device costs between two times."""
        return min(
            usd
            for (since, usd), (until, _) in pairwise((*self.steps, (inf, 0.0)))
            if since < end_s and until > start_s
        )


def history_of(pool: Pool, steps: Sequence[PriceStep]) -> PriceHistory:
    """Return the prices of `pool`: its own until the first of `steps`, which is not empty.

    Raises:
        InvalidInput: It has none of its own, and no step says what it costs at first.
    """
    later = tuple((step.at_s, step.per_device_hour) for step in steps)
    if later[0][0] <= 0.0:
        return PriceHistory(later)
    if pool.price is None:
        raise InvalidInput(
            f"pools.{pool.name}.prices",
            "the pool has no price before the first step",
            "Add a step at 0s",
        )
    return PriceHistory(((0.0, pool.price.usd_per_hour), *later))


def priced(pool: Pool, usd_per_hour: float) -> Pool:
    """Return `pool` at a price of one device."""
    return replace(pool, price=Price(usd_per_hour=usd_per_hour, source=_SOURCE))
