"""What a forecaster remembers of one arrival rate: bounded, and kept from plan to plan."""

from dataclasses import dataclass

Row = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayState:
    """What a rate usually does at each time of day, and how often that came true.

    `trimtab.planner.forecast.day` writes and reads it. Rates are in requests/s.
    """

    usual: Row = ()
    """Means by bin of the day, working days before weekends; below 0 where none was seen."""
    recent: tuple[tuple[float, float], ...] = ()
    """Number and mean of the last bins, oldest first, which do not count as usual yet."""
    least: float = 0.0
    """Rate below which none is told from another."""
    number: int = -1
    """Of the bin that is open; whole bins since the epoch."""
    first: float = 0.0
    last: float = 0.0
    """Unix seconds of its measurements."""
    total: float = 0.0
    """Their sum."""
    count: int = 0
    product: float = 0.0
    """Usual steps times those that came, in logarithms; it fades, as do the next three."""
    square: float = 0.0
    """Squares of the usual steps."""
    left: float = 0.0
    """Squares of what was wrong about them."""
    steps: float = 0.0
    """How many there were."""


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
    jumps: tuple[Row, ...] = ()
    """By horizon: how often the last rate was wrong by each class of jumps; it fades."""
    losses: tuple[Row, ...] = ()
    """By horizon: mean pinball loss of the learner at each level, then of the last rate and its
    jumps, requests/s."""
    day: DayState = DayState()
    """What is usual at this time of day."""
