"""Copies of sounds that were altered, told from honest recordings of the same.

Louder, in another format or at another rate, cut, with noise, with silence before, a little faster:
the distance is the part of the wave that the best place and speed leave unexplained.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hub_trainer.inputs.sound_matching import (
    BLOCK,
    Pairs,
    Sounds,
    best_correlation,
    candidates,
    correlation,
    made_ready,
    unexplained,
)

REACH = 0.3
"""Distance within which sounds are near when the recipe's `near` is 0.85: they correlate by
0.954."""
CERTAIN = 0.97
"""Correlation from which no other speed is tried."""
LIKELIEST = 3
"""Candidates whose waves are compared at other speeds, which hardly change their pictures."""


class References:
    """Sounds that no other sound may be a copy of."""

    def __init__(self, contents: Sequence[bytes]) -> None:
        self._ready = made_ready(contents)
        _, self.own = self._nearest(self._ready)
        """Distance of each reference from the nearest other one: what chance brings."""

    def nearest(self, contents: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Per sound the nearest reference, and its distance; infinite when none is any near."""
        return self._nearest(made_ready(contents))

    def _nearest(self, ours: Sounds) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        best, distances = np.zeros(len(ours), np.int64), np.full(len(ours), np.inf)
        for start in range(0, len(ours) if len(self._ready) else 0, BLOCK):
            pairs = candidates(ours, self._ready, start, min(start + BLOCK, len(ours)))
            for row, others in _by_row(pairs):
                place, found = self._best_of(ours, row, others)
                best[row], distances[row] = place, unexplained(found)
        return best, distances

    def _best_of(self, ours: Sounds, row: int, others: Sequence[int]) -> tuple[int, float]:
        """The likeliest of the candidates, which come likeliest first, and its correlation."""
        wave = ours.waves[row]
        found = {other: correlation(wave, self._ready.waves[other]) for other in others}
        best = max(found, key=found.__getitem__)
        if found[best] < CERTAIN:
            for other in others[:LIKELIEST]:
                found[other] = best_correlation(wave, self._ready.waves[other])
            best = max(found, key=found.__getitem__)
        return best, found[best]


def _by_row(pairs: Pairs) -> Iterator[tuple[int, list[int]]]:
    """Each row with its candidates, the likeliest first."""
    for row in np.unique(pairs.rows):
        places = np.flatnonzero(pairs.rows == row)
        order = places[np.argsort(-pairs.likeness[places], kind="stable")]
        yield int(row), pairs.others[order].tolist()
