"""What the user's schedule says of the demand to come: windows of local time, as Unix seconds."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from trimtab.api.demand import ScheduledDemand, Weekday
from trimtab.units import parse_decimal

_WEEK = tuple(Weekday)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """What one entry of a schedule asks for."""

    name: str
    """The entry's."""
    rps: float
    """Requests/s at most."""


def hints(
    schedule: Iterable[ScheduledDemand], now: float, horizon_s: Callable[[Hint], float]
) -> tuple[Hint, ...]:
    """Return what `schedule` asks for between `now` and the horizon of each entry, largest first.

    A time of day that a change of summer time repeats or skips can be read in two ways: a start is
    the earlier of them and an end the later, so that no window is shorter than it reads.

    Args:
        schedule: Entries whose time zones exist.
        now: Unix seconds.
        horizon_s: How far ahead to look for an entry, in seconds.
    """
    found = []
    for entry in schedule:
        one = Hint(name=entry.name, rps=parse_decimal(entry.requests_per_second))
        if _holds(entry, now, now + horizon_s(one)):
            found.append(one)
    return tuple(sorted(found, key=lambda one: (-one.rps, one.name)))


def _holds(entry: ScheduledDemand, now: float, until: float) -> bool:
    return any(start <= until and now < end for start, end in _windows(entry, now, until))


def _windows(entry: ScheduledDemand, now: float, until: float) -> Iterator[tuple[float, float]]:
    """Yield start and end, in Unix seconds, of the windows that may touch [`now`, `until`]."""
    zone: tzinfo = UTC if entry.time_zone is None else ZoneInfo(entry.time_zone)
    start, end = time.fromisoformat(entry.start), time.fromisoformat(entry.end)
    # One of yesterday can still hold; one of the day after the last starts too late.
    day = datetime.fromtimestamp(now, zone).date() - _DAY
    last = datetime.fromtimestamp(until, zone).date()
    while day <= last:
        if _starts_on(entry, day):
            ends_on = day if end > start else day + _DAY
            yield min(_readings(day, start, zone)), max(_readings(ends_on, end, zone))
        day += _DAY


def _readings(day: date, clock: time, zone: tzinfo) -> tuple[float, float]:
    """Return both moments that a local time can mean, in Unix seconds; most often they are one."""
    first = datetime.combine(day, clock, zone)
    return first.timestamp(), first.replace(fold=1).timestamp()


def _starts_on(entry: ScheduledDemand, day: date) -> bool:
    if entry.dates is not None:
        return day.isoformat() in entry.dates
    return entry.days is None or _WEEK[day.weekday()] in entry.days
