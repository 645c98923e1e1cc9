"""Texts made alike: Unicode, control characters and white space."""

import re
import unicodedata

# Control and format characters without a place in a text: all of Cc but tab and newline, zero-width
# spaces, joiners at the ends of words, byte order marks, and the controls of writing direction.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n ?")


def clean_text(text: str) -> str:
    """One Unicode form (NFC), no invisible controls, single spaces, no space at line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = unicodedata.normalize("NFC", UNSEEN.sub("", text))
    return _LINES.sub("\n", _SPACES.sub(" ", text)).strip()
