"""Schedules: `@daily` and the like, or the five fields of cron, in UTC."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from hub_trainer.local_hub.errors import bad_request

NAMED = {
    "@annually": "0 0 1 1 *",
    "@yearly": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 7),
)
MAX_DAYS = 5 * 366
"""29 February comes at least once in eight years, but for a schedule five are enough."""


@dataclass(frozen=True)
class Schedule:
    """The minutes at which something is due."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    either_day: bool
    """Both kinds of day are named, so that one of them is enough, as cron has it."""

    def next_after(self, moment: datetime) -> datetime:
        """The first minute after a moment at which it is due."""
        day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        for _ in range(MAX_DAYS):
            if self._has_day(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        due = day.replace(hour=hour, minute=minute)
                        if due > moment:
                            return due
            day += timedelta(days=1)
        raise bad_request("The schedule is never due.")

    def _has_day(self, day: datetime) -> bool:
        of_month, of_week = day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays
        is_day = (of_month or of_week) if self.either_day else (of_month and of_week)
        return day.month in self.months and is_day


def read_schedule(text: object) -> Schedule:
    """The schedule that a text names. Raises 400 for one that cannot be read."""
    if not isinstance(text, str):
        raise bad_request("A scheduled job needs a schedule.")
    parts = NAMED.get(text, text).split()
    if len(parts) != len(FIELDS):
        names = ", ".join(NAMED)
        raise bad_request(f"Invalid schedule {text!r}. Write five fields of cron, or {names}.")
    read = [
        _values(part, name, low, high)
        for part, (name, low, high) in zip(parts, FIELDS, strict=True)
    ]
    minutes, hours, days, months, weekdays = read
    return Schedule(
        minutes,
        hours,
        days,
        months,
        frozenset(day % 7 for day in weekdays),
        either_day=parts[2] != "*" and parts[4] != "*",
    )


def _values(text: str, name: str, low: int, high: int) -> frozenset[int]:
    """`*`, `5`, `1-5`, `*/10`, `1-20/2`, and lists of these."""
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = ("*" if span == "*" else span).partition("-")
        if span == "*":
            first, last = str(low), str(high)
        numbers = (first, last or first, step or "1")
        if not all(number.isascii() and number.isdigit() for number in numbers):
            raise bad_request(f"Invalid {name} in a schedule: {text!r}.")
        start, end, by = map(int, numbers)
        if step and not last:
            end = high
        if not (low <= start <= end <= high and by >= 1):
            raise bad_request(f"Invalid {name} in a schedule: {text!r}. It is {low} to {high}.")
        found.update(range(start, end + 1, by))
    return frozenset(found)
