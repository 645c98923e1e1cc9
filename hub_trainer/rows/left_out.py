"""Rows that are left out: how many, for which reasons, and which of them came first."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MAX_NAMED = 3
"""Rows that are named; more would hide what is wrong with them."""
MANY = 0.1
"""Share of a source's rows from which on their loss is a warning."""
COUNTABLE = ("duplicate", "label", "preference")
"""Last words of reasons that are things, which have a plural."""

REPEATS = re.compile(r"^repeats\b|(?<=^nearly )repeats\b")


@dataclass
class Losses:
    """What a source of rows has lost."""

    rows: int = 0
    """That it had."""
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[tuple[int | None, str]] = field(default_factory=list)
    """The first rows that went, and the first for each reason: which of its split, from 1, if
    that is known, and why."""

    def add(self, number: int | None, reason: str) -> None:
        """One more row goes."""
        self.reasons[reason] += 1
        if len(self.first) < MAX_NAMED or self.reasons[reason] == 1:
            self.first.append((number, reason))

    @property
    def is_many(self) -> bool:
        """Whether so many went that it is a warning."""
        lost = self.reasons.total()
        return lost > 0 and lost >= MANY * self.rows

    def warning(self, source: str) -> str | None:
        """What to say of the source; None when it has lost little."""
        if not self.is_many:
            return None
        lost = self.reasons.total()
        told = f"{source}: {lost:,} of {self.rows:,} rows left out: {reasons_text(self.reasons)}"
        first = [one for one in self.first if one[0] is not None][:MAX_NAMED]
        named = [f"row {number:,} ({why})" for number, why in first]
        return f"{told}; the first: {', '.join(named)}" if named else told


def all_told(sources: Iterable[Losses]) -> bool:
    """Whether the warnings of the sources count every row that went."""
    return all(one.is_many for one in sources if one.reasons)


def short_source(source: str) -> str:
    """A source, as rows hold it, with as much of its commit as people read."""
    repo_id, _, commit_sha = source.partition("@")
    return f"{repo_id}@{commit_sha[:8]}" if commit_sha else source


def source_place(number: int | None, source: str) -> str:
    """Where a row stands, as people read it."""
    return f"row {'unknown' if number is None else f'{number:,}'} of {short_source(source)}"


def source_name(source: str, known: Iterable[str]) -> str:
    """The one of the known names of sources that means this one; else its short form."""
    short = short_source(source)
    found = [name for name in known if name.startswith(f"{short},")]
    return found[0] if len(found) == 1 else short


def reasons_text(reasons: Mapping[str, int]) -> str:
    """Counts and reasons, most rows first: "158 near duplicates, 26 no text"."""
    ordered = sorted(reasons.items(), key=lambda item: -item[1])
    return ", ".join(f"{count:,} {_counted(reason, count)}" for reason, count in ordered if count)


def left_out_text(reasons: Mapping[str, int]) -> str:
    """One line for people: how many rows were left out, and why."""
    return f"{sum(reasons.values()):,} left out: {reasons_text(reasons)}"


def unwritten_note(key: str, turns: int) -> str:
    """What to say of a key of turns that a chat template never writes down."""
    have = "1 turn has" if turns == 1 else f"{turns:,} turns have"
    return f"{have} the key {key!r:.40}, which the chat template never writes: it is not learned"


def total_of(many: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by reason over several sources, most rows first."""
    total: Counter[str] = Counter()
    for reasons in many:
        total.update(reasons)
    return dict(total.most_common())


def _counted(reason: str, count: int) -> str:
    if count != 1:  # "a row repeats a test row" and "nearly repeats" one: verbs
        reason = REPEATS.sub("repeat", reason)
    return (
        f"{reason}s"
        if count != 1 and reason.endswith(COUNTABLE) and reason[:3] != "no "
        else reason
    )
