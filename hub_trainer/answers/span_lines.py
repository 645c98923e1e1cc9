"""Spans as lines that people write and mend: the words, an arrow, the type.

A line names the first place where its words stand and no line before it has taken them. Another
place is said by its number: `cancer #2 -> Disease` is the second place where cancer stands.
"""

import re
from collections.abc import Sequence

from hub_trainer.answers import MISSING
from hub_trainer.metrics.span_metrics import Span

ARROW = "->"
NOTHING_THERE = "none"
"""What stands for no span."""
_NUMBERED = re.compile(r"^(?P<words>.+?)\s*#+(?P<number>[1-9]\d{0,4})$", re.DOTALL)


def span_lines(words: Sequence[str], spans: Sequence[Span]) -> str:
    """Lines that `mended` reads as just these spans."""
    lines: list[str] = []
    taken: list[tuple[int, int]] = []
    for start, stop, kind in sorted(spans):
        said = " ".join(words[start:stop])
        places = _places(words, said)
        free = [place for place in places if not _overlaps(place, taken)]
        if free[0] != (start, stop):
            number = f" #{places.index((start, stop)) + 1}"
            while _places(words, said + number):  # the text itself has such a sign there
                number = f" #{number[1:]}"
            said += number
        lines.append(f"{said} {ARROW} {kind}")
        taken.append((start, stop))
    return "\n".join(lines)


def mended(text: str, words: Sequence[str], names: Sequence[str]) -> list[Span]:
    """The spans that lines name. Raises ValueError with a sentence for a line that names none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(MISSING)
    if lines == [NOTHING_THERE]:
        return []
    found: list[Span] = []
    for line in lines:
        said, arrow, kind = (part.strip() for part in line.rpartition(ARROW))
        if not arrow or not said:
            raise ValueError(f"{line!r:.60} is no line such as: New York {ARROW} place.")
        place = _place(said, words, [(start, stop) for start, stop, _ in found])
        found.append((*place, _known(kind, names)))
    return sorted(found)


def _place(said: str, words: Sequence[str], taken: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Where the words of a line stand."""
    places, number = _places(words, said), None
    numbered = _NUMBERED.match(said)
    if not places and numbered:
        places, number = _places(words, numbered["words"]), int(numbered["number"])
    if not places:
        raise ValueError(f"{said!r:.60} does not stand in the text, word by word.")
    if number is not None:
        if number > len(places):
            raise ValueError(f"{numbered and numbered['words']!r:.60} stands there less often.")
        places = [places[number - 1]]
    free = [place for place in places if not _overlaps(place, taken)]
    if not free:
        raise ValueError(f"{said!r:.60} overlaps with another line.")
    return free[0]


def _places(words: Sequence[str], said: str) -> list[tuple[int, int]]:
    """(first word, word after the last) of each place, whatever blanks were written."""
    wanted, found = "".join(said.split()), []
    for start in range(len(words)):
        stop, reached = start, ""
        while stop < len(words) and len(reached) < len(wanted):
            reached += words[stop]
            stop += 1
        if reached == wanted:
            found.append((start, stop))
    return found


def _overlaps(place: tuple[int, int], taken: Sequence[tuple[int, int]]) -> bool:
    return any(start < place[1] and place[0] < stop for start, stop in taken)


def _known(kind: str, names: Sequence[str]) -> str:
    """A type by its name, whatever its case."""
    alike = [name for name in names if name.casefold() == kind.casefold()]
    if kind not in names and len(alike) != 1:
        raise ValueError(f"{kind!r:.60} is no type; write one of {', '.join(names[:20])}.")
    return kind if kind in names else alike[0]
