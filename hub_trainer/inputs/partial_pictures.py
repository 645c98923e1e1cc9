"""Pictures that agree with a reference in most places, whatever covers, cuts or surrounds the rest.

A mark in a corner, pixels that leave or enter by a shift, a turn or a cut, and light that is
clipped spoil some places and leave the others as they were. So likely references are found by
small copies that are levelled place by place, under known moves. Then they are aligned with less
weight on what doesn't fit (iteratively reweighted), and the blocks that fit worst are left out of
the comparison, up to a share of the picture and of what it shows.

Arrays: n pictures or pairs, V views of each (itself, then its parts), T moves of each reference,
d values of a small copy, pixels = SIDE * SIDE.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from hub_trainer.inputs.picture_forms import SIDE, coordinates, read_at, smooth, turned

if TYPE_CHECKING:
    import numpy as np

SMALL_SIDE = 16
DISC = 0.95
"""Distance from the middle, in half sides, up to which a small copy counts."""
VALUES = 64
"""Values that are left of a small copy, by principal components of the references'."""
CANDIDATES = 4
LEAST_CANDIDATE = 0.2
ROWS, PAIRS = 64, 256
"""Pictures, and pairs of them, in one go."""
STEPS = 5
"""Steps of the alignment."""
LARGEST_STEP, LARGEST_MOVE = 0.12, 0.3
"""In half sides, of any coefficient; the latter from the move that the small copies tell."""
BLOCK_SIDE = 4
LEFT_OUT, LEFT_OUT_LOCALLY = 0.15, 0.35
"""Share of a picture, and of what it shows, that may fit badly: of its smooth copy, of its
locally levelled one."""
LEAST_SEEN, LEAST_PIXELS = 0.25, 0.3
"""Share of a reference's contrast, and of its pixels, that the other picture must cover."""


