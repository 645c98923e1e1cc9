"""Words of a stranger in a sentence: short, in one line, seen as they are, and nothing private."""

import re
import unicodedata
from collections.abc import Iterable

from hub_trainer.privacy import scan_text

MAX_CHARACTERS = 40
MAX_MARKS = 2
"""Signs above and below one letter; more of them cover the lines around."""
PRIVATE = "(a text that looks private)"
UNSEEN = "\ufffd"
BLANK_LETTERS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0]"
)
"""Letters and marks that show nothing, though Unicode counts them among those that do."""


def visible(text: str) -> str:
    """The text in one line, with a sign in the place of each character that nobody sees."""
    shown, marks = [], 0
    for character in BLANK_LETTERS.sub(UNSEEN, text):
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if category in ("Cc", "Zl", "Zp"):
            shown.append(" ")
        elif category in ("Cf", "Co", "Cn", "Cs") or marks > MAX_MARKS:
            shown.append(UNSEEN if marks <= MAX_MARKS else "")
        else:
            shown.append(character)
    return " ".join("".join(shown).split())


def quoted(text: str) -> str:
    """A name or a value between quotation marks; the comment makes its Markdown inert."""
    if scan_text(text):
        return PRIVATE
    plain = visible(text)
    return f"'{plain if len(plain) <= MAX_CHARACTERS else plain[: MAX_CHARACTERS - 1] + '…'}'"


def listed(names: Iterable[str], most: int) -> str:
    """The first names, and how many more there are."""
    told = list(names)
    more = [f"{len(told) - most:,} more"] if len(told) > most else []
    return ", ".join([quoted(name) for name in told[:most]] + more)
