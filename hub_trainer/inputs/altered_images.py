"""Copies of pictures that were altered, told from pictures that only resemble each other by chance.

Pictures are brought to a normal form: in grey, without a frame, their content in the middle of a
square. The form is compared under the eight symmetries of the square, as negative too, whatever
brightness and contrast; for the likeliest references it is then aligned by small shifts, turns and
stretches (Lucas and Kanade, inverse and compositional). Handwritten digits of one shape resemble
each other closely. So the distance is relative: the part of the picture that the aligned reference
leaves unexplained, over that part for the reference and its own nearest other one.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hub_trainer.pictures import open_image

if TYPE_CHECKING:
    import numpy as np

REACH = 0.6
"""Distance within which pictures are near when the recipe's `near` is 0.85."""
SIDE = 32
LARGE_SIDE, MIDDLE_SIDE = 512, 96
"""Pixels per side at most, while the frame is looked for and while the content is."""
INSIDE = slice(3, SIDE - 3)
"""Pixels that count once a picture was moved: those that it still covers."""
SMALL_SIDE = 16
CANDIDATES = 4
LEAST_CANDIDATE = 0.5
"""Correlation in small from which a reference is a candidate."""
BLOCK = 256
STEPS = 4
"""Steps of the alignment."""
LARGEST_STEP, LARGEST_MOVE = 0.12, 0.3
"""In half sides, of any coefficient."""
FLAT = 8.0
"""Range of grey below which a picture shows nothing and is near no other."""


class References:
    """Pictures that no other picture may be a copy of."""

    def __init__(self, contents: Sequence[bytes]) -> None:
        import numpy as np

        self._size = len(contents)
        self._forms = [_Form(pictures) for pictures in _normal_forms(contents)]
        self.own = np.full(self._size, np.inf)
        """Distance of each reference from the nearest other one: what chance brings."""
        for form in self._forms:
            self.own = np.minimum(self.own, form.settle())

    def nearest(self, contents: Sequence[bytes]) -> tuple["np.ndarray", "np.ndarray"]:
        """Per picture the nearest reference, and its distance; infinite when none is any near."""
        import numpy as np

        best, distances = np.zeros(len(contents), np.int64), np.full(len(contents), np.inf)
        for start in range(0, len(contents) if self._size else 0, BLOCK):
            part = slice(start, start + BLOCK)
            for form, pictures in zip(self._forms, _normal_forms(contents[part]), strict=True):
                places, found = form.nearest(pictures)
                nearer = found < distances[part]
                best[part][nearer], distances[part][nearer] = places[nearer], found[nearer]
        return best, distances


