"""Words of a row, which are kept as one text with a blank between each two.

A row of words has a column `text` and no list of words beside it: what compares, cleans, shows and
keeps texts then does so with these too, and no second column can fall out of step with the first.
"""

import unicodedata
from collections.abc import Iterable
from typing import Any

from hub_trainer.inputs.cleaning import UNSEEN


def words_in(token: Any) -> list[str]:
    """A dataset's token as words: NFC, nothing unseen, cut at white space; none of an empty one."""
    return unicodedata.normalize("NFC", UNSEEN.sub("", str(token))).split()


def joined(tokens: Iterable[Any]) -> str:
    """Tokens as the text of a row, which cleaning leaves as it is."""
    return " ".join(word for token in tokens for word in words_in(token))


def words_of(text: str) -> list[str]:
    """The words of a row's text."""
    return text.split()


def written_words(text: str) -> list[str]:
    """The words of a text as people write it: signs at the ends of a word stand by themselves."""
    found: list[str] = []
    for part in words_in(text):
        first = next((n for n, sign in enumerate(part) if not _is_sign(sign)), len(part))
        last = next((n for n in range(len(part), first, -1) if not _is_sign(part[n - 1])), first)
        found += [*part[:first], *filter(None, [part[first:last]]), *part[last:]]
    return found


def _is_sign(character: str) -> bool:
    """Punctuation or a symbol; marks that belong to a letter are none."""
    return unicodedata.category(character)[0] in "PS"