class PartialForm:
    """References as they are, to be compared with pictures of which parts may be lost or added."""

    reach: float = 0.7
    chance_share: float | None = 0.005

    def __init__(self, views: "np.ndarray") -> None:
        import numpy as np

        self._whole = views[:, 0]
        moves = _moves()
        small = np.stack([_in_small(_warped(self._whole, move)) for move in moves])  # (T, n, d)
        self._axes = _principal_axes(small.reshape(-1, small.shape[-1]))
        self._small = small @ self._axes

    def compared(
        self, views: "np.ndarray", own: "np.ndarray | None"
    ) -> Iterator[tuple["np.ndarray", "np.ndarray", "np.ndarray"]]:
        """Rows, candidates for each, and what they leave unexplained by each measure."""
        import numpy as np

        for start in range(0, len(views), ROWS):
            part = views[start : start + ROWS]
            mine = None if own is None else own[start : start + ROWS]
            rows, others, seen_as, moves = self._candidates(part, mine)
            pictures = [turned(part[r, s // 8], s % 8) for r, s in zip(rows, seen_as, strict=True)]
            for first in range(0, len(rows), PAIRS):
                pairs = slice(first, first + PAIRS)
                left = _unexplained(
                    smooth(np.stack(pictures[pairs]).astype(np.float32)),
                    smooth(self._whole[others[pairs]].astype(np.float32)),
                    np.linalg.inv(_moves()[moves[pairs]]),
                )
                yield rows[pairs] + start, others[pairs], left

    def _candidates(
        self, views: "np.ndarray", own: "np.ndarray | None"
    ) -> tuple["np.ndarray", "np.ndarray", "np.ndarray", "np.ndarray"]:
        """Row, reference, view times symmetry, and move of the pairs that are likeliest."""
        import numpy as np

        small = _in_small(views.reshape(-1, SIDE, SIDE))[:, _symmetries()] @ self._axes
        small = small.reshape(len(views), -1, small.shape[-1])  # (n, V * 8, d)
        best = np.zeros((len(views), self._small.shape[1]), np.float32)
        for place, references in enumerate(self._small):
            # Parts are compared as they are: a part of a part tells too little.
            shown = small if place == 0 else small[:, :8]
            flat = shown.reshape(-1, shown.shape[-1]) @ references.T
            likeness = np.abs(flat, out=flat).reshape(*shown.shape[:2], -1).max(axis=1)
            np.maximum(best, likeness, out=best)
        if own is not None:
            best[np.arange(len(views)), own] = 0
        count = min(CANDIDATES, best.shape[1])
        others = np.argpartition(-best, count - 1, axis=1)[:, :count].ravel()
        rows = np.repeat(np.arange(len(views)), count)
        likely = best[rows, others] >= LEAST_CANDIDATE
        rows, others = rows[likely], others[likely]
        if not len(rows):
            return rows, others, rows, rows
        likeness = np.abs(np.einsum("psd,tpd->pst", small[rows], self._small[:, others]))
        likeness[:, 8:, 1:] = 0
        seen_as, moves = np.divmod(likeness.reshape(len(rows), -1).argmax(axis=1), len(_moves()))
        return rows, others, seen_as, moves


@cache
def _moves() -> "np.ndarray":
    """Moves under which references are looked for: none, turns, sizes, shifts, halves. (T, 3, 3)"""
    import numpy as np

    def move(degrees: float = 0, size: float = 1, x: float = 0, y: float = 0) -> "np.ndarray":
        across, down = np.cos(np.deg2rad(degrees)) * size, np.sin(np.deg2rad(degrees)) * size
        return np.array([[across, -down, x], [down, across, y], [0, 0, 1]], np.float32)

    ways = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y]
    found = [move()]
    found += [move(degrees) for degrees in (-14, -7, 7, 14)]
    found += [move(size=size) for size in (0.87, 0.75, 1.15)]
    found += [move(x=step * x, y=step * y) for step in (0.1, 0.2) for x, y in ways]
    for x, y in ways:
        if not x or not y:
            half = np.diag([1 - abs(x) / 2, 1 - abs(y) / 2, 1])
            half[:2, 2] = x / 2, y / 2
            found.append(half.astype(np.float32))
    return np.stack(found)


@cache
def _points() -> "np.ndarray":
    """Each pixel's place. (3, pixels)"""
    import numpy as np

    xs, ys = (line.ravel() for line in coordinates())
    return np.stack([xs, ys, np.ones_like(xs)])


@cache
def _coarse() -> "np.ndarray":
    """Every second pixel both ways, by its number."""
    import numpy as np

    return np.arange(SIDE * SIDE).reshape(SIDE, SIDE)[::2, ::2].ravel()


@cache
def _symmetries() -> "np.ndarray":
    """Where each value of a small copy comes from, under each symmetry of the square. (8, d)"""
    import numpy as np

    numbers = np.full(SMALL_SIDE**2, -1)
    numbers[_disc()] = np.arange(len(_disc()))
    square = numbers.reshape(SMALL_SIDE, SMALL_SIDE)
    return np.stack([turned(square, turn).ravel()[_disc()] for turn in range(8)])


@cache
def _disc() -> "np.ndarray":
    """Pixels of a small copy that count: a turn does not bring others into it."""
    import numpy as np

    line = (np.arange(SMALL_SIDE) + 0.5) * 2 / SMALL_SIDE - 1
    return np.flatnonzero(np.hypot(line, line[:, None]).ravel() < DISC)


def _warped(pictures: "np.ndarray", move: "np.ndarray") -> "np.ndarray":
    import numpy as np

    places = np.broadcast_to(move[:2] @ _points(), (len(pictures), 2, SIDE * SIDE))
    return read_at(pictures.astype(np.float32), places).reshape(pictures.shape)


def _in_small(pictures: "np.ndarray") -> "np.ndarray":
    """Small copies in which each place has one contrast, of unit norm, zeros when flat. (n, d)"""
    import numpy as np

    step = SIDE // SMALL_SIDE
    small = pictures.astype(np.float32).reshape(-1, SMALL_SIDE, step, SMALL_SIDE, step)
    values = _levelled_locally(smooth(small.mean(axis=(2, 4))), 2).reshape(len(small), -1)
    values = values[:, _disc()]
    found: np.ndarray = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-3)
    return found


def _principal_axes(values: "np.ndarray") -> "np.ndarray":
    """The directions in which values differ most. (d, VALUES)"""
    import numpy as np

    axes: np.ndarray = np.linalg.eigh(values.T @ values)[1][:, -VALUES:]
    return axes


def _levelled_locally(pictures: "np.ndarray", reach: int) -> "np.ndarray":
    """Each pixel without the mean of its surroundings, over their contrast. (n, side, side)"""
    import numpy as np

    mean = _box(pictures, reach)
    spread = np.sqrt(np.maximum(0, _box(pictures**2, reach) - mean**2))
    usual = np.sqrt((spread**2).mean(axis=(1, 2)))[:, None, None]
    levelled: np.ndarray = (pictures - mean) / (spread + 0.3 * usual + 1e-3)
    return levelled


def _box(pictures: "np.ndarray", reach: int) -> "np.ndarray":
    """Means of the squares of pixels up to `reach` away."""
    import numpy as np

    side = 2 * reach + 1
    padded = np.pad(pictures, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    sums = np.pad(padded.cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))
    found: np.ndarray = (
        sums[:, side:, side:] - sums[:, :-side, side:] - sums[:, side:, :-side]
        + sums[:, :-side, :-side]
    ) / side**2  # fmt: skip
    return found


def _unexplained(
    pictures: "np.ndarray", references: "np.ndarray", moves: "np.ndarray"
) -> "np.ndarray":
    """What references, aligned, leave unexplained of the places that fit. (n, 2)"""
    import numpy as np

    moves = _aligned(pictures, references, moves)
    mine, covered = _moved(pictures, moves, _points())
    mine = mine.reshape(references.shape)

    def left(change: Callable[["np.ndarray"], "np.ndarray"], left_out: float) -> "np.ndarray":
        changed = (change(shown).reshape(len(covered), -1) for shown in (mine, references))
        return _left(*changed, covered=covered, left_out=left_out)

    # Smoother, so that noise and blur count less; levelled, so that light does.
    smoother = left(lambda shown: smooth(smooth(shown)), LEFT_OUT)
    locally = left(lambda shown: 40 * _levelled_locally(shown, 3), LEFT_OUT_LOCALLY)
    return np.stack([smoother, locally], axis=1)


def _left(
    mine: "np.ndarray", theirs: "np.ndarray", *, covered: "np.ndarray", left_out: float
) -> "np.ndarray":
    """The part of the contrast that is not explained, without the blocks that fit worst. (n,)"""
    import numpy as np

    weights = covered
    for _ in range(3):
        gain, error = _fitted(mine, theirs, weights)
        weights, _ = _weights(error, covered)
    gain, error = _fitted(mine, theirs, weights)
    pixels = covered.sum(axis=1, keepdims=True) + 1e-6
    shown = theirs - (covered * theirs).sum(axis=1, keepdims=True) / pixels
    all_shown = ((theirs - theirs.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) * gain**2
    errors, counts = _by_block(covered * error**2), _by_block(covered)
    contrasts = _by_block(covered * shown**2) * gain[:, None] ** 2
    order = np.argsort(-errors / (counts + 1), axis=1)
    errors, counts, contrasts = (
        np.take_along_axis(values, order, axis=1) for values in (errors, counts, contrasts)
    )
    kept = np.cumsum(counts, axis=1) > left_out * pixels
    kept |= np.cumsum(contrasts, axis=1) > left_out * contrasts.sum(axis=1, keepdims=True)
    unexplained = (errors * kept).sum(axis=1)
    left: np.ndarray = np.sqrt(unexplained / ((contrasts * kept).sum(axis=1) + unexplained + 1e-3))
    unseen = contrasts.sum(axis=1) < LEAST_SEEN * all_shown
    unseen |= pixels[:, 0] < LEAST_PIXELS * SIDE * SIDE
    left[unseen] = 1.0
    return left


def _by_block(values: "np.ndarray") -> "np.ndarray":
    count = SIDE // BLOCK_SIDE
    blocks = values.reshape(len(values), count, BLOCK_SIDE, count, BLOCK_SIDE)
    sums: np.ndarray = blocks.sum(axis=(2, 4)).reshape(len(values), -1)
    return sums


def _aligned(pictures: "np.ndarray", references: "np.ndarray", start: "np.ndarray") -> "np.ndarray":
    """Moves from each reference to its picture, from those given on. (n, 3, 3)

    As in `picture_alignment`, with weights, on every second pixel.
    """
    import numpy as np

    basis, scale = _derivatives(references)
    theirs = references.reshape(len(references), -1)[:, _coarse()]
    steady = (basis.shape[2] * np.diag([1e-4] * 2 + [1e-3] * 6)).astype(np.float32)
    spread = theirs.std(axis=1) + 1
    moves, best, least = start, start.copy(), np.full(len(start), np.inf, np.float32)
    weights = None
    for step in range(STEPS + 1):
        mine, covered = _moved(pictures, moves, _points()[:, _coarse()])
        weights = covered if weights is None else weights * covered
        for _ in range(2):
            gain, error = _fitted(mine, theirs, weights)
            weights, usual = _weights(error, covered)
        cost = usual / (np.abs(gain) * spread + 1e-3)
        better = cost < least
        best[better], least[better] = moves[better], cost[better]
        if step < STEPS:
            weighted = basis * weights[:, :, None]
            normal = weighted.transpose(0, 2, 1) @ basis
            level = np.maximum(np.trace(normal, axis1=1, axis2=2) / basis.shape[2], 1)
            right = weighted.transpose(0, 2, 1) @ mine[:, :, None]
            found = np.linalg.solve(normal + level[:, None, None] * steady, right)[:, :, 0]
            moves = _composed(start, moves, found / scale)
    return best


def _derivatives(references: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
    """Per coarse pixel 1, the reference, and its derivatives by an affine move; their scale."""
    import numpy as np

    xs, ys = coordinates()
    down, right = (
        slope * np.float32((SIDE - 1) / 2) for slope in np.gradient(references, axis=(1, 2))
    )
    parts = [np.ones_like(references), references]
    parts += [right * xs, right * ys, right, down * xs, down * ys, down]
    basis = np.stack([part.reshape(len(part), -1)[:, _coarse()] for part in parts], axis=2)
    scale = np.sqrt((basis**2).mean(axis=1, keepdims=True)) + 1e-6
    return basis / scale, scale[:, 0]


def _composed(start: "np.ndarray", moves: "np.ndarray", found: "np.ndarray") -> "np.ndarray":
    """The moves so far with the inverse of the step that was found; both kept small."""
    import numpy as np

    gain = np.where(np.abs(found[:, 1]) < 0.2, np.copysign(0.2, found[:, 1]), found[:, 1])
    step = np.tile(np.eye(3, dtype=np.float32), (len(moves), 1, 1))
    change = np.clip(found[:, 2:] / gain[:, None], -LARGEST_STEP, LARGEST_STEP)
    step[:, :2] += change.reshape(-1, 2, 3)
    change = moves @ np.linalg.inv(step) - start
    composed: np.ndarray = start + np.clip(change, -LARGEST_MOVE, LARGEST_MOVE)
    return composed


def _moved(
    pictures: "np.ndarray", moves: "np.ndarray", points: "np.ndarray"
) -> tuple["np.ndarray", "np.ndarray"]:
    """Pictures read at moved points, and 1 where the picture has such a point, 0 elsewhere."""
    import numpy as np

    places = moves[:, :2] @ points
    covered = (np.abs(places) < 1 + 1.5 / (SIDE - 1)).all(axis=1)
    return read_at(pictures, places), covered.astype(np.float32)


def _fitted(
    mine: "np.ndarray", theirs: "np.ndarray", weights: "np.ndarray"
) -> tuple["np.ndarray", "np.ndarray"]:
    """The gain by which references become pictures, a level taken off, and what is left."""
    weight = weights.sum(axis=1) + 1e-6
    weighted = weights * theirs
    level, reference_level = (weights * mine).sum(axis=1) / weight, weighted.sum(axis=1) / weight
    shared = (weighted * mine).sum(axis=1) / weight - level * reference_level
    gain = shared / ((weighted * theirs).sum(axis=1) / weight - reference_level**2 + 1e-2)
    return gain, mine - gain[:, None] * theirs - (level - gain * reference_level)[:, None]


def _weights(error: "np.ndarray", covered: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
    """Weights that fall with the error, and what counts as a large one. (n, pixels), (n,)"""
    import numpy as np

    # Two standard deviations, each 1.48 medians. Every fourth pixel will do.
    usual = np.float32(2.97) * np.median(np.abs(error[:, ::4]), axis=1) + 2
    return covered / (1 + (error / usual[:, None]) ** 2) ** 2, usual
