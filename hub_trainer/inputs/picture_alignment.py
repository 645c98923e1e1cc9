"""What a reference, aligned to a picture by a small move, leaves unexplained of it.

Lucas and Kanade, inverse and compositional: small shifts, turns and stretches, whatever brightness
and contrast. Arrays: n pairs, pixels inside.
"""

from typing import TYPE_CHECKING

from hub_trainer.inputs.picture_forms import SIDE, coordinates, read_at

if TYPE_CHECKING:
    import numpy as np

INSIDE = slice(3, SIDE - 3)
"""Pixels that count once a picture was moved: those that it still covers."""
STEPS = 4
"""Steps of the alignment."""
LARGEST_STEP, LARGEST_MOVE = 0.12, 0.3
"""In half sides, of any coefficient."""


def levelled(values: "np.ndarray") -> "np.ndarray":
    """Of zero mean and unit norm, zeros when flat. (n, pixels)"""
    import numpy as np

    values = values - values.mean(axis=1, keepdims=True)
    found: np.ndarray = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-3)
    return found


def unexplained(pictures: "np.ndarray", references: "np.ndarray") -> "np.ndarray":
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
    theirs = levelled(_inner(references))
    moves = np.tile(np.eye(3, dtype=np.float32), (len(pictures), 1, 1))
    least = np.ones(len(pictures), np.float32)
    for step in range(STEPS + 1):
        mine = _moved(pictures, moves) if step else _inner(pictures)
        explained = (levelled(mine) * theirs).sum(axis=1)
        least = np.minimum(least, np.sqrt(np.maximum(0, 1 - explained**2)))
        if step < STEPS:
            found = np.linalg.solve(normal, basis.transpose(0, 2, 1) @ mine[:, :, None])
            moves = _composed(moves, found[:, :, 0] / scale[:, 0])
    return least


def _derivatives(references: "np.ndarray") -> "np.ndarray":
    """Per pixel inside: 1, the reference, and its derivatives by an affine move. (n, pixels, 8)"""
    import numpy as np

    xs, ys = coordinates()
    down, right = (slope * (SIDE - 1) / 2 for slope in np.gradient(references, axis=(1, 2)))
    parts = [np.ones_like(references), references]
    parts += [right * xs, right * ys, right, down * xs, down * ys, down]
    return np.stack([_inner(part) for part in parts], axis=2)


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
    """The pixels inside of pictures, read at moved coordinates."""
    import numpy as np

    xs, ys = (line[INSIDE, INSIDE].ravel() for line in coordinates())
    return read_at(pictures, moves[:, :2] @ np.stack([xs, ys, np.ones_like(xs)]))
