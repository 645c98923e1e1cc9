"""Normal forms of pictures: small squares of grey, by which altered copies are compared.

Arrays: n pictures, SIDE x SIDE pixels, bytes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub_trainer.pictures import open_image

if TYPE_CHECKING:
    import numpy as np

SIDE = 32
LARGE_SIDE, MIDDLE_SIDE = 512, 96
"""Pixels per side at most, while the frame is looked for and while the content is."""
FLAT = 8.0
"""Range of grey below which a picture shows nothing and is near no other."""
LEAST_SIDE = 16
"""Pixels per side from which places of a picture tell it from its likes."""
LONG = 1.6
"""Sides over each other from which a picture may be two others beside each other."""
PARTS = 4
"""Parts of a picture at most that may each be another picture."""
LEAST_FILL, MOST_FILL, MOST_RING = 0.02, 0.16, 0.55
"""Shares of a picture, and of its outer pixels, that a turn fills with one colour."""


def normal_forms(contents: Sequence[bytes]) -> list["np.ndarray"]:
    """The pictures without their frames; their content alone; and as they are, with their parts.

    The last is (n, 1 + PARTS, SIDE, SIDE): zeros where a picture has fewer parts, or few pixels.
    """
    import numpy as np
    from PIL import Image

    forms = [np.zeros((len(contents), SIDE, SIDE), np.uint8) for _ in range(2)]
    forms.append(np.zeros((len(contents), 1 + PARTS, SIDE, SIDE), np.uint8))
    for number, content in enumerate(contents):
        image = open_image(content).convert("L")
        image.thumbnail((LARGE_SIDE, LARGE_SIDE), Image.Resampling.BOX)
        large = np.asarray(image, np.float32)
        # A frame goes first: made smaller, its edge would be mixed with the picture's.
        bare = _smaller(_without_frame(large))
        forms[0][number] = _squared(bare, (0, 0, bare.shape[1], bare.shape[0]), stretch=2.0)
        forms[1][number] = _squared(bare, _content_box(bare), stretch=1.0)
        if min(large.shape) < LEAST_SIDE:
            continue
        whole = _smaller(large)
        for place, part in enumerate([_without_fill(whole), *_parts(whole)]):
            forms[2][number, place] = _stretched(part)
    return forms


def turned(pictures: "np.ndarray", turn: int) -> "np.ndarray":
    """Under one of the eight symmetries of the square. (..., side, side)"""
    import numpy as np

    found = np.rot90(pictures, turn % 4, (-2, -1))
    return found[..., ::-1] if turn >= 4 else found


def smooth(pictures: "np.ndarray") -> "np.ndarray":
    """Each pixel with its neighbours, weighted 1 2 1 both ways. (n, height, width)"""
    import numpy as np

    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    found: np.ndarray = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 16
    return found


def coordinates() -> tuple["np.ndarray", "np.ndarray"]:
    """Coordinates of each pixel across and down, from -1 to 1."""
    import numpy as np

    line = np.linspace(-1, 1, SIDE, dtype=np.float32)
    return np.broadcast_to(line, (SIDE, SIDE)), np.broadcast_to(line[:, None], (SIDE, SIDE))


def read_at(pictures: "np.ndarray", places: "np.ndarray") -> "np.ndarray":
    """Pictures at places in coordinates from -1 to 1, linearly. (n, 2, points) -> (n, points)"""
    import numpy as np

    places = np.clip((places + 1) * np.float32((SIDE - 1) / 2), 0, np.float32(SIDE - 1.001))
    whole = places.astype(np.int32)
    right, down = (places - whole).transpose(1, 0, 2)
    start = whole[:, 1] * SIDE + whole[:, 0]
    start += np.arange(len(pictures), dtype=np.int32)[:, None] * SIDE * SIDE
    pixels = pictures.ravel()

    def at(step: int) -> "np.ndarray":
        taken: np.ndarray = pixels.take(start + step)
        return taken

    above = at(0) * (1 - right) + at(1) * right
    below = at(SIDE) * (1 - right) + at(SIDE + 1) * right
    found: np.ndarray = above * (1 - down) + below * down
    return found


def _smaller(grey: "np.ndarray") -> "np.ndarray":
    import numpy as np
    from PIL import Image

    image = Image.fromarray(grey)
    image.thumbnail((MIDDLE_SIDE, MIDDLE_SIDE), Image.Resampling.BOX)
    return np.asarray(image, np.float32)


def _parts(grey: "np.ndarray") -> list["np.ndarray"]:
    """Halves of a long picture, quarters of any other."""
    height, width = grey.shape
    halves = [grey[:, : width // 2], grey[:, width // 2 :]] if width * LONG > height else [grey]
    if width >= LONG * height:
        return halves
    return [part for half in halves for part in (half[: height // 2], half[height // 2 :])]


def _without_fill(grey: "np.ndarray") -> "np.ndarray":
    """The picture with its corners in the colour of its ground, where a turn has filled them."""
    import numpy as np

    near = 0.02 * (grey.max() - grey.min()) + 0.5
    filled = np.zeros(grey.shape, bool)
    for down in (slice(None), slice(None, None, -1)):
        for right in (slice(None), slice(None, None, -1)):
            corner = grey[down, right]
            alike = np.abs(corner - corner[0, 0]) <= near
            filled[down, right] |= np.logical_and.accumulate(alike, 0) & np.logical_and.accumulate(
                alike, 1
            )
    outer = _ring(filled)
    if not LEAST_FILL < filled.mean() < MOST_FILL or outer.mean() > MOST_RING:
        return grey
    return np.where(filled, np.median(_ring(grey)[~outer]), grey)


def _ring(grey: "np.ndarray") -> "np.ndarray":
    """The outer pixels."""
    import numpy as np

    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _stretched(grey: "np.ndarray") -> "np.ndarray":
    """The whole picture as a square."""
    import numpy as np
    from PIL import Image

    form = Image.fromarray(grey.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return _levels(np.asarray(form), float(grey.min()), float(grey.max()))


def _levels(form: "np.ndarray", low: float, high: float) -> "np.ndarray":
    """Bytes from black to white; zeros where there is nothing to be seen."""
    import numpy as np

    if high - low < FLAT:
        return np.zeros((SIDE, SIDE), np.uint8)
    return (np.clip((form - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _without_frame(grey: "np.ndarray") -> "np.ndarray":
    """The picture without outer lines of one colour, again and again: frames and empty margins."""
    tolerance = 0.08 * (grey.max() - grey.min())
    while min(grey.shape) > 6:
        edges = (grey[0], grey[-1], grey[:, 0], grey[:, -1])
        top, bottom, left, right = (bool(line.max() - line.min() <= tolerance) for line in edges)
        if not (top or bottom or left or right):
            break
        grey = grey[top : grey.shape[0] - bottom, left : grey.shape[1] - right]
    return grey


def _content_box(grey: "np.ndarray") -> tuple[int, int, int, int]:
    """Where a picture with a plain ground holds something else: left, top, right, bottom."""
    import numpy as np

    height, width = grey.shape
    ring = _ring(grey)
    ground = np.median(ring)
    reach = np.abs(grey - ground).max()
    if reach < FLAT or (np.abs(ring - ground) < 0.15 * reach).mean() < 0.6:
        return 0, 0, width, height
    held = np.abs(smooth(grey[None])[0] - ground) > 0.2 * reach
    ys, xs = np.flatnonzero(held.any(axis=1)), np.flatnonzero(held.any(axis=0))
    if not len(ys):
        return 0, 0, width, height
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


def _squared(grey: "np.ndarray", box: tuple[int, int, int, int], *, stretch: float) -> "np.ndarray":
    """A part of a picture in the middle of a square, stretched at most so many times."""
    import numpy as np
    from PIL import Image

    left, top, right, bottom = box
    part = grey[top:bottom, left:right]
    height, width = part.shape
    longest = max(height, width)
    ground = np.median(_ring(part))
    canvas = np.full((height + 2 * longest, width + 2 * longest), ground, np.float32)
    canvas[longest : longest + height, longest : longest + width] = part
    x, y = longest + width / 2, longest + height / 2
    dx, dy = (0.6 * max(side, longest / stretch) for side in (width, height))
    window = (x - dx, y - dy, x + dx, y + dy)
    form = Image.fromarray(canvas).resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=window)
    return _levels(np.asarray(form), float(part.min()), float(part.max()))
