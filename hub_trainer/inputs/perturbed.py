"""Rows as a careless sender would send them: with typos, out of focus, over a telephone."""

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from hub_trainer.pictures import open_image
from hub_trainer.sounds import open_sound, resampled, to_wav

Row = Mapping[str, Any]
WORD = re.compile(r"[^\W\d_]{4,}")
"""Words that may get a typo: of four letters or more."""
TYPO_WORDS = 10
"""One word in so many gets one, and at least one in each text that has such words."""
BLUR_FRACTION = 0.02
"""Radius of the blur, of the shorter side."""
MIN_BLUR_PIXELS = 0.7
TELEPHONE_RATE = 8_000


@dataclass(frozen=True)
class Perturbation:
    """One way in which what a model is shown may be worse than what it was trained on."""

    name: str
    told: str
    """How rows are read, after "read"."""
    of: Callable[[Row, Random], dict[str, Any]]
    """A row as it then is; the same row where there is nothing to change."""


def with_typos(text: str, rng: Random) -> str:
    """A text in which one word in ten has a letter left out, doubled or exchanged with the next.

    Its white space, its other words and so their number stay.
    """
    words = list(WORD.finditer(text))
    if not words:
        return text
    chosen = rng.sample(words, max(1, round(len(words) / TYPO_WORDS)))
    parts, end = [], 0
    for word in sorted(chosen, key=re.Match.start):
        parts += [text[end : word.start()], _mistyped(word.group(), rng)]
        end = word.end()
    return "".join([*parts, text[end:]])


def _mistyped(word: str, rng: Random) -> str:
    """The first letter stays, as people seldom miss it."""
    place = rng.randrange(1, len(word) - 1)
    before, letter, after = word[:place], word[place], word[place + 1 :]
    made = (before + after, before + 2 * letter + after, before + after[0] + letter + after[1:])
    return rng.choice(made)


def blurred(content: bytes) -> bytes:
    """A picture out of focus, as PNG."""
    from PIL import ImageFilter

    picture = open_image(content)
    radius = max(MIN_BLUR_PIXELS, BLUR_FRACTION * min(picture.size))
    buffer = io.BytesIO()
    picture.filter(ImageFilter.GaussianBlur(radius)).save(buffer, "PNG")
    return buffer.getvalue()


def telephoned(content: bytes) -> bytes:
    """A sound without what 8 kHz cannot hold, at its own rate; at that rate it stays as it is."""
    samples, rate = open_sound(content)
    if rate <= TELEPHONE_RATE:
        return content
    return to_wav(resampled(resampled(samples, rate, TELEPHONE_RATE), TELEPHONE_RATE, rate), rate)


def _typed(row: Row, rng: Random) -> dict[str, Any]:
    texts = [name for name in ("text", "text_pair") if isinstance(row.get(name), str)]
    return {**row, **{name: with_typos(row[name], rng) for name in texts}}


TYPOS = Perturbation(
    "typos",
    "with typos (in one word of ten a letter is left out, doubled or exchanged with the next)",
    _typed,
)
BLUR = Perturbation(
    "blur",
    "out of focus (a blur with a radius of 2 % of the shorter side, 0.7 pixels at least)",
    lambda row, rng: {**row, "image": blurred(row["image"])},
)
TELEPHONE = Perturbation(
    "8 kHz",
    "as over a telephone (at 8 kHz, without what is higher than 4 kHz)",
    lambda row, rng: {**row, "audio": telephoned(row["audio"])},
)
