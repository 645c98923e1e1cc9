"""Copies of pictures that were altered, told from pictures that only resemble each other by chance.

Pictures are brought to normal forms: in grey, without a frame, their content in the middle of a
square. A form is compared under the eight symmetries of the square, as negative too, whatever
brightness and contrast; for the likeliest references it is then aligned by small shifts, turns and
stretches (`picture_alignment`). Once more pictures are compared as they are, by the places that
fit (`partial_pictures`). Handwritten digits of one shape resemble each other closely. So the
distance is relative: the part of the picture that the aligned reference leaves unexplained, over
that part for the reference and its own nearest other one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hub_trainer.inputs.partial_pictures import PartialForm
from hub_trainer.inputs.picture_alignment import levelled, unexplained
from hub_trainer.inputs.picture_forms import SIDE, normal_forms, smooth, turned

if TYPE_CHECKING:
    import numpy as np

    Compared = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]
    """Rows, candidates for each, and what they leave unexplained of the row by each measure."""

REACH = 0.6
"""Distance within which pictures are near when the recipe's `near` is 0.85."""
NEARER = 0.9
"""How much nearer than chance among the references a copy must be, by a form with a share of its
own: chance as near as that is then an exception."""
SMALL_SIDE = 16
CANDIDATES = 4
LEAST_CANDIDATE = 0.5
"""Correlation in small from which a reference is a candidate."""
BLOCK = 256


class References:
    """Pictures that no other picture may be a copy of."""

    def __init__(self, contents: Sequence[bytes]) -> None:
        import numpy as np

        self._size = len(contents)
        whole, content, partial = normal_forms(contents)
        self._forms: list[_Form] = [_WholeForm(whole), _WholeForm(content), PartialForm(partial)]
        self._scales = []
        self.own = np.full(self._size, np.inf)
        """Distance of each reference from the nearest other one: what chance brings."""
        for form, pictures in zip(self._forms, (whole, content, partial), strict=True):
            scales, own = _settled(form, pictures)
            self._scales.append(scales)
            self.own = np.minimum(self.own, own)

    def nearest(self, contents: Sequence[bytes]) -> tuple["np.ndarray", "np.ndarray"]:
        """Per picture the nearest reference, and its distance; infinite when none is any near."""
        import numpy as np

        best, distances = np.zeros(len(contents), np.int64), np.full(len(contents), np.inf)
        for start in range(0, len(contents) if self._size else 0, BLOCK):
            forms = normal_forms(contents[start : start + BLOCK])
            for form, scales, pictures in zip(self._forms, self._scales, forms, strict=True):
                for rows, others, left in form.compared(pictures, None):
                    relative = (left / scales[others]).min(axis=1)
                    for row, other, distance in zip(rows + start, others, relative, strict=True):
                        if distance < distances[row]:
                            best[row], distances[row] = other, distance
        return best, distances


class _Form(Protocol):
    """The references in one normal form."""

    reach: float
    """Relative distance within which pictures are near, by this form's measures."""
    chance_share: float | None
    """Share of the references that may lie nearer than that to another one, by each measure."""

    def compared(self, pictures: "np.ndarray", own: "np.ndarray | None") -> "Compared":
        """The likeliest references of each picture; `own` are the pictures' places among them."""


class _WholeForm:
    """References that are compared by all of their places at once."""

    reach: float = REACH
    chance_share: float | None = None

    def __init__(self, pictures: "np.ndarray") -> None:
        import numpy as np

        self._pictures = pictures
        self._small = _in_small(pictures.astype(np.float32))

    def compared(self, pictures: "np.ndarray", own: "np.ndarray | None") -> "Compared":
        """Rows, candidates for each, and the part of the row that the candidate leaves over."""
        import numpy as np

        for start in range(0, len(pictures), BLOCK):
            mine = pictures[start : start + BLOCK].astype(np.float32)
            rows, others, turns = self._candidates(
                mine, None if own is None else own[start : start + BLOCK]
            )
            for first in range(0, len(rows), BLOCK):
                part = slice(first, first + BLOCK)
                shown = np.stack(
                    [turned(mine[r], t) for r, t in zip(rows[part], turns[part], strict=True)]
                )
                theirs = self._pictures[others[part]].astype(np.float32)
                left = unexplained(smooth(shown), smooth(theirs))
                yield rows[part] + start, others[part], left[:, None]

    def _candidates(
        self, pictures: "np.ndarray", own: "np.ndarray | None"
    ) -> tuple["np.ndarray", "np.ndarray", "np.ndarray"]:
        """Row, reference and symmetry of the pairs that are likeliest by their correlation."""
        import numpy as np

        small = np.stack([_in_small(turned(pictures, turn)) for turn in range(8)], axis=1)
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


def _settled(form: _Form, pictures: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
    """What each measure is divided by per reference, and the references' own distances.

    (n, measures), (n,)
    """
    import numpy as np

    count = len(pictures)
    pairs = list(form.compared(pictures, np.arange(count)))
    if not pairs:
        return np.ones((count, 1)), np.full(count, np.inf)
    rows, others, left = (np.concatenate(column) for column in zip(*pairs, strict=True))
    scales, owns = [], []
    for measured in left.T:
        chance = _chance(rows, others, measured, count)
        stretch = 1.0
        if form.chance_share is not None:
            # One in which chance comes near must not shorten the reach of the others.
            usual = NEARER * float(np.sort(chance.own)[int(form.chance_share * count)])
            stretch = max(min(form.reach, usual) / REACH, 1e-3)
        scales.append(np.maximum(chance.alone, 1e-3) * stretch)
        owns.append(chance.own / stretch)
    return np.stack(scales, axis=1), np.minimum.reduce(owns)


@dataclass(frozen=True)
class _Chance:
    """How near references are to each other, by one measure."""

    alone: "np.ndarray"
    """What each one's nearest other one leaves unexplained of it."""
    own: "np.ndarray"
    """Their relative distances."""


def _chance(rows: "np.ndarray", others: "np.ndarray", left: "np.ndarray", count: int) -> _Chance:
    """From pairs of references and what the second leaves of the first."""
    import numpy as np

    order = np.lexsort((left, rows))
    rows, others, left = rows[order], others[order], left[order]
    firsts = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
    alone = np.ones(count, np.float32)
    alone[rows[firsts]] = left[firsts]
    second = np.minimum(firsts + 1, len(rows) - 1)
    has_second = rows[second] == rows[firsts]
    without = np.ones(count, np.float32)
    without[rows[firsts]] = np.where(has_second, left[second], 1.0)
    nearest = np.full(count, -1)
    nearest[rows[firsts]] = others[firsts]
    # A reference must not be measured by its nearness to the very row that it is compared with.
    scale = np.where(nearest[others] == rows, without[others], alone[others])
    own = np.full(count, np.inf)
    np.minimum.at(own, rows, left / np.maximum(scale, 1e-3))
    # One partner that stands out as a copy would leave its reference without protection.
    copied = alone < 0.5 * without
    alone[copied] = without[copied]
    return _Chance(alone, own)


def _in_small(pictures: "np.ndarray") -> "np.ndarray":
    """Smooth small copies of zero mean and unit norm, zeros when flat. (n, SMALL_SIDE ** 2)"""
    step = SIDE // SMALL_SIDE
    small = pictures.reshape(-1, SMALL_SIDE, step, SMALL_SIDE, step).mean(axis=(2, 4))
    return levelled(smooth(small).reshape(len(pictures), -1))
