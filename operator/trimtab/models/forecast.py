"""What a forecaster remembers of one arrival rate: bounded, and kept from plan to plan."""

from dataclasses import dataclass

Row = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastState:
    """A rate's past, as much of it as forecasts need. Without arguments: nothing seen yet.

    `trimtab.planner.forecast` writes and reads it; to everybody else it is opaque. Rates are in
    requests/s. A minute is closed when a rate of the next one is measured.
    """

    at: float | None = None
    """When the rate was last measured, in Unix seconds; None before the first time."""
    rps: float = 0.0
    """What was measured then, of a minute that is not closed."""
    phase: float = 0.0
    """Seconds after whole minutes at which minutes are taken to begin."""
    closed_at: float | None = None
    """When the last rate of the last closed minute was measured."""
    closed: int = 0
    """Minutes that were closed in all."""
    settled: int = 0
    """Minutes that were closed since the level last shifted."""
    rates: Row = ()
    """Rates of the last closed minutes without a gap, oldest first."""
    levels: Row = ()
    """Means of all closed minutes, each with its own half-life."""
    moves: Row = ()
    """Mean absolute surprises, requests/s, each with its own half-life."""
    past: tuple[Row, ...] = ()
    """What stood in `levels` at the end of the last minutes without a gap, and the scale then."""
    biases: tuple[Row, ...] = ()
    """By horizon and expert: mean error of what it said, in scales."""
    errors: tuple[Row, ...] = ()
    """By horizon and expert: mean absolute error beside its bias, in scales."""
    widths: Row = ()
    """By horizon: mean absolute error of the experts together, in scales."""
    counts: tuple[Row, ...] = ()
    """By horizon: how often the error, in scales and widths, fell into each class; it fades."""
