"""Metrics of retrieval: whether the text that belongs to another is found among all others.

N = pairs, D = features. Only pairs that belong together are asked for: those whose number lies in
the top fifth of the range of all. Sought are the second texts of all pairs, each distinct one once.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hub_trainer.stats.intervals import FloatArray
from hub_trainer.stats.metric import Metric, Statistics, ratio

TOP = 0.8
"""Share of the range of all numbers from which on a pair belongs together."""
BEST: Mapping[str, int] = {"recall_at_1": 1, "recall_at_10": 10}
"""Name -> among how many of the nearest texts the right one may stand."""
TRIPLETS = "triplet_accuracy"
RETRIEVAL_METRICS: Mapping[str, Metric] = {name: Metric(ratio) for name in (*BEST, TRIPLETS)}
"""Shares of the pairs that belong together."""
MEANINGS: Mapping[str, str] = {
    "recall_at_1": "Share of the pairs that belong together, as their number lies in the top fifth "
    "of the range, whose second text is the nearest to the first among those of all test pairs.",
    "recall_at_10": "The same, among the ten nearest.",
    TRIPLETS: "Share of the pairs that belong together whose second text is nearer to the first "
    "than one that does not belong to it is, by a number in the lowest fifth; the mean over such "
    "texts, among the pairs that have one.",
}
"""What each is, for people."""
BoolArray = NDArray[np.bool_]
Vectors = tuple[FloatArray, FloatArray]
MAX_CELLS = 20_000_000
"""Cosines that are held at once."""


def retrieval_statistics(
    metric: str, references: ArrayLike, pairs: Sequence[Vectors | None]
) -> Statistics:
    """Of (N,) numbers and the (D,) vectors of both texts of each pair, of length 1.

    Texts that are equally near stand in an order by chance. A model without vectors finds by chance
    alone.
    """
    numbers = np.asarray(references, dtype=np.float64)
    asked = together(numbers)
    if metric == TRIPLETS:
        return _triplets(numbers, asked, pairs)
    hits = np.zeros(len(numbers))
    known = [pair for pair in pairs if pair is not None]
    if len(known) == len(pairs) and known:
        hits[asked] = _hits(known, np.flatnonzero(asked), BEST[metric])
    else:
        hits[asked] = min(1.0, BEST[metric] / max(len(numbers), 1))
    return Statistics.of(np.stack([hits, asked.astype(np.float64)], axis=1))


def together(references: ArrayLike) -> BoolArray:
    """(N,) which pairs belong together; where all have one number over 0, all of them."""
    numbers = np.asarray(references, dtype=np.float64)
    if not len(numbers) or numbers.max() == numbers.min():
        return numbers > 0
    found: BoolArray = numbers >= numbers.min() + TOP * (numbers.max() - numbers.min())
    return found


def apart(references: ArrayLike) -> BoolArray:
    """(N,) which pairs do not belong together: those in the lowest fifth of the range."""
    numbers = np.asarray(references, dtype=np.float64)
    if not len(numbers) or numbers.max() == numbers.min():
        return np.zeros(len(numbers), dtype=bool)
    found: BoolArray = numbers <= numbers.max() - TOP * (numbers.max() - numbers.min())
    return found


def _triplets(numbers: FloatArray, asked: BoolArray, pairs: Sequence[Vectors | None]) -> Statistics:
    """Of each pair that belongs together, over how many of its first text's others it wins.

    One text has one vector, by which the pairs of a text are found.
    """
    known = [pair for pair in pairs if pair is not None]
    if len(known) < len(pairs) or not known:
        return Statistics.of(np.stack([0.5 * asked, asked], axis=1).astype(np.float64))
    first, second = (np.stack(side) for side in zip(*known, strict=True))
    cosines = (first * second).sum(axis=1)
    _, texts = np.unique(first, axis=0, return_inverse=True)
    others: dict[int, list[int]] = defaultdict(list)
    for place in np.flatnonzero(apart(numbers)):
        others[int(texts.ravel()[place])].append(int(place))
    found = np.zeros((len(numbers), 2))
    for place in np.flatnonzero(asked):
        wrong = cosines[others.get(int(texts.ravel()[place]), [])]
        if len(wrong):
            right = cosines[place]
            found[place] = (wrong < right).mean() + 0.5 * (wrong == right).mean(), 1.0
    return Statistics.of(found)


def _hits(pairs: Sequence[Vectors], asked: np.ndarray, best: int) -> FloatArray:
    """How likely the second text of each pair that is asked for is among the nearest."""
    first, second = (np.stack(side) for side in zip(*pairs, strict=True))
    texts, own = np.unique(second, axis=0, return_inverse=True)
    step, found = max(1, MAX_CELLS // len(texts)), []
    for start in range(0, len(asked), step):
        places = asked[start : start + step]
        cosines = first[places] @ texts.T
        right = cosines[np.arange(len(places)), own.ravel()[places]][:, None]
        nearer, ties = (cosines > right).sum(axis=1), (cosines == right).sum(axis=1)
        found.append(np.clip((best - nearer) / ties, 0.0, 1.0))
    return np.concatenate(found) if found else np.zeros(0)
