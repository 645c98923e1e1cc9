"""Texts of people in a conversation: how long, and without characters that nobody sees."""

import unicodedata

from hub_trainer.errors import DataError

MAX_MESSAGE_CHARACTERS = 8_000
MAX_ANSWER_CHARACTERS = 16_000
MAX_REASON_CHARACTERS = 1_000
UNSEEN = ("Cc", "Cs")
"""Categories of control characters, and of halves of characters that cannot be stored."""


def readable(text: str) -> str:
    """Without control characters but tabs and ends of lines, and without space around it."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    kept = (c for c in lines if c in "\n\t" or unicodedata.category(c) not in UNSEEN)
    return "".join(kept).strip()


def checked(text: str, *, name: str, max_characters: int) -> str:
    """The text as it is kept. Raises DataError for one that is missing or too long."""
    if len(text) > max_characters:
        raise DataError(
            f"The {name} has {len(text):,} characters, and {max_characters:,} is the limit.",
            do="shorten it",
        )
    if not isinstance(text, str):
        raise DataError(f"The {name} is not a text.", do="send a text")
    found = readable(text)
    if not found:
        raise DataError(f"The {name} is missing.", do="write one first")
    return found
