"""Dates in cells: which texts are one, and the numbers that a model sees of them."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

DATE_PARTS = ("year", "month", "weekday", "days")
"""What is seen of a date: Monday is weekday 0, and days are counted since 1970, with fractions."""
MIN_DATES = 0.9
"""Share of the texts of a column from which the others are taken for mistakes."""
EXAMPLE = "2024-03-31"
SECONDS_PER_DAY = 86_400

_ISO = re.compile(
    r"\d{4}-\d{2}-\d{2}"
    r"([T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?( ?Z|[+-]\d{2}:?\d{2})?)?"
)
_OTHER = {
    re.compile(r"\d{4}/\d{1,2}/\d{1,2}"): "%Y/%m/%d",
    re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}"): "%d.%m.%Y",
}
"""Ways of writing a day that can be read in one way only."""

_LIKE = re.compile(
    r"(\d{1,2}[/.-]\d{1,2}[/.-]\d{2}(\d{2})?|\d{4}[.-]\d{1,2}[.-]\d{1,2}"
    r"|\d{1,2}[ .-]+[^\W\d_]{3,9}[ .,-]+\d{2}(\d{2})?"
    r"|[^\W\d_]{3,9} \d{1,2},? \d{4})"
    r"( \d{1,2}:\d{2}(:\d{2})?( ?[AaPp][Mm])?)?"
)
"""Texts that people write for a day, of which its order or its century cannot be told."""


def read_date(text: str) -> datetime | None:
    """The moment that a text names, in UTC where it says no other; None for one that is no date."""
    text = text.strip()
    try:
        if _ISO.fullmatch(text):
            found = datetime.fromisoformat(_microseconds(text.replace(" Z", "Z")))
        else:
            of = next((how for way, how in _OTHER.items() if way.fullmatch(text)), None)
            if of is None:
                return None
            found = datetime.strptime(text, of)
    except ValueError:  # no such day
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def date_numbers(text: str | None) -> list[float]:
    """The numbers of `DATE_PARTS`; gaps for a gap, and for a text that is no date."""
    found = read_date(text) if text else None
    if found is None:
        return [math.nan] * len(DATE_PARTS)
    days = found.timestamp() / SECONDS_PER_DAY
    return [float(found.year), float(found.month), float(found.weekday()), days]


def holds_dates(values: Sequence[Any]) -> bool:
    """Whether these are texts of which nearly all are dates; gaps do not count."""
    texts = [value for value in values if value is not None]
    if not texts or not all(isinstance(value, str) for value in texts):
        return False
    return sum(read_date(text) is not None for text in texts) >= MIN_DATES * len(texts)


def unread_dates(values: Sequence[Any]) -> str | None:
    """The first of texts that are probably dates in a way that is not read; None where they are
    none."""
    texts = [value.strip() for value in values if isinstance(value, str)]
    like = [text for text in texts if _LIKE.fullmatch(text)]
    is_so = texts and len(like) >= MIN_DATES * len(texts) and not holds_dates(values)
    return like[0] if is_so else None


def _microseconds(text: str) -> str:
    """Nanoseconds, as arrow writes them, cut to what Python reads."""
    return re.sub(r"([.,]\d{6})\d{1,3}", r"\1", text)
