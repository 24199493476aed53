"""What a user knows of the demand to come: hours of the week, and days, at which more is asked."""

from datetime import date
from typing import Annotated, ClassVar

from pydantic import Field

from trimtab.api.base import ApiEnum, ApiModel, DecimalString, ObjectName
from trimtab.api.lists import Keyed
from trimtab.api.rules import Rule, excludes, positive


class Weekday(ApiEnum):
    """A day of the week, in the order of the week."""

    MON = "Mon"
    TUE = "Tue"
    WED = "Wed"
    THU = "Thu"
    FRI = "Fri"
    SAT = "Sat"
    SUN = "Sun"


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


Clock = Annotated[str, Field(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$", min_length=5, max_length=5)]
"""A time of day, 00:00 to 23:59."""
CalendarDate = Annotated[
    str,
    Field(pattern="^20[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]$", min_length=10, max_length=10),
    Rule(
        cel="timestamp(self + 'T00:00:00Z') > timestamp('1999-12-31T00:00:00Z')",
        holds=_is_date,
        message="must be a day of the calendar, such as 2026-12-01",
    ),
]
"""A day of the calendar."""
TimeZone = Annotated[
    str,
    Field(pattern="^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$", min_length=1, max_length=64),
]
"""Name of a zone in the IANA time zone database."""


class ScheduledDemand(ApiModel):
    """A time at which more is asked than can be seen before."""

    RULES: ClassVar[tuple[Rule, ...]] = (excludes("days", "dates"),)

    name: ObjectName
    """Name of the entry, which a decision that rests on it mentions."""
    days: Annotated[list[Weekday], Field(min_length=1, max_length=7), Keyed()] | None = None
    """Days of the week on which it starts, Mon to Sun. Default: every day."""
    dates: Annotated[list[CalendarDate], Field(min_length=1, max_length=32), Keyed()] | None = None
    """Days of the calendar on which it starts, such as "2026-12-01". Default: none, so days."""
    start: Clock
    """Time of day at which it starts, such as "08:30". Replicas are Ready by then."""
    end: Clock
    """Time of day at which it ends; one not later than start is on the next day."""
    time_zone: TimeZone | None = None
    """Zone of the times of day, such as Europe/Berlin, summer time included. Default: UTC."""
    requests_per_second: Annotated[DecimalString, positive(most=1000000)]
    """Requests per second that are expected at most in that time, such as "12"."""


class DemandSpec(ApiModel):
    """What is known of the demand beforehand. It adds to what is measured and never takes away."""

    schedule: (
        Annotated[list[ScheduledDemand], Field(min_length=1, max_length=16), Keyed("name")] | None
    ) = None
    """Times at which more is asked; where several hold, the largest counts. Default: none."""
