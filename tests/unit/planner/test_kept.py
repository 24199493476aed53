"""What is kept between plans does not grow with their number: an operator runs for months."""

import gc
from dataclasses import replace

from fleetworld import FleetWorld, running
from trimtab.models.capacity import Price
from trimtab.planner.choice import Choice
from trimtab.planner.place import Place


def after_prices(there: FleetWorld, changes: int) -> int:
    """Return how many choices and places are in memory after so many ticks at other prices."""
    for change in range(changes):
        there.pools = [
            replace(pool, price=Price(usd_per_hour=2.0 + 0.001 * change, source="Pool"))
            for pool in there.pools
        ]
        there.tick()
    gc.collect()
    return sum(isinstance(one, Choice | Place) for one in gc.get_objects())


def test_choices_of_other_times_are_forgotten() -> None:
    there = running()
    few = after_prices(there, 5)
    assert after_prices(there, 20) <= few
