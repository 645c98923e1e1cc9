"""Counting of ratings: of this task, of a source with a say, its last word, and so many of it."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hub_trainer.ratings.rating_records import facet_of

Anonymous = Literal["none", "capped"]
"""What ratings without an account weigh: nothing, or as one rater per network and day."""
ShardRow = Mapping[str, Any]
NO_SOURCE = "anonymous"
"""The source of anonymous ratings that do not name theirs: all of them are one."""
ANONYMOUS = "anonymous and without weight"


@dataclass(frozen=True)
class Counted:
    """The ratings that count, oldest first, and why others do not."""

    rows: Sequence[ShardRow]
    """`rater` is the source of the rating: an account, or for a day a network."""
    dropped: Mapping[str, int]
    notes: Sequence[str]
    """What a person should know of where the ratings came from."""


def count_ratings(
    shard_rows: Sequence[ShardRow],
    *,
    task: str,
    anonymous: Anonymous,
    max_per_source: int,
    is_usable: Callable[[ShardRow], bool] = lambda row: True,
) -> Counted:
    """A rater's last word on each generation and last edit of it, of the first that a source rated.

    The one rule for which rating replaces which, and for how many of one source count.
    """
    latest: dict[tuple[str, str, str], ShardRow] = {}
    dropped: Counter[str] = Counter()
    of_source: Counter[str] = Counter()
    unheard: Counter[str] = Counter()
    for row in shard_rows:
        key = row["rater"], row["generation_id"], facet_of(row["kind"])
        source = source_of(row)
        if row["task"] != task:
            dropped["of another task"] += 1
        elif not is_usable(row):
            dropped["not usable by the task"] += 1
        elif anonymous == "none" and not _has_account(row):
            unheard[source] += 1
        elif key not in latest and of_source[source] >= max_per_source:
            dropped["over the limit of a rater"] += 1
        else:
            dropped["superseded"] += key in latest
            of_source[source] += key not in latest
            latest.pop(key, None)
            latest[key] = {**row, "rater": source}
    dropped[ANONYMOUS] = unheard.total()
    return Counted(list(latest.values()), +dropped, _notes(unheard))


def last_about(sources: Sequence[str], subjects: Sequence[Hashable]) -> tuple[list[int], list[str]]:
    """Places of each source's last rating about a subject, in the order of the first ones; a note.

    Content that was shown to a source more than once is rated more than once.
    """
    latest: dict[tuple[str, Hashable], int] = {}
    repeats: Counter[tuple[str, Hashable]] = Counter()
    for place, key in enumerate(zip(sources, subjects, strict=True)):
        latest[key] = place
        repeats[key] += 1
    most = max(repeats.values(), default=1)
    told = [f"{most:,} ratings of one source about one row count as one"] if most > 1 else []
    return list(latest.values()), told


def source_of(row: ShardRow) -> str:
    """Who stands behind a rating: a new session is nobody new."""
    if _has_account(row):
        return str(row["rater"])
    return str(row.get("source") or NO_SOURCE)


def _has_account(row: ShardRow) -> bool:
    return str(row.get("rater_tier", "account")) == "account"


def _notes(unheard: Counter[str]) -> list[str]:
    if not unheard:
        return []
    ratings = "1 anonymous rating"
    weigh = "weighs"
    if unheard.total() > 1:
        ratings, weigh = f"{unheard.total():,} anonymous ratings", "weigh"
    sources = f"{len(unheard):,} source{'s' if len(unheard) > 1 else ''}"
    return [f"{ratings} of {sources} {weigh} nothing (curate.anonymous: none)"]
