"""Near-duplicate images: the same picture in another size, format or quality, and not a look-alike.

Two handwritten digits of one shape are two examples. So what counts is not a perceptual hash, under
which they are equal, but the correlation r of the pixels at 32 x 32 in colour, whatever brightness
and contrast: similarity is 1 - sqrt(2 - 2 r), the distance of two pictures of unit contrast taken
from 1. A picture of few pixels has less to tell it from its likes, so below 48 pixels per side
the distance that is let through shrinks with the side.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub_trainer.pictures import open_image

if TYPE_CHECKING:
    import numpy as np

SIDE = 32
"""Pixels per side at which pictures are compared."""
SMALL_SIDE = 16
"""Pixels per side, in grey, at which candidates are looked for."""
FULL_SIDE = 48
"""Pixels per side of the picture itself from which the threshold holds as it is."""
SLACK = 0.1
"""How much less similar a candidate may look in small."""
FLAT = 16.0
"""Norm of a picture of one colour: it resembles nothing but its exact copies."""
BLOCK = 1024


@dataclass(frozen=True)
class _Thumbs:
    """Pictures in small, and the shorter side of each original."""

    grey: "np.ndarray"
    """(n, 256), of zero mean and unit norm"""
    colour: "np.ndarray"
    """(n, 1024, 3), bytes"""
    sides: "np.ndarray"
    """(n,)"""


def normal(content: bytes) -> bytes:
    """Size and decoded RGB pixels of an image, upright."""
    image = open_image(content)
    return f"{image.size}".encode() + bytes(image.tobytes())


def within(contents: Sequence[bytes], near: float) -> list[tuple[int, int, float]]:
    """(row, leader, similarity) of each image that is near an earlier one that leads a group."""
    thumbs = _thumbs(contents)
    taken: dict[int, tuple[int, float]] = {}
    for row, other, similarity in sorted(_pairs(thumbs, thumbs, near, later_only=True)):
        if row not in taken and other not in taken:
            taken[other] = (row, similarity)
    return [(member, *taken[member]) for member in sorted(taken)]


def between(
    contents: Sequence[bytes], references: Sequence[bytes], near: float
) -> list[tuple[int, int, float]]:
    """(row, most similar reference, similarity) of each image that is near a reference."""
    best: dict[int, tuple[int, float]] = {}
    for row, reference, similarity in _pairs(_thumbs(contents), _thumbs(references), near):
        if row not in best or similarity > best[row][1]:
            best[row] = (reference, similarity)
    return [(row, *best[row]) for row in sorted(best)]


def _pairs(
    first: _Thumbs, second: _Thumbs, near: float, *, later_only: bool = False
) -> Iterator[tuple[int, int, float]]:
    """Pairs that are near: candidates in grey, verified in colour and against their size."""
    import numpy as np

    least = 1 - (1 - near + SLACK) ** 2 / 2
    for start in range(0, len(first.grey), BLOCK):
        skipped = start if later_only else 0
        products = first.grey[start : start + BLOCK] @ second.grey[skipped:].T
        rows, others = np.nonzero(products >= least)
        rows, others = rows + start, others + skipped
        if later_only:
            rows, others = rows[others > rows], others[others > rows]
        for piece in range(0, len(rows), BLOCK):
            yield from _verified(
                first, second, near, (rows[piece:][:BLOCK], others[piece:][:BLOCK])
            )


def _verified(
    first: _Thumbs, second: _Thumbs, near: float, pair: tuple[Any, Any]
) -> Iterator[tuple[int, int, float]]:
    import numpy as np

    rows, others = pair
    products = (_levelled(first.colour[rows]) * _levelled(second.colour[others])).sum(1)
    scores = 1 - np.sqrt(np.maximum(0, 2 - 2 * products))
    side = np.minimum(first.sides[rows], second.sides[others])
    allowed = (1 - near) * np.minimum(1.0, side / FULL_SIDE)
    for place in np.nonzero(1 - scores <= allowed)[0]:
        yield int(rows[place]), int(others[place]), float(scores[place])


def _thumbs(contents: Sequence[bytes]) -> _Thumbs:
    import numpy as np
    from PIL import Image

    grey = np.zeros((len(contents), SMALL_SIDE**2), np.float32)
    colour = np.zeros((len(contents), SIDE * SIDE, 3), np.uint8)
    sides = np.zeros(len(contents), np.float32)
    for number, content in enumerate(contents):
        image = open_image(content)
        sides[number] = min(image.size)
        thumb = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        small = thumb.convert("L").resize((SMALL_SIDE, SMALL_SIDE), Image.Resampling.BOX)
        colour[number] = np.asarray(thumb).reshape(-1, 3)
        grey[number] = _levelled(np.asarray(small).reshape(1, -1, 1))[0]
    return _Thumbs(grey, colour, sides)


def _levelled(values: "np.ndarray") -> "np.ndarray":
    """Without each channel's mean, of unit norm, zeros when flat. (n, pixels, 3 or 1) -> (n, d)"""
    import numpy as np

    values = values.astype(np.float32)
    flat = (values - values.mean(1, keepdims=True)).reshape(len(values), -1)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(norm > FLAT, flat / np.maximum(norm, FLAT), 0.0)