class _Form:
    """The references in one normal form."""

    def __init__(self, pictures: "np.ndarray") -> None:
        import numpy as np

        self._pictures = pictures
        self._small = _in_small(pictures.astype(np.float32))
        self._alone = np.ones(len(pictures), np.float32)
        """What each reference's nearest other one leaves unexplained of it."""

    def settle(self) -> "np.ndarray":
        """Find out how near the references are to each other; returns their relative distances."""
        import numpy as np

        count = len(self._pictures)
        pairs = [
            pair
            for start in range(0, count, BLOCK)
            for pair in self._pairs(np.arange(start, min(start + BLOCK, count)))
        ]
        if not pairs:
            return np.full(count, np.inf)
        rows, others, left = (np.concatenate(column) for column in zip(*pairs, strict=True))
        order = np.lexsort((left, rows))
        rows, others, left = rows[order], others[order], left[order]
        firsts = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
        self._alone[rows[firsts]] = left[firsts]
        second = np.minimum(firsts + 1, len(rows) - 1)
        has_second = rows[second] == rows[firsts]
        without = np.ones(count, np.float32)
        without[rows[firsts]] = np.where(has_second, left[second], 1.0)
        nearest = np.full(count, -1)
        nearest[rows[firsts]] = others[firsts]
        # A reference must not be measured by its nearness to the very row that it is compared with.
        scale = np.where(nearest[others] == rows, without[others], self._alone[others])
        own = np.full(count, np.inf)
        np.minimum.at(own, rows, left / np.maximum(scale, 1e-3))
        # One partner that stands out as a copy would leave its reference without protection.
        copied = self._alone < 0.5 * without
        self._alone[copied] = without[copied]
        return own

    def nearest(self, pictures: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
        """Per picture the nearest reference and the relative distance."""
        import numpy as np

        best, distances = np.zeros(len(pictures), np.int64), np.full(len(pictures), np.inf)
        for rows, others, left in self._compared(pictures):
            relative = left / np.maximum(self._alone[others], 1e-3)
            for row, other, distance in zip(rows, others, relative, strict=True):
                if distance < distances[row]:
                    best[row], distances[row] = other, distance
        return best, distances

    def _pairs(self, rows: "np.ndarray") -> Iterator[tuple[Any, Any, Any]]:
        for mine, others, left in self._compared(self._pictures[rows], own=rows):
            yield rows[mine], others, left

    def _compared(
        self, pictures: "np.ndarray", own: "np.ndarray | None" = None
    ) -> Iterator[tuple["np.ndarray", "np.ndarray", "np.ndarray"]]:
        """Rows, candidates for each, and the part of the row that the candidate leaves over."""
        import numpy as np

        pictures = pictures.astype(np.float32)
        rows, others, turns = self._candidates(pictures, own)
        for start in range(0, len(rows), BLOCK):
            part = slice(start, start + BLOCK)
            turned = np.stack(
                [_turned(pictures[r], t) for r, t in zip(rows[part], turns[part], strict=True)]
            )
            theirs = self._pictures[others[part]].astype(np.float32)
            yield rows[part], others[part], _unexplained(_smooth(turned), _smooth(theirs))

    def _candidates(
        self, pictures: "np.ndarray", own: "np.ndarray | None"
    ) -> tuple["np.ndarray", "np.ndarray", "np.ndarray"]:
        """Row, reference and symmetry of the pairs that are likeliest by their correlation."""
        import numpy as np

        small = np.stack([_in_small(_turned(pictures, turn)) for turn in range(8)], axis=1)
        flat = small.reshape(-1, SMALL_SIDE**2) @ self._small.T
        likeness = np.abs(flat).reshape(len(pictures), 8, -1)
        turns, best = likeness.argmax(axis=1), likeness.max(axis=1)
        if own is not None:
            best[np.arange(len(pictures)), own] = 0
        count = min(CANDIDATES, best.shape[1])
        top = np.argpartition(-best, count - 1, axis=1)[:, :count]
        rows = np.repeat(np.arange(len(pictures)), count)
        others = top.ravel()
        likely = best[rows, others] >= LEAST_CANDIDATE
        rows, others = rows[likely], others[likely]
        return rows, others, turns[rows, others]


def _normal_forms(contents: Sequence[bytes]) -> list["np.ndarray"]:
    """The pictures without their frames, and with their content alone; each (n, SIDE, SIDE)."""
    import numpy as np
    from PIL import Image

    forms = [np.zeros((len(contents), SIDE, SIDE), np.uint8) for _ in range(2)]
    for number, content in enumerate(contents):
        image = open_image(content).convert("L")
        image.thumbnail((LARGE_SIDE, LARGE_SIDE), Image.Resampling.BOX)
        # A frame goes first: made smaller, its edge would be mixed with the picture's.
        image = Image.fromarray(_without_frame(np.asarray(image, np.float32)))
        image.thumbnail((MIDDLE_SIDE, MIDDLE_SIDE), Image.Resampling.BOX)
        bare = np.asarray(image, np.float32)
        forms[0][number] = _squared(bare, (0, 0, bare.shape[1], bare.shape[0]), stretch=2.0)
        forms[1][number] = _squared(bare, _content_box(bare), stretch=1.0)
    return forms


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
    ring = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ground = np.median(ring)
    reach = np.abs(grey - ground).max()
    if reach < FLAT or (np.abs(ring - ground) < 0.15 * reach).mean() < 0.6:
        return 0, 0, width, height
    held = np.abs(_smooth(grey[None])[0] - ground) > 0.2 * reach
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
    ground = np.median(np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]]))
    canvas = np.full((height + 2 * longest, width + 2 * longest), ground, np.float32)
    canvas[longest : longest + height, longest : longest + width] = part
    x, y = longest + width / 2, longest + height / 2
    dx, dy = (0.6 * max(side, longest / stretch) for side in (width, height))
    window = (x - dx, y - dy, x + dx, y + dy)
    form = Image.fromarray(canvas).resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=window)
    low, high = float(part.min()), float(part.max())
    if high - low < FLAT:
        return np.zeros((SIDE, SIDE), np.uint8)
    return (np.clip((np.asarray(form) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _turned(pictures: "np.ndarray", turn: int) -> "np.ndarray":
    """Under one of the eight symmetries of the square. (..., SIDE, SIDE)"""
    import numpy as np

    turned = np.rot90(pictures, turn % 4, (-2, -1))
    return turned[..., ::-1] if turn >= 4 else turned


def _smooth(pictures: "np.ndarray") -> "np.ndarray":
    """Each pixel with its neighbours, weighted 1 2 1 both ways. (n, height, width)"""
    import numpy as np

    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    smooth: np.ndarray = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 16
    return smooth


def _in_small(pictures: "np.ndarray") -> "np.ndarray":
    """Smooth small copies of zero mean and unit norm, zeros when flat. (n, SMALL_SIDE ** 2)"""
    step = SIDE // SMALL_SIDE
    small = pictures.reshape(-1, SMALL_SIDE, step, SMALL_SIDE, step).mean(axis=(2, 4))
    return _levelled(_smooth(small).reshape(len(pictures), -1))


def _levelled(values: "np.ndarray") -> "np.ndarray":
    import numpy as np

    values = values - values.mean(axis=1, keepdims=True)
    found: np.ndarray = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-3)
    return found


def _unexplained(pictures: "np.ndarray", references: "np.ndarray") -> "np.ndarray":
    """The part of each picture's contrast that its reference, aligned, does not explain. (n,)

    The reference moves by the gradients of its own coordinates (a point of each picture is
    described by 1, the reference, and its six affine derivatives); the found move is undone in the
    picture, and again, and the best step counts.
    """
    import numpy as np

    basis = _derivatives(references)
    scale = np.sqrt((basis**2).mean(axis=1, keepdims=True)) + 1e-6
    basis = basis / scale
    steady = basis.shape[1] * np.diag([1e-4, 1e-4] + [1e-3] * 6).astype(np.float32)
    normal = basis.transpose(0, 2, 1) @ basis + steady
    theirs = _levelled(_inner(references))
    moves = np.tile(np.eye(3, dtype=np.float32), (len(pictures), 1, 1))
    least = np.ones(len(pictures), np.float32)
    for step in range(STEPS + 1):
        mine = _moved(pictures, moves) if step else _inner(pictures)
        explained = (_levelled(mine) * theirs).sum(axis=1)
        least = np.minimum(least, np.sqrt(np.maximum(0, 1 - explained**2)))
        if step < STEPS:
            found = np.linalg.solve(normal, basis.transpose(0, 2, 1) @ mine[:, :, None])
            moves = _composed(moves, found[:, :, 0] / scale[:, 0])
    return least


def _derivatives(references: "np.ndarray") -> "np.ndarray":
    """Per pixel inside: 1, the reference, and its derivatives by an affine move. (n, pixels, 8)"""
    import numpy as np

    xs, ys = _coordinates()
    down, right = (slope * (SIDE - 1) / 2 for slope in np.gradient(references, axis=(1, 2)))
    parts = [np.ones_like(references), references]
    parts += [right * xs, right * ys, right, down * xs, down * ys, down]
    return np.stack([_inner(part) for part in parts], axis=2)


def _coordinates() -> tuple["np.ndarray", "np.ndarray"]:
    """Coordinates of each pixel across and down, from -1 to 1."""
    import numpy as np

    line = np.linspace(-1, 1, SIDE, dtype=np.float32)
    return np.broadcast_to(line, (SIDE, SIDE)), np.broadcast_to(line[:, None], (SIDE, SIDE))


def _inner(pictures: "np.ndarray") -> "np.ndarray":
    found: np.ndarray = pictures[:, INSIDE, INSIDE].reshape(len(pictures), -1)
    return found


def _composed(moves: "np.ndarray", found: "np.ndarray") -> "np.ndarray":
    """The moves so far with the inverse of the step that was found; both kept small."""
    import numpy as np

    gain = found[:, 1]
    gain = np.where(np.abs(gain) < 0.2, np.copysign(0.2, gain), gain)
    step = np.tile(np.eye(3, dtype=np.float32), (len(moves), 1, 1))
    step[:, :2] += np.clip(found[:, 2:] / gain[:, None], -LARGEST_STEP, LARGEST_STEP).reshape(
        -1, 2, 3
    )
    moved = moves @ np.linalg.inv(step)
    none = np.eye(3, dtype=np.float32)
    composed: np.ndarray = none + np.clip(moved - none, -LARGEST_MOVE, LARGEST_MOVE)
    return composed


def _moved(pictures: "np.ndarray", moves: "np.ndarray") -> "np.ndarray":
    """The pixels inside of pictures, read at moved coordinates, between pixels linearly."""
    import numpy as np

    xs, ys = (line[INSIDE, INSIDE].ravel() for line in _coordinates())
    places = (moves[:, :2] @ np.stack([xs, ys, np.ones_like(xs)]) + 1) * ((SIDE - 1) / 2)
    places = np.clip(places, 0, SIDE - 1.001)
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
