"""What a forecaster remembers of one arrival rate: bounded, and kept from plan to plan."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastState:
    """A rate's past, as much of it as forecasts need. Without arguments: nothing seen yet.

    `trimtab.planner.forecast` reads and writes it; to everybody else it is opaque.
    """

    at: float | None = None
    """When the rate was last measured, in Unix seconds; None before the first time."""
    rps: float = 0.0
    """Rate that was last measured, requests/s."""
    phase: float = 0.0
    """Unix seconds, from 0 to below 60, at which minutes are taken to end."""
    minutes: tuple[float | None, ...] = ()
    """Rate of each minute, requests/s, oldest first, the one of `at` last; None: not measured."""
