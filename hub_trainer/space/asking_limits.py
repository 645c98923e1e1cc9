"""Limits on how often a visitor may ask the model: a minute's and a day's."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from hub_trainer.ratings import RatingRefused

MINUTE_SECONDS, DAY_SECONDS = 60, 86_400
MAX_VISITORS = 100_000
"""Visitors that are remembered; of more, those who asked longest ago are forgotten."""


@dataclass
class _Asked:
    minute: int = 0
    in_minute: int = 0
    day: int = 0
    in_day: int = 0


class AskingLimits:
    """Counts questions per account, or per network of those who have none."""

    def __init__(
        self, per_minute: int, per_day: int, *, now: Callable[[], float] = time.time
    ) -> None:
        self._per_minute, self._per_day, self._now = per_minute, per_day, now
        self._asked: OrderedDict[str, _Asked] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, visitor: str) -> None:
        """Count a question. Raises RatingRefused when the visitor has none left."""
        with self._lock:
            asked = self._of(visitor)
            refused = self._over(asked)
            if refused:
                raise refused
            asked.in_minute += 1
            asked.in_day += 1

    def refusal(self, visitor: str) -> RatingRefused | None:
        """What `take` would raise now."""
        with self._lock:
            return self._over(self._of(visitor))

    def _of(self, visitor: str) -> _Asked:
        asked = self._asked.setdefault(visitor, _Asked())
        self._asked.move_to_end(visitor)
        while len(self._asked) > MAX_VISITORS:
            self._asked.popitem(last=False)
        minute, day = int(self._now() // MINUTE_SECONDS), int(self._now() // DAY_SECONDS)
        if asked.minute != minute:
            asked.minute, asked.in_minute = minute, 0
        if asked.day != day:
            asked.day, asked.in_day = day, 0
        return asked

    def _over(self, asked: _Asked) -> RatingRefused | None:
        if asked.in_day >= self._per_day:
            return _refused(self._per_day, "day", "tomorrow")
        if asked.in_minute >= self._per_minute:
            return _refused(self._per_minute, "minute", "in a minute")
        return None


def _refused(limit: int, span: str, when: str) -> RatingRefused:
    return RatingRefused(
        f"The model answers {limit:,} times a {span} to one visitor or network, and no more.",
        reason="limit",
        do=f"Ask again {when}. What you have rated is kept.",
    )
