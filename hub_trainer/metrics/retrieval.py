"""Metrics of retrieval: whether the text that belongs to another is found among all others.

N = pairs, D = features. Only pairs that belong together are asked for: those whose number lies in
the top fifth of the range of all. Sought are the second texts of all pairs, each distinct one once.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from hub_trainer.stats.intervals import FloatArray
from hub_trainer.stats.metric import Metric, Statistics, ratio

TOP = 0.8
"""Share of the range of all numbers from which on a pair belongs together."""
BEST: Mapping[str, int] = {"recall_at_1": 1, "recall_at_10": 10}
"""Name -> among how many of the nearest texts the right one may stand."""
RETRIEVAL_METRICS: Mapping[str, Metric] = {name: Metric(ratio) for name in BEST}
"""Shares of the pairs that belong together."""
MEANINGS: Mapping[str, str] = {
    "recall_at_1": "Share of the pairs that belong together, as their number lies in the top fifth "
    "of the range, whose second text is the nearest to the first among those of all test pairs.",
    "recall_at_10": "The same, among the ten nearest.",
}
"""What each is, for people."""
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
    asked = np.zeros(len(numbers), dtype=bool)
    if len(numbers) and numbers.max() > numbers.min():
        asked = numbers >= numbers.min() + TOP * (numbers.max() - numbers.min())
    hits = np.zeros(len(numbers))
    known = [pair for pair in pairs if pair is not None]
    if len(known) == len(pairs) and known:
        hits[asked] = _hits(known, np.flatnonzero(asked), BEST[metric])
    else:
        hits[asked] = min(1.0, BEST[metric] / max(len(numbers), 1))
    return Statistics.of(np.stack([hits, asked.astype(np.float64)], axis=1))


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
